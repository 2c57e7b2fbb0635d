package import Posix

/// How martlet-tls and martlet-login lock themselves up before the first outside byte.
package enum Confinement: Equatable, Sendable {
    /// Started as root: chroot into the empty directory, then become this user.
    case chroot(directory: [UInt8], uid: UInt32, gid: UInt32)
    /// Started as an ordinary user: a Landlock ruleset that allows no path.
    case landlock

    func write(to writer: inout FrameWriter) {
        switch self {
        case .chroot(let directory, let uid, let gid):
            writer.write(UInt8(1))
            writer.write(directory, max: FieldLimits.pathBytesMax)
            writer.write(uid)
            writer.write(gid)
        case .landlock:
            writer.write(UInt8(2))
        }
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        switch try reader.number(UInt8.self) {
        case 1:
            self = .chroot(
                directory: try reader.bytes(max: FieldLimits.pathBytesMax),
                uid: try reader.number(),
                gid: try reader.number()
            )
        case 2: self = .landlock
        default: throw .invalid
        }
    }
}

/// What martletd, which it trusts, tells martlet-tls.
///
/// In this order: `configure`, each `certificate`, the sockets, `loginChannel`, `start`. Later
/// only `loginChannel` again (martlet-login was started anew), each `certificate` of a new set and
/// `useCertificates`, and `stopListening`.
package enum TLSRequest: ChannelMessage, Equatable {
    case configure(Confinement, logLevel: Log.Level)
    /// A chain and its key, both PEM. The first one serves clients that name no server.
    case certificate(chain: [UInt8], key: [UInt8])
    /// Carries a listening socket; its connections speak TLS from the first byte.
    case listen
    /// Carries this process's end of the channel to its martlet-login.
    case loginChannel
    /// Lock up, answer `ready`, accept.
    case start
    /// Take no new connections; the relays go on.
    case stopListening
    /// New connections get the certificates that came since the last set; the others keep theirs.
    case useCertificates

    package static let frameSizeMax = 2 * FieldLimits.pemBytesMax + 64

    package var descriptorCount: Int {
        switch self {
        case .listen, .loginChannel: 1
        case .configure, .certificate, .start, .stopListening, .useCertificates: 0
        }
    }

    package func frame() -> [UInt8] {
        switch self {
        case .configure(let confinement, let logLevel):
            var writer = FrameWriter(message: 1)
            confinement.write(to: &writer)
            writer.write(UInt8(logLevel.rawValue))
            return writer.bytes
        case .certificate(let chain, let key):
            var writer = FrameWriter(message: 2)
            writer.write(chain, max: FieldLimits.pemBytesMax)
            writer.write(key, max: FieldLimits.pemBytesMax)
            return writer.bytes
        case .listen: return FrameWriter(message: 3).bytes
        case .loginChannel: return FrameWriter(message: 4).bytes
        case .start: return FrameWriter(message: 5).bytes
        case .stopListening: return FrameWriter(message: 6).bytes
        case .useCertificates: return FrameWriter(message: 7).bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1:
            self = .configure(
                try Confinement(from: &reader),
                logLevel: try reader.logLevel()
            )
        case 2:
            self = .certificate(
                chain: try reader.bytes(max: FieldLimits.pemBytesMax),
                key: try reader.bytes(max: FieldLimits.pemBytesMax)
            )
        case 3: self = .listen
        case 4: self = .loginChannel
        case 5: self = .start
        case 6: self = .stopListening
        case 7: self = .useCertificates
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

/// What martlet-tls tells martletd: next to nothing. It meets strangers, so it is hostile.
package enum TLSReport: ChannelMessage, Equatable {
    /// Locked up and accepting.
    case ready

    package static let frameSizeMax = 64

    package func frame() -> [UInt8] { FrameWriter(message: 1).bytes }

    package init(frame: [UInt8]) throws(FrameError) {
        let reader = try FrameReader(frame)
        guard reader.message == 1 else { throw .unknownMessage(reader.message) }
        self = .ready
        try reader.end()
    }
}

/// martlet-tls → martlet-login: the plaintext end of a connection whose handshake is done. It
/// rides along, a stream socket, non-blocking. Either side meets strangers; what one says wrong
/// costs connections that are not logged in, and the log names a client that is none.
package struct TLSDelivery: ChannelMessage, Equatable {
    package var connection: ConnectionInfo

    package init(connection: ConnectionInfo) { self.connection = connection }

    package static let frameSizeMax = 512
    package var descriptorCount: Int { 1 }

    package func frame() -> [UInt8] {
        var writer = FrameWriter(message: 1)
        connection.write(to: &writer)
        return writer.bytes
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        guard reader.message == 1 else { throw .unknownMessage(reader.message) }
        connection = try ConnectionInfo(from: &reader)
        try reader.end()
    }
}

/// martlet-login → martlet-tls: the socket of a client that was just answered `OK` to STARTTLS.
/// It comes back as a `TLSDelivery`; martlet-login keeps nothing of it, as RFC 3501 §6.2.1 wants.
package struct TLSUpgrade: ChannelMessage, Equatable {
    package var connection: ConnectionInfo

    package init(connection: ConnectionInfo) { self.connection = connection }

    package static let frameSizeMax = 512
    package var descriptorCount: Int { 1 }

    package func frame() -> [UInt8] {
        var writer = FrameWriter(message: 1)
        connection.write(to: &writer)
        return writer.bytes
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        guard reader.message == 1 else { throw .unknownMessage(reader.message) }
        connection = try ConnectionInfo(from: &reader)
        try reader.end()
    }
}
