import Bytes

//  APPEND and REPLACE, piece by piece
//
//  Their messages do not fit in memory, so the framer stops at each literal and the session streams
//  its octets to disk. This grammar takes the pieces between: each ends in the header of a
//  literal or in the end of the command, and gives the events that the piece holds, in order.
//
//      a APPEND box (\Seen) "date" {10}          command, beginMessage, literal
//      <10 octets>
//       (\Draft) CATENATE (TEXT {5}              endMessage, beginMessage, literal
//      <5 octets>
//       URL "/Drafts;UID=1" TEXT {3}             url, literal
//      <3 octets>
//      )                                         endMessage, end
//
//  A mailbox name or URL may come as a literal too. Such a one is not streamed: the piece is
//  parsed again when the framer has it inline. State changes only when a piece is whole.

/// What the pieces of one APPEND or REPLACE say.                             RFC 9051 §6.3.12
package struct AppendGrammar: Sendable {
    package enum Event: Hashable, Sendable {
        /// `.append` or `.replace`: to be checked like any command before the rest is read.
        case command(Command)
        case beginMessage(flags: [Flag], date: InternalDate?, kind: MessageKind)
        /// Octets of the message follow in the input: all of it, or with CATENATE a part.
        case literal(LiteralHeader)
        /// A part of the message that another message has.                   RFC 4469 §3
        case url([UInt8])
        case endMessage
        /// The command is complete.
        case end
    }

    package enum MessageKind: Hashable, Sendable {
        case plain
        /// `UTF8 (~{n}`: headers may hold UTF-8.                             RFC 6855 §4
        case utf8
        /// Parts follow as literals and URLs.                                RFC 4469
        case catenate
    }

    package enum Result: Hashable, Sendable {
        /// The piece ends in the literal of a name or URL: `CommandFramer.bufferLiteral`, and
        /// parse again when the framer has more.
        case needsLiteral
        case events([Event])
    }

    private enum State: Sendable {
        case command
        /// Behind the octets of a message's literal.
        case afterLiteral
        /// Behind the octets of `UTF8 (~{n}`: the parenthesis comes.
        case afterUTF8
        /// Behind the octets of a part.
        case afterPart
        /// Behind the octets of a part as `UTF8 (~{n}`: the parenthesis comes.
        case afterUTF8Part
        case ended
    }

    private var state = State.command
    private var tag: [UInt8]?
    /// REPLACE takes one message, APPEND as many as come (RFC 3502).
    private var isReplace = false

    package init() {}

    /// Whether a command is one for this grammar.
    package static func handles(_ piece: Span<UInt8>) -> Bool {
        var cursor = ByteCursor(piece)
        guard (try? Grammar.tag(&cursor)) != nil, Grammar.acceptSpace(&cursor) else {
            return false
        }
        if Grammar.acceptWord("UID", &cursor) {
            return Grammar.acceptSpace(&cursor) && Grammar.acceptWord("REPLACE", &cursor)
        }
        return Grammar.acceptWord("APPEND", &cursor) || Grammar.acceptWord("REPLACE", &cursor)
    }

    /// The next piece: from the start of the command or behind the octets of the last literal,
    /// to the line end that the framer found.
    package mutating func parse(_ piece: Span<UInt8>) throws(SyntaxError) -> Result {
        var cursor = ByteCursor(piece)
        var next = self
        var events: [Event] = []
        do {
            let isWhole = try next.parse(&cursor, into: &events)
            guard isWhole else { return .needsLiteral }
        } catch {
            throw SyntaxError(at: error.offset, expected: error.expected, tag: next.tag)
        }
        self = next
        return .events(events)
    }

    /// False where the literal of a name is not there yet.
    private mutating func parse(
        _ cursor: inout ByteCursor,
        into events: inout [Event]
    ) throws(SyntaxError) -> Bool {
        switch state {
        case .command:
            tag = try Grammar.tag(&cursor)
            guard let command = try command(&cursor) else { return false }
            events.append(.command(command))
            try Grammar.space(&cursor)
            return try message(&cursor, into: &events)
        case .afterLiteral: return try next(&cursor, into: &events)
        case .afterUTF8:
            try Grammar.close(&cursor)
            return try next(&cursor, into: &events)
        case .afterPart: return try afterPart(&cursor, into: &events)
        case .afterUTF8Part:
            try Grammar.close(&cursor)
            return try afterPart(&cursor, into: &events)
        case .ended: throw SyntaxError(at: 0, expected: "the end of the command")
        }
    }

    //  append  = "APPEND" SP mailbox 1*append-message                        RFC 4466 §6
    //  replace = "REPLACE" SP seq-number SP mailbox append-message           RFC 8508 §5
    private mutating func command(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> Command? {
        try Grammar.space(&cursor)
        var kind = NumberKind.sequenceNumber
        if Grammar.acceptWord("UID", &cursor) {
            kind = .uid
            try Grammar.space(&cursor)
        }
        let body: CommandBody
        if kind == .sequenceNumber, Grammar.acceptWord("APPEND", &cursor) {
            try Grammar.space(&cursor)
            guard !Self.endsInLiteral(cursor) else { return nil }
            body = .append(mailbox: try Grammar.mailbox(&cursor))
        } else if Grammar.acceptWord("REPLACE", &cursor) {
            isReplace = true
            try Grammar.space(&cursor)
            let message = try Grammar.setBound(&cursor)
            try Grammar.space(&cursor)
            guard !Self.endsInLiteral(cursor) else { return nil }
            body = .replace(
                kind: kind,
                message: message,
                mailbox: try Grammar.mailbox(&cursor)
            )
        } else {
            throw SyntaxError(at: cursor.offset, expected: "APPEND or REPLACE")
        }
        return Command(tag: tag ?? [], body: body)
    }

    //  append-message = [SP flag-list] [SP date-time] *(SP append-ext) SP append-data
    //                                                                        RFC 4466 §6
    //  append-data    = literal / literal8
    //  append-data    =/ "UTF8" SP "(" literal8 ")"                          RFC 6855 §4
    //  append-data    =/ "CATENATE" SP "(" cat-part *(SP cat-part) ")"       RFC 4469 §5
    //
    //  The one append-ext defined is ANNOTATION, which we do not have. Called after the space.
    private mutating func message(
        _ cursor: inout ByteCursor,
        into events: inout [Event]
    ) throws(SyntaxError) -> Bool {
        var flags: [Flag] = []
        if cursor.peek == UInt8(ascii: "(") {
            flags = try Grammar.flagList(&cursor)
            try Grammar.space(&cursor)
        }
        var date: InternalDate?
        if cursor.peek == .quote {
            date = try Grammar.dateTime(&cursor)
            try Grammar.space(&cursor)
        }
        if let header = Self.finalHeader(cursor) {
            events.append(.beginMessage(flags: flags, date: date, kind: .plain))
            events.append(.literal(header))
            state = .afterLiteral
            return true
        }
        if Grammar.acceptWord("UTF8", &cursor) {
            let header = try utf8Literal(&cursor)
            events.append(.beginMessage(flags: flags, date: date, kind: .utf8))
            events.append(.literal(header))
            state = .afterUTF8
            return true
        }
        guard Grammar.acceptWord("CATENATE", &cursor) else {
            throw SyntaxError(at: cursor.offset, expected: "a message literal")
        }
        try Grammar.space(&cursor)
        try Grammar.open(&cursor)
        events.append(.beginMessage(flags: flags, date: date, kind: .catenate))
        return try parts(&cursor, into: &events)
    }

    //  cat-part     = text-literal / url                                     RFC 4469 §5
    //  cat-part     =/ "UTF8" SP "(" literal8 ")"                            RFC 6855 §4
    //  text-literal = "TEXT" SP literal
    //  url          = "URL" SP astring
    private mutating func parts(
        _ cursor: inout ByteCursor,
        into events: inout [Event]
    ) throws(SyntaxError) -> Bool {
        while true {
            try Grammar.checkCount(events.count, below: Limits.listCountMax, cursor)
            if Grammar.acceptWord("TEXT", &cursor) {
                try Grammar.space(&cursor)
                guard let header = Self.finalHeader(cursor), !header.isBinary else {
                    throw SyntaxError(at: cursor.offset, expected: "a literal")
                }
                events.append(.literal(header))
                state = .afterPart
                return true
            }
            if Grammar.acceptWord("UTF8", &cursor) {
                events.append(.literal(try utf8Literal(&cursor)))
                state = .afterUTF8Part
                return true
            }
            guard Grammar.acceptWord("URL", &cursor) else {
                throw SyntaxError(at: cursor.offset, expected: "TEXT or URL")
            }
            try Grammar.space(&cursor)
            guard !Self.endsInLiteral(cursor) else { return false }
            events.append(.url(try Grammar.astring(&cursor)))
            if Grammar.acceptClose(&cursor) { return try next(&cursor, into: &events) }
            try Grammar.space(&cursor)
        }
    }

    //  utf8-literal = "UTF8" SP "(" literal8 ")"                             RFC 6855 §4
    //
    //  From behind the word to the header of the literal.
    private func utf8Literal(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> LiteralHeader {
        try Grammar.space(&cursor)
        try Grammar.open(&cursor)
        guard let header = Self.finalHeader(cursor), header.isBinary else {
            throw SyntaxError(at: cursor.offset, expected: "a binary literal")
        }
        return header
    }

    private mutating func afterPart(
        _ cursor: inout ByteCursor,
        into events: inout [Event]
    ) throws(SyntaxError) -> Bool {
        if Grammar.acceptClose(&cursor) { return try next(&cursor, into: &events) }
        try Grammar.space(&cursor)
        return try parts(&cursor, into: &events)
    }

    /// Behind a message: another one, or the end of the command.             RFC 3502 §3
    private mutating func next(
        _ cursor: inout ByteCursor,
        into events: inout [Event]
    ) throws(SyntaxError) -> Bool {
        events.append(.endMessage)
        if !isReplace, Grammar.acceptArgument(&cursor) {
            return try message(&cursor, into: &events)
        }
        try Grammar.lineEnd(&cursor)
        events.append(.end)
        state = .ended
        return true
    }

    /// The literal header which is all that is left of the piece, if so.
    private static func finalHeader(_ cursor: borrowing ByteCursor) -> LiteralHeader? {
        let first = cursor.peek
        guard first == UInt8(ascii: "{") || first == UInt8(ascii: "~") else { return nil }
        let span = cursor.span
        var end = span.count
        if end > cursor.offset, span[end - 1] == .lf { end -= 1 }
        if end > cursor.offset, span[end - 1] == .cr { end -= 1 }
        let text = span.extracting(cursor.offset..<end)
        // The header has to begin here, not only to end the piece.
        let isBinary = first == UInt8(ascii: "~")
        for index in (isBinary ? 2 : 1)..<max(text.count - 2, isBinary ? 2 : 1)
        where !text[index].isDigit {
            return nil
        }
        guard let header = CommandFramer.literalHeader(text), header.isBinary == isBinary else {
            return nil
        }
        return header
    }

    /// Whether the astring that is next is a literal whose octets are not there yet.
    private static func endsInLiteral(_ cursor: borrowing ByteCursor) -> Bool {
        guard let header = finalHeader(cursor) else { return false }
        return !header.isBinary
    }
}
