package import Bytes

extension ByteBuffer {
    /// Appends `nil` or a string as IMAP has them on the wire.
    ///
    /// Quoted where that is safe everywhere; a literal for what has `"`, `\`, CR, LF, NUL or
    /// 8-bit bytes (some clients never learned to unescape). With `utf8`, which a session may ask
    /// for only after UTF8=ACCEPT or IMAP4rev2, valid UTF-8 goes into quoted strings.
    ///
    ///     nstring = string / nil                                                RFC 3501 §9
    package mutating func append(nstring text: Span<UInt8>?, utf8: Bool) {
        guard let text else {
            append("NIL")
            return
        }
        append(wireString: text, utf8: utf8)
    }

    package mutating func append(nstring text: [UInt8]?, utf8: Bool) {
        guard let text else {
            append("NIL")
            return
        }
        append(wireString: text.span, utf8: utf8)
    }

    package mutating func append(wireString text: [UInt8], utf8: Bool) {
        append(wireString: text.span, utf8: utf8)
    }

    package mutating func append(wireString text: Span<UInt8>, utf8: Bool) {
        var hasEightBit = false
        var needsLiteral = text.count > Limits.quotedBytesMax
        for index in text.indices {
            let byte = text[index]
            if byte >= 0x80 {
                hasEightBit = true
            } else if byte == .quote || byte == .backslash || byte == .cr || byte == .lf
                || byte == 0
            {
                needsLiteral = true
                break
            }
        }
        if hasEightBit, !needsLiteral {
            needsLiteral = !utf8 || (try? UTF8Span(validating: text)) == nil
        }
        guard needsLiteral else {
            append(.quote)
            append(text)
            append(.quote)
            return
        }
        append(UInt8(ascii: "{"))
        append(decimal: text.count)
        append("}\r\n")
        let start = count
        append(text)
        guard text.offset(of: 0, in: 0..<text.count) != nil else { return }
        for index in start..<count where bytes[index] == 0 {
            bytes[index] = MessageText.nulSubstitute
        }
    }
}
