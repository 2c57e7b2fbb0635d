package import Posix

/// Where a password may cross a connection without TLS.
package enum PlaintextLogin: UInt8, Sendable {
    case never
    case loopback
    case always
}

/// What martletd, which it trusts, tells martlet-login.
///
/// In this order: `configure`, the sockets and channels, `start`. Later the channels again (the
/// process at their other end was started anew), the answers to `startSession`, `stopListening`.
package enum LoginRequest: ChannelMessage, Equatable {
    case configure(Confinement, plaintextLogin: PlaintextLogin, offersTLS: Bool, Log.Level)
    /// Carries a listening socket; its connections speak IMAP from the first byte.
    case listen
    /// Carries this process's end of the channel to its martlet-tls.
    case tlsChannel
    /// Carries this process's end of the channel to martlet-auth.
    case authChannel
    /// Lock up, answer `ready`, accept.
    case start
    /// The user's process has the connection: forget it without closing it down.
    case sessionStarted(request: UInt32)
    /// It has not, and nothing was written: `TAG NO [UNAVAILABLE]`.
    case sessionFailed(request: UInt32)
    /// Take no new connections, and say BYE to those that are there.
    case stopListening

    package static let frameSizeMax = 8_192

    package var descriptorCount: Int {
        switch self {
        case .listen, .tlsChannel, .authChannel: 1
        case .configure, .start, .sessionStarted, .sessionFailed, .stopListening: 0
        }
    }

    package func frame() -> [UInt8] {
        switch self {
        case .configure(let confinement, let plaintextLogin, let offersTLS, let logLevel):
            var writer = FrameWriter(message: 1)
            confinement.write(to: &writer)
            writer.write(plaintextLogin.rawValue)
            writer.write(offersTLS)
            writer.write(UInt8(logLevel.rawValue))
            return writer.bytes
        case .listen: return FrameWriter(message: 2).bytes
        case .tlsChannel: return FrameWriter(message: 3).bytes
        case .authChannel: return FrameWriter(message: 4).bytes
        case .start: return FrameWriter(message: 5).bytes
        case .sessionStarted(let request):
            var writer = FrameWriter(message: 6)
            writer.write(request)
            return writer.bytes
        case .sessionFailed(let request):
            var writer = FrameWriter(message: 7)
            writer.write(request)
            return writer.bytes
        case .stopListening: return FrameWriter(message: 8).bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1:
            let confinement = try Confinement(from: &reader)
            guard let plaintextLogin = PlaintextLogin(rawValue: try reader.number()) else {
                throw .invalid
            }
            let offersTLS = try reader.flag()
            self = .configure(
                confinement,
                plaintextLogin: plaintextLogin,
                offersTLS: offersTLS,
                try reader.logLevel()
            )
        case 2: self = .listen
        case 3: self = .tlsChannel
        case 4: self = .authChannel
        case 5: self = .start
        case 6: self = .sessionStarted(request: try reader.number())
        case 7: self = .sessionFailed(request: try reader.number())
        case 8: self = .stopListening
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

/// A session that martlet-login asks martletd to start.
package struct SessionStart: Equatable, Sendable {
    /// Names this request in the answer; martlet-login's own count.
    package var request: UInt32
    package var ticket: Ticket
    package var connection: ConnectionInfo
    package var method: LoginMethod
    package var tag: [UInt8]
    /// What the client sent behind its login command.
    package var leftover: [UInt8]

    package init(
        request: UInt32,
        ticket: Ticket,
        connection: ConnectionInfo,
        method: LoginMethod,
        tag: [UInt8],
        leftover: [UInt8]
    ) {
        self.request = request
        self.ticket = ticket
        self.connection = connection
        self.method = method
        self.tag = tag
        self.leftover = leftover
    }
}

/// What martlet-login may ask of martletd.
///
/// It is the process that strangers talk to, so every field is hostile. The worst that a
/// `startSession` can do is to spend a ticket that martlet-auth gave to that same process: the
/// user, the uid and the Maildir come with the ticket, never from here. The rest is text for the
/// user's process, which reads it as hostile again.
package enum LoginReport: ChannelMessage, Equatable {
    /// Locked up and accepting.
    case ready
    /// Carries a duplicate of the client's connection.
    case startSession(SessionStart)

    package static let frameSizeMax = 32_768

    package var descriptorCount: Int {
        switch self {
        case .ready: 0
        case .startSession: 1
        }
    }

    package func frame() -> [UInt8] {
        switch self {
        case .ready: return FrameWriter(message: 1).bytes
        case .startSession(let start):
            var writer = FrameWriter(message: 2)
            writer.write(start.request)
            start.ticket.write(to: &writer)
            start.connection.write(to: &writer)
            writer.write(start.method.rawValue)
            writer.write(start.tag, max: FieldLimits.tagBytesMax)
            writer.write(start.leftover, max: FieldLimits.leftoverBytesMax)
            return writer.bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1: self = .ready
        case 2:
            let request = try reader.number(UInt32.self)
            let ticket = try Ticket(from: &reader)
            let connection = try ConnectionInfo(from: &reader)
            let method = try reader.method()
            self = .startSession(
                SessionStart(
                    request: request,
                    ticket: ticket,
                    connection: connection,
                    method: method,
                    tag: try reader.bytes(max: FieldLimits.tagBytesMax),
                    leftover: try reader.bytes(max: FieldLimits.leftoverBytesMax)
                )
            )
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}
