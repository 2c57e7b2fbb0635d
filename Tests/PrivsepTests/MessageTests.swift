import Testing

@testable import Posix
@testable import Privsep

private let connection = ConnectionInfo(
    session: SessionID(0x4f1c),
    remote: Array("192.0.2.7:51234".utf8),
    local: Array("198.51.100.1:993".utf8),
    security: .implicitTLS,
    tlsVersion: Array("TLSv1.3".utf8),
    cipher: Array("TLS_AES_256_GCM_SHA384".utf8),
    isLoopback: false
)
private let account = Account(
    name: Array("ann".utf8),
    uid: 1_000,
    gid: 1_001,
    groups: [1_001, 27, .max],
    home: Array("/home/ann".utf8)
)
private let ticket = Ticket(high: 1, low: .max)
private let confinement = Confinement.chroot(
    directory: Array("/run/martlet/empty".utf8),
    uid: 101,
    gid: 102
)
private func password(_ text: String) -> Password { Password(Secret(Array(text.utf8))) }

/// A message with what the table needs to know of it, whatever its type.
struct Sample: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let frame: [UInt8]
    let frameSizeMax: Int
    /// Reads a frame and compares with the original.
    let roundTrips: @Sendable ([UInt8]) throws -> Bool
    let read: @Sendable ([UInt8]) throws(FrameError) -> Void

    init<Message: ChannelMessage & Equatable>(_ message: Message) {
        testDescription = "\(Message.self): \("\(message)".prefix(40))"
        frame = message.frame()
        frameSizeMax = Message.frameSizeMax
        roundTrips = { try Message(frame: $0) == message }
        read = { (frame) throws(FrameError) in _ = try Message(frame: frame) }
    }
}

private let settings = UserSettings(
    userName: Array("ann".utf8),
    home: Array("/home/ann".utf8),
    mailLocation: Array("/home/ann/Maildir".utf8),
    hierarchySeparator: 0x2F,
    namespacePrefix: .fixed(Array("INBOX/".utf8)),
    cacheDirectory: Array("/var/cache".utf8),
    setsIndexAside: true,
    lingerSeconds: 5,
    logLevel: .debug,
    isPersonal: true
)
private let authSettings = AuthSettings(
    pamService: Array("imap".utf8),
    pamSession: true,
    loginDomains: [Array("example.org".utf8), Array("b".utf8)],
    minimumUID: 500,
    loginUser: Array("nobody".utf8),
    logLevel: .warning
)
private let largestOpening = SessionOpening(
    number: .max,
    connection: ConnectionInfo(
        session: SessionID(.max),
        remote: bytes(FieldLimits.endpointBytesMax),
        local: bytes(FieldLimits.endpointBytesMax),
        security: .startTLS,
        tlsVersion: bytes(FieldLimits.wordBytesMax),
        cipher: bytes(FieldLimits.wordBytesMax),
        isLoopback: true
    ),
    method: .loginCommand,
    tag: bytes(FieldLimits.tagBytesMax),
    leftover: bytes(FieldLimits.leftoverBytesMax)
)
private let largestAccount = Account(
    name: bytes(FieldLimits.userNameBytesMax),
    uid: .max,
    gid: .max,
    groups: Array(repeating: 7, count: FieldLimits.groupCountMax),
    home: bytes(FieldLimits.pathBytesMax)
)

private func bytes(_ count: Int) -> [UInt8] { Array(repeating: 0x61, count: count) }

let samples: [Sample] = [
    Sample(UserRequest.configure(settings)),
    Sample(
        UserRequest.configure(
            UserSettings(userName: [], home: [], mailLocation: [], namespacePrefix: .automatic)
        )
    ),
    Sample(
        UserRequest.openSession(
            SessionOpening(
                number: 7,
                connection: connection,
                method: .plain,
                tag: Array("a1".utf8),
                leftover: Array("a2 NOOP\r\n".utf8)
            )
        )
    ),
    Sample(UserRequest.openSession(largestOpening)),
    Sample(UserRequest.exit), Sample(UserRequest.shutDown),
    Sample(UserReport.ready), Sample(UserReport.refused(reason: Array("lock".utf8))),
    Sample(UserReport.refused(reason: bytes(FieldLimits.reasonBytesMax))),
    Sample(UserReport.opened(session: 1)), Sample(UserReport.declined(session: 2)),
    Sample(UserReport.ended(session: 3)), Sample(UserReport.idle(received: .max)),
    Sample(TLSRequest.configure(confinement, logLevel: .info)),
    Sample(TLSRequest.configure(.landlock, logLevel: .error)),
    Sample(
        TLSRequest.certificate(
            chain: bytes(FieldLimits.pemBytesMax),
            key: bytes(FieldLimits.pemBytesMax)
        )
    ),
    Sample(TLSRequest.listen), Sample(TLSRequest.loginChannel), Sample(TLSRequest.start),
    Sample(TLSRequest.stopListening), Sample(TLSReport.ready),
    Sample(TLSDelivery(connection: connection)),
    Sample(TLSDelivery(connection: largestOpening.connection)),
    Sample(TLSUpgrade(connection: largestOpening.connection)),
    Sample(
        LoginRequest.configure(confinement, plaintextLogin: .loopback, offersTLS: true, .debug)
    ),
    Sample(LoginRequest.listen), Sample(LoginRequest.tlsChannel),
    Sample(LoginRequest.authChannel), Sample(LoginRequest.start),
    Sample(LoginRequest.sessionStarted(request: 1)),
    Sample(LoginRequest.sessionFailed(request: 2)), Sample(LoginRequest.stopListening),
    Sample(LoginReport.ready),
    Sample(
        LoginReport.startSession(
            SessionStart(
                request: 4,
                ticket: ticket,
                connection: largestOpening.connection,
                method: .login,
                tag: largestOpening.tag,
                leftover: largestOpening.leftover
            )
        )
    ),
    Sample(
        AuthQuery(
            request: 1,
            connection: connection,
            method: .plain,
            user: Array("ann".utf8),
            password: password("sesame")
        )
    ),
    Sample(
        AuthQuery(
            request: 1,
            connection: largestOpening.connection,
            method: .plain,
            user: bytes(FieldLimits.userNameBytesMax),
            password: Password(Secret(bytes(FieldLimits.passwordBytesMax)))
        )
    ),
    Sample(AuthVerdict(request: 1, result: .approved(ticket))),
    Sample(AuthVerdict(request: 1, result: .failed)),
    Sample(AuthVerdict(request: 1, result: .expired)),
    Sample(AuthVerdict(request: 1, result: .unavailable)),
    Sample(AuthVerdict(request: 1, result: .limited)),
    Sample(AuthRequest.configure(authSettings)),
    Sample(AuthRequest.configurePersonal(password: password("x"), authSettings)),
    Sample(AuthRequest.loginChannel(index: 3)), Sample(AuthRequest.start),
    Sample(AuthRequest.userEnded(uid: 1_000, approvals: 9)),
    Sample(AuthReport.identities(loginUID: 1, loginGID: 2, own: account)),
    Sample(AuthReport.ready), Sample(AuthReport.approved(ticket, account)),
    Sample(AuthReport.approved(ticket, largestAccount)),
    Sample(
        WorkerRequest.check(
            user: Array("ann".utf8),
            password: password("x"),
            remoteAddress: Array("::1".utf8),
            minimumUID: 1_000
        )
    ),
    Sample(WorkerRequest.openSession), Sample(WorkerReport.approved(account)),
    Sample(WorkerReport.failed), Sample(WorkerReport.expired), Sample(WorkerReport.unavailable),
    Sample(WorkerReport.sessionOpened),
]

@Suite("messages")
struct MessageTests {
    @Test("come back as they were, within the size of a frame", arguments: samples)
    func roundTrip(_ sample: Sample) throws {
        #expect(sample.frame.count <= sample.frameSizeMax)
        #expect(try sample.roundTrips(sample.frame))
    }

    @Test("a frame cut anywhere is refused, and so is one byte more", arguments: samples)
    func truncated(_ sample: Sample) {
        let cuts =
            sample.frame.count < 600
            ? Array(0..<sample.frame.count)
            : Array(0..<300) + Array((sample.frame.count - 300)..<sample.frame.count)
        for count in cuts {
            #expect(throws: FrameError.self) { try sample.read(Array(sample.frame[..<count])) }
        }
        #expect(throws: FrameError.trailing) { try sample.read(sample.frame + [0]) }
    }

    @Test("another version and an unknown message are refused", arguments: samples)
    func unknown(_ sample: Sample) {
        var frame = sample.frame
        frame[0] = channelVersion + 1
        #expect(throws: FrameError.version(channelVersion + 1)) { try sample.read(frame) }
        frame = sample.frame
        frame[1] = 0xEE
        #expect(throws: FrameError.unknownMessage(0xEE)) { try sample.read(frame) }
    }

    @Test("no change of one byte traps", arguments: samples)
    func mutated(_ sample: Sample) {
        var generator = SystemRandomNumberGenerator()
        for index in 0..<min(sample.frame.count, 300) {
            for value: UInt8 in [0, 0x80, 0xFF, .random(in: 0...255, using: &generator)] {
                var frame = sample.frame
                frame[index] = value
                // Right or wrong: it returns.
                _ = try? sample.read(frame)
            }
        }
    }

    @Test("random bytes behind each message number return")
    func random() {
        var generator = SystemRandomNumberGenerator()
        for sample in samples {
            for _ in 0..<50 {
                let tail = (0..<Int.random(in: 0...64)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                }
                _ = try? sample.read(Array(sample.frame[..<2]) + tail)
            }
        }
    }

    @Test("a length that points far beyond the frame is refused before anything is reserved")
    func hugeLength() {
        let head: [UInt8] = [channelVersion, 2]
        #expect(throws: FrameError.tooLarge) {
            try UserReport(frame: head + [0xFF, 0xFF, 0xFF, 0xFF])
        }
        let limit = UInt32(FieldLimits.reasonBytesMax)
        func length(_ value: UInt32) -> [UInt8] {
            (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
        }
        #expect(throws: FrameError.truncated) { try UserReport(frame: head + length(limit)) }
        #expect(throws: FrameError.tooLarge) { try UserReport(frame: head + length(limit + 1)) }
    }

    @Test("a user name or password with NUL never reaches PAM")
    func nul() {
        for (user, secret) in [("a\0b", "x"), ("a", "x\0y")] {
            let query = AuthQuery(
                request: 1,
                connection: connection,
                method: .plain,
                user: Array(user.utf8),
                password: password(secret)
            )
            #expect(throws: FrameError.invalid) { try AuthQuery(frame: query.frame()) }
        }
    }

    @Test("an account without a name, or with NUL, is refused")
    func badAccount() {
        for (name, home) in [("", "/"), ("a\0", "/"), ("a", "/\0")] {
            let bad = Account(
                name: Array(name.utf8),
                uid: 1,
                gid: 1,
                groups: [],
                home: Array(home.utf8)
            )
            #expect(throws: FrameError.invalid) {
                try AuthReport(frame: AuthReport.approved(ticket, bad).frame())
            }
        }
    }

    @Test("a field longer than its limit is our bug, and stops us")
    func ownBug() async {
        await #expect(processExitsWith: .failure) {
            _ = UserReport.refused(reason: []).frame()
            _ = AuthQuery(
                request: 1,
                connection: ConnectionInfo(
                    session: SessionID(1),
                    remote: [],
                    local: [],
                    isLoopback: false
                ),
                method: .plain,
                user: Array(repeating: 1, count: FieldLimits.userNameBytesMax + 1),
                password: Password(Secret([]))
            ).frame()
        }
    }

    @Test("a password is in no description")
    func hidden() {
        let query = AuthQuery(
            request: 1,
            connection: connection,
            method: .plain,
            user: Array("ann".utf8),
            password: password("sesame-open")
        )
        let codes = Array("sesame-open".utf8).map(String.init).joined(separator: ", ")
        for text in ["\(query)", String(reflecting: query), "\(query.password)"] {
            #expect(!text.contains("sesame"))
            #expect(!text.contains(codes))
        }
        var dumped = ""
        dump(query.password, to: &dumped)
        #expect(!dumped.contains("sesame"))
    }
}
