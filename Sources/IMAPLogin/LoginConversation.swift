import Bytes
package import Posix
package import Privsep

/// What a conversation is allowed, by configuration.
package struct LoginPolicy: Sendable {
    package var plaintextLogin: PlaintextLogin
    /// martlet-tls is there, so STARTTLS can be.
    package var offersTLS: Bool

    package init(plaintextLogin: PlaintextLogin, offersTLS: Bool) {
        self.plaintextLogin = plaintextLogin
        self.offersTLS = offersTLS
    }
}

/// How a conversation ended.
package enum ConversationEnd: Equatable, Sendable {
    /// Closed, or to be closed.
    case closed
    /// `OK` was answered to STARTTLS; the next byte is the client's handshake.
    case startTLS
    /// The user's process has the connection.
    case handedOver
}

/// A login that was approved, to be handed to the user's process.
package struct ApprovedLogin: Sendable {
    package let ticket: Ticket
    package let method: LoginMethod
    package let tag: [UInt8]
    package let leftover: [UInt8]
}

/// The conversation from the greeting to the login, RFC 3501 §6.1 and §6.2.
@EventLoop
package final class LoginConversation {
    package typealias Authenticate = @EventLoop (LoginMethod, [UInt8], Password) async -> AuthResult
    package typealias HandOver = @EventLoop (ApprovedLogin) async -> Bool

    private let stream: any ByteStream
    private let connection: ConnectionInfo
    private let policy: LoginPolicy
    private let authenticate: Authenticate
    private let handOver: HandOver
    private var reader = CommandReader()
    private var badCommandCount = 0
    private var deadline = Instant.after(seconds: LoginLimits.conversationSeconds)
    private var dismissal: StaticString?

    /// - Parameters:
    ///   - stream: the client.
    ///   - connection: what is known of it.
    ///   - policy: what the configuration allows.
    ///   - authenticate: checks a user name and password, after whatever delay.
    ///   - handOver: gives the connection to the user's process; false where that fails.
    package init(
        _ stream: any ByteStream,
        _ connection: ConnectionInfo,
        policy: LoginPolicy,
        authenticate: @escaping Authenticate,
        handOver: @escaping HandOver
    ) {
        self.stream = stream
        self.connection = connection
        self.policy = policy
        self.authenticate = authenticate
        self.handOver = handOver
    }

    /// Ends the conversation with `* BYE` and the reason, as soon as it waits for the client.
    package func dismiss(_ reason: StaticString) {
        dismissal = reason
        stream.interrupt()
    }

    /// Runs to the end. The stream is left open in all cases.
    package func run() async -> ConversationEnd {
        do throws(StreamClosed) {
            if connection.security != .startTLS {
                try await send("* OK [CAPABILITY ", capabilities, "] Martlet ready.\r\n")
            }
            while true {
                switch try await nextStep() {
                case .ended: return .closed
                case .command(let bytes):
                    if let end = try await answer(bytes) { return end }
                }
            }
        } catch {
            return .closed
        }
    }

    // MARK: Input

    private enum Input {
        case command([UInt8])
        case ended
    }

    /// The next whole command, asking for literals as they come.
    private func nextStep() async throws(StreamClosed) -> Input {
        while true {
            switch reader.next() {
            case .command(let bytes): return .command(bytes)
            case .wantsContinuation: try await send("+ OK\r\n")
            case .literalRefused(let bytes):
                let tag = (try? LoginCommand(parsing: bytes + [.lf]))?.tag ?? Self.tag(of: bytes)
                try await sendBad(tag, "Literal too large")
                if badCommandCount >= LoginLimits.badCommandCountMax { return .ended }
            case .tooLong:
                try await send("* BYE Command too long.\r\n")
                return .ended
            case .needsInput:
                if try await !readMore() { return .ended }
            }
        }
    }

    /// Waits for input and takes it in. False where the conversation is over.
    private func readMore() async throws(StreamClosed) -> Bool {
        if dismissal == nil {
            var bytes: [UInt8] = []
            if try stream.read(into: &bytes, max: reader.room) > 0 {
                reader.append(bytes)
                return true
            }
        }
        if let dismissal {
            try await send("* BYE [UNAVAILABLE] ", [UInt8](dismissal), "\r\n")
            return false
        }
        if await stream.waitForInput(until: deadline) == .timedOut {
            try await send("* BYE Nobody logged in for too long.\r\n")
            return false
        }
        return true
    }

    private static func tag(of command: [UInt8]) -> [UInt8] {
        let tag = Array(command.prefix { $0 != .space })
        guard (try? LoginCommand(parsing: tag + [UInt8](" NOOP"))) != nil else { return [] }
        return tag
    }

    // MARK: Commands

    /// Answers one command. Returns how the conversation ends, if it does.
    private func answer(_ bytes: [UInt8]) async throws(StreamClosed) -> ConversationEnd? {
        let command: LoginCommand
        do throws(LoginSyntaxError) {
            command = try LoginCommand(parsing: bytes)
        } catch {
            try await sendBad(error.tag, error.reason)
            return badCommandCount >= LoginLimits.badCommandCountMax ? .closed : nil
        }
        let tag = command.tag
        switch command.name {
        case .capability:
            try await send("* CAPABILITY ", capabilities, "\r\n")
            try await reply(tag, "OK Done.")
        case .noop:
            try await reply(tag, "OK Done.")
        case .id:
            try await send("* ID (\"name\" \"Martlet\")\r\n")
            try await reply(tag, "OK Done.")
        case .language(let ranges):
            try await language(ranges, tag)
        case .logout:
            try await send("* BYE Until next time.\r\n")
            try await reply(tag, "OK Done.")
            return .closed
        case .startTLS:
            return try await startTLS(tag)
        case .login(let user, let password):
            guard try await mayLogIn(tag) else { return nil }
            let credentials = Credentials(user: user, password: password)
            return try await check(credentials, .loginCommand, tag)
        case .authenticate(let mechanism, let initial):
            return try await authenticate(tag, mechanism, initial)
        case .other:
            try await sendBad(tag, "Unknown command, or not before login.")
            return badCommandCount >= LoginLimits.badCommandCountMax ? .closed : nil
        }
        return nil
    }

    private func startTLS(_ tag: [UInt8]) async throws(StreamClosed) -> ConversationEnd? {
        guard policy.offersTLS, connection.security == .plain else {
            try await sendBad(tag, "TLS is not to be had here, or is already on.")
            return badCommandCount >= LoginLimits.badCommandCountMax ? .closed : nil
        }
        // What was sent behind STARTTLS was sent in the clear, perhaps by somebody in between; it
        // must not be taken for what comes through TLS (CVE-2011-0411 and its many children).
        var early: [UInt8] = []
        let count = reader.isEmpty ? try stream.read(into: &early, max: 1) : 1
        guard count == 0 else {
            Log.warning("event=starttls-injection \(connection.logFields)")
            try await send("* BYE Nothing may follow STARTTLS before TLS is on.\r\n")
            return .closed
        }
        try await reply(tag, "OK Begin TLS.")
        return .startTLS
    }

    private func mayLogIn(_ tag: [UInt8]) async throws(StreamClosed) -> Bool {
        if allowsPasswords { return true }
        try await reply(tag, "NO [PRIVACYREQUIRED] Use TLS first.")
        return false
    }

    private func authenticate(
        _ tag: [UInt8],
        _ mechanism: [UInt8],
        _ initial: [UInt8]?
    ) async throws(StreamClosed) -> ConversationEnd? {
        let isPlain = mechanism == [UInt8]("PLAIN")
        guard isPlain || mechanism == [UInt8]("LOGIN") else {
            try await reply(tag, "NO Unknown mechanism.")
            return nil
        }
        guard try await mayLogIn(tag) else { return nil }

        let credentials: Credentials
        do throws(SASLEnd) {
            credentials =
                isPlain
                ? try await plainExchange(initial) : try await loginExchange(initial)
        } catch {
            switch error {
            case .closed: return .closed
            case .cancelled:
                try await sendBad(tag, "Cancelled.")
            case .malformed:
                try await sendBad(tag, "Not what the mechanism says.")
            case .otherIdentity:
                try await reply(tag, "NO [AUTHORIZATIONFAILED] Only for yourself.")
            }
            return badCommandCount >= LoginLimits.badCommandCountMax ? .closed : nil
        }
        return try await check(credentials, isPlain ? .plain : .login, tag)
    }

    // MARK: SASL

    private enum SASLEnd: Error {
        case closed, cancelled, malformed, otherIdentity
    }

    private func plainExchange(_ initial: [UInt8]?) async throws(SASLEnd) -> Credentials {
        let message = try await response(initial, challenge: [])
        do throws(Credentials.Refusal) {
            return try Credentials.plain(message)
        } catch {
            throw error == .malformed ? .malformed : .otherIdentity
        }
    }

    /// The LOGIN mechanism, as draft-murchison-sasl-login-00 describes it.
    private func loginExchange(_ initial: [UInt8]?) async throws(SASLEnd) -> Credentials {
        let user = try await response(initial, challenge: [UInt8]("VXNlcm5hbWU6"))
        let password = try await response(nil, challenge: [UInt8]("UGFzc3dvcmQ6"))
        guard !user.isEmpty, !user.contains(0), !password.contains(0) else { throw .malformed }
        return Credentials(user: user, password: password)
    }

    /// The initial response, or the answer to a challenge, decoded.
    private func response(
        _ initial: [UInt8]?,
        challenge: [UInt8]
    ) async throws(SASLEnd) -> [UInt8] {
        var text = initial
        if text == nil {
            do throws(StreamClosed) {
                try await send("+ ", challenge, "\r\n")
                guard case .command(let line) = try await nextStep() else { throw StreamClosed() }
                text = line
            } catch {
                throw .closed
            }
        }
        guard let text, text != [UInt8]("*") else { throw .cancelled }
        guard let bytes = Base64.decode(text) else { throw .malformed }
        return bytes
    }

    // MARK: The check

    private func check(
        _ credentials: Credentials,
        _ method: LoginMethod,
        _ tag: [UInt8]
    ) async throws(StreamClosed) -> ConversationEnd? {
        // Well formed (RFC 9051 §6.2.3), and nobody has this name.
        guard !credentials.user.isEmpty else {
            badCommandCount += 1
            try await reply(tag, "NO [AUTHENTICATIONFAILED] Wrong user name or password.")
            guard badCommandCount >= LoginLimits.badCommandCountMax else { return nil }
            try await send("* BYE Too many bad commands.\r\n")
            return .closed
        }
        guard credentials.user.count <= LoginLimits.userNameBytesMax,
            credentials.password.count <= LoginLimits.passwordBytesMax
        else {
            try await sendBad(tag, "User name or password too long.")
            return badCommandCount >= LoginLimits.badCommandCountMax ? .closed : nil
        }
        let password = Password(Secret(credentials.password))
        switch await authenticate(method, credentials.user, password) {
        case .approved(let ticket):
            let login = ApprovedLogin(
                ticket: ticket,
                method: method,
                tag: tag,
                leftover: reader.takeRest()
            )
            if await handOver(login) { return .handedOver }
            // Nobody else will answer what the client had pipelined.
            reader.append(login.leftover)
            try await reply(tag, "NO [UNAVAILABLE] Cannot reach your mail just now.")
        case .failed:
            try await reply(tag, "NO [AUTHENTICATIONFAILED] Wrong user name or password.")
        case .expired:
            try await reply(tag, "NO [EXPIRED] Your account or password has expired.")
        case .unavailable:
            try await reply(tag, "NO [UNAVAILABLE] Cannot check passwords just now.")
        case .limited:
            try await reply(tag, "NO [LIMIT] Too many failures; try again later.")
        }
        return nil
    }

    // MARK: Output

    private var allowsPasswords: Bool {
        if connection.security != .plain { return true }
        return switch policy.plaintextLogin {
        case .never: false
        case .loopback: connection.isLoopback
        case .always: true
        }
    }

    /// LANGUAGE "is valid in all states" (RFC 5255 §3.1); texts are in English, which `i-default`
    /// is too. A range that covers neither is NO.
    private func language(_ ranges: [[UInt8]], _ tag: [UInt8]) async throws(StreamClosed) {
        guard !ranges.isEmpty else {
            try await send("* LANGUAGE (\"i-default\" \"en\")\r\n")
            return try await reply(tag, "OK Languages listed.")
        }
        for range in ranges {
            let name = range.uppercased
            if name == [UInt8]("EN") || name.starts(with: [UInt8]("EN-")) {
                try await send("* LANGUAGE (\"en\")\r\n")
                return try await reply(tag, "OK Language chosen.")
            }
            let defaults = [[UInt8]("I-DEFAULT"), [UInt8]("DEFAULT"), [UInt8]("*")]
            if defaults.contains(name) {
                try await send("* LANGUAGE (\"i-default\")\r\n")
                return try await reply(tag, "OK Language chosen.")
            }
        }
        try await reply(tag, "NO Texts are in English only.")
    }

    /// What can be had before login; `IDLE` and `ENABLE` are named because some clients, such as
    /// Python's imaplib, never ask again, and LANGUAGE because RFC 5255 §3.1 wants it.
    private var capabilities: [UInt8] {
        var text = [UInt8]("IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE LANGUAGE")
        if policy.offersTLS, connection.security == .plain { text += [UInt8](" STARTTLS") }
        text += allowsPasswords ? [UInt8](" AUTH=PLAIN AUTH=LOGIN") : [UInt8](" LOGINDISABLED")
        return text
    }

    private func sendBad(_ tag: [UInt8], _ reason: StaticString) async throws(StreamClosed) {
        badCommandCount += 1
        let name = tag.isEmpty ? [UInt8]("*") : tag
        try await stream.write(name + [UInt8](" BAD ") + [UInt8](reason) + [UInt8]("\r\n"))
        if badCommandCount >= LoginLimits.badCommandCountMax {
            try await send("* BYE Too many bad commands.\r\n")
        }
    }

    /// A tagged response.
    private func reply(_ tag: [UInt8], _ text: StaticString) async throws(StreamClosed) {
        var buffer = ByteBuffer()
        buffer.append(tag)
        buffer.append(.space)
        buffer.append(text)
        buffer.append("\r\n")
        try await stream.write(buffer.bytes)
    }

    private func send(_ text: StaticString) async throws(StreamClosed) {
        try await stream.write([UInt8](text))
    }

    /// Text with bytes in the middle.
    private func send(
        _ before: StaticString,
        _ middle: [UInt8],
        _ after: StaticString
    ) async throws(StreamClosed) {
        try await stream.write([UInt8](before) + middle + [UInt8](after))
    }
}
