import Posix

/// What martlet-auth asks of one of its PAM workers, a process of its own, root as well. One
/// request at a time; the worker answers each and keeps the PAM handle until the next.
package enum WorkerRequest: ChannelMessage, Equatable {
    /// authenticate, acct_mgmt, setcred; then the account from NSS. `user` has no domain any more.
    case check(user: [UInt8], password: Password, remoteAddress: [UInt8], minimumUID: UInt32)
    /// open_session for the user just approved. The worker then holds the session, and closes it
    /// at the end of its channel. Answered with `sessionOpened` or `checked(.unavailable)`.
    case openSession

    package static let frameSizeMax = 4_096

    package func frame() -> [UInt8] {
        switch self {
        case .check(let user, let password, let remoteAddress, let minimumUID):
            var writer = FrameWriter(message: 1)
            writer.write(user, max: FieldLimits.userNameBytesMax)
            writer.write(password)
            writer.write(remoteAddress, max: FieldLimits.endpointBytesMax)
            writer.write(minimumUID)
            return writer.bytes
        case .openSession: return FrameWriter(message: 2).bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1:
            let user = try reader.bytes(max: FieldLimits.userNameBytesMax)
            let password = try reader.password()
            self = .check(
                user: user,
                password: password,
                remoteAddress: try reader.bytes(max: FieldLimits.endpointBytesMax),
                minimumUID: try reader.number()
            )
        case 2: self = .openSession
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}

/// What a worker answers. PAM modules run in it, so its parent takes nothing but these words.
package enum WorkerReport: ChannelMessage, Equatable {
    case approved(Account)
    case failed
    case expired
    case unavailable
    case sessionOpened

    package static let frameSizeMax = 32_768

    package func frame() -> [UInt8] {
        switch self {
        case .approved(let account):
            var writer = FrameWriter(message: 1)
            account.write(to: &writer)
            return writer.bytes
        case .failed: return FrameWriter(message: 2).bytes
        case .expired: return FrameWriter(message: 3).bytes
        case .unavailable: return FrameWriter(message: 4).bytes
        case .sessionOpened: return FrameWriter(message: 5).bytes
        }
    }

    package init(frame: [UInt8]) throws(FrameError) {
        var reader = try FrameReader(frame)
        switch reader.message {
        case 1: self = .approved(try Account(from: &reader))
        case 2: self = .failed
        case 3: self = .expired
        case 4: self = .unavailable
        case 5: self = .sessionOpened
        default: throw .unknownMessage(reader.message)
        }
        try reader.end()
    }
}
