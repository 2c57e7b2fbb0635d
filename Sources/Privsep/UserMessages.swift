package import Posix

/// What a user's process is told once, before its first session.
package struct UserSettings: Equatable, Sendable {
    /// How `namespace_prefix` is found.
    package enum NamespacePrefix: Equatable, Sendable {
        /// `INBOX.` only where Courier's files are and no dovecot-uidlist, else empty.
        case automatic
        case fixed([UInt8])
    }

    /// The canonical name.
    package var userName: [UInt8]
    package var home: [UInt8]
    /// The Maildir: absolute, `~`, `%h` and `%u` replaced.
    package var mailLocation: [UInt8]
    package var hierarchySeparator: UInt8
    package var namespacePrefix: NamespacePrefix
    /// Where the user's indexes are: absolute, `~` replaced, this user's own.
    package var cacheDirectory: [UInt8]
    /// Whether the process before died so soon that its index may have been why.
    package var setsIndexAside: Bool
    /// How long the process stays after its last session.
    package var lingerSeconds: UInt32
    package var logLevel: Log.Level
    /// Personal mode: the Maildir is made if it is missing.
    package var isPersonal: Bool

    package init(
        userName: [UInt8],
        home: [UInt8],
        mailLocation: [UInt8],
        hierarchySeparator: UInt8 = UInt8(ascii: "."),
        namespacePrefix: NamespacePrefix = .automatic,
        cacheDirectory: [UInt8] = [],
        setsIndexAside: Bool = false,
        lingerSeconds: UInt32 = 300,
        logLevel: Log.Level = .info,
        isPersonal: Bool = false
    ) {
        self.userName = userName
        self.home = home
        self.mailLocation = mailLocation
        self.hierarchySeparator = hierarchySeparator
        self.namespacePrefix = namespacePrefix
        self.cacheDirectory = cacheDirectory
        self.setsIndexAside = setsIndexAside
        self.lingerSeconds = lingerSeconds
        self.logLevel = logLevel
        self.isPersonal = isPersonal
    }

    func write(to writer: inout FrameWriter) {
        writer.write(userName, max: FieldLimits.userNameBytesMax)
        writer.write(home, max: FieldLimits.pathBytesMax)
        writer.write(mailLocation, max: FieldLimits.pathBytesMax)
        writer.write(hierarchySeparator)
        switch namespacePrefix {
        case .automatic: writer.write(nil, max: FieldLimits.wordBytesMax)
        case .fixed(let prefix): writer.write(prefix as [UInt8]?, max: FieldLimits.wordBytesMax)
        }
        writer.write(cacheDirectory, max: FieldLimits.pathBytesMax)
        writer.write(setsIndexAside)
        writer.write(lingerSeconds)
        writer.write(UInt8(logLevel.rawValue))
        writer.write(isPersonal)
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        userName = try reader.bytes(max: FieldLimits.userNameBytesMax)
        home = try reader.bytes(max: FieldLimits.pathBytesMax)
        mailLocation = try reader.bytes(max: FieldLimits.pathBytesMax)
        hierarchySeparator = try reader.number()
        if let prefix = try reader.optionalBytes(max: FieldLimits.wordBytesMax) {
            namespacePrefix = .fixed(prefix)
        } else {
            namespacePrefix = .automatic
        }
        cacheDirectory = try reader.bytes(max: FieldLimits.pathBytesMax)
        setsIndexAside = try reader.flag()
        lingerSeconds = try reader.number()
        logLevel = try reader.logLevel()
        isPersonal = try reader.flag()
    }
}

/// The start of one session in the user's process.
package struct SessionOpening: Equatable, Sendable {
    /// Counts the sessions that martletd gave this process; names this one in the reports.
    package var number: UInt32
    package var connection: ConnectionInfo
    package var method: LoginMethod
    /// The tag of the login command, which the first output answers:
    /// `TAG OK [CAPABILITY ...] Logged in`.
    package var tag: [UInt8]
    /// What the client sent behind its login command. Hostile, like all it sends later.
    package var leftover: [UInt8]

    package init(
        number: UInt32,
        connection: ConnectionInfo,
        method: LoginMethod,
        tag: [UInt8],
        leftover: [UInt8]
    ) {
        self.number = number
        self.connection = connection
        self.method = method
        self.tag = tag
        self.leftover = leftover
    }
}

/// What martletd asks of a user's process, which trusts it.
///
/// The first message is `configure`; each `openSession` carries the client's connection (a socket,
/// or the plaintext end that martlet-tls relays to), non-blocking. The end of the channel means
/// that martletd is gone: end all sessions with BYE, and exit.
package enum UserRequest: ChannelMessage, Equatable {
    case configure(UserSettings)
    /// Answered with `opened` or `declined`; nothing may be written to the client before `opened`,
    /// because until then martlet-login still answers for a failure.
    case openSession(SessionOpening)
    /// The answer to `idle` where martletd has given it no further session meanwhile: exit now.
    case exit
    /// The server stops: end all sessions with BYE, and exit within five seconds.
    case shutDown

    package static let frameSizeMax = 32_768

    package var descriptorCount: Int {
        switch self {
        case .openSession: 1
        case .configure, .exit, .shutDown: 0
        }
    }

    package func frame() -> [UInt8] {
        switch self {
        case .configure(let settings):
            var writer = FrameWriter(message: 1)
            settings.write(to: &writer)
            return writer.bytes
        case .openSession(let opening):
            var writer = FrameWriter(message: 2)
            writer.write(opening.number)
            opening.connection.write(to: &writer)
            writer.write(opening.method.rawValue)
            writer.write(opening.tag, max: FieldLimits.tagBytesMax)
            writer.write(opening.leftover, max: FieldLimits.leftoverBytesMax)
            return writer.bytes
        case .exit: return FrameWriter(message: 3).bytes
        case .shutDown: return FrameWriter(message: 4).bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1: self = .configure(try UserSettings(from: &reader))
        case 2:
            let number = try reader.number(UInt32.self)
            let connection = try ConnectionInfo(from: &reader)
            let method = try reader.method()
            self = .openSession(
                SessionOpening(
                    number: number,
                    connection: connection,
                    method: method,
                    tag: try reader.bytes(max: FieldLimits.tagBytesMax),
                    leftover: try reader.bytes(max: FieldLimits.leftoverBytesMax)
                )
            )
        case 3: self = .exit
        case 4: self = .shutDown
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

/// What a user's process tells martletd.
///
/// It runs with the user's uid and parses what the user's client says, so all of it is hostile:
/// martletd counts sessions itself and believes a report only about that process.
package enum UserReport: ChannelMessage, Equatable {
    /// Configured; the Maildir is there and its lock is held.
    case ready
    /// This process cannot serve (Maildir unreadable, lock taken); it exits. The log has said why;
    /// the reason is for martletd's line. Every session not yet opened is answered
    /// `NO [UNAVAILABLE]`.
    case refused(reason: [UInt8])
    /// The session is this process's now; martlet-login forgets the connection.
    case opened(session: UInt32)
    /// This one session is refused (too many); the process goes on. `TAG NO [UNAVAILABLE]`.
    case declined(session: UInt32)
    case ended(session: UInt32)
    /// No session for `lingerSeconds`. `received` is how many `openSession` messages came in all:
    /// if martletd sent more, one is on its way and there is no answer; else the answer is `exit`.
    case idle(received: UInt32)

    package static let frameSizeMax = 1_024

    package func frame() -> [UInt8] {
        switch self {
        case .ready: return FrameWriter(message: 1).bytes
        case .refused(let reason):
            var writer = FrameWriter(message: 2)
            writer.write(
                Array(reason.prefix(FieldLimits.reasonBytesMax)),
                max: FieldLimits.reasonBytesMax
            )
            return writer.bytes
        case .opened(let session): return Self.frame(3, session)
        case .declined(let session): return Self.frame(4, session)
        case .ended(let session): return Self.frame(5, session)
        case .idle(let received): return Self.frame(6, received)
        }
    }

    private static func frame(_ message: UInt8, _ number: UInt32) -> [UInt8] {
        var writer = FrameWriter(message: message)
        writer.write(number)
        return writer.bytes
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1: self = .ready
        case 2: self = .refused(reason: try reader.bytes(max: FieldLimits.reasonBytesMax))
        case 3: self = .opened(session: try reader.number())
        case 4: self = .declined(session: try reader.number())
        case 5: self = .ended(session: try reader.number())
        case 6: self = .idle(received: try reader.number())
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

extension FrameReader {
    mutating func method() throws(FrameError) -> LoginMethod {
        guard let method = LoginMethod(rawValue: try number()) else { throw .invalid }
        return method
    }

    mutating func logLevel() throws(FrameError) -> Log.Level {
        guard let level = Log.Level(rawValue: Int(try number(UInt8.self))) else { throw .invalid }
        return level
    }
}
