import Bytes

extension Grammar {
    //  fetch = "FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att /
    //          "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]          RFC 9051 §9
    static func fetch(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let set = try sequenceSet(&cursor)
        try space(&cursor)
        var command = FetchCommand(kind: kind, set: set, items: [])
        if cursor.peek == UInt8(ascii: "(") {
            command.items = try fetchItemList(&cursor)
        } else {
            let macro = fetchMacro(&cursor)
            command.items = if let macro { macro } else { [try fetchItem(&cursor)] }
        }
        if acceptArgument(&cursor) { try fetchModifiers(into: &command, &cursor) }
        return .fetch(command)
    }

    //  "(" fetch-att *(SP fetch-att) ")"                                     RFC 9051 §9
    //
    //  "A macro must be used by itself" (§6.4.5): none is known here.
    static func fetchItemList(_ cursor: inout ByteCursor) throws(SyntaxError) -> [FetchItem] {
        var items: [FetchItem] = []
        try open(&cursor)
        repeat {
            try checkCount(items.count, below: Limits.fetchItemCountMax, cursor)
            items.append(try fetchItem(&cursor))
        } while acceptElement(&cursor)
        try close(&cursor)
        return items
    }

    //  ALL = (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)                       RFC 9051 §6.4.5
    //  FAST = (FLAGS INTERNALDATE RFC822.SIZE)
    //  FULL = (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY)
    private static func fetchMacro(_ cursor: inout ByteCursor) -> [FetchItem]? {
        let fast: [FetchItem] = [.flags, .internalDate, .rfc822Size]
        if acceptWord("ALL", &cursor) { return fast + [.envelope] }
        if acceptWord("FAST", &cursor) { return fast }
        if acceptWord("FULL", &cursor) { return fast + [.envelope, .body] }
        return nil
    }

    private enum FetchWord: Sendable {
        case plain(FetchItem)
        /// `BODY`, with or without a section.
        case body
        case bodyPeek
        case binary(peek: Bool)
        case binarySize
        case preview
    }

    private static let fetchWords = Keywords<FetchWord>([
        ("FLAGS", .plain(.flags)), ("UID", .plain(.uid)), ("ENVELOPE", .plain(.envelope)),
        ("INTERNALDATE", .plain(.internalDate)), ("BODYSTRUCTURE", .plain(.bodyStructure)),
        ("RFC822", .plain(.rfc822)), ("RFC822.HEADER", .plain(.rfc822Header)),
        ("RFC822.TEXT", .plain(.rfc822Text)), ("RFC822.SIZE", .plain(.rfc822Size)),
        ("BODY", .body), ("BODY.PEEK", .bodyPeek), ("BINARY", .binary(peek: false)),
        ("BINARY.PEEK", .binary(peek: true)), ("BINARY.SIZE", .binarySize),
        ("MODSEQ", .plain(.modSeq)), ("EMAILID", .plain(.emailID)),
        ("THREADID", .plain(.threadID)), ("SAVEDATE", .plain(.saveDate)),
        ("PREVIEW", .preview),
    ])

    //  fetch-att = "ENVELOPE" / "FLAGS" / "INTERNALDATE" / "RFC822.SIZE" /
    //              "BODY" ["STRUCTURE"] / "UID" / "BODY" section [partial] /
    //              "BODY.PEEK" section [partial] / "BINARY" [".PEEK"] section-binary [partial] /
    //              "BINARY.SIZE" section-binary                              RFC 9051 §9
    //  fetch-att =/ "RFC822" / "RFC822.HEADER" / "RFC822.TEXT"               RFC 3501 §9
    //  fetch-att =/ "MODSEQ"; "EMAILID" / "THREADID"; "SAVEDATE"             RFC 7162, 8474, 8514
    //  fetch-att =/ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"]     RFC 8970 §6
    private static func fetchItem(_ cursor: inout ByteCursor) throws(SyntaxError) -> FetchItem {
        switch try keyword(fetchWords, "a known fetch item", &cursor) {
        case .plain(let item): return item
        case .body:
            guard cursor.peek == UInt8(ascii: "[") else { return .body }
            return try bodySection(peek: false, &cursor)
        case .bodyPeek: return try bodySection(peek: true, &cursor)
        case .binary(let peek):
            let part = try sectionBinary(&cursor)
            return .binary(part: part, partial: try octetRange(&cursor), peek: peek)
        case .binarySize: return .binarySize(part: try sectionBinary(&cursor))
        case .preview:
            let start = cursor.offset
            guard acceptSpace(&cursor), acceptOpen(&cursor) else {
                cursor.offset = start
                return .preview(lazy: false)
            }
            repeat {
                guard acceptWord("LAZY", &cursor) else {
                    throw SyntaxError(at: cursor.offset, expected: "LAZY")
                }
            } while acceptElement(&cursor)
            try close(&cursor)
            return .preview(lazy: true)
        }
    }

    private static func bodySection(
        peek: Bool,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> FetchItem {
        let section = try section(&cursor)
        return .bodySection(section, partial: try octetRange(&cursor), peek: peek)
    }

    //  section         = "[" [section-spec] "]"                              RFC 9051 §9
    //  section-spec    = section-msgtext / (section-part ["." section-text])
    //  section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
    //  section-text    = section-msgtext / "MIME"
    private static func section(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> SectionSpecifier {
        try expect(UInt8(ascii: "["), "a section", &cursor)
        let part = try sectionPart(&cursor)
        if !part.isEmpty, cursor.accept(UInt8(ascii: "]")) {
            return SectionSpecifier(part: part)
        }
        if part.isEmpty {
            if cursor.accept(UInt8(ascii: "]")) { return SectionSpecifier() }
        } else {
            try expect(UInt8(ascii: "."), "a closing bracket", &cursor)
        }
        let start = cursor.offset
        let kind: SectionSpecifier.Kind
        switch try keyword(sectionTexts, "a known section", &cursor) {
        case .header: kind = .header
        case .text: kind = .text
        case .fields:
            try space(&cursor)
            kind = .headerFields(try headerList(&cursor))
        case .fieldsNot:
            try space(&cursor)
            kind = .headerFieldsNot(try headerList(&cursor))
        case .mime:
            guard !part.isEmpty else {
                throw SyntaxError(at: start, expected: "a part before MIME")
            }
            kind = .mime
        }
        try expect(UInt8(ascii: "]"), "a closing bracket", &cursor)
        return SectionSpecifier(part: part, kind: kind)
    }

    /// The section-spec of an IMAP URL, percent-decoded; nil where it is none.  RFC 5092 §11
    static func sectionOfURL(_ text: [UInt8]) -> SectionSpecifier? {
        // Brackets cannot stand in a section, so they cannot come from the URL either.
        let bracketed = [UInt8(ascii: "[")] + text + [UInt8(ascii: "]")]
        var cursor = ByteCursor(bracketed.span)
        guard !text.isEmpty, let section = try? section(&cursor), cursor.isAtEnd else {
            return nil
        }
        return section
    }

    private enum SectionText: Sendable {
        case header
        case fields
        case fieldsNot
        case text
        case mime
    }

    private static let sectionTexts = Keywords<SectionText>([
        ("HEADER", .header), ("HEADER.FIELDS", .fields), ("HEADER.FIELDS.NOT", .fieldsNot),
        ("TEXT", .text), ("MIME", .mime),
    ])

    //  section-part = nz-number *("." nz-number)                             RFC 9051 §9
    //
    //  Stops before a `.` that no digit follows. Empty where no digit is next.
    private static func sectionPart(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [UInt32] {
        var part: [UInt32] = []
        guard cursor.peek?.isDigit == true else { return part }
        part.append(try nonZeroNumber(&cursor))
        while cursor.peek == UInt8(ascii: "."), cursor.peek(at: 1)?.isDigit == true {
            guard part.count < Limits.sectionDepthMax else {
                throw SyntaxError(at: cursor.offset, expected: "fewer part numbers")
            }
            cursor.offset += 1
            part.append(try nonZeroNumber(&cursor))
        }
        return part
    }

    //  section-binary = "[" [section-part] "]"                               RFC 9051 §9
    private static func sectionBinary(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [UInt32] {
        try expect(UInt8(ascii: "["), "a section", &cursor)
        let part = try sectionPart(&cursor)
        try expect(UInt8(ascii: "]"), "a closing bracket", &cursor)
        return part
    }

    //  header-list = "(" header-fld-name *(SP header-fld-name) ")"           RFC 9051 §9
    private static func headerList(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [[UInt8]] {
        var names: [[UInt8]] = []
        try open(&cursor)
        repeat {
            try checkCount(names.count, below: Limits.headerFieldCountMax, cursor)
            names.append(try astring(&cursor))
        } while acceptElement(&cursor)
        try close(&cursor)
        return names
    }

    //  partial = "<" number64 "." nz-number64 ">"                            RFC 9051 §9
    private static func octetRange(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> OctetRange? {
        guard cursor.accept(UInt8(ascii: "<")) else { return nil }
        let offset = try number64(&cursor)
        try expect(UInt8(ascii: "."), "a full stop", &cursor)
        let start = cursor.offset
        let count = try number64(&cursor)
        guard count > 0 else {
            throw SyntaxError(at: start, expected: "a number above zero")
        }
        try expect(UInt8(ascii: ">"), "a closing angle bracket", &cursor)
        return OctetRange(offset: offset, count: count)
    }

    //  fetch-modifiers = SP "(" fetch-modifier *(SP fetch-modifier) ")"      RFC 4466 §6
    //  fetch-modifier  =/ "CHANGEDSINCE" SP mod-sequence-value / "VANISHED"  RFC 7162 §7
    //  fetch-modifier  =/ "PARTIAL" SP partial-range                         RFC 9394 §4
    //
    //  VANISHED needs UID FETCH and CHANGEDSINCE; that it needs QRESYNC enabled, the session
    //  checks. PARTIAL needs UID FETCH (RFC 9394 §3.3).
    private static func fetchModifiers(
        into command: inout FetchCommand,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) {
        let start = cursor.offset
        try open(&cursor)
        repeat {
            if acceptWord("CHANGEDSINCE", &cursor) {
                try space(&cursor)
                command.changedSince = try modSeq(&cursor)
            } else if acceptWord("VANISHED", &cursor) {
                command.vanished = true
            } else if command.partial == nil, acceptWord("PARTIAL", &cursor) {
                try space(&cursor)
                command.partial = try partialRange(&cursor)
            } else {
                throw SyntaxError(at: cursor.offset, expected: "a known fetch modifier")
            }
        } while acceptElement(&cursor)
        try close(&cursor)
        guard !command.vanished || (command.kind == .uid && command.changedSince != nil) else {
            throw SyntaxError(at: start, expected: "UID and CHANGEDSINCE with VANISHED")
        }
        guard command.partial == nil || command.kind == .uid else {
            throw SyntaxError(at: start, expected: "UID with PARTIAL")
        }
    }
}
