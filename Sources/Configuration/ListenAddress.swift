import Glibc

/// An address and port to listen on.
package enum ListenAddress: Equatable, Sendable {
    /// All addresses of this host, IPv6 and IPv4.
    case any(port: UInt16)
    case ipv4([UInt8], port: UInt16)
    /// One IPv6 address; `[::]` means every IPv6 address and no IPv4.
    case ipv6([UInt8], port: UInt16)

    package var port: UInt16 {
        switch self {
        case .any(let port), .ipv4(_, let port), .ipv6(_, let port): port
        }
    }

    /// Reads `192.0.2.1:143`, `[2001:db8::1]:143`, `*:143` or `localhost:143`.
    package static func parse(_ text: String) throws(ValueError) -> ListenAddress {
        let mend = "write ADDRESS:PORT, as in 192.0.2.1:143, [::1]:143 or *:143"
        guard let colon = text.lastIndex(of: ":") else {
            throw ValueError("\"\(text)\" has no port; \(mend)")
        }
        let portText = text[text.index(after: colon)...]
        guard !portText.isEmpty, portText.allSatisfy({ $0.isASCII && $0.isNumber }),
            let port = UInt16(portText)
        else {
            throw ValueError("\"\(portText)\" is no port; \(mend)")
        }
        let host = text[..<colon]
        if host == "*" { return .any(port: port) }
        if host == "localhost" { return .ipv4([127, 0, 0, 1], port: port) }
        if host.hasPrefix("["), host.hasSuffix("]") {
            let inner = String(host.dropFirst().dropLast())
            guard let bytes = addressBytes(AF_INET6, inner, count: 16) else {
                throw ValueError("\"\(inner)\" is no IPv6 address; \(mend)")
            }
            return .ipv6(bytes, port: port)
        }
        if addressBytes(AF_INET6, String(host), count: 16) != nil {
            throw ValueError("an IPv6 address stands in brackets: [\(host)]:\(port)")
        }
        guard let bytes = addressBytes(AF_INET, String(host), count: 4) else {
            throw ValueError(
                "\"\(host)\" is no address in numbers (names are not looked up); \(mend)"
            )
        }
        return .ipv4(bytes, port: port)
    }

    /// Whether the kernel gives only one of the two to this server: the second would be refused.
    package func overlaps(_ other: ListenAddress) -> Bool {
        guard port == other.port, port != 0 else { return false }
        switch (self, other) {
        case (.any, _), (_, .any): return true
        case (.ipv4(let first, _), .ipv4(let second, _)),
            (.ipv6(let first, _), .ipv6(let second, _)):
            return first == second || !first.contains { $0 != 0 } || !second.contains { $0 != 0 }
        case (.ipv4, .ipv6), (.ipv6, .ipv4): return false
        }
    }

    private static func addressBytes(_ family: CInt, _ text: String, count: Int) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        return unsafe inet_pton(family, text, &bytes) == 1 ? bytes : nil
    }
}
