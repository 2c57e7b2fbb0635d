import CLinux
import Glibc

//  Work that may wait for a disk, on a few threads beside the loop.
//
//  A job is a pure function of its arguments: it is handed values and descriptors, and gives a
//  value back. It never touches what is isolated to the loop; the compiler sees to that, as the
//  closure is `@Sendable`. Threads start with the first job, after the process has sandboxed
//  itself (Landlock holds for the threads that are started later), and end when there was nothing to
//  do for a while: most processes wait for somebody nearly all of the time.
//
//  There are two lanes, so that somebody's FETCH never stands behind other people's fsyncs: in one
//  are jobs that read, as a rule from the page cache, in the other those that wait for the disk.

package final class JobPool: Sendable {
    /// What all of the process uses: two threads more than cores would only queue at the disk.
    package static let shared = JobPool(threads: 4)

    /// Which lane a job is for.
    package enum Lane: Sendable {
        /// Reads, or computes.
        case reading
        /// Writes, syncs or holds a lock: waits for the disk for as long as the disk likes.
        case syncing
    }

    private let isInline: Bool
    private let reading: Workers
    private let syncing: Workers

    /// - Parameter threads: how many at most, and twice as many that wait for the disk; 0 runs each
    ///   job at once in the caller (for tests).
    package init(threads: Int) {
        isInline = threads == 0
        reading = Workers(threads)
        syncing = Workers(2 * threads)
    }

    /// Runs the job on a thread of the pool, in the order of asking within its lane.
    @EventLoop
    package func run<Success: Sendable, Failure: Error>(
        _ lane: Lane = .reading,
        _ job: @escaping @Sendable () throws(Failure) -> Success
    ) async throws(Failure) -> Success {
        if isInline { return try job() }
        let workers = lane == .reading ? reading : syncing
        let result: Result<Success, Failure> = await Waiter.suspend { waiter in
            workers.submit {
                let result: Result<Success, Failure>
                do throws(Failure) {
                    result = .success(try job())
                } catch {
                    result = .failure(error)
                }
                waiter.resume(result)
            }
        }
        return try result.get()
    }

    /// How many threads there are now.
    package var threadCount: Int { reading.count + syncing.count }
}

/// The threads of one lane.
@safe
private final class Workers: @unchecked Sendable {
    private let threadCount: Int
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let arrived: UnsafeMutablePointer<pthread_cond_t>
    private var jobs: [@Sendable () -> Void] = []
    private var head = 0
    private var started = 0
    private var idle = 0

    private static let stackSize = 1 << 20

    /// When a thread without work ends. Below `LoopExecutor.restMilliseconds`, so that what it used
    /// is given back with the rest.
    private static let idleSeconds = 1

    init(_ threads: Int) {
        threadCount = threads
        unsafe lock = .allocate(capacity: 1)
        unsafe arrived = .allocate(capacity: 1)
        unsafe pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        unsafe pthread_condattr_init(&attributes)
        unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        unsafe pthread_cond_init(arrived, &attributes)
        unsafe pthread_condattr_destroy(&attributes)
    }

    /// No thread is left: each holds a reference.
    deinit {
        unsafe pthread_cond_destroy(arrived)
        unsafe pthread_mutex_destroy(lock)
        unsafe arrived.deallocate()
        unsafe lock.deallocate()
    }

    var count: Int {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        return started
    }

    func submit(_ job: @escaping @Sendable () -> Void) {
        unsafe pthread_mutex_lock(lock)
        jobs.append(job)
        let mustStart = idle < jobs.count - head && started < threadCount
        if mustStart { started += 1 }
        let mustWake = idle > 0
        unsafe pthread_mutex_unlock(lock)
        // Behind the lock, or the woken thread would wait for it at once.
        if mustWake { unsafe pthread_cond_signal(arrived) }
        guard mustStart else { return }
        let argument = unsafe Unmanaged.passRetained(self).toOpaque()
        let error = unsafe martlet_start_thread(poolThreadMain, argument, Self.stackSize)
        guard error != 0 else { return }
        unsafe Unmanaged<Workers>.fromOpaque(argument).release()
        unsafe pthread_mutex_lock(lock)
        started -= 1
        let isAlone = started == 0
        unsafe pthread_mutex_unlock(lock)
        Log.error("event=no-thread error=\(error)")
        // Slow beats dead: with no thread at all the loop does the work itself.
        if isAlone, let left = next(mayWait: false) { left() }
    }

    /// Works until there was nothing to do for a while.
    fileprivate func work() {
        while let job = next(mayWait: true) { job() }
    }

    /// The next job; nil where there is none, and, for a thread that waited, none came in time: the
    /// thread no longer counts then.
    private func next(mayWait: Bool) -> (@Sendable () -> Void)? {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        if mayWait {
            idle += 1
            defer { idle -= 1 }
            var end = timespec()
            while head == jobs.count {
                if end.tv_sec == 0 {
                    unsafe clock_gettime(CLOCK_MONOTONIC, &end)
                    end.tv_sec += Self.idleSeconds
                }
                let result = unsafe pthread_cond_timedwait(arrived, lock, &end)
                if result == ETIMEDOUT, head == jobs.count {
                    started -= 1
                    return nil
                }
            }
        }
        guard head < jobs.count else { return nil }
        let job = jobs[head]
        jobs[head] = {}
        head += 1
        if head == jobs.count {
            jobs.removeAll(keepingCapacity: true)
            head = 0
        }
        return job
    }
}

private func poolThreadMain(_ argument: UnsafeMutableRawPointer?) {
    guard let argument = unsafe argument else { return }
    unsafe Unmanaged<Workers>.fromOpaque(argument).takeRetainedValue().work()
}
