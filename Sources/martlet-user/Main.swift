import Glibc
import Posix
import Privsep

/// martlet-user: every session of one user, with that user's rights.
@main
enum Main {
    static func main() { EventLoop.run { await serve() } }

    @EventLoop
    private static func serve() async {
        do throws(SystemError) {
            try await UserProcess().obey()
            exit(0)
        } catch {
            Log.error("event=failed process=martlet-user \(error)")
            exit(1)
        }
    }
}
