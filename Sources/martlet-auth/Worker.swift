import Bytes
import Posix
import Privsep

/// A PAM worker as its parent sees it. Whoever has it uses it alone.
@EventLoop
final class Worker {
    private let child: Child
    private let channel: Channel<WorkerRequest, WorkerReport>
    private(set) var transactionCount = 0
    /// Nothing more is to be had of it.
    private(set) var isBroken = false

    private(set) var holdsSession = false

    init(service: [UInt8]) throws(SystemError) {
        var pair = try FrameChannel.makePair()
        let theirs = pair.takeSecond()
        channel = try Channel(pair.takeFirst())
        // The file that this process itself was started from, even if it was replaced since.
        child = try Child(
            path: Array("/proc/self/exe".utf8),
            arguments: ["martlet-auth", "--worker", service.text],
            environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            descriptors: [0, 1, 2, theirs.raw]
        )
        Task { await self.reap() }
    }

    private func reap() async {
        let end = await child.waitForEnd()
        let wasExpected = isBroken
        isBroken = true
        channel.close()
        if !wasExpected { Log.warning("event=worker-died pid=\(child.pid) \(end)") }
    }

    /// Asks and waits for the answer; `.unavailable` where there is none in time. The worker is
    /// killed then: a module that hangs cannot be talked to.
    func ask(_ request: WorkerRequest) async -> WorkerReport {
        transactionCount += 1
        let timer = EventLoop.schedule(at: .after(seconds: WorkerPool.transactionSecondsMax)) {
            Log.error("event=worker-timeout pid=\(self.child.pid)")
            self.kill()
        }
        defer { EventLoop.cancel(timer) }
        do throws(ChannelFailure) {
            try await channel.send(request)
            return try await channel.receive().message
        } catch {
            if error != .closed { Log.error("event=worker-misbehaved \(error)") }
            kill()
            return .unavailable
        }
    }

    /// It holds a PAM session from now on, and is not for other users.
    func leavePool() { holdsSession = true }

    /// Lets it end by itself: it closes what PAM session it holds.
    func dismiss() {
        isBroken = true
        channel.close()
    }

    private func kill() {
        isBroken = true
        child.signalGroup(9)
        channel.close()
    }
}
