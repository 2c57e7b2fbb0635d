import Glibc
import Posix

/// martlet-auth: checks passwords. As `martlet-auth` it answers martlet-login and runs a pool of
/// `martlet-auth --worker SERVICE`, in each of which PAM does one transaction at a time.
@main
enum Main {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case nil: EventLoop.run { await serve() }
        case "--worker":
            let service = Array((arguments.dropFirst().first ?? "martlet").utf8)
            EventLoop.run { await work(service) }
        default:
            Log.error("event=usage process=martlet-auth")
            exit(2)
        }
    }

    @EventLoop
    private static func serve() async {
        do throws(SystemError) {
            try await AuthProcess().obey()
            exit(0)
        } catch {
            Log.error("event=failed process=martlet-auth \(error)")
            exit(1)
        }
    }

    @EventLoop
    private static func work(_ service: [UInt8]) async {
        do throws(SystemError) {
            try await WorkerProcess(service).obey()
            exit(0)
        } catch {
            Log.error("event=failed process=martlet-auth-worker \(error)")
            exit(1)
        }
    }
}
