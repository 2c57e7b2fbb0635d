import Testing

@testable import IMAPWire

@Suite("ACL, QUOTA, METADATA")
struct GrammarAdministrationTests {
    static func get(
        _ mailbox: MailboxName,
        _ entries: [String],
        maxSize: UInt32? = nil,
        depth: GetMetadataCommand.Depth = .zero
    ) -> CommandBody {
        .getMetadata(
            GetMetadataCommand(
                mailbox: mailbox,
                entries: entries.map { Array($0.utf8) },
                maxSize: maxSize,
                depth: depth
            )
        )
    }

    static func right(_ operation: RightsChange.Operation, _ rights: String) -> CommandBody {
        .setACL(
            mailbox: "a",
            identifier: bytes("bob"),
            change: RightsChange(operation: operation, rights: bytes(rights))
        )
    }

    @Test(
        "accepts",
        arguments: [
            ("GETACL a", .getACL("a")), ("MYRIGHTS a", .myRights("a")),
            ("DELETEACL a bob", .deleteACL(mailbox: "a", identifier: bytes("bob"))),
            ("LISTRIGHTS a {3}\nbob", .listRights(mailbox: "a", identifier: bytes("bob"))),
            ("SETACL a bob lrs", right(.replace, "lrs")), ("SETACL a bob +w", right(.add, "w")),
            ("SETACL a bob -te1", right(.remove, "te1")),
            ("SETACL a bob \"\"", right(.replace, "")),
            ("GETQUOTA \"\"", .getQuota(root: [])), ("GETQUOTAROOT INBOX", .getQuotaRoot("INBOX")),
            (
                "SETQUOTA \"\" (storage 512 MESSAGE 9223372036854775807)",
                .setQuota(
                    root: [],
                    limits: [
                        QuotaLimit(resource: bytes("STORAGE"), limit: 512),
                        QuotaLimit(resource: bytes("MESSAGE"), limit: 9_223_372_036_854_775_807),
                    ]
                )
            ),
            ("SETQUOTA x ()", .setQuota(root: bytes("x"), limits: [])),
            ("GETMETADATA \"\" /shared/comment", get("", ["/shared/comment"])),
            (
                "GETMETADATA INBOX (/private/Comment \"/shared/vendor/x y\")",
                get("INBOX", ["/private/comment", "/shared/vendor/x y"])
            ),
            (
                "GETMETADATA (MAXSIZE 1024 DEPTH infinity) INBOX (/a)",
                get("INBOX", ["/a"], maxSize: 1_024, depth: .infinity)
            ),
            ("GETMETADATA INBOX (DEPTH 1) (/a)", get("INBOX", ["/a"], depth: .one)),
            ("GETMETADATA INBOX /a /b", get("INBOX", ["/a", "/b"])),
            (
                "SETMETADATA INBOX (/private/comment \"x\" /b NIL /c {2}\nyz /d ~{2}\n\0z)",
                .setMetadata(
                    SetMetadataCommand(
                        mailbox: "INBOX",
                        entries: [
                            .init(name: bytes("/private/comment"), value: bytes("x")),
                            .init(name: bytes("/b"), value: nil),
                            .init(name: bytes("/c"), value: bytes("yz")),
                            .init(name: bytes("/d"), value: [0, 0x7A]),
                        ]
                    )
                )
            ),
        ] as [(String, CommandBody)]
    )
    func accepts(_ text: String, _ body: CommandBody) throws { #expect(try parse(text) == body) }

    @Test(
        "rejects",
        arguments: [
            "GETACL", "SETACL a bob", "SETACL a bob LRS", "SETACL a bob l+r", "SETACL a bob +é",
            "SETACL a bob \"l r\"", "SETQUOTA \"\"", "SETQUOTA \"\" (STORAGE)",
            "SETQUOTA \"\" (STORAGE -1)", "SETQUOTA \"\" (STORAGE 1", "GETMETADATA",
            "GETMETADATA INBOX", "GETMETADATA INBOX comment", "GETMETADATA INBOX ()",
            "GETMETADATA INBOX /a/", "GETMETADATA INBOX /a//b", "GETMETADATA INBOX \"/a*\"",
            "GETMETADATA INBOX \"/a%\"", "GETMETADATA INBOX \"/é\"", "GETMETADATA INBOX /",
            "GETMETADATA (FOO 1) INBOX /a", "GETMETADATA (DEPTH 2) INBOX /a",
            "GETMETADATA (MAXSIZE 4294967296) INBOX /a", "GETMETADATA () INBOX /a",
            "GETMETADATA (DEPTH 1) INBOX (DEPTH 1) /a", "SETMETADATA INBOX", "SETMETADATA INBOX ()",
            "SETMETADATA INBOX (/a)", "SETMETADATA INBOX (/a b)", "SETMETADATA INBOX /a \"b\"",
            "SETMETADATA INBOX (/a {1}\n\0)",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }
}
