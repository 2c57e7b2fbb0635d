import Testing

@testable import Bytes
@testable import IMAPLogin
@testable import Posix
@testable import Privsep

/// A client in memory: gives its input in pieces, keeps what it is sent.
@EventLoop
private final class MemoryStream: ByteStream {
    private var pieces: [[UInt8]]
    private(set) var output: [UInt8] = []
    private var isInterrupted = false
    private(set) var deadlines: [Instant] = []
    /// What waiting for input means when there is none: the end, or the deadline.
    var timesOut = false

    init(_ pieces: [[UInt8]]) { self.pieces = pieces }

    func waitForInput(until deadline: Instant?) async -> WaitOutcome {
        if let deadline { deadlines.append(deadline) }
        await EventLoop.yield()
        if isInterrupted {
            isInterrupted = false
            return .interrupted
        }
        return pieces.isEmpty && timesOut ? .timedOut : .ready
    }

    private var gaveNothing = false

    func read(into buffer: inout [UInt8], max: Int) throws(StreamClosed) -> Int {
        // Every second call finds nothing, as a socket would between two packets.
        gaveNothing.toggle()
        if gaveNothing { return 0 }
        guard let piece = pieces.first else {
            if timesOut { return 0 }
            throw StreamClosed()
        }
        let part = piece.prefix(max)
        buffer.append(contentsOf: part)
        if part.count == piece.count {
            pieces.removeFirst()
        } else {
            pieces[0] = Array(piece.dropFirst(part.count))
        }
        return part.count
    }

    func interrupt() { isInterrupted = true }
    func write(_ bytes: [UInt8]) async throws(StreamClosed) { output += bytes }
    func close() {}
}

/// How a conversation is run and what it leaves.
private struct Outcome: Sendable {
    var output = ""
    var end = ConversationEnd.closed
    /// `METHOD user password` of each attempt.
    var attempts: [String] = []
    var handedOver: ApprovedLogin?
}

private func converse(
    _ pieces: [String],
    security: Security = .implicitTLS,
    isLoopback: Bool = false,
    policy: LoginPolicy = LoginPolicy(plaintextLogin: .loopback, offersTLS: true),
    result: AuthResult = .approved(Ticket(high: 1, low: 2)),
    startWorks: Bool = true,
    timesOut: Bool = false,
    dismissal: StaticString? = nil
) async throws -> Outcome {
    try await EventLoop.test {
        let stream = MemoryStream(pieces.map { Array($0.utf8) })
        stream.timesOut = timesOut
        let log = Collected()
        let conversation = LoginConversation(
            stream,
            ConnectionInfo(
                session: SessionID(1),
                remote: Array("192.0.2.7:1".utf8),
                local: Array("192.0.2.1:143".utf8),
                security: security,
                isLoopback: isLoopback
            ),
            policy: policy,
            authenticate: { method, user, password in
                log.attempts.append("\(method.name) \(user.text) \(password.reveal { $0.text })")
                return result
            },
            handOver: { login in
                log.login = login
                return startWorks
            }
        )
        if let dismissal { conversation.dismiss(dismissal) }
        let end = await conversation.run()
        return Outcome(
            output: stream.output.text,
            end: end,
            attempts: log.attempts,
            handedOver: log.login
        )
    }
}

@EventLoop
private final class Collected {
    var attempts: [String] = []
    var login: ApprovedLogin?
}

private let greeting =
    "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE LANGUAGE AUTH=PLAIN"
    + " AUTH=LOGIN] Martlet ready.\r\n"
private let failed = "a NO [AUTHENTICATIONFAILED] Wrong user name or password.\r\n"
/// `\0ann\0sesame`.
private let plain = "AGFubgBzZXNhbWU="

@Suite("the conversation before login")
struct LoginConversationTests {
    @Test(
        "what a client says and hears, whole and byte by byte",
        arguments: [
            ("a NOOP\r\n", "a OK Done.\r\n"),
            ("a ID NIL\r\n", "* ID (\"name\" \"Martlet\")\r\na OK Done.\r\n"),
            (
                "a LANGUAGE\r\n", "* LANGUAGE (\"i-default\" \"en\")\r\na OK Languages listed.\r\n"
            ),
            (
                "a language DE \"en-GB\"\r\n", "* LANGUAGE (\"en\")\r\na OK Language chosen.\r\n"
            ),
            ("a LANGUAGE *\r\n", "a BAD Expected a string\r\n"),
            (
                "a LANGUAGE \"*\"\r\n", "* LANGUAGE (\"i-default\")\r\na OK Language chosen.\r\n"
            ),
            ("a LANGUAGE de eng\r\n", "a NO Texts are in English only.\r\n"),
            ("a LANGUAGE \r\n", "a BAD Expected a string\r\n"),
            ("a LOGOUT\r\nb NOOP\r\n", "* BYE Until next time.\r\na OK Done.\r\n"),
            ("a SELECT INBOX\r\n", "a BAD Unknown command, or not before login.\r\n"),
            ("* NOOP\r\n", "* BAD Expected a tag\r\n"),
            ("a STARTTLS\r\n", "a BAD TLS is not to be had here, or is already on.\r\n"),
            ("a AUTHENTICATE GSSAPI\r\n", "a NO Unknown mechanism.\r\n"),
            ("a AUTHENTICATE PLAIN\r\n*\r\n", "+ \r\na BAD Cancelled.\r\n"),
            ("a AUTHENTICATE PLAIN *\r\n", "a BAD Cancelled.\r\n"),
            ("a AUTHENTICATE PLAIN =\r\n", "a BAD Not what the mechanism says.\r\n"),
            ("a AUTHENTICATE PLAIN AGFu\r\n", "a BAD Not what the mechanism says.\r\n"),
            ("a AUTHENTICATE PLAIN AGFubgBzZXNhbWU\r\n", "a BAD Not what the mechanism says.\r\n"),
            ("a AUTHENTICATE PLAIN\r\nx=\r\n", "+ \r\na BAD Not what the mechanism says.\r\n"),
            // bob\0ann\0x
            (
                "a AUTHENTICATE PLAIN Ym9iAGFubgB4\r\n",
                "a NO [AUTHORIZATIONFAILED] Only for yourself.\r\n"
            ),
            ("a AUTHENTICATE LOGIN\r\n*\r\n", "+ VXNlcm5hbWU6\r\na BAD Cancelled.\r\n"),
            (
                "a LOGIN \"\" x\r\n",
                "a NO [AUTHENTICATIONFAILED] Wrong user name or password.\r\n"
            ),
            (
                "a LOGIN \"\" \"\"\r\n",
                "a NO [AUTHENTICATIONFAILED] Wrong user name or password.\r\n"
            ),
        ]
    )
    func talk(_ input: String, _ expected: String) async throws {
        for pieces in [[input], input.map(String.init)] {
            let outcome = try await converse(pieces)
            #expect(outcome.output == greeting + expected)
            #expect(outcome.attempts.isEmpty)
            #expect(outcome.end == .closed)
        }
    }

    @Test(
        "every way of logging in gives the same user and password",
        arguments: [
            ("a LOGIN ann sesame\r\n", "LOGIN", ""),
            ("a LOGIN \"ann\" {6+}\r\nsesame\r\n", "LOGIN", ""),
            ("a AUTHENTICATE PLAIN \(plain)\r\n", "PLAIN", ""),
            ("a AUTHENTICATE PLAIN\r\n\(plain)\r\n", "PLAIN", "+ \r\n"),
            (
                "a AUTHENTICATE LOGIN\r\nYW5u\r\nc2VzYW1l\r\n", "LOGIN",
                "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n"
            ),
            ("a AUTHENTICATE LOGIN YW5u\r\nc2VzYW1l\r\n", "LOGIN", "+ UGFzc3dvcmQ6\r\n"),
        ]
    )
    func logins(_ input: String, _ method: String, _ challenges: String) async throws {
        for pieces in [[input], input.map(String.init)] {
            let outcome = try await converse(pieces)
            #expect(outcome.attempts == ["\(method) ann sesame"])
            #expect(outcome.output == greeting + challenges)
            #expect(outcome.end == .handedOver)
            #expect(outcome.handedOver?.tag == Array("a".utf8))
            #expect(outcome.handedOver?.ticket == Ticket(high: 1, low: 2))
        }
    }

    @Test("a literal that the client announces and waits with")
    func literals() async throws {
        let outcome = try await converse(["a LOGIN {3}\r\n", "ann {6}\r\n", "sesame\r\n"])
        #expect(outcome.attempts == ["LOGIN ann sesame"])
        #expect(outcome.output == greeting + "+ OK\r\n+ OK\r\n")
    }

    @Test("what is pipelined behind the login goes to the user's process")
    func pipelined() async throws {
        let outcome = try await converse(["a LOGIN ann sesame\r\nb SELECT INBOX\r\nc NO"])
        #expect(outcome.handedOver?.leftover == Array("b SELECT INBOX\r\nc NO".utf8))
    }

    @Test(
        "answers to what is not ok",
        arguments: [
            (.failed, "AUTHENTICATIONFAILED"), (.expired, "EXPIRED"),
            (.unavailable, "UNAVAILABLE"), (.limited, "LIMIT"),
        ] as [(AuthResult, String)]
    )
    func refused(_ result: AuthResult, _ code: String) async throws {
        let outcome = try await converse(["a LOGIN ann sesame\r\nb NOOP\r\n"], result: result)
        #expect(outcome.output.hasPrefix(greeting + "a NO [\(code)] "))
        #expect(outcome.output.hasSuffix("b OK Done.\r\n"))
        #expect(outcome.handedOver == nil)
        #expect(outcome.end == .closed)
    }

    @Test("a user's process that does not start is NO, and what was pipelined is answered")
    func startFails() async throws {
        let outcome = try await converse(
            ["a LOGIN ann sesame\r\nb NOOP\r\n"],
            startWorks: false
        )
        #expect(
            outcome.output == greeting
                + "a NO [UNAVAILABLE] Cannot reach your mail just now.\r\nb OK Done.\r\n"
        )
        #expect(outcome.end == .closed)
    }

    @Test(
        "passwords without TLS",
        arguments: [
            (.never, true, false), (.never, false, false), (.loopback, true, true),
            (.loopback, false, false), (.always, false, true),
        ] as [(PlaintextLogin, Bool, Bool)]
    )
    func plaintext(_ rule: PlaintextLogin, _ isLoopback: Bool, _ allowed: Bool) async throws {
        for login in ["a LOGIN ann x\r\n", "a AUTHENTICATE PLAIN \(plain)\r\n"] {
            let outcome = try await converse(
                [login],
                security: .plain,
                isLoopback: isLoopback,
                policy: LoginPolicy(plaintextLogin: rule, offersTLS: true),
                result: .failed
            )
            #expect(outcome.output.contains(" STARTTLS"))
            #expect(outcome.output.contains(" LOGINDISABLED") == !allowed)
            #expect(outcome.output.contains(" AUTH=PLAIN") == allowed)
            #expect(outcome.attempts.isEmpty == !allowed)
            #expect(outcome.output.contains("a NO [PRIVACYREQUIRED]") == !allowed)
        }
    }

    @Test("after TLS, passwords are taken whatever the rule, and STARTTLS is not offered")
    func afterTLS() async throws {
        for security in [Security.implicitTLS, .startTLS] {
            let outcome = try await converse(
                ["a CAPABILITY\r\nb LOGIN ann sesame\r\n"],
                security: security,
                policy: LoginPolicy(plaintextLogin: .never, offersTLS: true)
            )
            #expect(!outcome.output.contains("STARTTLS"))
            #expect(outcome.attempts == ["LOGIN ann sesame"])
            // No second greeting.
            #expect(outcome.output.hasPrefix("* OK") == (security == .implicitTLS))
        }
    }

    @Test("STARTTLS ends the conversation in OK")
    func startTLS() async throws {
        let outcome = try await converse(["a STARTTLS\r\n"], security: .plain, timesOut: true)
        #expect(outcome.output.hasSuffix("\r\na OK Begin TLS.\r\n"))
        #expect(outcome.end == .startTLS)
    }

    @Test(
        "bytes behind STARTTLS close the connection with BYE, without OK",
        arguments: [
            ["a STARTTLS\r\nb NOOP\r\n"], ["a STARTTLS\r\nx"], ["a STARTTLS\r\n\n"],
        ]
    )
    func injection(_ pieces: [String]) async throws {
        let outcome = try await converse(pieces, security: .plain)
        #expect(!outcome.output.contains("a OK"))
        #expect(outcome.output.contains("\r\n* BYE Nothing may follow STARTTLS"))
        #expect(outcome.end == .closed)
    }

    @Test("STARTTLS without martlet-tls is BAD and not offered")
    func noTLS() async throws {
        let outcome = try await converse(
            ["a STARTTLS\r\n"],
            security: .plain,
            isLoopback: true,
            policy: LoginPolicy(plaintextLogin: .loopback, offersTLS: false)
        )
        #expect(!outcome.output.contains(" STARTTLS"))
        #expect(outcome.output.contains("\r\na BAD "))
    }

    @Test("bad commands: one below the limit, and the limit")
    func badCommands() async throws {
        let limit = LoginLimits.badCommandCountMax
        let below = try await converse([String(repeating: "a X\r\n", count: limit - 1)])
        #expect(!below.output.contains("BYE"))
        let at = try await converse([String(repeating: "a X\r\n", count: limit) + "b NOOP\r\n"])
        #expect(at.output.hasSuffix("* BYE Too many bad commands.\r\n"))
        let literal = try await converse([String(repeating: "a {9999}\r\n", count: limit)])
        #expect(literal.output.hasSuffix("* BYE Too many bad commands.\r\n"))
        let sasl = try await converse(
            [String(repeating: "a AUTHENTICATE PLAIN =\r\n", count: limit)])
        #expect(sasl.output.hasSuffix("* BYE Too many bad commands.\r\n"))
    }

    @Test("user names and passwords: the limit and one more")
    func credentialLimits() async throws {
        func attempt(_ user: Int, _ password: Int) async throws -> Outcome {
            let user = String(repeating: "u", count: user)
            let password = String(repeating: "p", count: password)
            return try await converse(
                ["a LOGIN {\(user.count)+}\r\n\(user) \(password)\r\n"],
                result: .failed
            )
        }
        let (user, password) = (LoginLimits.userNameBytesMax, LoginLimits.passwordBytesMax)
        #expect(try await attempt(user, password).output == greeting + failed)
        #expect(try await attempt(user + 1, password).output.contains("a BAD"))
        #expect(try await attempt(user, password + 1).output.contains("a BAD"))
        // martlet-auth takes as much as we let through.
        #expect(user <= FieldLimits.userNameBytesMax)
        #expect(password <= FieldLimits.passwordBytesMax)
        #expect(LoginLimits.tagBytesMax <= FieldLimits.tagBytesMax)
        #expect(LoginLimits.heldBytesMax <= FieldLimits.leftoverBytesMax)
    }

    @Test("nobody logs in for too long")
    func timeout() async throws {
        let outcome = try await converse(["a NOOP\r\n"], timesOut: true)
        #expect(outcome.output.hasSuffix("* BYE Nobody logged in for too long.\r\n"))
    }

    @Test("a connection that is sent away hears why")
    func dismissed() async throws {
        let outcome = try await converse([], timesOut: true, dismissal: "The server stops.")
        #expect(outcome.output == greeting + "* BYE [UNAVAILABLE] The server stops.\r\n")
    }

    @Test("random input ends, in answers or BYE")
    func fuzz() async throws {
        var generator = SystemRandomNumberGenerator()
        let words = [
            "a ", "LOGIN ", "AUTHENTICATE PLAIN ", "{3}", "{3+}", "{99999}", "\r\n", "\n", "\"",
            "*",
            "(", ")", "=", "ann ", "ID ", "NIL", "\0", "\u{e9}", "+ ", "STARTTLS", plain,
        ]
        for _ in 0..<300 {
            let pieces = (0..<30).map { _ in words.randomElement(using: &generator) ?? "" }
            let outcome = try await converse(pieces, result: .failed)
            #expect(outcome.end == .closed)
        }
    }
}
