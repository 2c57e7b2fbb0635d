import Bytes

extension Grammar {
    private static let sortKeys = Keywords<SortCommand.Key>([
        ("ARRIVAL", .arrival), ("CC", .cc), ("DATE", .date), ("FROM", .from), ("SIZE", .size),
        ("SUBJECT", .subject), ("TO", .to), ("DISPLAYFROM", .displayFrom),
        ("DISPLAYTO", .displayTo), ("RELEVANCY", .relevancy),
    ])

    //  sort           = ["UID" SP] "SORT" [search-return-opts] SP sort-criteria SP
    //                   search-criteria                                      RFC 5256 §5, RFC 5267 §5
    //  sort-criteria  = "(" sort-criterion *(SP sort-criterion) ")"
    //  sort-criterion = ["REVERSE" SP] sort-key
    static func sort(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let returns = try searchReturns(&cursor)
        var criteria: [SortCommand.Criterion] = []
        try open(&cursor)
        repeat {
            try checkCount(criteria.count, below: Limits.listCountMax, cursor)
            let isReverse = acceptWord("REVERSE", &cursor)
            if isReverse { try space(&cursor) }
            let key = try keyword(sortKeys, "a known sort key", &cursor)
            // A key that came before decides nothing any more.
            if !criteria.contains(where: { $0.key == key }) {
                criteria.append(SortCommand.Criterion(key, isReverse: isReverse))
            }
        } while acceptElement(&cursor)
        try close(&cursor)
        try space(&cursor)
        let (charset, key) = try searchCriteria(&cursor)
        return .sort(
            SortCommand(
                kind: kind,
                returns: returns,
                criteria: criteria,
                charset: charset,
                key: key
            )
        )
    }

    //  search-criteria = charset 1*(SP search-key)                           RFC 5256 §5
    private static func searchCriteria(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> (charset: [UInt8], key: SearchKey) {
        let charset = try charset(&cursor)
        try space(&cursor)
        let start = cursor.offset
        let (second, key) = try searchProgram(&cursor)
        guard second == nil else {
            throw SyntaxError(at: start, expected: "a charset once")
        }
        return (charset, key)
    }

    //  thread     = ["UID" SP] "THREAD" SP thread-alg SP search-criteria     RFC 5256 §5
    //  thread-alg = "ORDEREDSUBJECT" / "REFERENCES" / thread-alg-ext
    static func thread(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let name = try atom(&cursor)
        let algorithm: ThreadCommand.Algorithm =
            name.equalsIgnoringCase("ORDEREDSUBJECT")
            ? .orderedSubject
            : name.equalsIgnoringCase("REFERENCES")
                ? .references : name.equalsIgnoringCase("REFS") ? .refs : .unknown
        try space(&cursor)
        let (charset, key) = try searchCriteria(&cursor)
        return .thread(
            ThreadCommand(kind: kind, algorithm: algorithm, charset: charset, key: key)
        )
    }
}
