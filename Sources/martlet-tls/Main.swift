import Glibc
import Posix
import TLS

/// martlet-tls: ends TLS and relays bytes. Knows no IMAP.
///
/// Run by hand it makes or checks certificates: `martlet-tls --make-certificate NAME...` prints a
/// certificate and its key, `martlet-tls --check-certificate N` reads both, as PEM, from standard
/// input, where the first N bytes are the chain. martletd has both done by an unprivileged process.
@main
enum Main {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case nil: EventLoop.run { await serve() }
        case "--make-certificate": CertificateTool.make(names: Array(arguments.dropFirst()))
        case "--check-certificate":
            CertificateTool.check(chainCount: arguments.dropFirst().first.flatMap { Int($0) } ?? 0)
        default:
            Log.error("event=usage process=martlet-tls")
            exit(2)
        }
    }

    @EventLoop
    private static func serve() async {
        do throws(SystemError) {
            try await TLSProcess().obey()
            exit(0)
        } catch {
            Log.error("event=failed process=martlet-tls \(error)")
            exit(1)
        }
    }
}
