/// Something that tasks on the loop wait for: `fire` wakes all that wait now.
@EventLoop
package final class Signal {
    private var waiters: [(id: UInt64, waiter: Waiter<Bool>)] = []
    private var nextID: UInt64 = 0

    package init() {}

    package var hasWaiters: Bool { !waiters.isEmpty }

    package func fire() {
        guard hasWaiters else { return }
        let woken = waiters
        waiters.removeAll()
        for (_, waiter) in woken { waiter.resume(true) }
    }

    /// Suspends until the next `fire`.
    package func wait() async { _ = await wait(until: nil) }

    /// Suspends until the next `fire` or the deadline. Returns whether it was a `fire`.
    package func wait(until deadline: Instant?) async -> Bool {
        let id = nextID
        nextID += 1
        var timer: TimerID?
        if let deadline {
            timer = EventLoop.schedule(at: deadline) { [weak self] in self?.timedOut(id) }
        }
        let fired = await Waiter.suspend { waiters.append((id, $0)) }
        if let timer { EventLoop.cancel(timer) }
        return fired
    }

    private func timedOut(_ id: UInt64) {
        guard let index = waiters.firstIndex(where: { $0.id == id }) else { return }
        waiters.remove(at: index).waiter.resume(false)
    }
}

/// One holder at a time, in the order of asking; for work on a mailbox that spans awaits.
@EventLoop
package final class Turnstile {
    private var isTaken = false
    private var queue: [Waiter<Void>] = []

    package init() {}

    package var isBusy: Bool { isTaken }

    package func enter() async {
        if !isTaken {
            isTaken = true
            return
        }
        await Waiter.suspend { queue.append($0) }
    }

    package func leave() {
        precondition(isTaken, "left a turnstile that nobody entered")
        if queue.isEmpty {
            isTaken = false
        } else {
            // The place is handed on, so that nobody can come in between.
            queue.removeFirst().resume(())
        }
    }
}
