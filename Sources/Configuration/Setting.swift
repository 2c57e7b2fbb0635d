import Posix

/// A value that a setting does not take, and how to mend it.
package struct ValueError: Error, Equatable {
    package let message: String

    package init(_ message: String) { self.message = message }
}

/// One setting of `martlet.conf`. The table of all of them is the one place that knows names,
/// types and defaults; a test compares it with the man page.
package struct Setting: Sendable {
    package let name: String
    /// As in the man page: `seconds`, `yes | no`, `path`.
    package let type: String
    /// As one would write it.
    package let defaultText: String
    package let apply: @Sendable (inout Settings, String) throws(ValueError) -> Void

    private init(
        _ name: String,
        _ type: String,
        default defaultText: String,
        _ apply: @escaping @Sendable (inout Settings, String) throws(ValueError) -> Void
    ) {
        self.name = name
        self.type = type
        self.defaultText = defaultText
        self.apply = apply
    }

    /// All settings, by name.
    package static let all: [Setting] = [
        Setting("allow_plaintext_login", "loopback | never | always", default: "loopback") {
            (settings, value) throws(ValueError) in
            settings.allowPlaintextLogin = try choice(
                value,
                [("loopback", .loopback), ("never", .never), ("always", .always)]
            )
        },
        Setting("cache_directory", "path", default: "/var/cache/martlet") {
            (settings, value) throws(ValueError) in
            settings.cacheDirectory = try homePath(value)
            guard !value.contains("%") else {
                throw ValueError("% stands for nothing here; each user has a directory below it")
            }
        },
        Setting("hierarchy_separator", "character", default: ".") {
            (settings, value) throws(ValueError) in
            settings.hierarchySeparator = try separator(value)
        },
        Setting("listen_imap", "addresses | none", default: "*:143") {
            (settings, value) throws(ValueError) in
            settings.listenIMAP = try addresses(value)
        },
        Setting("listen_imaps", "addresses | none", default: "*:993") {
            (settings, value) throws(ValueError) in
            settings.listenIMAPS = try addresses(value)
        },
        Setting("log_level", "error | warning | info | debug", default: "info") {
            (settings, value) throws(ValueError) in
            settings.logLevel = try choice(value, Log.Level.allCases.map { ($0.name, $0) })
        },
        Setting("login_domains", "domains", default: "") {
            (settings, value) throws(ValueError) in
            settings.loginDomains = try domains(value)
        },
        Setting("login_processes", "number", default: "") {
            (settings, value) throws(ValueError) in
            settings.loginProcesses =
                value.isEmpty
                ? nil : try number(value, 1...ConfigurationLimits.processCountMax)
        },
        Setting("login_user", "user", default: "_martlet") {
            (settings, value) throws(ValueError) in
            settings.loginUser = try word(value, "a user's name", max: 255)
            guard value != "root" else {
                throw ValueError("root has all rights; write a user who has none")
            }
        },
        Setting("mail_location", "path", default: "~/Maildir") {
            (settings, value) throws(ValueError) in
            settings.mailLocation = try mailLocation(value)
        },
        Setting("minimum_uid", "number", default: "1000") {
            (settings, value) throws(ValueError) in
            // uid 0 never logs in, so 0 would only look as if it did.
            settings.minimumUID = UInt32(try number(value, 1...Int(UInt32.max) - 1))
        },
        Setting("namespace_prefix", "auto | prefix", default: "auto") {
            (settings, value) throws(ValueError) in
            settings.namespacePrefix = try prefix(value)
        },
        Setting("pam_service", "name", default: "martlet") {
            (settings, value) throws(ValueError) in
            settings.pamService = try pamService(value)
        },
        Setting("pam_session", "yes | no", default: "no") {
            (settings, value) throws(ValueError) in
            settings.pamSession = try choice(value, [("yes", true), ("no", false)])
        },
        Setting("runtime_directory", "path", default: "/run/martlet") {
            (settings, value) throws(ValueError) in
            settings.runtimeDirectory = try absolutePath(value)
        },
        Setting("tls_certificate", "paths", default: "") {
            (settings, value) throws(ValueError) in
            settings.tlsCertificates = try paths(value)
        },
        Setting("tls_key", "paths", default: "") {
            (settings, value) throws(ValueError) in
            settings.tlsKeys = try paths(value)
        },
        Setting("user_process_linger", "seconds", default: "300") {
            (settings, value) throws(ValueError) in
            settings.userProcessLingerSeconds = try number(
                value,
                0...ConfigurationLimits.lingerSecondsMax
            )
        },
    ]

    package static func named(_ name: String) -> Setting? { all.first { $0.name == name } }
}

// MARK: Values

/// The items of a list: separated by commas, blanks or both.
private func items(_ value: String) throws(ValueError) -> [String] {
    let items = value.split(whereSeparator: { $0 == "," || $0 == " " || $0 == "\t" })
    guard items.count <= ConfigurationLimits.listCountMax else {
        throw ValueError("more than \(ConfigurationLimits.listCountMax) items")
    }
    return items.map(String.init)
}

private func choice<Value>(_ value: String, _ choices: [(String, Value)]) throws(ValueError)
    -> Value
{
    for (name, meaning) in choices where name == value { return meaning }
    let names = choices.map(\.0)
    throw ValueError(
        "\"\(value)\" is not one of \(names.dropLast().joined(separator: ", ")) or \(names.last ?? "")"
    )
}

private func number(_ value: String, _ range: ClosedRange<Int>) throws(ValueError) -> Int {
    guard !value.isEmpty, value.allSatisfy({ $0.isASCII && $0.isNumber }), let number = Int(value)
    else {
        throw ValueError("\"\(value)\" is no whole number without a sign or unit")
    }
    guard range.contains(number) else {
        throw ValueError("\(value) is not between \(range.lowerBound) and \(range.upperBound)")
    }
    return number
}

private func addresses(_ value: String) throws(ValueError) -> [ListenAddress] {
    if value == "none" { return [] }
    let items = try items(value)
    guard !items.isEmpty else { throw ValueError("no address; write \"none\" to listen nowhere") }
    var addresses: [ListenAddress] = []
    for item in items {
        let address = try ListenAddress.parse(item)
        guard !addresses.contains(address) || address.port == 0 else {
            throw ValueError("\"\(item)\" is there twice")
        }
        addresses.append(address)
    }
    return addresses
}

private func word(_ value: String, _ what: String, max: Int) throws(ValueError) -> String {
    guard !value.isEmpty, value.utf8.count <= max,
        value.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: ":") })
    else { throw ValueError("\"\(value)\" is not \(what)") }
    return value
}

private func absolutePath(_ value: String) throws(ValueError) -> String {
    guard value.hasPrefix("/"), !value.utf8.contains(0), value.utf8.count < 4_096 else {
        throw ValueError("\"\(value)\" is no absolute path; it begins with /")
    }
    guard value.contains(where: { $0 != "/" }) else {
        throw ValueError("/ itself is not for this; write a directory in it")
    }
    return value
}

private func homePath(_ value: String) throws(ValueError) -> String {
    if value == "~" || value.hasPrefix("~/") { return value }
    if value.hasPrefix("~") {
        throw ValueError("~ stands for the user's own home alone; write ~/ and the rest")
    }
    guard value.hasPrefix("/") else {
        throw ValueError("\"\(value)\" is no absolute path; it begins with / or ~/")
    }
    return try absolutePath(value)
}

/// A location without what Dovecot takes behind it: `:LAYOUT=fs`.
private func path(in location: Substring) -> String {
    let parts = location.split(separator: ":", omittingEmptySubsequences: false)
    let isOption: (Substring) -> Bool = { part in
        part.prefix { $0 != "=" }.allSatisfy { $0 >= "A" && $0 <= "Z" }
            && part.contains("=") && !part.hasPrefix("=")
    }
    return parts.prefix(1 + parts.dropFirst().prefix { !isOption($0) }.count).joined(separator: ":")
}

private func mailLocation(_ value: String) throws(ValueError) -> String {
    if value.lowercased().hasPrefix("maildir:") {
        throw ValueError("write the path alone: \(path(in: value.dropFirst("maildir:".count)))")
    }
    guard path(in: value[...]) == value else {
        throw ValueError("write the path alone: \(path(in: value[...]))")
    }
    if let colon = value.firstIndex(of: ":"), !value[..<colon].contains("/") {
        throw ValueError("only Maildirs are served; write a path such as ~/Maildir")
    }
    if !value.hasPrefix("%h") { _ = try homePath(value) }
    guard
        Settings.expand(value, home: Array("/home/ann".utf8), user: Array("ann".utf8)) != nil
    else {
        throw ValueError("after % comes h (home), u (user name) or another %")
    }
    return value
}

private func paths(_ value: String) throws(ValueError) -> [String] {
    let items = try items(value)
    for item in items { _ = try absolutePath(item) }
    return items
}

private func separator(_ value: String) throws(ValueError) -> UInt8 {
    guard value.utf8.count == 1, let byte = value.utf8.first,
        byte > 0x20, byte < 0x7F, !(byte >= 0x30 && byte <= 0x39),
        !(byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A),
        !Array("\"\\%*&(){}[]~".utf8).contains(byte)
    else {
        throw ValueError("\"\(value)\" cannot separate mailbox names; use . or /")
    }
    return byte
}

private func prefix(_ value: String) throws(ValueError) -> NamespacePrefixRule {
    if value == "auto" { return .automatic }
    if value.isEmpty || value == "\"\"" { return .fixed([]) }
    guard value.utf8.count <= 64, value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }),
        !value.contains("\""), !value.contains("\\"), !value.contains("*"), !value.contains("%")
    else {
        throw ValueError("\"\(value)\" is no prefix; write auto, \"\" or one such as INBOX.")
    }
    return .fixed(Array(value.utf8))
}

private func domains(_ value: String) throws(ValueError) -> [String] {
    let items = try items(value)
    for item in items {
        guard item.utf8.count <= 255, !item.hasPrefix("."), item.utf8.allSatisfy(isInDomain) else {
            throw ValueError("\"\(item)\" is no domain; write it as in example.org, without an @")
        }
    }
    return items
}

/// Letters, digits, hyphens, dots, what people add, and all beyond ASCII.
private func isInDomain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), 0x80...:
        true
    default: false
    }
}

/// PAM takes a service's name as the name of a file.
private func pamService(_ value: String) throws(ValueError) -> String {
    guard !value.isEmpty, value.utf8.count <= 64, !value.hasPrefix("."),
        value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "/") })
    else { throw ValueError("\"\(value)\" is no name of a file in /etc/pam.d") }
    return value
}
