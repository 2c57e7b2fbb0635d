import Testing

@testable import IMAPWire

@Suite("FETCH")
struct GrammarFetchTests {
    static func section(
        _ part: [UInt32] = [],
        _ kind: SectionSpecifier.Kind = .entire,
        peek: Bool = false,
        _ offset: UInt64? = nil,
        _ count: UInt64 = 1
    ) -> FetchItem {
        .bodySection(
            SectionSpecifier(part: part, kind: kind),
            partial: offset.map { OctetRange(offset: $0, count: count) },
            peek: peek
        )
    }

    @Test(
        "items",
        arguments: [
            ("FLAGS", [.flags]), ("(uid Flags)", [.uid, .flags]), ("(UID FLAGS )", [.uid, .flags]),
            ("ALL", [.flags, .internalDate, .rfc822Size, .envelope]),
            ("fast", [.flags, .internalDate, .rfc822Size]),
            ("FULL", [.flags, .internalDate, .rfc822Size, .envelope, .body]),
            ("BODY", [.body]), ("BODYSTRUCTURE", [.bodyStructure]),
            ("(BODY BODYSTRUCTURE)", [.body, .bodyStructure]),
            (
                "(RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)",
                [.rfc822, .rfc822Header, .rfc822Text, .rfc822Size]
            ),
            ("BODY[]", [section()]), ("body.peek[]", [section(peek: true)]),
            ("BODY[]<0.65536>", [section([], .entire, 0, 65_536)]),
            ("BODY.PEEK[1.2.3]<5.1>", [section([1, 2, 3], .entire, peek: true, 5, 1)]),
            ("BODY[HEADER]", [section([], .header)]), ("BODY[TEXT]", [section([], .text)]),
            ("BODY[1.MIME]", [section([1], .mime)]),
            ("BODY[4.2.HEADER]", [section([4, 2], .header)]),
            (
                "BODY.PEEK[HEADER.FIELDS (From \"To\" X-Priority)]",
                [
                    section(
                        [],
                        .headerFields([bytes("From"), bytes("To"), bytes("X-Priority")]),
                        peek: true
                    )
                ]
            ),
            (
                "BODY[3.HEADER.FIELDS.NOT ({4}\nDate)]",
                [section([3], .headerFieldsNot([bytes("Date")]))]
            ),
            (
                "(BINARY[] BINARY.PEEK[1]<0.4> BINARY.SIZE[2.1])",
                [
                    .binary(part: [], partial: nil, peek: false),
                    .binary(part: [1], partial: OctetRange(offset: 0, count: 4), peek: true),
                    .binarySize(part: [2, 1]),
                ]
            ),
            (
                "(MODSEQ EMAILID THREADID SAVEDATE PREVIEW)",
                [.modSeq, .emailID, .threadID, .saveDate, .preview(lazy: false)]
            ),
            ("(PREVIEW (LAZY) UID)", [.preview(lazy: true), .uid]),
            ("PREVIEW (LAZY)", [.preview(lazy: true)]),
        ] as [(String, [FetchItem])]
    )
    func items(_ text: String, _ items: [FetchItem]) throws {
        #expect(
            try parse("FETCH 1:5 " + text)
                == .fetch(FetchCommand(kind: .sequenceNumber, set: set((1, 5)), items: items))
        )
    }

    @Test("UID form and modifiers")
    func modifiers() throws {
        var command = FetchCommand(kind: .uid, set: set((1, 0)), items: [.flags])
        command.changedSince = ModSeq(0)
        #expect(try parse("UID fetch 1:* (FLAGS) (CHANGEDSINCE 0)") == .fetch(command))
        command.changedSince = ModSeq(9_223_372_036_854_775_807)
        command.vanished = true
        #expect(
            try parse("UID FETCH 1:* (FLAGS) (changedsince 9223372036854775807 VANISHED)")
                == .fetch(command)
        )
        command.changedSince = nil
        command.vanished = false
        command.partial = PartialRange(first: 1, last: 500, isFromEnd: true)
        #expect(try parse("UID FETCH 1:* FLAGS (PARTIAL -1:-500)") == .fetch(command))
    }

    @Test(
        "rejects",
        arguments: [
            "FETCH", "FETCH 1", "FETCH 1 ()", "FETCH 1 FOO", "FETCH 1 (FLAGS", "FETCH 1 FLAGS UID",
            "FETCH 1 (FLAGS)x", "FETCH 1 (ALL)", "FETCH 1 (FAST UID)", "FETCH 1 (UID FULL)",
            "FETCH 1 FAST UID", "FETCH 0 FLAGS", "FETCH 1 BODY[", "FETCH 1 BODY[FOO]",
            "FETCH 1 BODY[0]", "FETCH 1 BODY[1.]", "FETCH 1 BODY[1.0]", "FETCH 1 BODY[.1]",
            "FETCH 1 BODY[MIME]", "FETCH 1 BODY[1MIME]", "FETCH 1 BODY[HEADER.FIELDS]",
            "FETCH 1 BODY[HEADER.FIELDS ()]", "FETCH 1 BODY[HEADER.FIELDS (a]", "FETCH 1 BODY[]<>",
            "FETCH 1 BODY[]<1>", "FETCH 1 BODY[]<1.0>", "FETCH 1 BODY[]<1.2",
            "FETCH 1 BODY[]<-1.2>",
            "FETCH 1 BODY[]<9223372036854775808.1>", "FETCH 1 BODY.PEEK", "FETCH 1 BODYSTRUCTURE[]",
            "FETCH 1 BINARY", "FETCH 1 BINARY[HEADER]", "FETCH 1 BINARY.SIZE[1]<0.1>",
            "FETCH 1 BODY[4294967296]", "FETCH 1 RFC822.PEEK", "FETCH 1 PREVIEW (SLOW)",
            "FETCH 1 PREVIEW ()", "FETCH 1 FLAGS ()", "FETCH 1 FLAGS (FOO)",
            "FETCH 1 FLAGS (CHANGEDSINCE)", "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
            "UID FETCH 1 FLAGS (VANISHED)", "UID FETCH 1 FLAGS (PARTIAL 1)",
            "FETCH 1 FLAGS (PARTIAL 1:2)", "UID FETCH 1 FLAGS (PARTIAL 1:2 PARTIAL 1:2)",
            "UID FETCH 1 FLAGS (PARTIAL 0:1)",
            "UID FETCH 1 FLAGS (PARTIAL -1:2)", "UID FETCH 1 FLAGS (PARTIAL 1:-2)",
            "UID FETCH 1 FLAGS (PARTIAL 1:*)",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }

    @Test("limits, and one above")
    func limits() throws {
        func flags(_ count: Int) -> String {
            "FETCH 1 (" + Array(repeating: "UID", count: count).joined(separator: " ") + ")"
        }
        _ = try parse(flags(Limits.fetchItemCountMax))
        #expect(expected(flags(Limits.fetchItemCountMax + 1)) == "fewer elements in the list")
        func fields(_ count: Int) -> String {
            "FETCH 1 BODY[HEADER.FIELDS ("
                + Array(repeating: "To", count: count).joined(separator: " ") + ")]"
        }
        _ = try parse(fields(Limits.headerFieldCountMax))
        #expect(expected(fields(Limits.headerFieldCountMax + 1)) == "fewer elements in the list")
        func part(_ count: Int) -> String {
            "FETCH 1 BODY[" + Array(repeating: "1", count: count).joined(separator: ".") + "]"
        }
        _ = try parse(part(Limits.sectionDepthMax))
        #expect(expected(part(Limits.sectionDepthMax + 1)) == "fewer part numbers")
    }

    @Test(
        "a window on a result",
        arguments: [
            (1, 3, false, 0..<3), (3, 1, false, 0..<3), (9, 20, false, 8..<10),
            (11, 20, false, 10..<10), (1, 1, true, 9..<10), (1, 3, true, 7..<10),
            (3, 1, true, 7..<10), (9, 40, true, 0..<2), (11, 40, true, 0..<0),
        ] as [(UInt32, UInt32, Bool, Range<Int>)]
    )
    func window(_ first: UInt32, _ last: UInt32, _ fromEnd: Bool, _ indices: Range<Int>) {
        let range = PartialRange(first: first, last: last, isFromEnd: fromEnd)
        #expect(range.indices(count: 10) == indices)
        #expect(range.indices(count: 0).isEmpty)
    }

    @Test("which items set \\Seen")
    func seen() {
        #expect(FetchItem.rfc822.setsSeen)
        #expect(FetchItem.rfc822Text.setsSeen)
        #expect(!FetchItem.rfc822Header.setsSeen)
        #expect(Self.section().setsSeen)
        #expect(!Self.section(peek: true).setsSeen)
        #expect(!FetchItem.binarySize(part: [1]).setsSeen)
    }
}

@Suite("STORE")
struct GrammarStoreTests {
    @Test(
        "accepts",
        arguments: [
            (
                "STORE 1 FLAGS (\\Seen)",
                StoreCommand(
                    kind: .sequenceNumber,
                    set: set((1, 1)),
                    operation: .replace,
                    flags: [.seen]
                )
            ),
            (
                "uid store 5 +Flags (\\Seen $MDNSent)",
                StoreCommand(
                    kind: .uid,
                    set: set((5, 5)),
                    operation: .add,
                    flags: [.seen, .keyword(bytes("$MDNSent"))]
                )
            ),
            (
                "STORE 1:* -flags.silent \\deleted \\ANSWERED Junk",
                StoreCommand(
                    kind: .sequenceNumber,
                    set: set((1, 0)),
                    operation: .remove,
                    isSilent: true,
                    flags: [.deleted, .answered, .keyword(bytes("Junk"))]
                )
            ),
            (
                "STORE 1 FLAGS ()",
                StoreCommand(
                    kind: .sequenceNumber,
                    set: set((1, 1)),
                    operation: .replace,
                    flags: []
                )
            ),
            (
                "STORE $ (UNCHANGEDSINCE 12) +FLAGS.SILENT (\\Draft)",
                StoreCommand(
                    kind: .sequenceNumber,
                    set: .saved,
                    operation: .add,
                    isSilent: true,
                    flags: [.draft],
                    unchangedSince: ModSeq(12)
                )
            ),
        ] as [(String, StoreCommand)]
    )
    func accepts(_ text: String, _ command: StoreCommand) throws {
        #expect(try parse(text) == .store(command))
    }

    @Test(
        "rejects",
        arguments: [
            "STORE 1 FLAGS (\\Recent)", "STORE 1 +FLAGS \\Recent",
            "STORE 1", "STORE 1 FLAGS", "STORE 1 (\\Seen)", "STORE 1 FLAGS \\Foo",
            "STORE 1 FLAGS (\\Seen", "STORE 1 FLAGS (a(b)", "STORE 1 FLAGS (\\*)",
            "STORE 1 FLAGS (a*)",
            "STORE 1 FLAGS (a]b)", "STORE 1 *FLAGS (a)", "STORE 1 FLAGS.LOUD (a)",
            "STORE 1 + FLAGS (a)", "STORE 1 FLAGSX (a)", "STORE 1 FLAGS (\"a\")",
            "STORE 1 (FOO 1) FLAGS (a)", "STORE 1 (UNCHANGEDSINCE) FLAGS (a)", "STORE 1 FLAGS (é)",
            "STORE 1 FLAGS (a) b",
        ]
    )
    func rejects(_ text: String) { #expect(expected(text) != nil) }

    @Test("limits, and one above")
    func limits() throws {
        let keyword = String(repeating: "k", count: Limits.keywordBytesMax)
        _ = try parse("STORE 1 FLAGS (\(keyword))")
        #expect(expected("STORE 1 FLAGS (\(keyword)k)") == "a shorter keyword")
        func flags(_ count: Int) -> String {
            "STORE 1 FLAGS (" + Array(repeating: "k", count: count).joined(separator: " ") + ")"
        }
        _ = try parse(flags(Limits.flagCountMax))
        #expect(expected(flags(Limits.flagCountMax + 1)) == "fewer elements in the list")
    }
}
