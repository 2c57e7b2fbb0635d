import Bytes

/// The name that a user typed, as the system knows it.
package enum LoginName {
    /// Cuts the domain off `ann@example.org`: any where no domains are configured, else one of
    /// these. A name with another domain stays as it is, and then names nobody.
    package static func withoutDomain(_ typed: [UInt8], domains: [[UInt8]]) -> [UInt8] {
        guard let at = typed.lastIndex(of: UInt8(ascii: "@")), at > 0, at + 1 < typed.count else {
            return typed
        }
        let domain = Array(typed[(at + 1)...])
        guard domains.isEmpty || domains.contains(where: { $0.equalsIgnoringCase(domain) }) else {
            return typed
        }
        return Array(typed[..<at])
    }
}
