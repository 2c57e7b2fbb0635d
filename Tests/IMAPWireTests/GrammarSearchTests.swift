import Testing

@testable import IMAPWire

@Suite("SEARCH")
struct GrammarSearchTests {
    static func key(_ text: String) throws(SyntaxError) -> SearchKey? {
        guard case .search(let command) = try parse("SEARCH " + text) else { return nil }
        return command.key
    }

    static let day = CalendarDate(dayNumber: 19_680)

    @Test(
        "keys",
        arguments: [
            ("ALL", .all), ("unseen", .flag(.seen, isSet: false)),
            ("SEEN", .flag(.seen, isSet: true)), ("ANSWERED", .flag(.answered, isSet: true)),
            ("UNANSWERED", .flag(.answered, isSet: false)),
            ("DELETED", .flag(.deleted, isSet: true)),
            ("UNDELETED", .flag(.deleted, isSet: false)), ("DRAFT", .flag(.draft, isSet: true)),
            ("UNDRAFT", .flag(.draft, isSet: false)), ("FLAGGED", .flag(.flagged, isSet: true)),
            ("UNFLAGGED", .flag(.flagged, isSet: false)),
            ("KEYWORD $Junk", .flag(.keyword(bytes("$Junk")), isSet: true)),
            ("UNKEYWORD x", .flag(.keyword(bytes("x")), isSet: false)),
            ("RECENT", .recent(true)), ("OLD", .recent(false)),
            ("NEW", .and([.recent(true), .flag(.seen, isSet: false)])),
            ("FROM \"frobozz\"", .from(bytes("frobozz"))), ("TO x", .to(bytes("x"))),
            ("CC x", .cc(bytes("x"))), ("BCC x", .bcc(bytes("x"))), ("BODY x", .body(bytes("x"))),
            ("TEXT {3}\nä]", .text(bytes("ä]"))), ("SUBJECT \"\"", .subject([])),
            (
                "HEADER Message-ID \"<a@b>\"",
                .header(name: bytes("Message-ID"), value: bytes("<a@b>"))
            ),
            ("HEADER X \"\"", .header(name: bytes("X"), value: [])),
            ("BEFORE 19-Nov-2023", .internalDate(.before, day)),
            ("ON \"19-nov-2023\"", .internalDate(.on, day)),
            ("SINCE 19-NOV-2023", .internalDate(.since, day)),
            ("SENTBEFORE 19-Nov-2023", .sentDate(.before, day)),
            ("SENTON 19-Nov-2023", .sentDate(.on, day)),
            ("SENTSINCE 19-Nov-2023", .sentDate(.since, day)),
            ("SAVEDBEFORE 19-Nov-2023", .saveDate(.before, day)),
            ("SAVEDON 19-Nov-2023", .saveDate(.on, day)),
            ("SAVEDSINCE 19-Nov-2023", .saveDate(.since, day)),
            ("SAVEDATESUPPORTED", .saveDateSupported),
            ("LARGER 4294967296", .larger(4_294_967_296)), ("SMALLER 0", .smaller(0)),
            ("OLDER 3600", .older(3_600)), ("YOUNGER 1", .younger(1)),
            ("NOT SEEN", .not(.flag(.seen, isSet: true))),
            ("OR SEEN ALL", .or([.flag(.seen, isSet: true), .all])),
            ("OR SEEN OR ALL OLD", .or([.flag(.seen, isSet: true), .all, .recent(false)])),
            ("OR OR ALL OLD RECENT", .or([.or([.all, .recent(false)]), .recent(true)])),
            ("OR (ALL OLD) NOT ALL", .or([.and([.all, .recent(false)]), .not(.all)])),
            ("1:3", .sequence(set((1, 3)))), ("*", .sequence(set((0, 0)))),
            ("$", .sequence(.saved)),
            ("UID 5,7", .uid(set((5, 5), (7, 7)))), ("UID $", .uid(.saved)),
            ("UIDAFTER 25000", .uidAfter(UID(25_000))), ("uidbefore 1", .uidBefore(UID(1))),
            ("MODSEQ 620162338", .modSeq(ModSeq(620_162_338))),
            ("MODSEQ \"/flags/\\\\draft\" all 5", .modSeq(ModSeq(5))),
            ("EMAILID M6d99ac", .emailID(bytes("M6d99ac"))),
            ("THREADID T1", .threadID(bytes("T1"))),
            ("FUZZY BODY x", .fuzzy(.body(bytes("x")))),
            ("(ALL)", .all), ("ALL OLD", .and([.all, .recent(false)])),
            ("ALL (OLD 1)", .and([.all, .and([.recent(false), .sequence(set((1, 1)))])])),
        ] as [(String, SearchKey)]
    )
    func keys(_ text: String, _ key: SearchKey) throws { #expect(try Self.key(text) == key) }

    @Test("charset, RETURN and the UID form")
    func command() throws {
        #expect(
            try parse("SEARCH CHARSET UTF-8 ALL")
                == .search(
                    SearchCommand(kind: .sequenceNumber, charset: bytes("UTF-8"), key: .all)
                )
        )
        var returns = SearchReturn()
        returns.min = true
        returns.max = true
        returns.count = true
        returns.save = true
        #expect(
            try parse("UID SEARCH RETURN (MIN max COUNT SAVE) CHARSET \"utf-8\" OLD")
                == .search(
                    SearchCommand(
                        kind: .uid,
                        returns: returns,
                        charset: bytes("utf-8"),
                        key: .recent(false)
                    )
                )
        )
        var empty = SearchReturn()
        empty.all = true
        #expect(
            try parse("SEARCH return () 1")
                == .search(
                    SearchCommand(
                        kind: .sequenceNumber,
                        returns: empty,
                        key: .sequence(set((1, 1)))
                    )
                )
        )
        var context = SearchReturn()
        context.context = true
        context.update = true
        context.updateItems = [.uid, .flags]
        context.partial = PartialRange(first: 23_500, last: 24_000)
        context.relevancy = true
        #expect(
            try parse(
                "SEARCH RETURN (UPDATE (UID FLAGS) CONTEXT RELEVANCY PARTIAL 23500:24000) ALL"
            )
                == .search(
                    SearchCommand(kind: .sequenceNumber, returns: context, key: .all)
                )
        )
    }

    @Test(
        "rejects",
        arguments: [
            "SEARCH", "SEARCH ", "SEARCH FOO", "SEARCH CHARSET UTF-8", "SEARCH CHARSET",
            "SEARCH ()",
            "SEARCH (ALL", "SEARCH ALL)", "SEARCH NOT", "SEARCH OR ALL", "SEARCH OR",
            "SEARCH KEYWORD",
            "SEARCH KEYWORD \\Seen", "SEARCH FROM", "SEARCH HEADER x", "SEARCH ON 2023-11-19",
            "SEARCH ON 31-Feb-2023", "SEARCH ON 0-Jan-2023", "SEARCH ON 1-Foo-2023",
            "SEARCH ON 1-Jan-23", "SEARCH ON 1-Jan-20233", "SEARCH ON 111-Jan-2023",
            "SEARCH ON \"1-Jan-2023", "SEARCH LARGER -1", "SEARCH LARGER x",
            "SEARCH LARGER 9223372036854775808", "SEARCH OLDER 0", "SEARCH UID", "SEARCH UIDAFTER",
            "SEARCH UIDAFTER 1:2", "SEARCH UIDBEFORE *", "SEARCH UIDBEFORE 0", "SEARCH 0",
            "SEARCH MODSEQ", "SEARCH MODSEQ \"/flags/x\" 5", "SEARCH MODSEQ \"/flags/x\" none 5",
            "SEARCH RETURN (FOO) ALL", "SEARCH RETURN ALL", "SEARCH RETURN (MIN)", "SEARCH RETURN",
            "SEARCH RETURN (PARTIAL) ALL", "SEARCH RETURN (PARTIAL 1:2 ALL) ALL",
            "SEARCH RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL", "SEARCH FUZZY", "SEARCH EMAILID",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }

    @Test("depth at the limit and one above", arguments: ["NOT ", "(", "FUZZY ", "OR "])
    func depth(_ nest: String) throws {
        func nested(_ depth: Int) -> String {
            var text = "SEARCH " + String(repeating: nest, count: depth)
            text += nest == "OR " ? "ALL" + String(repeating: " ALL", count: depth) : "ALL"
            return text + (nest == "(" ? String(repeating: ")", count: depth) : "")
        }
        _ = try parse(nested(Limits.searchDepthMax))
        #expect(expected(nested(Limits.searchDepthMax + 1)) == "a search less deeply nested")
        #expect(expected(nested(10_000)) != nil)
    }

    @Test("hundreds of alternatives, as clients nest them, are one list")
    func alternatives() throws {
        let text =
            "SEARCH "
            + (0..<900).map { "OR HEADER Message-ID \"<\($0)@x>\" " }.joined() + "ALL"
        guard case .search(let command) = try parse(text), case .or(let keys) = command.key else {
            Issue.record("not one OR")
            return
        }
        #expect(keys.count == 901)
    }

    @Test("keys at the limit and one above")
    func count() throws {
        func keys(_ count: Int) -> String { "SEARCH" + String(repeating: " 1", count: count) }
        _ = try parse(keys(Limits.searchKeyCountMax))
        #expect(expected(keys(Limits.searchKeyCountMax + 1)) == "fewer search keys")
    }
}

@Suite("SORT, THREAD, ESEARCH, NOTIFY")
struct GrammarSortTests {
    @Test("SORT")
    func sort() throws {
        #expect(
            try parse("SORT (REVERSE DATE subject DATE) UTF-8 ALL")
                == .sort(
                    SortCommand(
                        kind: .sequenceNumber,
                        criteria: [.init(.date, isReverse: true), .init(.subject)],
                        charset: bytes("UTF-8"),
                        key: .all
                    )
                )
        )
        var returns = SearchReturn()
        returns.count = true
        #expect(
            try parse("UID SORT RETURN (COUNT) (DISPLAYFROM) US-ASCII 1 OLD")
                == .sort(
                    SortCommand(
                        kind: .uid,
                        returns: returns,
                        criteria: [.init(.displayFrom)],
                        charset: bytes("US-ASCII"),
                        key: .and([.sequence(set((1, 1))), .recent(false)])
                    )
                )
        )
    }

    @Test("THREAD")
    func thread() throws {
        for (name, algorithm) in [
            ("REFS", .refs), ("references", .references), ("ORDEREDSUBJECT", .orderedSubject),
            ("X", .unknown),
        ] as [(String, ThreadCommand.Algorithm)] {
            #expect(
                try parse("UID THREAD \(name) UTF-8 ALL")
                    == .thread(
                        ThreadCommand(
                            kind: .uid,
                            algorithm: algorithm,
                            charset: bytes("UTF-8"),
                            key: .all
                        )
                    )
            )
        }
    }

    @Test("ESEARCH")
    func multiSearch() throws {
        var returns = SearchReturn()
        returns.all = true
        returns.count = true
        #expect(
            try parse(
                "ESEARCH IN (mailboxes \"f1\" subtree (a b) subtree-one c personal) RETURN (ALL COUNT) OLD"
            )
                == .multiSearch(
                    MultiSearchCommand(
                        sources: [
                            .mailboxes(["f1"]), .subtree(["a", "b"]), .subtreeOne(["c"]), .personal,
                        ],
                        returns: returns,
                        key: .recent(false)
                    )
                )
        )
        #expect(
            try parse("ESEARCH ALL") == .multiSearch(MultiSearchCommand(sources: [], key: .all))
        )
        #expect(try parse("ESEARCH ALL").requiredState == .selected)
        #expect(try parse("ESEARCH IN (selected inboxes) ALL").requiredState == .selected)
        #expect(try parse("ESEARCH IN (inboxes) ALL").requiredState == .authenticated)
    }

    @Test("NOTIFY")
    func notify() throws {
        #expect(try parse("NOTIFY NONE") == .notify(.none))
        #expect(
            try parse(
                "notify SET STATUS (selected (MessageNew (UID BODY.PEEK[]) MessageExpunge FlagChange)) (subtree (a b) (MailboxName X-Foo SubscriptionChange)) (personal NONE)"
            )
                == .notify(
                    .set(
                        status: true,
                        groups: [
                            .init(
                                filter: .selected,
                                events: [
                                    .messageNew([
                                        .uid,
                                        .bodySection(SectionSpecifier(), partial: nil, peek: true),
                                    ]), .messageExpunge, .flagChange,
                                ]
                            ),
                            .init(
                                filter: .subtree(["a", "b"]),
                                events: [.mailboxName, .unknown, .subscriptionChange]
                            ),
                            .init(filter: .personal, events: []),
                        ]
                    )
                )
        )
    }

    @Test(
        "rejects",
        arguments: [
            "SORT", "SORT () UTF-8 ALL", "SORT (FOO) UTF-8 ALL", "SORT (DATE) ALL",
            "SORT (REVERSE) UTF-8 ALL", "SORT (DATE) CHARSET UTF-8 ALL", "SORT DATE UTF-8 ALL",
            "SORT (REVERSE REVERSE DATE) UTF-8 ALL", "SORT (DATE) UTF-8 CHARSET UTF-8 ALL",
            "THREAD REFS ALL", "THREAD", "ESEARCH", "ESEARCH IN () ALL", "ESEARCH IN (foo) ALL",
            "ESEARCH IN (selected-delayed) ALL", "ESEARCH IN (subtree) ALL",
            "ESEARCH IN (mailboxes ()) ALL", "ESEARCH IN (inboxes (SCOPE)) ALL", "UID ESEARCH ALL",
            "NOTIFY", "NOTIFY SET", "NOTIFY SET STATUS", "NOTIFY FOO", "NOTIFY NONE x",
            "NOTIFY SET (inboxes)", "NOTIFY SET (inboxes ())", "NOTIFY SET (foo NONE)",
            "NOTIFY SET (inboxes (MessageNew))", "NOTIFY SET (inboxes (FlagChange))",
            "NOTIFY SET (inboxes (MessageNew (UID) MessageExpunge))",
            "NOTIFY SET (selected (MailboxName))", "NOTIFY SET (subtree-one a NONE)",
            "NOTIFY SET (selected NONE) (selected-delayed NONE)",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }
}
