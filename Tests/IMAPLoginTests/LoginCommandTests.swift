import Testing

@testable import IMAPLogin

private func parse(_ text: String) throws(LoginSyntaxError) -> LoginCommand {
    try LoginCommand(parsing: Array(text.utf8))
}
private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite("commands before login")
struct LoginCommandTests {
    @Test(
        "accepts",
        arguments: [
            ("a capability", .capability),
            ("a NOOP", .noop),
            ("A.1-/]x LOGOUT", .logout),
            ("a StartTLS", .startTLS),
            ("a ID NIL", .id), ("a ID ()", .id),
            (#"a ID ("name" "x" "version" NIL)"#, .id),
            ("a ID ({4+}\r\nname {1+}\r\nx)", .id),
            ("a LOGIN ann secret", .login(user: bytes("ann"), password: bytes("secret"))),
            (
                #"a LOGIN "a\"n\\n" """#,
                .login(user: bytes("a\"n\\n"), password: [])
            ),
            (
                "a LOGIN {3}\r\nann {4+}\r\n\r\n\"x",
                .login(user: bytes("ann"), password: bytes("\r\n\"x"))
            ),
            (
                "a LOGIN ann@x.org \"pässwörd\"",
                .login(user: bytes("ann@x.org"), password: bytes("pässwörd"))
            ),
            ("a LOGIN a] +b", .login(user: bytes("a]"), password: bytes("+b"))),
            ("a AUTHENTICATE PLAIN", .authenticate(mechanism: bytes("PLAIN"), initial: nil)),
            ("a authenticate login =", .authenticate(mechanism: bytes("LOGIN"), initial: [])),
            (
                "a AUTHENTICATE X AGEAYg==",
                .authenticate(mechanism: bytes("X"), initial: bytes("AGEAYg=="))
            ),
            ("a SELECT {99", .other), ("a X", .other), ("GET / HTTP/1.1", .other),
        ] as [(String, LoginCommand.Name)]
    )
    func accepts(_ text: String, _ name: LoginCommand.Name) throws {
        #expect(try parse(text).name == name)
    }

    @Test(
        "rejects, and says so to the tag",
        arguments: [
            "a NOOP ", "a NOOP x", "a  NOOP x", "a LOGIN", "a LOGIN ", "a LOGIN ann",
            "a LOGIN ann ", "a LOGIN ann pw ", "a LOGIN ann pw x", #"a LOGIN "ann pw"#,
            #"a LOGIN "\x" pw"#, "a LOGIN \"a\r\" pw", "a LOGIN (a) b", "a LOGIN {3} pw",
            "a LOGIN {9}\r\nann pw", "a LOGIN {3", "a LOGIN {\r\n", "a LOGIN ann {1}\r\n\0",
            "a LOGIN ann pä", "a LOGIN a%b c", "a AUTHENTICATE", "a AUTHENTICATE ",
            "a AUTHENTICATE PLAIN ", "a AUTHENTICATE PLAIN = =", "a ID", "a ID (", "a ID (x y)",
            #"a ID ("a")"#, #"a ID ("a" )"#, #"a ID ("a" "b" )"#, "a ID NILx", "a",
        ]
    )
    func rejects(_ text: String) {
        #expect { try parse(text) } throws: { ($0 as? LoginSyntaxError)?.tag == bytes("a") }
    }

    @Test(
        "a wrong tag is not echoed",
        arguments: ["", " NOOP", "+ NOOP", "* NOOP", "a+b NOOP", "(a) NOOP", "ä NOOP", "\0 NOOP"]
    )
    func badTag(_ text: String) {
        #expect { try parse(text) } throws: { error in
            guard let tag = (error as? LoginSyntaxError)?.tag else { return false }
            return tag.isEmpty || tag == bytes("a")
        }
    }

    @Test("tags: the limit and one more")
    func tagLimit() throws {
        let tag = String(repeating: "t", count: LoginLimits.tagBytesMax)
        #expect(try parse(tag + " NOOP").tag == bytes(tag))
        #expect(throws: LoginSyntaxError.self) { try parse(tag + "t NOOP") }
    }

    @Test("ID: the limit of pairs and one more")
    func idLimit() throws {
        func id(_ count: Int) -> String {
            "a ID (" + Array(repeating: #""k" "v""#, count: count).joined(separator: " ") + ")"
        }
        #expect(try parse(id(LoginLimits.idPairCountMax)).name == .id)
        #expect(throws: LoginSyntaxError.self) { try parse(id(LoginLimits.idPairCountMax + 1)) }
    }

    @Test("any bytes return")
    func fuzz() {
        var generator = SystemRandomNumberGenerator()
        let seeds = [
            "a LOGIN \"ann\" {3}\r\npwd", "a ID (\"a\" NIL)", "a AUTHENTICATE PLAIN AGEAYg==",
        ]
        for _ in 0..<20_000 {
            var input = bytes(seeds.randomElement(using: &generator) ?? "")
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: 0..<input.count, using: &generator)
                switch Int.random(in: 0...2, using: &generator) {
                case 0: input[index] = .random(in: 0...255, using: &generator)
                case 1: input.insert(.random(in: 0...255, using: &generator), at: index)
                default: input.remove(at: index)
                }
                if input.isEmpty { break }
            }
            _ = try? LoginCommand(parsing: input)
        }
    }
}

@Suite("PLAIN")
struct CredentialsTests {
    @Test(
        "accepts",
        arguments: ["\0ann\0secret", "ann\0ann\0secret"]
    )
    func accepts(_ text: String) throws {
        #expect(
            try Credentials.plain(bytes(text))
                == Credentials(user: bytes("ann"), password: bytes("secret"))
        )
    }

    @Test(
        "rejects",
        arguments: [
            ("", .malformed), ("ann", .malformed), ("\0ann", .malformed), ("\0\0", .malformed),
            ("\0\0secret", .malformed), ("\0ann\0sec\0ret", .malformed),
            ("bob\0ann\0secret", .otherIdentity), ("Ann\0ann\0x", .otherIdentity),
        ] as [(String, Credentials.Refusal)]
    )
    func rejects(_ text: String, _ expected: Credentials.Refusal) {
        #expect(throws: expected) { try Credentials.plain(bytes(text)) }
    }
}
