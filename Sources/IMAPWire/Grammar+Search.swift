import Bytes

extension Grammar {
    //  search = "SEARCH" [search-return-opts] SP search-program              RFC 9051 §9
    static func search(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let returns = try searchReturns(&cursor)
        let (charset, key) = try searchProgram(&cursor)
        return .search(
            SearchCommand(kind: kind, returns: returns, charset: charset, key: key)
        )
    }

    private enum ReturnWord: Sendable {
        case min, max, all, count, save, context, relevancy, update, partial
    }

    private static let returnWords = Keywords<ReturnWord>([
        ("MIN", .min), ("MAX", .max), ("ALL", .all), ("COUNT", .count), ("SAVE", .save),
        ("CONTEXT", .context), ("RELEVANCY", .relevancy), ("UPDATE", .update),
        ("PARTIAL", .partial),
    ])

    //  search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")"
    //                                                                        RFC 9051 §9
    //  search-return-opt  = "MIN" / "MAX" / "ALL" / "COUNT" / "SAVE"
    //  search-return-opt  =/ modifier-context / modifier-partial / modifier-update   RFC 5267 §5
    //  modifier-update    = "UPDATE" ["(" fetch-att *(SP fetch-att) ")"]     RFC 5465 §8
    //
    //  Consumes the space behind. Nil where RETURN is not next.
    static func searchReturns(_ cursor: inout ByteCursor) throws(SyntaxError) -> SearchReturn? {
        guard acceptWord("RETURN", &cursor) else { return nil }
        var returns = SearchReturn()
        try space(&cursor)
        try open(&cursor)
        if acceptClose(&cursor) {
            // RFC 4731 §3.1: an empty list is ALL.
            returns.all = true
            try space(&cursor)
            return returns
        }
        repeat {
            switch try keyword(returnWords, "a known return option", &cursor) {
            case .min: returns.min = true
            case .max: returns.max = true
            case .all: returns.all = true
            case .count: returns.count = true
            case .save: returns.save = true
            case .context: returns.context = true
            case .relevancy: returns.relevancy = true
            case .update:
                returns.update = true
                let start = cursor.offset
                _ = acceptSpace(&cursor)
                if cursor.peek == UInt8(ascii: "(") {
                    returns.updateItems = try fetchItemList(&cursor)
                } else {
                    cursor.offset = start
                }
            case .partial:
                guard returns.partial == nil else {
                    throw SyntaxError(at: cursor.offset, expected: "PARTIAL once")
                }
                try space(&cursor)
                returns.partial = try partialRange(&cursor)
            }
        } while acceptElement(&cursor)
        let end = cursor.offset
        try close(&cursor)
        // RFC 5267 §4.2: a hint asks for nothing, so it is an empty list.
        if returns.isHintAlone { returns.all = true }
        // RFC 5267 §4.4 and RFC 9394 §3.1.
        guard returns.partial == nil || !returns.all else {
            throw SyntaxError(at: end, expected: "either PARTIAL or ALL")
        }
        try space(&cursor)
        return returns
    }

    //  search-program = ["CHARSET" SP charset SP] search-key *(SP search-key)
    //                                                                        RFC 9051 §9
    static func searchProgram(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> (charset: [UInt8]?, key: SearchKey) {
        var charset: [UInt8]?
        if acceptWord("CHARSET", &cursor) {
            try space(&cursor)
            charset = try self.charset(&cursor)
            try space(&cursor)
        }
        var parser = SearchKeyCount()
        var keys: [SearchKey] = []
        repeat {
            keys.append(try searchKey(&cursor, depth: 0, &parser))
        } while acceptArgument(&cursor)
        return (charset, keys.count == 1 ? keys[0] : .and(keys))
    }

    /// How many keys one program has had so far.
    private struct SearchKeyCount {
        var count = 0
    }

    private enum SearchWord: Sendable {
        case plain(SearchKey)
        case string(@Sendable ([UInt8]) -> SearchKey)
        case date(@Sendable (CalendarDate) -> SearchKey)
        case size(@Sendable (UInt64) -> SearchKey)
        case interval(@Sendable (UInt32) -> SearchKey)
        case keyword(isSet: Bool)
        case header
        case not
        case or
        case uid
        case uidBound(@Sendable (UID) -> SearchKey)
        case modSeq
        case objectID(@Sendable ([UInt8]) -> SearchKey)
        case fuzzy
    }

    private static let searchWords = Keywords<SearchWord>([
        ("ALL", .plain(.all)),
        ("ANSWERED", .plain(.flag(.answered, isSet: true))),
        ("UNANSWERED", .plain(.flag(.answered, isSet: false))),
        ("DELETED", .plain(.flag(.deleted, isSet: true))),
        ("UNDELETED", .plain(.flag(.deleted, isSet: false))),
        ("DRAFT", .plain(.flag(.draft, isSet: true))),
        ("UNDRAFT", .plain(.flag(.draft, isSet: false))),
        ("FLAGGED", .plain(.flag(.flagged, isSet: true))),
        ("UNFLAGGED", .plain(.flag(.flagged, isSet: false))),
        ("SEEN", .plain(.flag(.seen, isSet: true))),
        ("UNSEEN", .plain(.flag(.seen, isSet: false))),
        ("KEYWORD", .keyword(isSet: true)),
        ("UNKEYWORD", .keyword(isSet: false)),
        ("RECENT", .plain(.recent(true))),
        ("OLD", .plain(.recent(false))),
        ("NEW", .plain(.and([.recent(true), .flag(.seen, isSet: false)]))),
        ("BCC", .string { .bcc($0) }),
        ("BODY", .string { .body($0) }),
        ("CC", .string { .cc($0) }),
        ("FROM", .string { .from($0) }),
        ("SUBJECT", .string { .subject($0) }),
        ("TEXT", .string { .text($0) }),
        ("TO", .string { .to($0) }),
        ("HEADER", .header),
        ("BEFORE", .date { .internalDate(.before, $0) }),
        ("ON", .date { .internalDate(.on, $0) }),
        ("SINCE", .date { .internalDate(.since, $0) }),
        ("SENTBEFORE", .date { .sentDate(.before, $0) }),
        ("SENTON", .date { .sentDate(.on, $0) }),
        ("SENTSINCE", .date { .sentDate(.since, $0) }),
        ("SAVEDBEFORE", .date { .saveDate(.before, $0) }),
        ("SAVEDON", .date { .saveDate(.on, $0) }),
        ("SAVEDSINCE", .date { .saveDate(.since, $0) }),
        ("SAVEDATESUPPORTED", .plain(.saveDateSupported)),
        ("LARGER", .size { .larger($0) }),
        ("SMALLER", .size { .smaller($0) }),
        ("OLDER", .interval { .older($0) }),
        ("YOUNGER", .interval { .younger($0) }),
        ("NOT", .not),
        ("OR", .or),
        ("UID", .uid),
        ("UIDAFTER", .uidBound { .uidAfter($0) }),
        ("UIDBEFORE", .uidBound { .uidBefore($0) }),
        ("MODSEQ", .modSeq),
        ("EMAILID", .objectID { .emailID($0) }),
        ("THREADID", .objectID { .threadID($0) }),
        ("FUZZY", .fuzzy),
    ])

    //  search-key = "ALL" / "ANSWERED" / "BCC" SP astring / … / sequence-set /
    //               "(" search-key *(SP search-key) ")"                      RFC 9051 §9
    private static func searchKey(
        _ cursor: inout ByteCursor,
        depth: Int,
        _ seen: inout SearchKeyCount
    ) throws(SyntaxError) -> SearchKey {
        guard depth <= Limits.searchDepthMax else {
            throw SyntaxError(at: cursor.offset, expected: "a search less deeply nested")
        }
        seen.count += 1
        guard seen.count <= Limits.searchKeyCountMax else {
            throw SyntaxError(at: cursor.offset, expected: "fewer search keys")
        }
        switch cursor.peek {
        case UInt8(ascii: "("):
            cursor.offset += 1
            var keys: [SearchKey] = []
            repeat {
                keys.append(try searchKey(&cursor, depth: depth + 1, &seen))
            } while acceptElement(&cursor)
            try close(&cursor)
            return keys.count == 1 ? keys[0] : .and(keys)
        case let byte?
        where byte.isDigit || byte == UInt8(ascii: "*")
            || byte == UInt8(ascii: "$"):
            return .sequence(try sequenceSet(&cursor))
        default:
            let word = try keyword(searchWords, "a known search key", &cursor)
            return try searchKey(word, &cursor, depth: depth, &seen)
        }
    }

    /// What follows the first word of a key.
    private static func searchKey(
        _ word: SearchWord,
        _ cursor: inout ByteCursor,
        depth: Int,
        _ seen: inout SearchKeyCount
    ) throws(SyntaxError) -> SearchKey {
        if case .plain(let key) = word { return key }
        try space(&cursor)
        switch word {
        case .plain(let key): return key
        case .string(let make): return make(try astring(&cursor))
        case .date(let make): return make(try date(&cursor))
        case .size(let make): return make(try number64(&cursor))
        case .interval(let make): return make(try nonZeroNumber(&cursor))
        case .objectID(let make): return make(try astring(&cursor))
        case .keyword(let isSet): return .flag(.keyword(try flagKeyword(&cursor)), isSet: isSet)
        case .header:
            let name = try astring(&cursor)
            return .header(name: name, value: try astringArgument(&cursor))
        case .not: return .not(try searchKey(&cursor, depth: depth + 1, &seen))
        case .fuzzy: return .fuzzy(try searchKey(&cursor, depth: depth + 1, &seen))
        case .uid: return .uid(try sequenceSet(&cursor))
        case .uidBound(let make): return make(UID(try nonZeroNumber(&cursor)))
        case .modSeq: return .modSeq(try searchModSeq(&cursor))
        case .or:
            //  "OR" SP search-key SP search-key: `OR a OR b OR c d` is one list, by a loop.
            var keys: [SearchKey] = []
            repeat {
                keys.append(try searchKey(&cursor, depth: depth + 1, &seen))
                try space(&cursor)
                guard acceptWord("OR", &cursor) else { break }
                try space(&cursor)
            } while true
            keys.append(try searchKey(&cursor, depth: depth + 1, &seen))
            return .or(keys)
        }
    }

    //  search-modsequence   = "MODSEQ" [search-modseq-ext] SP mod-sequence-valzer
    //                                                                        RFC 7162 §7
    //  search-modseq-ext    = SP entry-name SP entry-type-req
    //  entry-name           = DQUOTE "/flags/" attr-flag DQUOTE
    //  entry-type-req       = "priv" / "shared" / "all"
    private static func searchModSeq(_ cursor: inout ByteCursor) throws(SyntaxError) -> ModSeq {
        if cursor.peek == .quote {
            _ = try quoted(&cursor)
            try space(&cursor)
            guard
                acceptWord("PRIV", &cursor) || acceptWord("SHARED", &cursor)
                    || acceptWord("ALL", &cursor)
            else { throw SyntaxError(at: cursor.offset, expected: "priv, shared or all") }
            try space(&cursor)
        }
        return try modSeq(&cursor)
    }
}
