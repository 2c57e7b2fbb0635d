import Bytes

extension Grammar {
    //  atom = 1*ATOM-CHAR                                                    RFC 9051 §9
    static func atom(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let range = cursor.take(while: \.isAtomChar)
        guard !range.isEmpty else {
            throw SyntaxError(at: cursor.offset, expected: "an atom")
        }
        return cursor.bytes(range)
    }

    //  astring = 1*ASTRING-CHAR / string                                     RFC 9051 §9
    static func astring(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let range = cursor.take(while: \.isAStringChar)
        // `~{n}` is no literal here, and `~` alone is an atom.
        guard range.isEmpty else { return cursor.bytes(range) }
        return try string(&cursor)
    }

    //  string = quoted / literal                                             RFC 9051 §9
    static func string(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        switch cursor.peek {
        case .quote: return try quoted(&cursor)
        case UInt8(ascii: "{"): return try literal(&cursor)
        default: throw SyntaxError(at: cursor.offset, expected: "a string")
        }
    }

    //  quoted      = DQUOTE *QUOTED-CHAR DQUOTE                              RFC 9051 §9
    //  QUOTED-CHAR = <any TEXT-CHAR except quoted-specials> / "\" quoted-specials /
    //                UTF8-2 / UTF8-3 / UTF8-4
    //
    //  8-bit bytes need not be UTF-8 here: passwords are octets, and where a string must be text
    //  (mailbox names, search texts) it is checked with its charset in hand.
    static func quoted(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        try expect(.quote, "a quoted string", &cursor)
        var value = cursor.bytes(cursor.take(while: \.isPlainQuotedChar))
        while !cursor.accept(.quote) {
            guard cursor.accept(.backslash) else {
                throw SyntaxError(at: cursor.offset, expected: "a closing quote")
            }
            guard let escaped = cursor.peek, escaped == .quote || escaped == .backslash else {
                throw SyntaxError(
                    at: cursor.offset,
                    expected: "a quote or backslash after a backslash"
                )
            }
            cursor.offset += 1
            value.append(escaped)
            value += cursor.bytes(cursor.take(while: \.isPlainQuotedChar))
        }
        return value
    }

    //  literal = "{" number64 ["+"] "}" CRLF *CHAR8                          RFC 9051 §9
    static func literal(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let range = try literalRange(&cursor)
        guard cursor.span.extracting(range).firstIndex(of: 0) == nil else {
            throw SyntaxError(at: range.lowerBound, expected: "a literal without NUL")
        }
        return cursor.bytes(range)
    }

    //  literal8 = "~{" number64 ["+"] "}" CRLF *OCTET                        RFC 3516 §7
    static func literal8(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        try expect(UInt8(ascii: "~"), "a binary literal", &cursor)
        return cursor.bytes(try literalRange(&cursor))
    }

    private static func literalRange(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> Range<Int> {
        let start = cursor.offset
        try expect(UInt8(ascii: "{"), "a literal", &cursor)
        let count = cursor.decimal(max: UInt64(Int.max))
        _ = cursor.accept(UInt8(ascii: "+"))
        guard let count, cursor.accept(UInt8(ascii: "}")) else {
            throw SyntaxError(at: start, expected: "a literal")
        }
        _ = cursor.accept(.cr)
        guard cursor.accept(.lf), Int(count) <= cursor.remainingCount else {
            throw SyntaxError(at: start, expected: "a literal")
        }
        let range = cursor.offset..<cursor.offset + Int(count)
        cursor.offset = range.upperBound
        return range
    }

    //  nstring = string / nil                                                RFC 9051 §9
    static func nstring(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8]? {
        if acceptWord("NIL", &cursor) { return nil }
        return try string(&cursor)
    }

    //  mailbox = "INBOX" / astring                                           RFC 9051 §9
    static func mailbox(_ cursor: inout ByteCursor) throws(SyntaxError) -> MailboxName {
        MailboxName(try astring(&cursor))
    }

    //  list-mailbox = 1*list-char / string                                   RFC 9051 §9
    static func listMailbox(_ cursor: inout ByteCursor) throws(SyntaxError) -> MailboxName {
        let range = cursor.take(while: \.isListChar)
        return MailboxName(range.isEmpty ? try string(&cursor) : cursor.bytes(range))
    }

    //  charset = atom / quoted                                               RFC 9051 §9
    static func charset(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        try astring(&cursor)
    }

    //  number = 1*DIGIT                                                      RFC 9051 §9
    static func number(
        _ cursor: inout ByteCursor,
        max: UInt64 = UInt64(UInt32.max)
    ) throws(SyntaxError) -> UInt64 {
        guard let number = cursor.decimal(max: max) else {
            throw SyntaxError(at: cursor.offset, expected: "a number")
        }
        return number
    }

    //  number64 = 1*DIGIT ; 0 <= n <= 9,223,372,036,854,775,807              RFC 9051 §9
    static func number64(_ cursor: inout ByteCursor) throws(SyntaxError) -> UInt64 {
        try number(&cursor, max: UInt64(Int64.max))
    }

    //  nz-number = digit-nz *DIGIT                                           RFC 9051 §9
    static func nonZeroNumber(_ cursor: inout ByteCursor) throws(SyntaxError) -> UInt32 {
        guard cursor.peek != UInt8(ascii: "0"),
            let number = cursor.decimal(max: UInt64(UInt32.max))
        else {
            throw SyntaxError(at: cursor.offset, expected: "a number above zero")
        }
        return UInt32(number)
    }

    //  mod-sequence-valzer = "0" / mod-sequence-value                        RFC 7162 §7
    static func modSeq(_ cursor: inout ByteCursor) throws(SyntaxError) -> ModSeq {
        guard let number = cursor.decimal(max: ModSeq.valueMax) else {
            throw SyntaxError(at: cursor.offset, expected: "a mod-sequence")
        }
        return ModSeq(number)
    }
}

extension UInt8 {
    /// What stands for itself in a quoted string.
    var isPlainQuotedChar: Bool {
        self != .quote && self != .backslash && self != .cr && self != .lf && self != 0
    }
}
