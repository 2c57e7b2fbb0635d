import Bytes

//  SEARCH in messages
//
//  A key matches where its text occurs in the decoded text, compared as i;unicode-casemap does.
//  Nearly all mail is ASCII in nearly all of its bytes: what is ASCII and not encoded is searched
//  where it stands, by vectors, and only the rest is decoded and folded, in pieces that overlap by
//  the length of the key.

/// A text to search for, prepared once.
package struct SearchText: Sendable {
    /// Folded, in UTF-8.
    let folded: [UInt8]
    let isASCII: Bool

    /// The text must be UTF-8; convert it from the charset of the SEARCH command first.
    package init(_ text: [UInt8]) {
        var folded: [UInt8] = []
        let span = text.span
        CaseFold.shared.append(span, in: 0..<span.count, to: &folded)
        self.folded = folded
        isASCII = folded.allSatisfy { $0 < 0x80 }
    }

    package var isEmpty: Bool { folded.isEmpty }
}

/// Searches messages. Keeps its buffers for the next message; each worker has its own.
package final class MessageSearcher {
    private let converter = CharsetConverter()
    private let header: HeaderDecoder
    private var line: [UInt8] = []
    private var text: [UInt8] = []
    private var folded: [UInt8] = []
    private var decoded = ByteBuffer()

    package init() { header = HeaderDecoder(converter) }

    // MARK: Headers

    /// Whether a field of the name has the text in its value; for the empty text, whether there
    /// is such a field. The name is in lower case.                          RFC 3501 §6.4.4
    package func fieldContains(
        _ needle: SearchText,
        name: [UInt8],
        in bytes: Span<UInt8>,
        header range: Range<Int>
    ) -> Bool {
        let wanted = name.span
        var offset = range.lowerBound
        while let field = HeaderField(in: bytes, at: offset, end: range.upperBound) {
            offset = field.lines.upperBound
            guard field.name.count == wanted.count,
                bytes.extracting(field.name).equalsIgnoringCase(wanted)
            else { continue }
            if needle.isEmpty || contains(needle, value: field.value, of: bytes) { return true }
        }
        return false
    }

    /// Whether the header has the text in any field, names included.
    package func headerContains(
        _ needle: SearchText,
        in bytes: Span<UInt8>,
        header range: Range<Int>
    ) -> Bool {
        // What is there as it is needs no look at the fields.
        if needle.isASCII, bytes.offset(ofLowercased: needle.folded.span, in: range) != nil {
            return true
        }
        var offset = range.lowerBound
        while let field = HeaderField(in: bytes, at: offset, end: range.upperBound) {
            offset = field.lines.upperBound
            // With its name, so that "Subject: x" is found too.
            let lines = field.lines.lowerBound..<field.value.upperBound
            if needsDecoding(lines, of: bytes), contains(needle, value: lines, of: bytes) {
                return true
            }
        }
        return false
    }

    private func needsDecoding(_ range: Range<Int>, of bytes: Span<UInt8>) -> Bool {
        bytes.offset(of: .lf, in: range) != nil
            || bytes.offset(of: UInt8(ascii: "="), in: range) != nil
            || !bytes.isASCII(in: range)
    }

    private func contains(
        _ needle: SearchText,
        value: Range<Int>,
        of bytes: Span<UInt8>
    ) -> Bool {
        guard needsDecoding(value, of: bytes) else {
            return needle.isASCII
                && bytes.offset(ofLowercased: needle.folded.span, in: value) != nil
        }
        var line = exchange(&self.line, with: [])
        line.removeAll(keepingCapacity: true)
        header.append(bytes, in: value, to: &line)
        defer { self.line = line }
        return contains(needle, text: line.span, in: 0..<line.count)
    }

    /// A field's value as it is searched: decoded and folded.
    func foldedValue(_ value: Range<Int>, of bytes: Span<UInt8>) -> [UInt8] {
        var folded: [UInt8] = []
        appendFolded(value, of: bytes, to: &folded)
        return folded
    }

    func appendFolded(_ value: Range<Int>, of bytes: Span<UInt8>, to folded: inout [UInt8]) {
        guard needsDecoding(value, of: bytes) else {
            CaseFold.shared.append(bytes, in: value, to: &folded)
            return
        }
        var line = exchange(&self.line, with: [])
        line.removeAll(keepingCapacity: true)
        header.append(bytes, in: value, to: &line)
        CaseFold.shared.append(line.span, in: 0..<line.count, to: &folded)
        self.line = line
    }

    // MARK: Bodies

    /// Whether header or body have the text.                                SEARCH TEXT
    package func messageContains(
        _ needle: SearchText,
        in bytes: Span<UInt8>,
        structure: borrowing MessageStructure
    ) -> Bool {
        headerContains(needle, in: bytes, header: structure.parts[0].header.bounds)
            || bodyContains(needle, in: bytes, structure: structure)
    }

    /// Whether the body has the text: decoded text parts, headers of parts (a file name is found
    /// by it), and headers of messages within. Parts that are no text are not searched. SEARCH BODY
    package func bodyContains(
        _ needle: SearchText,
        in bytes: Span<UInt8>,
        structure: borrowing MessageStructure
    ) -> Bool {
        guard !needle.isEmpty else { return true }
        for index in structure.parts.indices {
            let part = structure.parts[index]
            if index > 0, headerContains(needle, in: bytes, header: part.header.bounds) {
                return true
            }
            if part.kind == .text, contains(needle, body: part, of: bytes) { return true }
        }
        return false
    }

    private func contains(_ needle: SearchText, body part: Part, of bytes: Span<UInt8>) -> Bool {
        let range = part.body.bounds
        guard !range.isEmpty else { return false }
        var encoding = TransferEncoding.identity
        if let token = part.encodingToken(in: bytes) {
            // Of an encoding that nobody knows, what is there is searched.
            encoding = TransferEncoding(bytes.extracting(token)) ?? .identity
        }
        if encoding == .quotedPrintable,
            bytes.offset(of: UInt8(ascii: "="), in: range) == nil
        {
            encoding = .identity
        }
        let charset = part.charset(in: bytes)
        if encoding == .identity, charset.extendsASCII, bytes.isASCII(in: range) {
            return needle.isASCII
                && bytes.offset(ofLowercased: needle.folded.span, in: range) != nil
        }
        return containsDecoded(needle, range, of: bytes, encoding: encoding, charset: charset)
    }

    /// Decodes, converts, folds and searches piece by piece.
    private func containsDecoded(
        _ needle: SearchText,
        _ range: Range<Int>,
        of bytes: Span<UInt8>,
        encoding: TransferEncoding,
        charset: Charset
    ) -> Bool {
        var decoder = TransferDecoder(encoding, crlf: false)
        var decoded = exchange(&self.decoded, with: ByteBuffer())
        var text = exchange(&self.text, with: [])
        defer {
            self.decoded = decoded
            self.text = text
        }
        decoded.removeAll()
        text.removeAll(keepingCapacity: true)
        converter.begin(charset)
        // A scalar of four bytes may fold to one.
        let overlap = needle.folded.count * 4
        var start = range.lowerBound
        while start < range.upperBound {
            let end = TransferDecoder.pieceEnd(
                of: bytes,
                in: start..<range.upperBound,
                max: Limits.searchPieceBytesMax
            )
            decoder.decode(bytes, in: start..<end, to: &decoded)
            if end == range.upperBound { decoder.finish(to: &decoded) }
            start = end
            let left =
                converter.convert(decoded.bytes.span, in: charset, to: &text)
                ?? converter.convert(decoded.bytes.span, in: .ascii, to: &text) ?? 0
            decoded.bytes.removeFirst(decoded.count - min(left, decoded.count))
            if contains(needle, text: text.span, in: 0..<text.count) { return true }
            var cut = max(0, text.count - overlap)
            while cut > 0, text[cut] & 0xC0 == 0x80 { cut -= 1 }
            text.removeFirst(cut)
        }
        return false
    }

    // MARK: Text

    /// Whether UTF-8 text has the needle.
    package func contains(
        _ needle: SearchText,
        text: Span<UInt8>,
        in range: Range<Int>
    ) -> Bool {
        guard !text.isASCII(in: range) else {
            return needle.isASCII
                && text.offset(ofLowercased: needle.folded.span, in: range) != nil
        }
        var folded = exchange(&self.folded, with: [])
        defer { self.folded = folded }
        folded.removeAll(keepingCapacity: true)
        CaseFold.shared.append(text, in: range, to: &folded)
        return folded.span.offset(ofLowercased: needle.folded.span, in: 0..<folded.count) != nil
    }
}

extension Part {
    /// The charset of a text part; ASCII where it is not told or not known.
    func charset(in bytes: Span<UInt8>) -> Charset {
        guard let value = contentType.range, let content = ContentType(bytes, in: value),
            let name = MediaParameters.parse(bytes, in: content.parameters).value(of: "charset")
        else { return .ascii }
        return Charset(name.value) ?? .ascii
    }
}
