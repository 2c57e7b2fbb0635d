package import Bytes

//  BODY and BODYSTRUCTURE
//
//  Legal for whatever the message is: the type defaults to text/plain (RFC 2045 §5.2), the encoding
//  to 7bit, a text without charset says us-ascii, no parameter value is NIL, a multipart has parts
//  (`StructureParser` sees to that). BODYSTRUCTURE has all extension fields, BODY none.

package enum BodyStructure {
    /// Appends the structure of a message as it goes on the wire: BODYSTRUCTURE if `extended`,
    /// else BODY. `utf8` is as for `ByteBuffer.append(nstring:utf8:)`.
    package static func write(
        _ structure: borrowing MessageStructure,
        of bytes: Span<UInt8>,
        extended: Bool,
        utf8: Bool,
        to buffer: inout ByteBuffer
    ) {
        var writer = BodyWriter(parts: structure.parts, extended: extended, utf8: utf8)
        writer.write(0, of: bytes, to: &buffer)
    }

    /// Appends BODYSTRUCTURE. Returns where in it the extension data is that BODY has not.
    static func writeExtended(
        _ structure: borrowing MessageStructure,
        of bytes: Span<UInt8>,
        utf8: Bool,
        to buffer: inout ByteBuffer
    ) -> [Range<Int>] {
        var writer = BodyWriter(parts: structure.parts, extended: true, utf8: utf8)
        let start = buffer.count
        writer.write(0, of: bytes, to: &buffer)
        return writer.extensions.map { ($0.lowerBound - start)..<($0.upperBound - start) }
    }
}

/// Calls itself for the parts of a part, at most `2 * Limits.partDepthMax` deep.
private struct BodyWriter {
    let parts: [Part]
    let extended: Bool
    let utf8: Bool
    /// Where in the buffer extension data was put.
    var extensions: [Range<Int>] = []

    init(parts: [Part], extended: Bool, utf8: Bool) {
        self.parts = parts
        self.extended = extended
        self.utf8 = utf8
    }

    ///     body = "(" (body-type-1part / body-type-mpart) ")"                   RFC 3501 §9
    mutating func write(_ index: Int, of bytes: Span<UInt8>, to buffer: inout ByteBuffer) {
        buffer.append(UInt8(ascii: "("))
        let content = parts[index].contentType.range.flatMap { ContentType(bytes, in: $0) }
        if parts[index].kind == .multipart {
            writeMultipart(index, content: content, of: bytes, to: &buffer)
        } else {
            writeSinglePart(index, content: content, of: bytes, to: &buffer)
        }
        buffer.append(UInt8(ascii: ")"))
    }

    ///     body-type-mpart = 1*body SP media-subtype [SP body-ext-mpart]
    private mutating func writeMultipart(
        _ index: Int,
        content: ContentType?,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        var child = parts[index].firstChild
        while let current = child {
            write(current, of: bytes, to: &buffer)
            child = parts[current].nextSibling
        }
        buffer.append(.space)
        write(content?.subtype, default: "mixed", of: bytes, to: &buffer)
        guard extended else { return }
        let start = buffer.count
        defer { extensions.append(start..<buffer.count) }
        //  body-ext-mpart = body-fld-param [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc ...
        buffer.append(.space)
        let parameters = content.map { MediaParameters.parse(bytes, in: $0.parameters) } ?? []
        write(parameters, to: &buffer)
        writeDispositionLanguageLocation(of: parts[index], of: bytes, to: &buffer)
    }

    ///     body-type-1part = (body-type-basic / body-type-msg / body-type-text) [SP body-ext-1part]
    private mutating func writeSinglePart(
        _ index: Int,
        content: ContentType?,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        let part = parts[index]
        var parameters: [MediaParameter] = []
        switch part.kind {
        case .opaque:
            buffer.append("\"application\" \"octet-stream\"")
        case .message:
            write(content?.type, default: "message", of: bytes, to: &buffer)
            buffer.append(.space)
            write(content?.subtype, default: "rfc822", of: bytes, to: &buffer)
        case .text, .multipart, .other:
            write(content?.type, default: "text", of: bytes, to: &buffer)
            buffer.append(.space)
            write(content?.subtype, default: "plain", of: bytes, to: &buffer)
        }
        if let content, part.kind != .opaque {
            parameters = MediaParameters.parse(bytes, in: content.parameters)
        }
        if part.kind == .text, parameters.value(of: "charset") == nil {
            parameters.append(
                MediaParameter(name: [UInt8]("charset"), value: [UInt8]("us-ascii"))
            )
        }

        //  body-fields = body-fld-param SP body-fld-id SP body-fld-desc SP body-fld-enc SP
        //                body-fld-octets
        buffer.append(.space)
        write(parameters, to: &buffer)
        buffer.append(.space)
        Envelope.write(text: part.contentID.range, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(.space)
        Envelope.write(text: part.description.range, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(.space)
        write(part.encodingToken(in: bytes), default: "7bit", of: bytes, to: &buffer)
        buffer.append(.space)
        buffer.append(decimal: part.bodyOctets)

        switch part.kind {
        case .text:
            buffer.append(.space)
            buffer.append(decimal: part.bodyLines)
        case .message:
            //  body-type-msg = media-message SP body-fields SP envelope SP body SP body-fld-lines
            guard let child = part.firstChild else { break }
            buffer.append(.space)
            Envelope.write(bytes, header: parts[child].header.bounds, utf8: utf8, to: &buffer)
            buffer.append(.space)
            write(child, of: bytes, to: &buffer)
            buffer.append(.space)
            buffer.append(decimal: part.bodyLines)
        case .multipart, .other, .opaque: break
        }

        guard extended else { return }
        let start = buffer.count
        defer { extensions.append(start..<buffer.count) }
        //  body-ext-1part = body-fld-md5 [SP body-fld-dsp [SP body-fld-lang [SP body-fld-loc ...
        buffer.append(.space)
        Envelope.write(text: part.md5.range, of: bytes, utf8: utf8, to: &buffer)
        writeDispositionLanguageLocation(of: part, of: bytes, to: &buffer)
    }

    private func writeDispositionLanguageLocation(
        of part: Part,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        buffer.append(.space)
        writeDisposition(part.disposition.range, of: bytes, to: &buffer)
        buffer.append(.space)
        writeLanguage(part.language.range, of: bytes, to: &buffer)
        buffer.append(.space)
        Envelope.write(text: part.location.range, of: bytes, utf8: utf8, to: &buffer)
    }

    ///     body-fld-dsp = "(" string SP body-fld-param ")" / nil
    private func writeDisposition(
        _ value: Range<Int>?,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        guard let value, !bytes.trimmed(value).isEmpty else {
            buffer.append("NIL")
            return
        }
        var offset = value.lowerBound
        let token = bytes.readToken(&offset, end: value.upperBound)
        buffer.append(UInt8(ascii: "("))
        // Only parameters: an attachment, as RFC 2183 §2.8 has it for a type it does not know.
        write(token.isEmpty ? nil : token, default: "attachment", of: bytes, to: &buffer)
        buffer.append(.space)
        write(MediaParameters.parse(bytes, in: offset..<value.upperBound), to: &buffer)
        buffer.append(UInt8(ascii: ")"))
    }

    ///     body-fld-lang = nstring / "(" string *(SP string) ")"
    ///
    /// Content-Language is a list by comma (RFC 3282 §2).
    private func writeLanguage(
        _ value: Range<Int>?,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        guard let value else {
            buffer.append("NIL")
            return
        }
        var isOpen = false
        var offset = value.lowerBound
        while offset < value.upperBound {
            let token = bytes.readToken(&offset, end: value.upperBound)
            if token.isEmpty {
                offset += 1
                continue
            }
            buffer.append(isOpen ? .space : UInt8(ascii: "("))
            isOpen = true
            buffer.append(wireString: bytes.extracting(token), utf8: utf8)
        }
        if isOpen { buffer.append(UInt8(ascii: ")")) } else { buffer.append("NIL") }
    }

    ///     body-fld-param = "(" string SP string *(SP string SP string) ")" / nil
    private func write(_ parameters: [MediaParameter], to buffer: inout ByteBuffer) {
        guard !parameters.isEmpty else {
            buffer.append("NIL")
            return
        }
        for (index, parameter) in parameters.enumerated() {
            buffer.append(index == 0 ? UInt8(ascii: "(") : .space)
            buffer.append(wireString: parameter.name, utf8: utf8)
            buffer.append(.space)
            buffer.append(wireString: parameter.value, utf8: utf8)
        }
        buffer.append(UInt8(ascii: ")"))
    }

    private func write(
        _ range: Range<Int>?,
        default text: StaticString,
        of bytes: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        if let range {
            buffer.append(wireString: bytes.extracting(range), utf8: utf8)
        } else {
            buffer.append(.quote)
            buffer.append(text)
            buffer.append(.quote)
        }
    }
}

extension Span where Element == UInt8 {
    /// Reads a token after comments and space; empty if there is none.
    func readToken(_ offset: inout Int, end: Int) -> Range<Int> {
        skipCommentsAndSpace(&offset, end: end)
        let start = offset
        while offset < end, !self[offset].endsToken { offset &+= 1 }
        return start..<offset
    }
}

extension Part {
    /// The name of the transfer encoding, or nil where none is told.
    ///
    /// A quoted one is not legal, but its meaning is plain.
    func encodingToken(in bytes: Span<UInt8>) -> Range<Int>? {
        guard let value = transferEncoding.range else { return nil }
        var offset = value.lowerBound
        bytes.skipCommentsAndSpace(&offset, end: value.upperBound)
        if offset < value.upperBound, bytes[offset] == .quote { offset += 1 }
        let token = bytes.readToken(&offset, end: value.upperBound)
        return token.isEmpty ? nil : token
    }
}
