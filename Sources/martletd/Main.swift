import Bytes
import CLinux
import Configuration
import Glibc
import Posix
import Privsep

/// martletd: the parent of all. See martletd(8).
@main
enum Main {
    static func main() {
        var wrong = ""
        let arguments = Array(CommandLine.arguments.dropFirst())
        if arguments == ["--help"] || arguments == ["-h"] {
            print(Options.usage + "\nSee martletd(8) and martlet.conf(5).")
            exit(0)
        }
        guard let options = Options.parse(arguments, wrong: &wrong) else {
            complain(["martletd: \(wrong)?", Options.usage])
            exit(2)
        }
        umask(0o077)
        raiseDescriptorLimit()
        // A user who asks for a flag does not wait while others have their mailboxes searched: where all
        // processors are busy, the slowest of the short commands took twice as long with the kernel's 3 ms.
        martlet_set_time_slice(700_000)
        EventLoop.run { await run(options) }
    }

    @EventLoop
    private static func run(_ options: Options) async {
        let file = configuration(options)
        guard let executables = Executables.find() else {
            complain([
                "martletd: its other executables are neither beside it nor in ../libexec/martlet"
            ])
            exit(1)
        }
        var personal: Personal?
        if let options = options.personal { personal = Personal(options) }
        if options.checksOnly { await ConfigurationCheck.run(file, executables) }
        guard file.errors.isEmpty else {
            complain(file.errors.map(\.description))
            exit(1)
        }

        var plan = Plan(settings: file.settings)
        personal?.apply(to: &plan)
        if options.isVerbose { plan.settings.logLevel = .debug }
        unsafe Log.level = plan.settings.logLevel
        guard plan.isPersonal || plan.isRoot else {
            complain([
                "martletd: must be started as root; martletd --personal serves your own Maildir"
            ])
            exit(1)
        }

        // Before the first child: signals are blocked from here on.
        guard let signals = try? SignalWatch([SIGTERM, SIGINT, SIGHUP, SIGPIPE]) else { exit(1) }
        var errors: [String] = []
        let listeners = Listeners(plan.settings, errors: &errors)
        guard errors.isEmpty else {
            complain(errors.map { "martletd: \($0)" })
            exit(1)
        }
        let supervisor = Supervisor(plan, executables, listeners)
        Task {
            while true {
                switch await signals.next() {
                case SIGPIPE: continue
                // Whoever serves themselves ends with the terminal.
                case SIGHUP where !plan.isPersonal: Task { await supervisor.renewCertificates() }
                default:
                    Log.info("event=stopping")
                    await supervisor.stop()
                    Log.info("event=stopped")
                    exit(0)
                }
            }
        }
        if let failure = await supervisor.start() {
            Log.error("event=start-failed reason=\(Array(failure.utf8).quotedForLog)")
            complain(["martletd: \(failure)"])
            await supervisor.stop()
            exit(1)
        }
        print(supervisor.readyLine)
    }

    private static func configuration(_ options: Options) -> ConfigurationFile {
        let standard = "/etc/martlet/martlet.conf"
        let path = options.configurationFile ?? standard
        // A personal run is not ruled by the system's file, and no file at all is all defaults.
        if options.configurationFile == nil, options.personal != nil || !Files.exists(standard) {
            return ConfigurationFile(parsing: [], name: path)
        }
        do throws(SystemError) {
            let text = try Files.read(path, max: ConfigurationLimits.fileBytesMax)
            return ConfigurationFile(parsing: text, name: path)
        } catch {
            complain(["\(path): cannot read it: \(error)"])
            exit(1)
        }
    }

    /// Every connection is a descriptor in some child, which inherits this limit.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return
        }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}

/// Lines for the person who started martletd.
func complain(_ lines: [String]) {
    let text = lines.map { $0.hasSuffix("\n") ? $0 : $0 + "\n" }.joined()
    let bytes = Array(text.utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe write(2, $0.baseAddress, $0.count) }
}

/// A line on standard output, at once.
func print(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe write(1, $0.baseAddress, $0.count) }
}
