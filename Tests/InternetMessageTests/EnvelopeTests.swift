import InternetMessage
import Testing

@Suite("ENVELOPE")
struct EnvelopeTests {
    @Test("has ten fields whatever the message is", arguments: ["", "\n", "junk", "a\n\nb", ":\n"])
    func alwaysTen(_ message: String) {
        #expect(envelope(message) == "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)")
    }

    @Test("a plain message; Sender and Reply-To are as From")
    func plain() {
        let text = """
            Date: Mon, 7 Feb 1994 21:52:25 -0800
            From: Fred Foobar <foobar@Blurdybloop.example>
            Subject: afternoon
             meeting
            To: mooch@owatagu.siam.edu.example
            To: second@example.org
            Message-Id: <B27397-0100000@Blurdybloop.example>
            In-Reply-To: <a@b>

            """
        let from = #"(("Fred Foobar" NIL "foobar" "Blurdybloop.example"))"#
        #expect(
            envelope(text) == """
                ("Mon, 7 Feb 1994 21:52:25 -0800" "afternoon meeting" \(from) \(from) \(from) \
                ((NIL NIL "mooch" "owatagu.siam.edu.example")(NIL NIL "second" "example.org")) \
                NIL NIL "<a@b>" "<B27397-0100000@Blurdybloop.example>")
                """
        )
    }

    @Test("an empty Sender is as From too; an empty Subject is no NIL")
    func emptySender() {
        let from = #"((NIL NIL "a" "b"))"#
        #expect(
            envelope("From: a@b\r\nSender: \r\nReply-To: ,\r\nSubject:\r\n\r\n")
                == "(NIL \"\" \(from) \(from) \(from) NIL NIL NIL NIL NIL)"
        )
    }

    @Test("the first of a field counts, in any case, with blanks before the colon")
    func firstCounts() {
        #expect(
            envelope("SUBJECT \t: one\nSubject: two\n\n")
                == #"(NIL "one" NIL NIL NIL NIL NIL NIL NIL NIL)"#
        )
    }

    @Test(
        "text that is not safe in quotes is a literal",
        arguments: [
            ("a \"b\"", "{5}\r\na \"b\""),
            ("a\\b", "{3}\r\na\\b"),
            ("a\u{0}b", "{3}\r\na\u{FFFD}b"),
            ("\u{e9}", "{2}\r\n\u{e9}"),
            ("a\rb", "\"a b\""),
            ("=?utf-8?q?=C3=A9?=", "\"=?utf-8?q?=C3=A9?=\""),
            ("a\n b", "\"a b\""),
            ("a\r\n\t b", "\"a\t b\""),
        ]
    )
    func literals(_ subject: String, _ expected: String) {
        #expect(
            envelope("Subject: \(subject)\n\n")
                == "(NIL \(expected) NIL NIL NIL NIL NIL NIL NIL NIL)"
        )
    }

    @Test("a long text is a literal", arguments: [0, 1])
    func longText(_ extra: Int) {
        let text = String(repeating: "x", count: Limits.quotedBytesMax + extra)
        let expected = extra == 0 ? "\"\(text)\"" : "{\(text.utf8.count)}\r\n\(text)"
        #expect(
            envelope("Subject: \(text)\n\n")
                == "(NIL \(expected) NIL NIL NIL NIL NIL NIL NIL NIL)"
        )
    }

    @Test("UTF-8 goes into quotes only where the session may have it, and only if it is UTF-8")
    func utf8() {
        #expect(
            envelope("Subject: \u{e9}\n\n", utf8: true)
                == "(NIL \"\u{e9}\" NIL NIL NIL NIL NIL NIL NIL NIL)"
        )
        let latin = Array("Subject: ".utf8) + [0xE9] + Array("\n\n".utf8)
        #expect(
            envelope(latin, utf8: true)
                == "(NIL {1}\r\n\u{FFFD} NIL NIL NIL NIL NIL NIL NIL NIL)"
        )
    }
}

@Suite("header blocks")
struct HeaderBlockTests {
    @Test(
        "end with the first empty line",
        arguments: [
            ("a: b\n\nc", 6), ("a: b\r\n\r\nc\n\n", 8), ("\n", 1), ("\r\nx", 2), ("a\n \n\nb", 5),
        ]
    )
    func complete(_ text: String, _ end: Int) {
        let bytes = Array(text.utf8)
        #expect(HeaderBlock.endIfComplete(in: bytes.span) == end)
        #expect(HeaderBlock.end(in: bytes.span) == end)
    }

    @Test("or have no end", arguments: ["", "a", "a\n", "a\n ", "a\r\r\n", "\r", "a\n\r"])
    func incomplete(_ text: String) {
        let bytes = Array(text.utf8)
        #expect(HeaderBlock.endIfComplete(in: bytes.span) == nil)
        #expect(HeaderBlock.end(in: bytes.span) == bytes.count)
    }
}

@Suite("addresses")
struct AddressTests {
    static let table: [(String, String)] = [
        ("a@b", #"((NIL NIL "a" "b"))"#),
        ("a@b, c@d", #"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("<a@b>", #"((NIL NIL "a" "b"))"#),
        ("A B <a@b>", #"(("A B" NIL "a" "b"))"#),
        ("John Q. Public <jqp@b.c>", #"(("John Q. Public" NIL "jqp" "b.c"))"#),
        (#""Public, John" <a@b>"#, #"(("Public, John" NIL "a" "b"))"#),
        (#""A \"B\"" <a@b>"#, "(({5}\r\nA \"B\" NIL \"a\" \"b\"))"),
        ("a@b (A (nested) B)", #"(("A (nested) B" NIL "a" "b"))"#),
        ("A (comment) B <a@b> (x)", #"(("A B" NIL "a" "b"))"#),
        (
            "=?utf-8?q?=C3=A9?= =?utf-8?q?x?= <a@b>",
            #"(("=?utf-8?q?=C3=A9?= =?utf-8?q?x?=" NIL "a" "b"))"#
        ),
        (#""john doe"@b"#, #"((NIL NIL "john doe" "b"))"#),
        ("john . doe @ example . com", #"((NIL NIL "john.doe" "example.com"))"#),
        ("a@[192.0.2.1]", #"((NIL NIL "a" "[192.0.2.1]"))"#),
        ("<@x,@y:a@b>", #"((NIL "@x,@y" "a" "b"))"#),
        // Groups.
        ("undisclosed-recipients:;", #"((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))"#),
        (
            "A Group: a@b, C <c@d>; e@f",
            #"((NIL NIL "A Group" NIL)(NIL NIL "a" "b")("C" NIL "c" "d")(NIL NIL NIL NIL)(NIL NIL "e" "f"))"#
        ),
        ("G: a@b", #"((NIL NIL "G" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))"#),
        // What people write.
        ("root", #"((NIL NIL "root" ""))"#),
        ("root (Cron Daemon)", #"(("Cron Daemon" NIL "root" ""))"#),
        ("undisclosed recipients", #"(("undisclosed recipients" NIL "" ""))"#),
        ("a@b <a@b>", #"(("a@b" NIL "a" "b"))"#),
        ("John a@b", #"(("John" NIL "a" "b"))"#),
        ("a@b c@d", #"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("<a@b> <c@d>", #"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("a@b; c@d;", #"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("a@b@c", #"((NIL NIL "a@b" "c"))"#),
        ("<a@b@c>", #"((NIL NIL "a@b" "c"))"#),
        ("Name <>", #"(("Name" NIL "" ""))"#),
        ("<a@b", #"((NIL NIL "a" "b"))"#),
        ("<a@b, c@d", #"((NIL NIL "a" "b")(NIL NIL "c" "d"))"#),
        ("\"A <a@b>", #"((NIL NIL "A <a@b>" ""))"#),
        ("a@b (x", #"(("x" NIL "a" "b"))"#),
        ("A\r\n B\r\n <a@b>", #"(("A B" NIL "a" "b"))"#),
        // Nothing is NIL, not ().
        ("", "NIL"), (",", "NIL"), ("<>", "NIL"), ("(x)", "NIL"), (" , ;", "NIL"), ("\"\"", "NIL"),
    ]

    @Test("as ENVELOPE has them", arguments: table)
    func list(_ value: String, _ expected: String) {
        #expect(addresses(Array(value.utf8)) == expected)
    }

    @Test("8-bit names are literals, or quoted where UTF-8 may go out")
    func eightBit() {
        #expect(addresses(Array("\u{e9} <a@b>".utf8)) == "(({2}\r\n\u{e9} NIL \"a\" \"b\"))")
        #expect(
            addresses(Array("\u{e9} <a@b>".utf8), utf8: true) == "((\"\u{e9}\" NIL \"a\" \"b\"))"
        )
    }
}
