import Testing

@testable import IMAPWire

@Suite("SELECT, CREATE, STATUS, LIST")
struct GrammarMailboxTests {
    static func selected(
        readOnly: Bool = false,
        condStore: Bool = false,
        _ resync: SelectCommand.QuickResync? = nil
    ) -> CommandBody {
        .select(
            SelectCommand(
                mailbox: "INBOX",
                isReadOnly: readOnly,
                condStore: condStore,
                quickResync: resync
            )
        )
    }

    @Test(
        "SELECT",
        arguments: [
            ("SELECT INBOX", selected()), ("examine \"INBOX\"", selected(readOnly: true)),
            ("SELECT INBOX (CONDSTORE)", selected(condStore: true)),
            (
                "SELECT INBOX (QRESYNC (67890007 20050715194045000))",
                selected(
                    SelectCommand.QuickResync(
                        uidValidity: UIDValidity(67_890_007),
                        modSeq: ModSeq(20_050_715_194_045_000)
                    )
                )
            ),
            (
                "SELECT INBOX (QRESYNC (1 2 41,43:211) CONDSTORE)",
                selected(
                    condStore: true,
                    SelectCommand.QuickResync(
                        uidValidity: UIDValidity(1),
                        modSeq: ModSeq(2),
                        knownUIDs: set((41, 41), (43, 211))
                    )
                )
            ),
            (
                "SELECT INBOX (QRESYNC (1 2 1:30 (5,9 10,20)))",
                selected(
                    SelectCommand.QuickResync(
                        uidValidity: UIDValidity(1),
                        modSeq: ModSeq(2),
                        knownUIDs: set((1, 30)),
                        matchSequence: set((5, 5), (9, 9)),
                        matchUIDs: set((10, 10), (20, 20))
                    )
                )
            ),
            (
                "SELECT INBOX (QRESYNC (1 2 (5 10)))",
                selected(
                    SelectCommand.QuickResync(
                        uidValidity: UIDValidity(1),
                        modSeq: ModSeq(2),
                        matchSequence: set((5, 5)),
                        matchUIDs: set((10, 10))
                    )
                )
            ),
        ] as [(String, CommandBody)]
    )
    func select(_ text: String, _ body: CommandBody) throws { #expect(try parse(text) == body) }

    @Test(
        "CREATE",
        arguments: [
            ("CREATE foo", []), ("CREATE foo (USE ())", []),
            ("CREATE foo (use (\\drafts \\Sent))", [.drafts, .sent]),
            ("CREATE foo (USE (\\Foo))", [nil]), ("CREATE foo (USE (\\Junk \\X))", [.junk, nil]),
        ] as [(String, [SpecialUse?])]
    )
    func create(_ text: String, _ uses: [SpecialUse?]) throws {
        #expect(try parse(text) == .create(mailbox: "foo", uses: uses))
    }

    @Test("STATUS knows every item, and each once")
    func status() throws {
        let all = StatusItem.allCases.map { $0.name.description }.joined(separator: " ")
        #expect(
            try parse("STATUS \"a b\" (\(all))")
                == .status(mailbox: "a b", items: StatusItem.allCases)
        )
        #expect(
            try parse("STATUS x (unseen UNSEEN Messages)")
                == .status(mailbox: "x", items: [.unseen, .messages])
        )
    }

    @Test(
        "LIST",
        arguments: [
            (#"LIST "" """#, ListCommand(reference: "", patterns: [""])),
            ("LIST \"\" *", ListCommand(reference: "", patterns: ["*"])),
            ("LIST ~/Mail/ a%.*", ListCommand(reference: "~/Mail/", patterns: ["a%.*"])),
            (
                #"list (subscribed) "" "*" return (special-use)"#,
                ListCommand(
                    reference: "",
                    patterns: ["*"],
                    selection: .subscribed,
                    returns: .specialUse,
                    isExtended: true
                )
            ),
            (
                #"LIST () "" ("a" b%) RETURN ()"#,
                ListCommand(reference: "", patterns: ["a", "b%"], isExtended: true)
            ),
            (
                #"LIST (SUBSCRIBED RECURSIVEMATCH REMOTE SPECIAL-USE) "" % RETURN (CHILDREN SUBSCRIBED MYRIGHTS STATUS (MESSAGES UNSEEN) METADATA ("/shared/Comment"))"#,
                ListCommand(
                    reference: "",
                    patterns: ["%"],
                    selection: [.subscribed, .recursiveMatch, .remote, .specialUse],
                    returns: [.children, .subscribed, .myRights],
                    status: [.messages, .unseen],
                    metadata: [bytes("/shared/comment")],
                    isExtended: true
                )
            ),
        ] as [(String, ListCommand)]
    )
    func list(_ text: String, _ command: ListCommand) throws {
        #expect(try parse(text) == .list(command))
    }

    @Test("LSUB")
    func lsub() throws {
        #expect(try parse(#"lsub "" "*""#) == .lsub(reference: "", pattern: "*"))
    }

    @Test(
        "rejects",
        arguments: [
            "SELECT INBOX CONDSTORE", "SELECT INBOX ()", "SELECT INBOX (FOO)", "SELECT a b",
            "SELECT INBOX (CONDSTORE CONDSTORE)", "SELECT INBOX (QRESYNC)",
            "SELECT INBOX (QRESYNC (0 1))", "SELECT INBOX (QRESYNC (1))",
            "SELECT INBOX (QRESYNC (1 9223372036854775808))", "SELECT INBOX (QRESYNC (1 2 1:*))",
            "SELECT INBOX (QRESYNC (1 2 $))", "SELECT INBOX (QRESYNC (1 2 0:1))",
            "SELECT INBOX (QRESYNC (1 2 1 (1)))", "SELECT INBOX (QRESYNC (1 2 1 (1 *)))",
            "SELECT INBOX (QRESYNC (1 2) QRESYNC (1 2))", "SELECT INBOX (QRESYNC (1 2)",
            "CREATE", "CREATE a b", "CREATE a (USE)", "CREATE a (USE (Drafts))",
            "CREATE a (USE (\\))", "CREATE a (USE (\\All)", "CREATE a ()",
            "STATUS a", "STATUS a ()", "STATUS a (FOO)", "STATUS a (MESSAGES", "STATUS a MESSAGES",
            "LIST", "LIST \"\"", "LIST \"\" (", "LIST \"\" ()", "LIST (FOO) \"\" *",
            "LIST (RECURSIVEMATCH) \"\" *", "LIST (REMOTE RECURSIVEMATCH) \"\" *",
            "LIST \"\" * RETURN", "LIST \"\" * RETURN (FOO)", "LIST \"\" * (CHILDREN)",
            "LIST \"\" * RETURN (STATUS)", "LIST \"\" * RETURN (METADATA ())",
            "LIST * \"\"", "LIST (SUBSCRIBED)\"\" *", "LSUB \"\"", "LSUB \"\" ()",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }
}
