import Glibc
import Posix

/// martlet-login: the conversation with strangers, up to the login.
@main
enum Main {
    static func main() { EventLoop.run { await serve() } }

    @EventLoop
    private static func serve() async {
        do throws(SystemError) {
            try await LoginProcess().obey()
            exit(0)
        } catch {
            Log.error("event=failed process=martlet-login \(error)")
            exit(1)
        }
    }
}
