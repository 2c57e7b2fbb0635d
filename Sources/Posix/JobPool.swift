import CLinux
import Glibc

//  Work that may wait for a disk, on a few threads beside the loop.
//
//  A job is a pure function of its arguments: it is handed values and descriptors, and gives a
//  value back. It never touches what is isolated to the loop; the compiler sees to that, as the
//  closure is `@Sendable`. Threads start with the first job, after the process has sandboxed
//  itself (Landlock holds for the threads that are started later).

@safe
package final class JobPool: @unchecked Sendable {
    /// What all of the process uses: two threads more than cores would only queue at the disk.
    package static let shared = JobPool(threads: 4)

    private let threadCount: Int
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let arrived: UnsafeMutablePointer<pthread_cond_t>
    private var jobs: [@Sendable () -> Void] = []
    private var head = 0
    private var started = 0
    private var idle = 0

    private static let stackSize = 1 << 20

    /// - Parameter threads: how many at most; 0 runs each job at once in the caller (for tests).
    package init(threads: Int) {
        threadCount = threads
        unsafe lock = .allocate(capacity: 1)
        unsafe arrived = .allocate(capacity: 1)
        unsafe pthread_mutex_init(lock, nil)
        unsafe pthread_cond_init(arrived, nil)
    }

    /// Runs the job on a thread of the pool, in the order of asking.
    @EventLoop
    package func run<Success: Sendable, Failure: Error>(
        _ job: @escaping @Sendable () throws(Failure) -> Success
    ) async throws(Failure) -> Success {
        if threadCount == 0 { return try job() }
        let result: Result<Success, Failure> = await Waiter.suspend { waiter in
            submit {
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

    private func submit(_ job: @escaping @Sendable () -> Void) {
        unsafe pthread_mutex_lock(lock)
        jobs.append(job)
        let mustStart = idle < jobs.count - head && started < threadCount
        if mustStart { started += 1 }
        unsafe pthread_cond_signal(arrived)
        unsafe pthread_mutex_unlock(lock)
        guard mustStart else { return }
        let argument = unsafe Unmanaged.passRetained(self).toOpaque()
        let error = unsafe martlet_start_thread(poolThreadMain, argument, Self.stackSize)
        guard error != 0 else { return }
        unsafe Unmanaged<JobPool>.fromOpaque(argument).release()
        unsafe pthread_mutex_lock(lock)
        started -= 1
        let isAlone = started == 0
        unsafe pthread_mutex_unlock(lock)
        Log.error("event=no-thread error=\(error)")
        // Slow beats dead: with no thread at all the loop does the work itself.
        if isAlone, let left = next(mayWait: false) { left() }
    }

    fileprivate func work() -> Never {
        while true { next(mayWait: true)?() }
    }

    private func next(mayWait: Bool) -> (@Sendable () -> Void)? {
        unsafe pthread_mutex_lock(lock)
        defer { unsafe pthread_mutex_unlock(lock) }
        idle += 1
        while mayWait, head == jobs.count { unsafe pthread_cond_wait(arrived, lock) }
        idle -= 1
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
    unsafe Unmanaged<JobPool>.fromOpaque(argument).takeRetainedValue().work()
}
