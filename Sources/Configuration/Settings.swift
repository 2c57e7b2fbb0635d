package import Posix

/// Where a password may cross a connection without TLS.
package enum PlaintextLoginRule: Equatable, Sendable {
    case never, loopback, always
}

/// `namespace_prefix`.
package enum NamespacePrefixRule: Equatable, Sendable {
    case automatic
    case fixed([UInt8])
}

/// Everything that `martlet.conf` says, with the defaults where it says nothing.
package struct Settings: Equatable, Sendable {
    package var listenIMAP: [ListenAddress] = [.any(port: 143)]
    package var listenIMAPS: [ListenAddress] = [.any(port: 993)]
    /// Paths of PEM files; parallel to `tlsKeys`. Empty: the snakeoil pair, or one made at start.
    package var tlsCertificates: [String] = []
    package var tlsKeys: [String] = []
    package var allowPlaintextLogin = PlaintextLoginRule.loopback
    package var mailLocation = "~/Maildir"
    package var hierarchySeparator = UInt8(ascii: ".")
    package var namespacePrefix = NamespacePrefixRule.automatic
    package var pamService = "martlet"
    package var pamSession = false
    /// Domains that are cut off a login name; empty means any.
    package var loginDomains: [String] = []
    package var minimumUID: UInt32 = 1_000
    package var cacheDirectory = "/var/cache/martlet"
    package var runtimeDirectory = "/run/martlet"
    /// How many martlet-login, and as many martlet-tls; nil means one a core.
    package var loginProcesses: Int?
    package var loginUser = "_martlet"
    package var userProcessLingerSeconds = 300
    package var logLevel = Log.Level.info

    package init() {}

    /// The home directory and user name put in: `~` (at the start), `%h`, `%u`, `%%`. Nil where
    /// the name could lead elsewhere (it has a `/`, or is `..`), or the result is no absolute path.
    package static func expand(_ location: String, home: [UInt8], user: [UInt8]) -> [UInt8]? {
        var result: [UInt8] = []
        var text = Array(location.utf8)[...]
        if text.first == UInt8(ascii: "~") {
            result += home
            text = text.dropFirst()
        }
        while let byte = text.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            switch text.popFirst() {
            case UInt8(ascii: "h"): result += home
            case UInt8(ascii: "u"):
                guard !user.contains(UInt8(ascii: "/")), user != Array("..".utf8),
                    user != Array(".".utf8), !user.isEmpty
                else { return nil }
                result += user
            case UInt8(ascii: "%"): result.append(UInt8(ascii: "%"))
            default: return nil
            }
        }
        guard result.first == UInt8(ascii: "/"), !result.contains(0) else { return nil }
        while result.count > 1, result.last == UInt8(ascii: "/") { result.removeLast() }
        return result
    }
}
