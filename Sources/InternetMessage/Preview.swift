import Bytes

/// The first words of a message, as a reader sees them.                       RFC 8970
package enum Preview {
    /// At most `Limits.previewCharactersMax` characters of UTF-8 from the first text part that is
    /// no attachment, plain text before HTML; empty where there is none.
    ///
    /// Every run of blanks and line ends is one space. Of HTML, tags, styles, scripts and comments
    /// go, and the usual entities are decoded. Lines that quote (`>`) and what follows a signature
    /// mark are left out of plain text, unless nothing else is there.
    package static func text(
        of structure: borrowing MessageStructure,
        in bytes: Span<UInt8>,
        converter: CharsetConverter
    ) -> [UInt8] {
        var html: Int?
        for index in structure.parts.indices {
            let part = structure.parts[index]
            guard part.kind == .text, !part.isAttachment(in: bytes) else { continue }
            if part.isHTML(in: bytes) {
                if html == nil { html = index }
                continue
            }
            let text = decoded(part, in: bytes, converter: converter)
            let short = plain(text, skippingQuotes: true)
            if !short.isEmpty { return short }
            let whole = plain(text, skippingQuotes: false)
            if !whole.isEmpty { return whole }
        }
        guard let html else { return [] }
        return strip(decoded(structure.parts[html], in: bytes, converter: converter))
    }

    /// The start of a part in UTF-8.
    private static func decoded(
        _ part: Part,
        in bytes: Span<UInt8>,
        converter: CharsetConverter
    ) -> [UInt8] {
        let body = part.body.bounds
        let end = TransferDecoder.pieceEnd(of: bytes, in: body, max: Limits.previewSourceBytesMax)
        let token = part.encodingToken(in: bytes)
        let encoding = token.map { TransferEncoding(bytes.extracting($0)) } ?? .identity
        guard let encoding else { return [] }
        var buffer = ByteBuffer()
        encoding.decode(bytes, in: body.lowerBound..<end, crlf: false, to: &buffer)
        var text: [UInt8] = []
        converter.begin(part.charset(in: bytes))
        // A character cut off at the end is left out.
        _ = converter.convert(buffer.bytes.span, in: part.charset(in: bytes), to: &text)
        return text
    }

    private static func plain(_ text: [UInt8], skippingQuotes: Bool) -> [UInt8] {
        var output = PreviewText()
        for line in text.split(separator: .lf, omittingEmptySubsequences: true) {
            if skippingQuotes {
                if line.first == UInt8(ascii: ">") { continue }
                if line.elementsEqual("-- ".utf8) || line.elementsEqual("-- \r".utf8) { break }
            }
            for byte in line { output.append(byte) }
            output.append(.space)
            if output.isFull { break }
        }
        return output.finished
    }

    private static func strip(_ text: [UInt8]) -> [UInt8] {
        var output = PreviewText()
        let span = text.span
        var index = 0
        while index < text.count, !output.isFull {
            switch text[index] {
            case UInt8(ascii: "<"):
                index = skipTag(span, at: index)
                output.append(.space)
            case UInt8(ascii: "&"):
                index = appendEntity(span, at: index, to: &output)
            default:
                output.append(text[index])
                index += 1
            }
        }
        return output.finished
    }

    /// The offset behind a tag, or behind the element where its content is no text.
    private static func skipTag(_ text: Span<UInt8>, at start: Int) -> Int {
        let rest = text.extracting(start..<text.count)
        var closing: [UInt8] = [UInt8(ascii: ">")]
        for (name, end) in [
            ("<style", "</style"), ("<script", "</script"), ("<head", "</head"), ("<!--", "-->"),
            ("<title", "</title"),
        ] where rest.count >= name.utf8.count {
            let name = Array(name.utf8)
            if rest.extracting(0..<name.count).equalsIgnoringCase(name.span) {
                closing = Array(end.utf8)
                break
            }
        }
        guard
            let found = text.offset(ofLowercased: closing.span, in: (start + 1)..<text.count),
            let end = text.offset(
                of: UInt8(ascii: ">"),
                in: (found + closing.count - 1)..<text.count
            )
        else { return text.count }
        return end + 1
    }

    private static func appendEntity(
        _ text: Span<UInt8>,
        at start: Int,
        to output: inout PreviewText
    ) -> Int {
        let limit = min(text.count, start + 12)
        guard let end = text.offset(of: UInt8(ascii: ";"), in: (start + 1)..<limit) else {
            output.append(text[start])
            return start + 1
        }
        let name = text.extracting((start + 1)..<end).array
        let scalar: UInt32?
        switch name.text {
        case "amp": scalar = 0x26
        case "lt": scalar = 0x3C
        case "gt": scalar = 0x3E
        case "quot": scalar = 0x22
        case "apos": scalar = 0x27
        case "nbsp": scalar = 0x20
        default:
            guard name.first == UInt8(ascii: "#") else {
                scalar = nil
                break
            }
            let isHexadecimal = name.dropFirst().first?.lowercased == UInt8(ascii: "x")
            let digits = name.dropFirst(isHexadecimal ? 2 : 1)
            scalar = UInt32(digits.text, radix: isHexadecimal ? 16 : 10)
        }
        guard let scalar, let valid = Unicode.Scalar(scalar) else {
            output.append(text[start])
            return start + 1
        }
        var bytes: [UInt8] = []
        bytes.append(scalar: valid.value == 0xA0 ? 0x20 : valid.value)
        for byte in bytes { output.append(byte) }
        return end + 1
    }
}

/// Collects characters up to the limit, blanks in runs of one, none at the ends.
private struct PreviewText {
    private var bytes: [UInt8] = []
    private var characters = 0
    private var owesSpace = false

    var isFull: Bool { characters >= Limits.previewCharactersMax }
    /// Without the bytes of a character that did not fit.
    var finished: [UInt8] { bytes }

    mutating func append(_ byte: UInt8) {
        guard byte > 0x20, byte != 0x7F else {
            owesSpace = !bytes.isEmpty
            return
        }
        // A byte that continues a character belongs to the last one.
        if byte & 0xC0 == 0x80 {
            if !owesSpace, !isCut { bytes.append(byte) }
            return
        }
        let needed = owesSpace ? 2 : 1
        guard characters + needed <= Limits.previewCharactersMax else {
            characters = Limits.previewCharactersMax
            isCut = true
            return
        }
        if owesSpace { bytes.append(.space) }
        owesSpace = false
        bytes.append(byte)
        characters += needed
    }

    private var isCut = false
}

extension Part {
    fileprivate func isHTML(in bytes: Span<UInt8>) -> Bool {
        guard let value = contentType.range, let content = ContentType(bytes, in: value) else {
            return false
        }
        return bytes.equalsIgnoringCase("html", in: content.subtype)
    }

    fileprivate func isAttachment(in bytes: Span<UInt8>) -> Bool {
        guard let value = disposition.range else { return false }
        var offset = value.lowerBound
        let token = bytes.readToken(&offset, end: value.upperBound)
        return bytes.equalsIgnoringCase("attachment", in: token)
    }
}
