package import Bytes

//  Strings on the wire
//
//  A string is quoted where it can be and a literal otherwise. NUL cannot be sent in either; it
//  becomes 0x80, so that lengths stay as they are (field practice; only BINARY sends it true).

/// In what a session is spoken to, which decides how names and other text are written.
package enum TextMode: Hashable, Sendable {
    /// Mailbox names in modified UTF-7, 8-bit bytes only in literals.        RFC 3501
    case ascii
    /// After ENABLE UTF8=ACCEPT or IMAP4rev2: UTF-8 in quoted strings.       RFC 6855 §3
    case utf8
}

extension ByteBuffer {
    /// Quoted strings longer than this are sent as literals: some clients read lines into small
    /// buffers, and nothing is lost.
    static let quotedBytesMax = 4_096

    /// `"text"`, for what is known to hold neither CR, LF, NUL nor more than the mode allows:
    /// tags and the like.
    package mutating func append(quoted text: [UInt8]) {
        append(.quote)
        for byte in text {
            if byte == .quote || byte == .backslash { append(.backslash) }
            append(byte)
        }
        append(.quote)
    }

    //  string = quoted / literal                                             RFC 9051 §9
    package mutating func append(string text: [UInt8], _ mode: TextMode) {
        if Self.isQuotable(text, mode) {
            append(quoted: text)
        } else {
            append(literalHeader: text.count)
            appendLiteral(text.span)
        }
    }

    //  nstring = string / nil
    package mutating func append(nstring text: [UInt8]?, _ mode: TextMode) {
        if let text { append(string: text, mode) } else { append("NIL") }
    }

    //  astring = 1*ASTRING-CHAR / string
    //
    //  NIL is quoted, since clients mistake the atom.
    package mutating func append(astring text: [UInt8], _ mode: TextMode) {
        if !text.isEmpty, text.count <= Self.quotedBytesMax,
            text.allSatisfy(\.isAStringChar), !text.equalsIgnoringCase("NIL")
        {
            append(text)
        } else {
            append(string: text, mode)
        }
    }

    /// `{n}` and its line end; the octets follow.
    package mutating func append(literalHeader count: Int) {
        append(UInt8(ascii: "{"))
        append(decimal: count)
        append("}\r\n")
    }

    /// Octets of a literal, NUL replaced by 0x80.
    package mutating func appendLiteral(_ octets: Span<UInt8>) {
        var start = 0
        while let zero = octets.firstIndex(of: 0, from: start) {
            append(octets.extracting(start..<zero))
            append(0x80 as UInt8)
            start = zero + 1
        }
        append(octets.extracting(start..<octets.count))
    }

    /// `~{n}` and its line end: the octets follow as they are, NUL too.      RFC 3516 §4.4
    package mutating func append(binaryLiteralHeader count: Int) {
        append(UInt8(ascii: "~"))
        append(literalHeader: count)
    }

    /// A mailbox name, given in UTF-8 (or, from disk, as whatever bytes it has). Always quoted:
    /// names such as `NIL` and `[Gmail]` are read wrongly as atoms by someone.
    package mutating func append(mailbox name: [UInt8], _ mode: TextMode) {
        switch mode {
        case .utf8: append(string: name, .utf8)
        case .ascii: append(string: ModifiedUTF7.encode(name) ?? name, .ascii)
        }
    }

    /// Text that stands behind a code, or in one: only what TEXT-CHAR allows, and no `]`.
    package mutating func append(responseText text: [UInt8]) {
        for byte in text {
            append(byte.isControl || byte >= 0x80 || byte == UInt8(ascii: "]") ? 0x3F : byte)
        }
    }

    static func isQuotable(_ text: [UInt8], _ mode: TextMode) -> Bool {
        guard text.count <= quotedBytesMax else { return false }
        var hasEightBit = false
        for byte in text {
            if byte == 0 || byte == .cr || byte == .lf { return false }
            if byte >= 0x80 { hasEightBit = true }
        }
        guard hasEightBit else { return true }
        return mode == .utf8 && UTF8Text.isValid(text.span)
    }
}
