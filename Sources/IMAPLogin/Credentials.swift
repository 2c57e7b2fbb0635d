import Bytes

/// What a client gave to log in with.
struct Credentials: Equatable {
    let user: [UInt8]
    let password: [UInt8]

    enum Refusal: Error, Equatable {
        /// Not what the mechanism says. BAD.
        case malformed
        /// The client wants to act for another user than it proves to be.
        case otherIdentity
    }

    /// RFC 4616 §2: `message = [authzid] UTF8NUL authcid UTF8NUL passwd`.
    static func plain(_ message: [UInt8]) throws(Refusal) -> Credentials {
        let parts = message.split(separator: 0, omittingEmptySubsequences: false)
        guard parts.count == 3, !parts[1].isEmpty else { throw .malformed }
        guard parts[0].isEmpty || parts[0] == parts[1] else { throw .otherIdentity }
        return Credentials(user: Array(parts[1]), password: Array(parts[2]))
    }
}
