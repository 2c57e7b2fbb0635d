import Bytes
import Testing

@testable import IMAPWire

@Suite("commands")
struct GrammarTests {
    @Test(
        "accepts",
        arguments: [
            ("CAPABILITY", .capability), ("noop", .noop), ("LogOut", .logout),
            ("NOOP  ", .noop), ("IDLE", .idle), ("NAMESPACE", .namespace), ("CHECK", .check),
            ("CLOSE", .close), ("UNSELECT", .unselect), ("EXPUNGE", .expunge),
            ("STARTTLS", .startTLS), ("UNAUTHENTICATE", .unauthenticate),
            ("ID NIL", .id(nil)), ("id nil", .id(nil)), ("ID ()", .id([])),
            (
                #"ID ("name" "Thunderbird" "version" NIL)"#,
                .id([
                    IDField(name: bytes("name"), value: bytes("Thunderbird")),
                    IDField(name: bytes("version"), value: nil),
                ])
            ),
            ("LOGIN ann secret", .login(user: bytes("ann"), password: bytes("secret"))),
            (
                #"login "ann" "a\"b\\c""#,
                .login(user: bytes("ann"), password: bytes(#"a"b\c"#))
            ),
            ("LOGIN {3}\nann {4+}\np ]{", .login(user: bytes("ann"), password: bytes("p ]{"))),
            (#"LOGIN "änn" """#, .login(user: bytes("änn"), password: [])),
            ("LOGIN a]b ]", .login(user: bytes("a]b"), password: bytes("]"))),
            (
                "AUTHENTICATE PLAIN",
                .authenticate(mechanism: bytes("PLAIN"), initialResponse: nil)
            ),
            (
                "authenticate plain AGEAYg==",
                .authenticate(mechanism: bytes("PLAIN"), initialResponse: [0, 97, 0, 98])
            ),
            (
                "AUTHENTICATE EXTERNAL =",
                .authenticate(mechanism: bytes("EXTERNAL"), initialResponse: [])
            ),
            ("ENABLE UTF8=accept Condstore", .enable([bytes("UTF8=ACCEPT"), bytes("CONDSTORE")])),
            ("DELETE foo", .delete("foo")), (#"DELETE "a b""#, .delete("a b")),
            ("RENAME a {1}\nb", .rename(from: "a", to: "b")),
            ("SUBSCRIBE NIL", .subscribe("NIL")), ("UNSUBSCRIBE &-x", .unsubscribe("&-x")),
            ("COPY 1:* foo", .copy(kind: .sequenceNumber, set: set((1, 0)), mailbox: "foo")),
            ("UID COPY 7 foo", .copy(kind: .uid, set: set((7, 7)), mailbox: "foo")),
            ("uid  move $ foo", .move(kind: .uid, set: .saved, mailbox: "foo")),
            (
                "MOVE 2,4 foo",
                .move(kind: .sequenceNumber, set: set((2, 2), (4, 4)), mailbox: "foo")
            ),
            ("UID EXPUNGE 1:3", .uidExpunge(set((1, 3)))),
            ("COMPRESS deflate", .compress(algorithm: bytes("DEFLATE"))),
            ("LANGUAGE", .language([])),
            ("LANGUAGE de \"en\"", .language([bytes("de"), bytes("en")])),
            ("CANCELUPDATE \"A1\" \"A2\"", .cancelUpdate([bytes("A1"), bytes("A2")])),
        ] as [(String, CommandBody)]
    )
    func accepts(_ text: String, _ body: CommandBody) throws {
        #expect(try parse(text) == body)
    }

    @Test(
        "rejects",
        arguments: [
            "", " ", "FOO", "NOOP x", "CAPABILITY(", "NO-OP", "NOOP\t", "LOGIN", "LOGIN a",
            "LOGIN a b c", "LOGIN a \"b", "LOGIN a \"b\\n\"", "LOGIN a (b)", "LOGIN a\tb",
            "LOGIN a \"b\"c", "LOGIN a {1}", "LOGIN a b%", "LOGIN a *", "LOGIN é x",
            "LOGIN a {1}\n\0", "LOGIN a \"\0\"", "LOGIN a \"b\rc\"", "LOGIN a \"b\nc\"",
            "LOGIN a ~{1}\nb", "AUTHENTICATE", "AUTHENTICATE PLAIN AGE", "AUTHENTICATE PLAIN ==",
            "AUTHENTICATE PLAIN A A", "ENABLE", "ENABLE (X)", "UID", "UID NOOP", "UID APPEND",
            "UID UID FETCH 1 UID", "UIDFETCH 1 UID", "ID", "ID (\"a\")", "ID (\"a\" b)",
            "ID NILx", "ID (NIL NIL", "EXPUNGE 1", "UID EXPUNGE", "UID EXPUNGE 0", "COPY 1",
            "COPY foo", "COPY 1 foo bar", "DELETE", "DELETE a b", "RENAME a", "SELECT",
            "CANCELUPDATE", "COMPRESS", "STARTTLS x", "IDLE x",
        ]
    )
    func rejects(_ text: String) {
        #expect(expected(text) != nil)
    }

    @Test(
        "rejects lines without a command",
        arguments: ["", "a", "a ", " a NOOP", "* NOOP", "+ NOOP", "a+ NOOP", "a( NOOP", "é NOOP"]
    )
    func rejectsLines(_ text: String) {
        #expect(throws: SyntaxError.self) { try parse(bytes: wire(text)) }
    }

    @Test("the error carries the tag if there is one, and no byte of the client's")
    func errors() {
        for (text, tag) in [
            ("A1 FOO", "A1"), ("A1", "A1"), ("A1 LOGIN (", "A1"), ("* NOOP", nil),
            ("a+ NOOP", nil), ("a\"b NOOP", nil),
        ] as [(String, String?)] {
            do {
                _ = try parse(bytes: wire(text))
                Issue.record("accepted \(text)")
            } catch {
                #expect(error.tag?.text == tag)
                var buffer = ByteBuffer()
                buffer.append(error)
                #expect(buffer.bytes.text.hasPrefix((tag ?? "*") + " BAD Expected "))
            }
        }
    }

    @Test("a tag at the limit and one above")
    func tagLimit() throws {
        let tag = String(repeating: "t", count: Limits.tagBytesMax)
        #expect(try parse(bytes: wire(tag + " NOOP")).tag == bytes(tag))
        #expect(throws: SyntaxError.self) { try parse(bytes: wire(tag + "t NOOP")) }
        let long = wire(tag + "t NOOP")
        let none = Grammar.tag(of: long.span)
        #expect(none == nil)
    }

    @Test("a bare LF ends a command, anything behind the end is refused")
    func lineEnds() throws {
        #expect(try parse(bytes: bytes("a NOOP\n")).body == .noop)
        #expect(throws: SyntaxError.self) { try parse(bytes: bytes("a NOOP\r\n\r\n")) }
        #expect(throws: SyntaxError.self) { try parse(bytes: bytes("a NOOP")) }
        #expect(throws: SyntaxError.self) { try parse(bytes: bytes("a NOOP\r\r\n")) }
    }

    @Test("ID at its limits and one above")
    func idLimits() throws {
        func id(_ count: Int, _ name: Int, _ value: Int) -> String {
            let field =
                "\"" + String(repeating: "n", count: name) + "\" \""
                + String(repeating: "v", count: value) + "\""
            return "ID (" + Array(repeating: field, count: count).joined(separator: " ") + ")"
        }
        _ = try parse(id(30, 30, 1_024))
        #expect(expected(id(31, 1, 1)) == "fewer elements in the list")
        #expect(expected(id(1, 31, 1)) == "a shorter field")
        #expect(expected(id(1, 1, 1_025)) == "a shorter field")
    }

    @Test("a list at its limit and one above")
    func listLimit() throws {
        func enable(_ count: Int) -> String {
            "ENABLE" + String(repeating: " X", count: count)
        }
        _ = try parse(enable(Limits.listCountMax))
        #expect(expected(enable(Limits.listCountMax + 1)) == "fewer elements in the list")
    }

    @Test("every command name is found in any case")
    func names() {
        for name in ["append", "Authenticate", "UNAUTHENTICATE", "getquotaroot"] {
            let word = bytes(name)
            let found = CommandName.all[word.span, 0..<word.count]
            #expect(found != nil)
        }
        let wrong = bytes("UNAUTHENTICATED")
        let found = CommandName.all[wrong.span, 0..<wrong.count]
        #expect(found == nil)
    }

    @Test("APPEND is left to its own grammar")
    func append() {
        #expect(expected("APPEND x {1}\nx") == "a message")
        #expect(expected("UID REPLACE 1 x {1}\nx") == "a message")
    }
}

@Suite("sequence-set")
struct SequenceSetTests {
    func parseSet(_ text: String) throws(SyntaxError) -> SequenceSet {
        guard case .uidExpunge(let set) = try parse("UID EXPUNGE " + text) else {
            throw SyntaxError(at: 0, expected: "")
        }
        return set
    }

    @Test(
        "accepts",
        arguments: [
            ("1", set((1, 1))), ("4:2", set((4, 2))), ("9:*", set((9, 0))), ("*:9", set((0, 9))),
            ("*", set((0, 0))), ("$", .saved),
            (
                "1,3:5,$",
                SequenceSet(
                    [SetRange(1), SetRange(first: .number(3), last: .number(5))],
                    namesSaved: true
                )
            ),
            ("1,3:5,*", set((1, 1), (3, 5), (0, 0))),
            ("4294967295", set((4_294_967_295, 4_294_967_295))),
        ]
    )
    func accepts(_ text: String, _ expected: SequenceSet) throws {
        #expect(try parseSet(text) == expected)
    }

    @Test(
        "rejects",
        arguments: [
            "0", "1,", "1:", ":1", ",1", "1,,2", "1:2:3", "4294967296", "٣", "1 2", "01", "-1",
            "$,1", "$,$", "1:$", "**", "18446744073709551617", "a",
        ]
    )
    func rejects(_ text: String) {
        #expect(throws: SyntaxError.self) { try parseSet(text) }
    }

    @Test("ranges at the limit and one above")
    func limit() throws {
        let fits = "1" + String(repeating: ",1", count: Limits.setRangeCountMax - 1)
        _ = try parseSet(fits)
        #expect(expected("UID EXPUNGE " + fits + ",1") == "fewer ranges")
    }

    @Test("a range stays small")
    func size() { #expect(MemoryLayout<SetRange>.size == 8) }

    @Test(
        "resolves to ascending, joined ranges",
        arguments: [
            ("1", [1...1]), ("4:2", [2...4]), ("9:*", [7...9]), ("*", [7...7]),
            ("3,1,2", [1...3]), ("1:5,3:4,7", [1...5, 7...7]), ("5:*,1", [1...1, 5...7]),
            ("4294967295,4294967294,1", [1...1, 4_294_967_294...4_294_967_295]),
            ("1:4294967295,5", [1...4_294_967_295]),
        ] as [(String, [ClosedRange<UInt32>])]
    )
    func resolves(_ text: String, _ expected: [ClosedRange<UInt32>]) throws {
        #expect(try parseSet(text).resolved(largest: 7) == expected)
    }

    @Test("`$` is what it is said to be, and `*` is seen")
    func special() throws {
        #expect(SequenceSet.saved.resolved(largest: 7) == [])
        #expect(SequenceSet.saved.resolved(largest: 7, saved: [2, 3, 9]) == [2...3, 9...9])
        #expect(try parseSet("8,1,$").resolved(largest: 7, saved: [2, 9]) == [1...2, 8...9])
        #expect(try parseSet("1,5:*").namesLargest)
        #expect(try !parseSet("1,5:7").namesLargest)
        #expect(try parseSet("1,9:5,*").largestNumber == 9)
    }
}

@Suite("mailbox names")
struct MailboxNameTests {
    @Test(
        "in modified UTF-7",
        arguments: [
            ("INBOX", "INBOX"), ("inbox", "INBOX"), ("iNbOx.a", "INBOX.a"), ("inboxes", "inboxes"),
            ("a.inbox", "a.inbox"), ("Entw&APw-rfe", "Entwürfe"), ("R&-D", "R&D"), ("", ""),
            ("R&D", nil), ("ü", nil), ("a\u{1}", nil), ("&AAE-", nil), ("&AIU-", nil),
            ("&ICg-", nil), ("inbox/a", "inbox/a"),
        ]
    )
    func seven(_ name: String, _ decoded: String?) {
        let result = MailboxName(bytes(name)).decoded(isUTF8: false, separator: 0x2E)
        #expect(result?.text == decoded)
    }

    @Test(
        "in UTF-8",
        arguments: [
            ("inbox", "INBOX"), ("R&D", "R&D"), ("R&-D", "R&-D"), ("ü", "ü"), ("a\u{7F}", nil),
            ("a\u{85}", nil), ("a\u{2028}", nil), ("a\u{2030}", "a\u{2030}"), ("\u{A0}", "\u{A0}"),
        ]
    )
    func eight(_ name: String, _ decoded: String?) {
        let result = MailboxName(bytes(name)).decoded(isUTF8: true, separator: 0x2E)
        #expect(result?.text == decoded)
    }

    @Test("broken UTF-8 is no name")
    func broken() {
        #expect(MailboxName([0x61, 0xFF]).decoded(isUTF8: true, separator: 0x2E) == nil)
    }
}
