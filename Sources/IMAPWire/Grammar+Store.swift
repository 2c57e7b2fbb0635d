import Bytes

extension Grammar {
    //  store           = "STORE" SP sequence-set [store-modifiers] SP store-att-flags
    //                                                                        RFC 4466 §6
    //  store-modifier  =/ "UNCHANGEDSINCE" SP mod-sequence-valzer            RFC 7162 §7
    //  store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))
    static func store(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let set = try sequenceSet(&cursor)
        try space(&cursor)
        var unchangedSince: ModSeq?
        if acceptOpen(&cursor) {
            guard acceptWord("UNCHANGEDSINCE", &cursor) else {
                throw SyntaxError(at: cursor.offset, expected: "UNCHANGEDSINCE")
            }
            try space(&cursor)
            unchangedSince = try modSeq(&cursor)
            try close(&cursor)
            try space(&cursor)
        }
        let operation: StoreOperation =
            cursor.accept(UInt8(ascii: "+"))
            ? .add : cursor.accept(UInt8(ascii: "-")) ? .remove : .replace
        let isSilent: Bool
        if acceptWord("FLAGS.SILENT", &cursor) {
            isSilent = true
        } else if acceptWord("FLAGS", &cursor) {
            isSilent = false
        } else {
            throw SyntaxError(at: cursor.offset, expected: "FLAGS")
        }
        try space(&cursor)
        let flags: [Flag]
        if cursor.peek == UInt8(ascii: "(") {
            flags = try flagList(&cursor)
        } else {
            var list: [Flag] = []
            repeat { try flag(into: &list, &cursor) } while acceptArgument(&cursor)
            flags = list
        }
        return .store(
            StoreCommand(
                kind: kind,
                set: set,
                operation: operation,
                isSilent: isSilent,
                flags: flags,
                unchangedSince: unchangedSince
            )
        )
    }

    //  flag-list = "(" [flag *(SP flag)] ")"                                 RFC 9051 §9
    static func flagList(_ cursor: inout ByteCursor) throws(SyntaxError) -> [Flag] {
        var flags: [Flag] = []
        try open(&cursor)
        if acceptClose(&cursor) { return flags }
        repeat { try flag(into: &flags, &cursor) } while acceptElement(&cursor)
        try close(&cursor)
        return flags
    }

    private static let systemFlags = Keywords<SystemFlag>([
        ("ANSWERED", .answered), ("FLAGGED", .flagged), ("DELETED", .deleted), ("SEEN", .seen),
        ("DRAFT", .draft),
    ])

    //  flag = "\Answered" / "\Flagged" / "\Deleted" / "\Seen" / "\Draft" / flag-keyword /
    //         flag-extension ; Does not include "\Recent"                    RFC 9051 §9
    //
    //  A flag-extension is one that a later RFC defines and that we do not know: refused.
    private static func flag(
        into flags: inout [Flag],
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) {
        try checkCount(flags.count, below: Limits.flagCountMax, cursor)
        guard cursor.accept(.backslash) else {
            flags.append(.keyword(try flagKeyword(&cursor)))
            return
        }
        let range = cursor.take(while: \.isAtomChar)
        guard let flag = systemFlags[cursor.span, range] else {
            throw SyntaxError(at: range.lowerBound, expected: "a known system flag")
        }
        flags.append(.system(flag))
    }

    //  flag-keyword = "$MDNSent" / "$Forwarded" / … / atom                   RFC 9051 §9
    static func flagKeyword(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let start = cursor.offset
        let name = try atom(&cursor)
        guard name.count <= Limits.keywordBytesMax else {
            throw SyntaxError(at: start, expected: "a shorter keyword")
        }
        return name
    }
}
