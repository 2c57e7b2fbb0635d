package import Posix

/// martlet-login → martlet-auth: check a password.
///
/// Strangers talk to the sender, so every field is hostile; the receiver is root. It copies the
/// names into C strings for PAM, so NUL in the user or password is refused here.
package struct AuthQuery: ChannelMessage, Equatable {
    /// Names this query in the verdict; the sender's own count.
    package let request: UInt32
    package let connection: ConnectionInfo
    package let method: LoginMethod
    package let user: [UInt8]
    package let password: Password

    package init(
        request: UInt32,
        connection: ConnectionInfo,
        method: LoginMethod,
        user: [UInt8],
        password: Password
    ) {
        self.request = request
        self.connection = connection
        self.method = method
        self.user = user
        self.password = password
    }

    package static let frameSizeMax = 4_096

    package func frame() -> [UInt8] {
        var writer = FrameWriter(message: 1)
        writer.write(request)
        connection.write(to: &writer)
        writer.write(method.rawValue)
        writer.write(user, max: FieldLimits.userNameBytesMax)
        writer.write(password)
        return writer.bytes
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        guard reader.message == 1 else { throw .unknownMessage(reader.message) }
        request = try reader.number()
        connection = try ConnectionInfo(from: &reader)
        method = try reader.method()
        user = try reader.bytes(max: FieldLimits.userNameBytesMax)
        password = try reader.password()
        guard !user.contains(0), !password.containsNUL else { throw .invalid }
        try reader.end()
    }
}

/// How an attempt to log in ended, as the client may know it.
package enum AuthResult: Equatable, Sendable {
    /// The ticket that martletd takes for a session, once, within 30 seconds.
    case approved(Ticket)
    /// Wrong password, unknown or locked user, root, a uid below `minimum_uid`: not told apart.
    case failed
    /// The password was right; the account or the password has expired.
    case expired
    /// A module failed or took too long.
    case unavailable
    /// Too many failures from there or for that user lately.
    case limited

    /// As in the log; frozen.
    package var name: String {
        switch self {
        case .approved: "ok"
        case .failed: "failed"
        case .expired: "expired"
        case .unavailable: "unavailable"
        case .limited: "limited"
        }
    }
}

/// martlet-auth → martlet-login, which trusts it: the answer to an `AuthQuery`.
package struct AuthVerdict: ChannelMessage, Equatable {
    package var request: UInt32
    package var result: AuthResult

    package init(request: UInt32, result: AuthResult) {
        self.request = request
        self.result = result
    }

    package static let frameSizeMax = 64

    package func frame() -> [UInt8] {
        var writer = FrameWriter(message: 1)
        writer.write(request)
        switch result {
        case .approved(let ticket):
            writer.write(UInt8(1))
            ticket.write(to: &writer)
        case .failed: writer.write(UInt8(2))
        case .expired: writer.write(UInt8(3))
        case .unavailable: writer.write(UInt8(4))
        case .limited: writer.write(UInt8(5))
        }
        return writer.bytes
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        guard reader.message == 1 else { throw .unknownMessage(reader.message) }
        request = try reader.number()
        switch try reader.number(UInt8.self) {
        case 1: result = .approved(try Ticket(from: &reader))
        case 2: result = .failed
        case 3: result = .expired
        case 4: result = .unavailable
        case 5: result = .limited
        default: throw .invalid
        }
        try reader.end()
    }
}

/// What martlet-auth needs of the configuration.
package struct AuthSettings: Equatable, Sendable {
    package var pamService: [UInt8]
    package var pamSession: Bool
    /// Domains that may follow the user's name; empty means any.
    package var loginDomains: [[UInt8]]
    package var minimumUID: UInt32
    package var loginUser: [UInt8]
    package var logLevel: Log.Level

    package init(
        pamService: [UInt8] = Array("martlet".utf8),
        pamSession: Bool = false,
        loginDomains: [[UInt8]] = [],
        minimumUID: UInt32 = 1_000,
        loginUser: [UInt8] = Array("_martlet".utf8),
        logLevel: Log.Level = .info
    ) {
        self.pamService = pamService
        self.pamSession = pamSession
        self.loginDomains = loginDomains
        self.minimumUID = minimumUID
        self.loginUser = loginUser
        self.logLevel = logLevel
    }

    func write(to writer: inout FrameWriter) {
        writer.write(pamService, max: FieldLimits.serviceBytesMax)
        writer.write(pamSession)
        writer.write(
            loginDomains,
            countMax: FieldLimits.loginDomainCountMax,
            max: FieldLimits.domainBytesMax
        )
        writer.write(minimumUID)
        writer.write(loginUser, max: FieldLimits.userNameBytesMax)
        writer.write(UInt8(logLevel.rawValue))
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        pamService = try reader.bytes(max: FieldLimits.serviceBytesMax)
        pamSession = try reader.flag()
        loginDomains = try reader.list(
            countMax: FieldLimits.loginDomainCountMax,
            max: FieldLimits.domainBytesMax
        )
        minimumUID = try reader.number()
        loginUser = try reader.bytes(max: FieldLimits.userNameBytesMax)
        logLevel = try reader.logLevel()
    }
}

/// What martletd, which it trusts, tells martlet-auth.
package enum AuthRequest: ChannelMessage, Equatable {
    case configure(AuthSettings)
    /// Personal mode: no PAM; this is the password, and the process's own user the only one.
    case configurePersonal(password: Password, AuthSettings)
    /// Carries martlet-auth's end of the channel to the martlet-login of that number. A second
    /// one with the same number replaces the first.
    case loginChannel(index: UInt32)
    /// Open the PAM workers' pool.
    case start
    /// The last process of that user has ended. `approvals` is how many approvals for the uid
    /// martletd has seen: if more were sent, a login is on its way, and a PAM session held for
    /// the user is kept for it.
    case userEnded(uid: UInt32, approvals: UInt64)

    package static let frameSizeMax = 131_072

    package var descriptorCount: Int {
        switch self {
        case .loginChannel: 1
        case .configure, .configurePersonal, .start, .userEnded: 0
        }
    }

    package func frame() -> [UInt8] {
        switch self {
        case .configure(let settings):
            var writer = FrameWriter(message: 1)
            settings.write(to: &writer)
            return writer.bytes
        case .configurePersonal(let password, let settings):
            var writer = FrameWriter(message: 2)
            writer.write(password)
            settings.write(to: &writer)
            return writer.bytes
        case .loginChannel(let index):
            var writer = FrameWriter(message: 3)
            writer.write(index)
            return writer.bytes
        case .start: return FrameWriter(message: 4).bytes
        case .userEnded(let uid, let approvals):
            var writer = FrameWriter(message: 5)
            writer.write(uid)
            writer.write(approvals)
            return writer.bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1: self = .configure(try AuthSettings(from: &reader))
        case 2:
            let password = try reader.password()
            self = .configurePersonal(password: password, try AuthSettings(from: &reader))
        case 3: self = .loginChannel(index: try reader.number())
        case 4: self = .start
        case 5:
            self = .userEnded(uid: try reader.number(), approvals: try reader.number())
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

/// A user whom martlet-auth approved: everything that martletd needs to start the user's process.
package struct Account: Equatable, Sendable {
    /// As PAM and NSS spell it.
    package var name: [UInt8]
    package var uid: UInt32
    package var gid: UInt32
    package var groups: [UInt32]
    package var home: [UInt8]

    package init(name: [UInt8], uid: UInt32, gid: UInt32, groups: [UInt32], home: [UInt8]) {
        self.name = name
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home
    }

    func write(to writer: inout FrameWriter) {
        writer.write(name, max: FieldLimits.userNameBytesMax)
        writer.write(uid)
        writer.write(gid)
        writer.write(groups, countMax: FieldLimits.groupCountMax)
        writer.write(home, max: FieldLimits.pathBytesMax)
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        name = try reader.bytes(max: FieldLimits.userNameBytesMax)
        uid = try reader.number()
        gid = try reader.number()
        groups = try reader.numbers(countMax: FieldLimits.groupCountMax)
        home = try reader.bytes(max: FieldLimits.pathBytesMax)
        guard !name.isEmpty, !name.contains(0), !home.contains(0) else { throw .invalid }
    }
}

/// What martlet-auth tells martletd. Both are root; martletd still checks the bounds, and that an
/// approval in system mode never names uid 0.
package enum AuthReport: ChannelMessage, Equatable {
    /// The first report: `login_user`, or its fallback; and this process's own user.
    case identities(loginUID: UInt32, loginGID: UInt32, own: Account)
    /// Channels are served.
    case ready
    case approved(Ticket, Account)

    package static let frameSizeMax = 32_768

    package func frame() -> [UInt8] {
        switch self {
        case .identities(let loginUID, let loginGID, let own):
            var writer = FrameWriter(message: 1)
            writer.write(loginUID)
            writer.write(loginGID)
            own.write(to: &writer)
            return writer.bytes
        case .ready: return FrameWriter(message: 2).bytes
        case .approved(let ticket, let account):
            var writer = FrameWriter(message: 3)
            ticket.write(to: &writer)
            account.write(to: &writer)
            return writer.bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1:
            self = .identities(
                loginUID: try reader.number(),
                loginGID: try reader.number(),
                own: try Account(from: &reader)
            )
        case 2: self = .ready
        case 3: self = .approved(try Ticket(from: &reader), try Account(from: &reader))
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}
