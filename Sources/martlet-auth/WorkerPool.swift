import Glibc
import Posix
import Privsep

/// The PAM workers. Modules leak, hang and crash; so they run in processes that are used by one
/// transaction at a time, replaced after a hundred, and killed when they take too long.
@EventLoop
final class WorkerPool {
    /// Transactions at the same time. A module mostly computes a hash (a core each) or waits for
    /// a directory (many at a time).
    static let workerCountMax = 8
    /// Attempts that wait for a worker; above it, they are answered `[UNAVAILABLE]` at once.
    static let waiterCountMax = 512
    static let transactionCountMax = 100
    static let transactionSecondsMax = testSeconds ?? 30
    /// How long an attempt waits for a worker: with the transaction it stays below what
    /// martlet-login waits.
    static let waitSecondsMax = 40
    /// When workers without work leave. A login after that waits for an exec, some milliseconds;
    /// while nobody logs in, no process of root's is there that has read a password.
    static let idleSecondsMax = 2

    /// Tests do not wait for half a minute.
    private static let testSeconds: Int? = {
        #if DEBUG
        guard let text = unsafe getenv("MARTLET_TEST_PAM_SECONDS") else { return nil }
        return unsafe Int(String(cString: text))
        #else
        return nil
        #endif
    }()

    private let service: [UInt8]
    /// The last that worked is the first to work again, so those in front have been idle longest.
    private var idle: [(worker: Worker, since: Instant)] = []
    private var thinning: TimerID?
    private var busyCount = 0
    private var waiters: [Answer<Bool>] = []

    init(service: [UInt8]) { self.service = service }

    /// Runs the body with a worker of its own; nil where none is to be had.
    func withWorker<Result: Sendable>(
        _ body: @EventLoop (Worker) async -> Result
    ) async -> Result? {
        guard await enter() else { return nil }
        defer { leave() }
        guard let worker = take() else { return nil }
        let result = await body(worker)
        if !worker.isBroken, !worker.holdsSession {
            if worker.transactionCount < Self.transactionCountMax {
                idle.append((worker, .now))
                thinLater()
            } else {
                worker.dismiss()
            }
        }
        return result
    }

    private func thinLater() {
        guard thinning == nil, let first = idle.first else { return }
        let leaving = first.since.adding(milliseconds: Self.idleSecondsMax * 1_000)
        thinning = EventLoop.schedule(at: leaving) { [weak self] in
            guard let self else { return }
            self.thinning = nil
            let now = Instant.now
            while let first = self.idle.first,
                now.milliseconds(since: first.since) >= Self.idleSecondsMax * 1_000
            {
                self.idle.removeFirst().worker.dismiss()
            }
            self.thinLater()
        }
    }

    private func enter() async -> Bool {
        if busyCount < Self.workerCountMax {
            busyCount += 1
            return true
        }
        guard waiters.count < Self.waiterCountMax else {
            Log.warning("event=auth-queue-full")
            return false
        }
        let turn = Answer<Bool>()
        waiters.append(turn)
        // Whoever leaves hands the place on.
        if await turn.wait(until: .after(seconds: Self.waitSecondsMax)) == true { return true }
        waiters.removeAll { $0 === turn }
        return false
    }

    private func leave() {
        guard !waiters.isEmpty else {
            busyCount -= 1
            return
        }
        waiters.removeFirst().give(true)
    }

    private func take() -> Worker? {
        while let worker = idle.popLast()?.worker {
            if !worker.isBroken { return worker }
        }
        return try? Worker(service: service)
    }
}
