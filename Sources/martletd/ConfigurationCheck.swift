import Bytes
import Configuration
import Glibc
import Posix
import Privsep

/// `martletd -n`: says everything that is wrong, and starts nothing.
@EventLoop
enum ConfigurationCheck {
    static func run(_ file: ConfigurationFile, _ executables: Executables) async -> Never {
        var errors = file.errors
        var plan = Plan(settings: file.settings)
        plan.settings.logLevel = .warning
        let source = CertificateSource(
            plan: plan,
            executables: executables,
            // The account's number is martlet-auth's to look up; nobody's is always the same.
            identity: plan.isRoot ? .user(uid: 65_534, gid: 65_534, groups: []) : .unchanged
        )
        if !file.settings.tlsCertificates.isEmpty,
            file.settings.tlsCertificates.count == file.settings.tlsKeys.count
        {
            let found = await source.load { path, complaint in
                complain(["note: \(file.error(about: "tls_certificate", "\(path): \(complaint)"))"])
            }
            for (setting, message) in found.errors {
                errors.append(file.error(about: setting, message))
            }
        }
        if !Files.exists("/etc/pam.d/\(file.settings.pamService)"), plan.isRoot {
            let error = file.error(
                about: "pam_service",
                "/etc/pam.d/\(file.settings.pamService) is not there, so PAM uses \"other\""
            )
            complain(["note: \(error)"])
        }
        complain(errors.sorted { $0.line < $1.line }.map(\.description))
        exit(errors.isEmpty ? 0 : 1)
    }
}
