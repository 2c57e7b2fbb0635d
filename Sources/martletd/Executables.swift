import Bytes
import Glibc
import Posix
import Privsep

/// Finds and starts the other executables.
struct Executables {
    /// The directory that they are in.
    let directory: String

    static let names = ["martlet-auth", "martlet-login", "martlet-tls", "martlet-user"]

    /// Looks beside martletd itself, then in `../libexec/martlet`. Nil where they are not.
    static func find() -> Executables? {
        var room = [CChar](repeating: 0, count: 4_096)
        let count = unsafe readlink("/proc/self/exe", &room, room.count)
        guard count > 0, count < room.count else { return nil }
        let path = room[..<count].map { UInt8(bitPattern: $0) }
        guard let slash = path.lastIndex(of: UInt8(ascii: "/")) else { return nil }
        let own = Array(path[..<slash]).text
        return [own, own + "/../libexec/martlet"]
            .first { directory in
                names.allSatisfy { unsafe access("\(directory)/\($0)", X_OK) == 0 }
            }
            .map { Executables(directory: $0) }
    }

    /// What a child finds in its environment: nothing of ours but the time zone, and in test
    /// builds what tests tell it.
    static func environmentOfChildren(adding more: [String] = []) -> [String] {
        var list = [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            // A thread that ends gives its stack back; kept for the next one, each holds three pages.
            "GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0",
        ]
        if let zone = environment("TZ") { list.append("TZ=\(zone)") }
        #if DEBUG
        var entry = unsafe environ
        while let text = unsafe entry.pointee {
            let variable = unsafe String(cString: text)
            if variable.hasPrefix("MARTLET_TEST_") { list.append(variable) }
            unsafe entry += 1
        }
        #endif
        return list + more
    }

    /// Starts one of them with a channel to it.
    @EventLoop
    func start<Request: ChannelMessage, Report: ChannelMessage>(
        _ name: String,
        identity: ChildIdentity = .unchanged,
        environment: [String] = [],
        as: Role<Request, Report>.Type = Role<Request, Report>.self
    ) throws(SystemError) -> Role<Request, Report> {
        var pair = try FrameChannel.makePair()
        let theirs = pair.takeSecond()
        let null = try Self.openNull()
        let child = try Child(
            path: Array("\(directory)/\(name)".utf8),
            arguments: [name],
            environment: Self.environmentOfChildren(adding: environment),
            descriptors: [null.raw, null.raw, 2, theirs.raw],
            identity: identity
        )
        return Role(name, child, try Channel(pair.takeFirst()))
    }

    /// Runs one as a tool: gives it the input, returns its status and what it printed.
    @EventLoop
    func run(
        _ name: String,
        _ arguments: [String],
        input: [UInt8] = [],
        identity: ChildIdentity = .unchanged
    ) async throws(SystemError) -> (status: Int32, output: [UInt8]) {
        var pair = try makeSocketPair(sequencedPackets: false)
        let theirs = pair.takeSecond()
        let ours = try SocketStream(pair.takeFirst())
        // The tool is a plain program: its end must wait.
        _ = fcntl(theirs.raw, F_SETFL, 0)
        let child = try Child(
            path: Array("\(directory)/\(name)".utf8),
            arguments: [name] + arguments,
            environment: Self.environmentOfChildren(),
            descriptors: [theirs.raw, theirs.raw, 2],
            identity: identity
        )
        try? theirs.close()
        try? await ours.write(input)
        ours.endOutput()
        var output: [UInt8] = []
        let deadline = Instant.after(seconds: 30)
        do throws(StreamClosed) {
            while output.count < 1 << 20, deadline > .now {
                if try ours.read(into: &output, max: 16_384) == 0 {
                    _ = await ours.waitForInput(until: deadline)
                }
            }
            child.signal(SIGKILL)
        } catch {}
        let end = await child.waitForEnd()
        return (end.wasSignalled ? -1 : end.code, output)
    }

    private static func openNull() throws(SystemError) -> OwnedDescriptor {
        let raw = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        guard raw >= 0 else { throw SystemError("open", path: Array("/dev/null".utf8)) }
        return OwnedDescriptor(raw)
    }
}

/// A running child with its channel.
@EventLoop
final class Role<Request: ChannelMessage, Report: ChannelMessage> {
    let name: String
    let child: Child
    let channel: Channel<Request, Report>
    private(set) var isReady = false
    private var isCondemned = false

    init(_ name: String, _ child: Child, _ channel: Channel<Request, Report>) {
        self.name = name
        self.child = child
        self.channel = channel
    }

    func becameReady() { isReady = true }

    /// Sends a message. A child that lets its queue fill up does not do its work, or wants to
    /// hold up ours: it is killed.
    func tell(_ message: Request, descriptor: CInt? = nil) {
        do throws(ChannelFailure) {
            guard try !channel.trySend(message, descriptor: descriptor) else { return }
            misbehaved("not reading")
        } catch {
            // It is gone; whoever waits for its end hears of it.
        }
    }

    /// The next message; nil where there is none any more. A child that sent a wrong one is
    /// killed.
    func next() async -> Received<Report>? {
        do throws(ChannelFailure) {
            return try await channel.receive()
        } catch {
            if error != .closed {
                misbehaved("\(error)")
            }
            return nil
        }
    }

    /// It did what it must not do: nothing more is expected of it.
    func misbehaved(_ reason: String) {
        guard !isCondemned else { return }
        isCondemned = true
        let text = Array(reason.utf8).quotedForLog
        Log.error("event=misbehaviour process=\(name) pid=\(child.pid) reason=\(text)")
        child.signal(SIGKILL)
        channel.close()
    }

    /// Waits for its end once its channel has ended, with a little patience.
    func buried() async -> ChildEnd {
        channel.close()
        let timer = EventLoop.schedule(at: .after(seconds: 5)) { self.child.signal(SIGKILL) }
        defer { EventLoop.cancel(timer) }
        return await child.waitForEnd()
    }
}
