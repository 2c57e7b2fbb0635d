import Bytes
import Configuration
import Glibc
import Posix
import Privsep

/// A certificate chain and its key, as PEM.
struct CertificatePair: Sendable {
    let chain: [UInt8]
    let key: [UInt8]
}

/// Where the certificates come from: the files of the configuration, Debian's snakeoil pair, or
/// one that is made. martletd reads the files, as root; an unprivileged martlet-tls looks into
/// them.
@EventLoop
struct CertificateSource {
    let plan: Plan
    let executables: Executables
    /// Whom martlet-tls runs as, as a tool.
    let identity: ChildIdentity

    static let snakeoil = (
        chain: "/etc/ssl/certs/ssl-cert-snakeoil.pem",
        key: "/etc/ssl/private/ssl-cert-snakeoil.key"
    )

    /// All pairs, at least one; or every reason why not, by setting.
    func load() async -> (pairs: [CertificatePair], errors: [(setting: String, message: String)]) {
        await load { path, complaint in
            Log.warning(
                "event=certificate path=\(Array(path.utf8).quotedForLog)"
                    + " reason=\(Array(complaint.utf8).quotedForLog)"
            )
        }
    }

    /// - Parameter complain: told the path of a certificate that can be used and should not be, and why.
    func load(
        complain: (String, String) -> Void
    ) async -> (pairs: [CertificatePair], errors: [(setting: String, message: String)]) {
        let settings = plan.settings
        var pairs: [CertificatePair] = []
        var errors: [(setting: String, message: String)] = []
        for (chainPath, keyPath) in zip(settings.tlsCertificates, settings.tlsKeys) {
            let chain = Self.read(chainPath, "tls_certificate", &errors)
            let key = Self.read(keyPath, "tls_key", &errors)
            guard let chain, let key else { continue }
            let pair = CertificatePair(chain: chain, key: key)
            switch await check(pair) {
            case .usable(nil): break
            case .usable(let complaint?):
                complain(chainPath, complaint)
            case .unusable(let reason):
                errors.append(("tls_certificate", "\(chainPath) with \(keyPath): \(reason)"))
                continue
            }
            pairs.append(pair)
        }
        if pairs.isEmpty, errors.isEmpty, let pair = await standIn(&errors) { pairs = [pair] }
        return (pairs, errors)
    }

    private static func read(
        _ path: String,
        _ setting: String,
        _ errors: inout [(setting: String, message: String)]
    ) -> [UInt8]? {
        do throws(SystemError) {
            return try Files.read(path, max: FieldLimits.pemBytesMax)
        } catch {
            errors.append((setting, "cannot read it: \(error)"))
            return nil
        }
    }

    // MARK: Where none is configured

    private func standIn(
        _ errors: inout [(setting: String, message: String)]
    ) async -> CertificatePair? {
        if plan.isPersonal { return await personalPair(&errors) }
        if let chain = try? Files.read(Self.snakeoil.chain, max: FieldLimits.pemBytesMax),
            let key = try? Files.read(Self.snakeoil.key, max: FieldLimits.pemBytesMax)
        {
            let pair = CertificatePair(chain: chain, key: key)
            if case .usable = await check(pair) { return pair }
        }
        return await make(&errors)
    }

    /// The one made last time, so that a client's exception for it stays good.
    private func personalPair(
        _ errors: inout [(setting: String, message: String)]
    ) async -> CertificatePair? {
        let cache =
            environment("XDG_CACHE_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
            ?? environment("HOME").flatMap { $0.hasPrefix("/") ? $0 + "/.cache" : nil }
        guard let cache else { return await make(&errors) }
        let path = cache + "/martlet/certificate.pem"
        if let pem = try? Files.read(path, max: FieldLimits.pemBytesMax) {
            let pair = CertificatePair(chain: pem, key: pem)
            if case .usable(nil) = await check(pair) { return pair }
        }
        guard let pair = await make(&errors) else { return nil }
        do throws(SystemError) {
            try Files.makeDirectory(cache + "/martlet", mode: 0o700)
            try Files.store(pair.chain, at: path)
        } catch {
            Log.warning("event=certificate-not-stored \(error)")
        }
        return pair
    }

    private func make(
        _ errors: inout [(setting: String, message: String)]
    ) async -> CertificatePair? {
        var room = [CChar](repeating: 0, count: 256)
        _ = unsafe gethostname(&room, room.count - 1)
        let host = room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }.text
        let result = try? await executables.run(
            "martlet-tls",
            ["--make-certificate", "localhost", host],
            identity: identity
        )
        guard let result, result.status == 0, !result.output.isEmpty,
            result.output.count <= FieldLimits.pemBytesMax
        else {
            errors.append(("tls_certificate", "none is configured, and none could be made"))
            return nil
        }
        Log.info("event=certificate-made name=\(Array(host.utf8).quotedForLog)")
        return CertificatePair(chain: result.output, key: result.output)
    }

    // MARK: Checking

    private enum Finding {
        case usable(String?)
        case unusable(String)
    }

    private func check(_ pair: CertificatePair) async -> Finding {
        let result = try? await executables.run(
            "martlet-tls",
            ["--check-certificate", "\(pair.chain.count)"],
            input: pair.chain + pair.key,
            identity: identity
        )
        guard let result else { return .unusable("martlet-tls cannot be run") }
        let text = Array(result.output.prefix(300)).filter { $0 != .lf }.text
        guard result.status == 0 else {
            return .unusable(text.isEmpty ? "martlet-tls failed" : text)
        }
        return .usable(text.isEmpty ? nil : text)
    }
}
