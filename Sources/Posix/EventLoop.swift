import CLinux
import Glibc
import Synchronization

//  One loop a process, straight-line code.
//
//  `LoopExecutor` is at once the epoll loop and the Swift executor: `run()` runs the jobs that are
//  ready, then waits in epoll for the next timer, descriptor or wake-up. Everything isolated to
//  `@EventLoop` runs on that one thread, so a session, a relay or a login conversation is an
//  ordinary function that awaits, and the compiler checks that nothing is shared with a thread.
//
//  What must stay true: tasks are isolated to `@EventLoop` from their first line (`EventLoop.start`,
//  or `Task { }` in isolated code), and nothing uses `Task.sleep`, `Task.yield`, `Task.detached` or
//  Dispatch: those wake the global pool and its threads, and a process with threads cannot fork.
//  Other threads (`JobPool`) come back only by `enqueue`.
//
//  There is no task executor beside the serial one, on purpose: a job run with both looks to the
//  runtime as if it were on the wrong executor whenever its task has no such preference; each call
//  of an isolated async function then went through the queue, and a check before an `await` was no
//  longer one step with what the callee did first (seen with 6.3.1 as a lost wake-up).

/// The actor of the process's one loop.
@globalActor
package actor EventLoop {
    package static let shared = EventLoop()

    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe LoopExecutor.shared.asUnownedSerialExecutor()
    }

    /// Starts a task on the loop. It and all that it starts stay there.
    package nonisolated static func start(_ body: @escaping @EventLoop @Sendable () async -> Void) {
        Task { @EventLoop in await body() }
    }

    /// Runs the loop on the calling thread until `exit` is called.
    package nonisolated static func run(
        _ body: @escaping @EventLoop @Sendable () async -> Void
    ) -> Never {
        // A peer that is gone shows as an error of the write (OpenSSL and standard error use write()).
        signal(SIGPIPE, SIG_IGN)
        martlet_share_memory()
        // A continuation that is resumed goes through the global executor before it comes back to
        // its actor. Here that is this loop too, so no thread is ever started.
        unsafe martlet_take_global_jobs { job in
            guard let job = unsafe job else { return }
            LoopExecutor.shared.take(unsafe unsafeBitCast(job, to: UnownedJob.self))
        }
        start(body)
        LoopExecutor.shared.run()
    }

    /// Suspends until the deadline has passed.
    package static func sleep(until deadline: Instant) async {
        await Waiter.suspend { waiter in
            _ = LoopExecutor.shared.schedule(at: deadline) { waiter.resume(()) }
        }
    }

    package static func sleep(milliseconds: Int) async {
        await sleep(until: .after(milliseconds: milliseconds))
    }

    /// Lets everything else that is ready run, and descriptors be polled, before going on.
    ///
    /// (`Task.yield` would go through the global pool and start its threads.)
    package static func yield() async {
        await Waiter.suspend { LoopExecutor.shared.yielded.append($0) }
    }

    /// Calls `action` on the loop at the deadline, unless cancelled before.
    @discardableResult
    package static func schedule(
        at deadline: Instant,
        _ action: @escaping @EventLoop @Sendable () -> Void
    ) -> TimerID {
        LoopExecutor.shared.schedule(at: deadline) {
            LoopExecutor.shared.assumeOnLoop(action)
        }
    }

    package static func cancel(_ timer: TimerID) { LoopExecutor.shared.cancel(timer) }

    /// Calls `action` on the loop each time that nothing has happened for a while, to give back memory
    /// that need not be held while the process waits.
    package static func whenResting(_ action: @escaping @EventLoop @Sendable () -> Void) {
        LoopExecutor.shared.rests.append { LoopExecutor.shared.assumeOnLoop(action) }
    }
}

/// A scheduled action that may still be cancelled.
package struct TimerID: Hashable, Sendable { fileprivate let value: UInt64 }

/// The loop itself. Use it through `EventLoop`, `DescriptorWatch` and `JobPool`.
package final class LoopExecutor: SerialExecutor, @unchecked Sendable {
    package static let shared = LoopExecutor()

    private let epoll: CInt
    private let wakeup: CInt
    private struct Incoming {
        /// Jobs from other threads.
        var jobs: [UnownedJob] = []
        /// Whether the loop looks at them only when it is woken.
        var mustWake = false
    }
    private let incoming = Mutex(Incoming())
    private let threadID = Atomic<UInt>(0)

    // The rest belongs to the loop's thread.
    private var ready: [UnownedJob] = []
    private var running: [UnownedJob] = []
    /// Tasks that gave the loop back; they go on after descriptors were looked at.
    fileprivate var yielded: [Waiter<Void>] = []
    private var timers = TimerHeap()
    private var watches: [UInt64: DescriptorWatch] = [:]
    private var nextToken: UInt64 = 1

    /// Jobs run before descriptors are looked at again, so that a chain of jobs that are always
    /// ready cannot keep a push waiting.
    private static let jobsPerTurnMax = 128

    /// How long nothing happens before memory is given back to the system: most processes wait for
    /// somebody nearly all of the time, and what their start or the last command took need not stay.
    private static let restMilliseconds: CInt = 1_500
    /// Whether memory was given back since anything happened.
    private var isResting = false
    fileprivate var rests: [@Sendable () -> Void] = []

    private init() {
        epoll = martlet_epoll_create()
        wakeup = martlet_eventfd()
        precondition(epoll >= 0 && wakeup >= 0, "no epoll or eventfd: \(errno)")
        precondition(martlet_epoll_add_wakeup(epoll, wakeup, 0) == 0, "epoll refuses an eventfd")
    }

    package var isOnLoop: Bool {
        threadID.load(ordering: .relaxed) == UInt(pthread_self())
    }

    package func enqueue(_ job: consuming ExecutorJob) {
        take(UnownedJob(job))
    }

    fileprivate func take(_ job: UnownedJob) {
        if isOnLoop {
            ready.append(job)
            return
        }
        let mustWake = incoming.withLock { incoming in
            incoming.jobs.append(job)
            defer { incoming.mustWake = false }
            return incoming.mustWake
        }
        if mustWake { martlet_eventfd_signal(wakeup) }
    }

    package func checkIsolated() { precondition(isOnLoop, "not on the event loop") }
    package func isIsolatingCurrentContext() -> Bool? { isOnLoop }

    /// Runs an isolated function from code that the loop itself called.
    package func assumeOnLoop(_ action: @escaping @EventLoop @Sendable () -> Void) {
        precondition(isOnLoop, "not on the event loop")
        typealias Isolated = @EventLoop @Sendable () -> Void
        typealias Plain = @Sendable () -> Void
        let plain = unsafe unsafeBitCast(action as Isolated, to: Plain.self)
        plain()
    }

    package func run() -> Never {
        threadID.store(UInt(pthread_self()), ordering: .relaxed)
        while true { turn() }
    }

    private func turn() {
        takeIncoming()
        swap(&ready, &running)
        runJobs()
        poll(mayWait: ready.isEmpty && yielded.isEmpty)
        let goingOn = yielded
        yielded.removeAll(keepingCapacity: true)
        for waiter in goingOn { waiter.resume(()) }
        let now = Instant.now
        while let action = timers.popDue(now) { action() }
    }

    private func takeIncoming() {
        incoming.withLock { incoming in
            ready.append(contentsOf: incoming.jobs)
            incoming.jobs.removeAll(keepingCapacity: true)
            incoming.mustWake = false
        }
    }

    private func runJobs() {
        let count = min(running.count, Self.jobsPerTurnMax)
        for index in 0..<count {
            unsafe running[index].runSynchronously(on: asUnownedSerialExecutor())
        }
        if count < running.count {
            ready.insert(contentsOf: running[count...], at: 0)
        }
        running.removeAll(keepingCapacity: true)
    }

    private func poll(mayWait: Bool) {
        // A job that came meanwhile woke nobody.
        let mayWait =
            mayWait
            && incoming.withLock { incoming in
                incoming.mustWake = incoming.jobs.isEmpty
                return incoming.mustWake
            }
        var milliseconds: CInt = 0
        if mayWait {
            milliseconds = -1
            if let deadline = timers.next() {
                // Rounded up: waking early would spin until the deadline.
                let now = Instant.now.nanoseconds
                let left = deadline.nanoseconds > now ? deadline.nanoseconds - now : 0
                milliseconds = CInt(min((left + 999_999) / 1_000_000, 3_600_000))
            }
        }
        let comesToRest =
            mayWait && !isResting && (milliseconds < 0 || milliseconds > Self.restMilliseconds)
        if comesToRest { milliseconds = Self.restMilliseconds }
        var events = InlineArray<64, martlet_event>(repeating: martlet_event())
        var span = events.mutableSpan
        let count = unsafe span.withUnsafeMutableBufferPointer {
            unsafe martlet_epoll_wait(epoll, $0.baseAddress, 64, milliseconds)
        }
        guard count > 0 else {
            precondition(count == 0 || errno == EINTR, "epoll_wait: \(errno)")
            // A timer is due else, and what it does takes memory as well.
            isResting = comesToRest && count == 0
            if isResting {
                for rest in rests { rest() }
                martlet_release_memory()
            }
            return
        }
        isResting = false
        for index in 0..<Int(count) {
            let event = events[index]
            // The token 0 is the eventfd's, which is never read: each writing is an edge.
            watches[event.token]?.wake(event.readiness)
        }
    }

    // MARK: Timers

    @discardableResult
    fileprivate func schedule(
        at deadline: Instant,
        _ action: @escaping @Sendable () -> Void
    ) -> TimerID {
        precondition(isOnLoop, "a timer is set on the loop")
        return timers.insert(deadline, action)
    }

    fileprivate func cancel(_ timer: TimerID) { timers.cancel(timer) }

    // MARK: Descriptors

    func add(_ watch: DescriptorWatch, exclusive: Bool) throws(SystemError) -> UInt64 {
        let token = nextToken
        nextToken += 1
        let result =
            exclusive
            ? martlet_epoll_add_exclusive(epoll, watch.descriptor, token)
            : martlet_epoll_add(epoll, watch.descriptor, token)
        guard result == 0 else { throw SystemError("epoll_ctl") }
        watches[token] = watch
        return token
    }

    func remove(_ token: UInt64, _ descriptor: CInt) {
        martlet_epoll_remove(epoll, descriptor)
        watches[token] = nil
    }
}

/// Timers by deadline: a binary heap. A cancelled timer leaves its place when it comes up, so
/// whoever sets one a command keeps one and moves its own deadline instead (`DescriptorWatch`).
private struct TimerHeap {
    private struct Entry {
        let deadline: Instant
        let id: UInt64
    }
    private var heap: [Entry] = []
    private var actions: [UInt64: @Sendable () -> Void] = [:]
    private var nextID: UInt64 = 1

    /// When the earliest of those that were not cancelled is due.
    mutating func next() -> Instant? {
        while let first = heap.first {
            if actions[first.id] != nil { return first.deadline }
            removeFirst()
        }
        return nil
    }

    mutating func insert(_ deadline: Instant, _ action: @escaping @Sendable () -> Void) -> TimerID {
        let id = nextID
        nextID += 1
        actions[id] = action
        heap.append(Entry(deadline: deadline, id: id))
        var index = heap.count - 1
        while index > 0 {
            let parent = (index - 1) / 2
            guard heap[index].deadline < heap[parent].deadline else { break }
            heap.swapAt(index, parent)
            index = parent
        }
        return TimerID(value: id)
    }

    mutating func cancel(_ timer: TimerID) {
        actions[timer.value] = nil
        // A loop that sets and cancels far deadlines must not grow the heap for ever.
        if heap.count > 1_024, heap.count > 4 * actions.count {
            let live = heap.filter { actions[$0.id] != nil }.sorted { $0.deadline < $1.deadline }
            heap = live
        }
    }

    /// The action of the earliest timer that is due, taken out; nil where none is.
    mutating func popDue(_ now: Instant) -> (@Sendable () -> Void)? {
        while let first = heap.first, first.deadline <= now {
            removeFirst()
            if let action = actions.removeValue(forKey: first.id) { return action }
        }
        return nil
    }

    private mutating func removeFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        var index = 0
        while true {
            var smallest = index
            for child in [2 * index + 1, 2 * index + 2]
            where child < heap.count && heap[child].deadline < heap[smallest].deadline {
                smallest = child
            }
            guard smallest != index else { return }
            heap.swapAt(index, smallest)
            index = smallest
        }
    }
}
