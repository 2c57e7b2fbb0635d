import CLinux
import Glibc

/// How a wait ended.
package enum WaitOutcome: Sendable {
    case ready
    case timedOut
    /// `interruptRead` was called: something else than the descriptor wants the waiter.
    case interrupted
}

/// Waits for one non-blocking descriptor on the loop, edge-triggered.
///
/// The holder reads or writes until EAGAIN, says so (`didBlockReading`, `didBlockWriting`), and
/// waits. At most one waiter a direction. Belongs to the loop's thread; the descriptor stays the
/// holder's, who calls `stop()` before closing it.
package final class DescriptorWatch: @unchecked Sendable {
    package let descriptor: CInt
    private var token: UInt64 = 0
    private var read = Direction()
    private var write = Direction()
    private var isInterrupted = false
    /// Whether the loop is not told of the descriptor now; waiters wait on.
    package private(set) var isPaused = false
    /// The other end is gone in both directions, or the socket failed.
    package private(set) var isHungUp = false

    private struct Direction {
        var isReady = true
        var waiter: Waiter<WaitOutcome>?
        var deadline: Instant?
        /// When the one timer of this direction will look at `deadline`, nil where none is set.
        var timer: Instant?
        var timerID: TimerID?
    }

    /// - Parameter exclusive: for a listening socket that several processes share.
    @EventLoop
    package init(_ descriptor: CInt, exclusive: Bool = false) throws(SystemError) {
        self.descriptor = descriptor
        token = try LoopExecutor.shared.add(self, exclusive: exclusive)
    }

    /// Ends the watch; a waiter is told `.interrupted`.
    @EventLoop
    package func stop() {
        guard token != 0 || isPaused else { return }
        if !isPaused { LoopExecutor.shared.remove(token, descriptor) }
        token = 0
        isPaused = false
        for path in [\DescriptorWatch.read, \DescriptorWatch.write] {
            if let timer = self[keyPath: path].timerID { EventLoop.cancel(timer) }
            resume(path, .interrupted)
        }
    }

    /// Has the loop not look at the descriptor until `unpause`.
    @EventLoop
    package func pause() {
        guard token != 0 else { return }
        LoopExecutor.shared.remove(token, descriptor)
        token = 0
        isPaused = true
    }

    /// Has the loop look again; what happened meanwhile wakes a waiter.
    @EventLoop
    package func unpause() throws(SystemError) {
        guard isPaused else { return }
        token = try LoopExecutor.shared.add(self, exclusive: false)
        isPaused = false
    }

    package func didBlockReading() { read.isReady = false }
    package func didBlockWriting() { write.isReady = false }

    /// Waits until a read may give something (data, end or error).
    @EventLoop
    package func waitReadable(until deadline: Instant? = nil) async -> WaitOutcome {
        if isInterrupted {
            isInterrupted = false
            return .interrupted
        }
        return await wait(\.read, deadline)
    }

    /// Waits until a write may take something, or fail.
    @EventLoop
    package func waitWritable(until deadline: Instant? = nil) async -> WaitOutcome {
        await wait(\.write, deadline)
    }

    /// Makes the current or, where there is none, the next `waitReadable` return `.interrupted`.
    @EventLoop
    package func interruptRead() {
        if read.waiter == nil {
            isInterrupted = true
        } else {
            resume(\.read, .interrupted)
        }
    }

    @EventLoop
    private func wait(
        _ path: ReferenceWritableKeyPath<DescriptorWatch, Direction>,
        _ deadline: Instant?
    ) async -> WaitOutcome {
        guard token != 0 || isPaused else { return .interrupted }
        if self[keyPath: path].isReady { return .ready }
        precondition(self[keyPath: path].waiter == nil, "one waiter a direction")
        return await Waiter.suspend { waiter in
            self[keyPath: path].waiter = waiter
            self[keyPath: path].deadline = deadline
            if let deadline { arm(path, deadline) }
        }
    }

    /// One timer a direction, set again only where it would come too late: a session that reads
    /// a thousand commands a second with a deadline of half an hour sets one.
    @EventLoop
    private func arm(
        _ path: ReferenceWritableKeyPath<DescriptorWatch, Direction>,
        _ deadline: Instant
    ) {
        if let timer = self[keyPath: path].timer, timer <= deadline { return }
        if let timer = self[keyPath: path].timerID { EventLoop.cancel(timer) }
        self[keyPath: path].timer = deadline
        let isRead = path == \.read
        self[keyPath: path].timerID = EventLoop.schedule(at: deadline) { [weak self] in
            self?.timerFired(isRead ? \.read : \.write)
        }
    }

    @EventLoop
    private func timerFired(_ path: ReferenceWritableKeyPath<DescriptorWatch, Direction>) {
        self[keyPath: path].timer = nil
        self[keyPath: path].timerID = nil
        guard self[keyPath: path].waiter != nil, let deadline = self[keyPath: path].deadline
        else { return }
        if deadline <= .now {
            resume(path, .timedOut)
        } else {
            arm(path, deadline)
        }
    }

    /// Called by the loop with what epoll saw.
    func wake(_ readiness: UInt32) {
        if readiness & UInt32(MARTLET_HUNG_UP) != 0 { isHungUp = true }
        if readiness & UInt32(MARTLET_READABLE) != 0 {
            read.isReady = true
            resume(\.read, .ready)
        }
        if readiness & UInt32(MARTLET_WRITABLE) != 0 {
            write.isReady = true
            resume(\.write, .ready)
        }
    }

    private func resume(
        _ path: ReferenceWritableKeyPath<DescriptorWatch, Direction>,
        _ outcome: WaitOutcome
    ) {
        guard let waiter = self[keyPath: path].waiter else { return }
        self[keyPath: path].waiter = nil
        self[keyPath: path].deadline = nil
        waiter.resume(outcome)
    }
}
