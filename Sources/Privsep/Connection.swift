import Posix

/// The number of one connection in every line that any process logs about it.
///
/// Random, so that it needs no counter that processes share; for the log alone, never a key.
package struct SessionID: Hashable, Sendable, CustomStringConvertible {
    package let value: UInt32

    package init(_ value: UInt32) { self.value = value }

    package static var random: SessionID {
        var generator = SystemRandomNumberGenerator()
        return SessionID(UInt32.random(in: 0x1000...UInt32.max, using: &generator))
    }

    package var description: String { String(value, radix: 16) }
}

/// How a connection came to be protected, or not.
package enum Security: UInt8, Sendable {
    /// Nothing: port 143 as it is.
    case plain
    /// TLS after STARTTLS.
    case startTLS
    /// TLS from the first byte: port 993.
    case implicitTLS
}

/// What is known of a client's connection, for the log and for PAM.
package struct ConnectionInfo: Equatable, Sendable {
    package var session: SessionID
    /// `192.0.2.7:51234` or `[2001:db8::7]:51234`.
    package var remote: [UInt8]
    package var local: [UInt8]
    package var security: Security
    /// `TLSv1.3`; empty without TLS.
    package var tlsVersion: [UInt8]
    package var cipher: [UInt8]
    /// The remote end is this host. Decided where the address was a number.
    package var isLoopback: Bool

    package init(
        session: SessionID,
        remote: [UInt8],
        local: [UInt8],
        security: Security = .plain,
        tlsVersion: [UInt8] = [],
        cipher: [UInt8] = [],
        isLoopback: Bool
    ) {
        self.session = session
        self.remote = remote
        self.local = local
        self.security = security
        self.tlsVersion = tlsVersion
        self.cipher = cipher
        self.isLoopback = isLoopback
    }

    /// `remote=192.0.2.7:51234 local=198.51.100.1:993 tls=TLSv1.3 session=4f1c`, the end of the
    /// line for each attempt to log in, stable for ever. Without TLS, `tls=none`.
    package var logFields: String {
        let tls = tlsVersion.isEmpty ? "none" : tlsVersion.quotedForLog
        return "remote=\(remote.quotedForLog) local=\(local.quotedForLog) tls=\(tls)"
            + " session=\(session)"
    }

    /// The remote address without the port: what `PAM_RHOST` is given.
    package var remoteAddress: [UInt8] {
        guard let colon = remote.lastIndex(of: UInt8(ascii: ":")) else { return remote }
        let address = remote[..<colon]
        guard address.first == UInt8(ascii: "["), address.last == UInt8(ascii: "]"),
            address.count >= 2
        else { return Array(address) }
        return Array(address.dropFirst().dropLast())
    }

    func write(to writer: inout FrameWriter) {
        writer.write(session.value)
        writer.write(remote, max: FieldLimits.endpointBytesMax)
        writer.write(local, max: FieldLimits.endpointBytesMax)
        writer.write(security.rawValue)
        writer.write(tlsVersion, max: FieldLimits.wordBytesMax)
        writer.write(cipher, max: FieldLimits.wordBytesMax)
        writer.write(isLoopback)
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        session = SessionID(try reader.number())
        remote = try reader.bytes(max: FieldLimits.endpointBytesMax)
        local = try reader.bytes(max: FieldLimits.endpointBytesMax)
        guard let security = Security(rawValue: try reader.number()) else { throw .invalid }
        self.security = security
        tlsVersion = try reader.bytes(max: FieldLimits.wordBytesMax)
        cipher = try reader.bytes(max: FieldLimits.wordBytesMax)
        isLoopback = try reader.flag()
    }
}

/// How a password came.
package enum LoginMethod: UInt8, Sendable {
    case plain
    case login
    case loginCommand

    /// As in the log.
    package var name: String {
        switch self {
        case .plain: "PLAIN"
        case .login: "LOGIN"
        // The command and the mechanism of that name are told apart nowhere that matters.
        case .loginCommand: "LOGIN"
        }
    }
}

/// An approval's single-use name: 128 random bits from martlet-auth. martlet-login carries it to
/// martletd, which alone knows what it stands for.
package struct Ticket: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    package static var random: Ticket {
        var generator = SystemRandomNumberGenerator()
        return Ticket(high: generator.next(), low: generator.next())
    }

    func write(to writer: inout FrameWriter) {
        writer.write(high)
        writer.write(low)
    }

    init(from reader: inout FrameReader) throws(FrameError) {
        high = try reader.number()
        low = try reader.number()
    }
}
