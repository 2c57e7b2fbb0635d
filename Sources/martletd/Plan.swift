import Bytes
import Configuration
import Glibc
import Posix
import Privsep

/// What this run of martletd serves: the settings, and what personal mode makes of them.
struct Plan {
    var settings: Settings
    /// Personal mode: the one Maildir, absolute; nil means `~/Maildir`.
    var personalMaildir: [UInt8]?
    var personalPassword: Password?

    var isPersonal: Bool { personalPassword != nil }
    let isRoot = geteuid() == 0

    var processCount: Int {
        if let count = settings.loginProcesses { return count }
        // One person needs no second process.
        return isPersonal ? 1 : min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 1), 64)
    }

    var authSettings: AuthSettings {
        AuthSettings(
            pamService: Array(settings.pamService.utf8),
            pamSession: settings.pamSession,
            loginDomains: settings.loginDomains.map { Array($0.utf8) },
            minimumUID: settings.minimumUID,
            loginUser: Array(settings.loginUser.utf8),
            logLevel: settings.logLevel
        )
    }

    var plaintextLogin: PlaintextLogin {
        switch settings.allowPlaintextLogin {
        case .never: .never
        case .loopback: .loopback
        case .always: .always
        }
    }

    /// What the user's process is told; nil where the account has no usable home or name.
    func userSettings(for account: Account) -> UserSettings? {
        let home = isPersonal ? personalHome(account) : account.home
        let location =
            personalMaildir
            ?? Settings.expand(settings.mailLocation, home: home, user: account.name)
        guard let location, location.count <= FieldLimits.pathBytesMax,
            let cache = cacheDirectory(of: account, home: home),
            cache.count <= FieldLimits.pathBytesMax
        else { return nil }
        let prefix: UserSettings.NamespacePrefix =
            switch settings.namespacePrefix {
            case .automatic: .automatic
            case .fixed(let prefix): .fixed(prefix)
            }
        return UserSettings(
            userName: account.name,
            home: home,
            mailLocation: location,
            hierarchySeparator: settings.hierarchySeparator,
            namespacePrefix: prefix,
            cacheDirectory: cache,
            lingerSeconds: UInt32(clamping: settings.userProcessLingerSeconds),
            logLevel: settings.logLevel,
            isPersonal: isPersonal
        )
    }

    /// The directory that martletd makes for users in; nil where each has one at home.
    var sharedCache: CacheDirectory? {
        if isPersonal || settings.cacheDirectory.hasPrefix("~") { return nil }
        return CacheDirectory(path: Array(settings.cacheDirectory.utf8))
    }

    private func cacheDirectory(of account: Account, home: [UInt8]) -> [UInt8]? {
        if let shared = sharedCache { return shared.path + Array("/\(account.uid)".utf8) }
        var location = isPersonal ? "~/.cache/martlet" : settings.cacheDirectory
        // The XDG base directory specification: a path that is not absolute is to be ignored.
        if isPersonal, let xdg = environment("XDG_CACHE_HOME"), xdg.hasPrefix("/"),
            !xdg.contains("%")
        {
            location = xdg + "/martlet"
        }
        return Settings.expand(location, home: home, user: account.name)
    }

    /// `HOME` counts for a person's own run; the account's entry where there is none.
    private func personalHome(_ account: Account) -> [UInt8] {
        let home = environment("HOME").map { Array($0.utf8) } ?? []
        return home.first == UInt8(ascii: "/") ? home : account.home
    }
}

/// A variable of the environment.
func environment(_ name: String) -> String? {
    guard let value = unsafe getenv(name) else { return nil }
    return unsafe String(cString: value)
}
