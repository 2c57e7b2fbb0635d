import Bytes

//  The grammar of RFC 9051 §9 (and so of RFC 3501 §9) and of the extensions
//
//  Each function takes one production from the cursor or throws, and carries its ABNF. All runs
//  over one contiguous command as `CommandFramer` found it: with its literals inline and its line
//  end. Values are owned, since a command outlives the buffer.
//
//  Where we are more liberal than the ABNF: letter case everywhere; more than one space for SP
//  and spaces before the line's end (old clients, typing people; no production could tell them
//  apart from one); 8-bit bytes in quoted strings in every mode (passwords; UTF-8 is checked
//  where a string must be text). Where we are strict: NUL, bare CR and bare LF nowhere outside
//  a literal; no TAB for SP.

/// Bytes of a command to `Command`.
package enum Grammar {
    /// One command with its line end.
    ///
    /// APPEND and REPLACE are for `AppendGrammar`; here they end in an error.
    package static func command(_ input: Span<UInt8>) throws(SyntaxError) -> Command {
        var cursor = ByteCursor(input)
        let tag = try tag(&cursor)
        do {
            try space(&cursor)
            let body = try commandBody(&cursor)
            try lineEnd(&cursor)
            return Command(tag: tag, body: body)
        } catch {
            throw SyntaxError(at: error.offset, expected: error.expected, tag: tag)
        }
    }

    /// The tag at the beginning of a command, whatever follows; nil where there is none that may
    /// be sent back.
    package static func tag(of input: Span<UInt8>) -> [UInt8]? {
        var cursor = ByteCursor(input)
        return try? tag(&cursor)
    }

    //  tag = 1*<any ASTRING-CHAR except "+">                                 RFC 9051 §9
    //
    //  So `*` and `+`, which begin other responses, are none.
    static func tag(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let range = cursor.take { $0.isAStringChar && $0 != UInt8(ascii: "+") }
        guard !range.isEmpty, range.count <= Limits.tagBytesMax,
            cursor.isAtEnd || cursor.peek == .space || cursor.peek == .cr || cursor.peek == .lf
        else {
            throw SyntaxError(at: range.lowerBound, expected: "a tag")
        }
        return cursor.bytes(range)
    }

    //  SP
    static func space(_ cursor: inout ByteCursor) throws(SyntaxError) {
        guard acceptSpace(&cursor) else {
            throw SyntaxError(at: cursor.offset, expected: "a space")
        }
    }

    static func acceptSpace(_ cursor: inout ByteCursor) -> Bool {
        guard cursor.accept(.space) else { return false }
        while cursor.accept(.space) {}
        return true
    }

    /// Whether an argument follows: a space, and not only before the line's end. Consumes the
    /// space if so.
    static func acceptArgument(_ cursor: inout ByteCursor) -> Bool {
        guard cursor.peek == .space else { return false }
        var distance = 1
        while cursor.peek(at: distance) == .space { distance += 1 }
        let next = cursor.peek(at: distance)
        guard let next, next != .cr, next != .lf else { return false }
        cursor.offset += distance
        return true
    }

    /// Whether another element of a list in parentheses follows. Consumes the space before it,
    /// or before the parenthesis: `(UID FLAGS )` is in an RFC's own example.
    static func acceptElement(_ cursor: inout ByteCursor) -> Bool {
        acceptSpace(&cursor) && cursor.peek != UInt8(ascii: ")")
    }

    //  CRLF
    static func lineEnd(_ cursor: inout ByteCursor) throws(SyntaxError) {
        while cursor.accept(.space) {}
        _ = cursor.accept(.cr)
        guard cursor.accept(.lf), cursor.isAtEnd else {
            throw SyntaxError(at: cursor.offset, expected: "the end of the command")
        }
    }

    static func expect(
        _ byte: UInt8,
        _ name: StaticString,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) {
        guard cursor.accept(byte) else {
            throw SyntaxError(at: cursor.offset, expected: name)
        }
    }

    static func open(_ cursor: inout ByteCursor) throws(SyntaxError) {
        try expect(UInt8(ascii: "("), "an opening parenthesis", &cursor)
    }

    static func close(_ cursor: inout ByteCursor) throws(SyntaxError) {
        try expect(UInt8(ascii: ")"), "a closing parenthesis", &cursor)
    }

    static func acceptOpen(_ cursor: inout ByteCursor) -> Bool {
        cursor.accept(UInt8(ascii: "("))
    }

    static func acceptClose(_ cursor: inout ByteCursor) -> Bool {
        cursor.accept(UInt8(ascii: ")"))
    }

    /// The letters, digits, `.`, `-` and `_` that follow: a keyword of the grammar.
    static func word(_ cursor: inout ByteCursor) -> Range<Int> {
        cursor.take { byte in
            byte.isLetter || byte.isDigit || byte == UInt8(ascii: ".")
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
        }
    }

    /// Consumes the word if it is next and nothing that would make it a longer one follows.
    static func acceptWord(_ text: StaticString, _ cursor: inout ByteCursor) -> Bool {
        let start = cursor.offset
        guard cursor.acceptIgnoringCase(text) else { return false }
        if let next = cursor.peek, next.isAtomChar {
            cursor.offset = start
            return false
        }
        return true
    }

    /// One of the words of a table.
    static func keyword<Value>(
        _ table: Keywords<Value>,
        _ expected: StaticString,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> Value {
        let range = word(&cursor)
        guard let value = table[cursor.span, range] else {
            cursor.offset = range.lowerBound
            throw SyntaxError(at: range.lowerBound, expected: expected)
        }
        return value
    }

    static func checkCount(
        _ count: Int,
        below max: Int,
        _ cursor: borrowing ByteCursor
    ) throws(SyntaxError) {
        guard count < max else {
            throw SyntaxError(at: cursor.offset, expected: "fewer elements in the list")
        }
    }
}

extension UInt8 {
    //  ATOM-CHAR = <any CHAR except atom-specials>                           RFC 9051 §9
    //  atom-specials = "(" / ")" / "{" / SP / CTL / list-wildcards / quoted-specials /
    //                  resp-specials
    var isAtomChar: Bool {
        guard self > 0x20, self < 0x7F else { return false }
        switch self {
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "{"), UInt8(ascii: "%"),
            UInt8(ascii: "*"), .quote, .backslash, UInt8(ascii: "]"):
            return false
        default: return true
        }
    }

    //  ASTRING-CHAR = ATOM-CHAR / resp-specials
    var isAStringChar: Bool { isAtomChar || self == UInt8(ascii: "]") }

    //  list-char = ATOM-CHAR / list-wildcards / resp-specials
    var isListChar: Bool {
        isAStringChar || self == UInt8(ascii: "%") || self == UInt8(ascii: "*")
    }
}
