//  Failures on a schedule, in debug builds only.
//
//  A test says "the 3rd rename fails with ENOSPC"; the wrappers in `Directory` and `File` ask
//  before each call. The schedule is a task-local value, so that tests in parallel do not meet,
//  and holds for what the task does itself (a job pool with no threads runs jobs in the caller).
//  A release build has none of it.

#if DEBUG
import Synchronization
import Glibc

/// Which calls fail, and how.
package final class Faults: Sendable {
    @TaskLocal package static var current: Faults?

    private struct State: Sendable {
        var calls: [String] = []
        var failing: [Int: CInt] = [:]
        var failAllFrom: (index: Int, code: CInt)?
    }
    private let state = Mutex(State())

    /// - Parameters:
    ///   - index: which call fails, counted from 0 over all wrapped calls.
    ///   - code: the errno it fails with.
    ///   - andAllAfter: whether each later call fails too, as after a crash.
    package init(failing index: Int? = nil, with code: CInt = EIO, andAllAfter: Bool = false) {
        guard let index else { return }
        state.withLock {
            if andAllAfter { $0.failAllFrom = (index, code) } else { $0.failing[index] = code }
        }
    }

    /// The calls made so far, in order.
    package var calls: [String] { state.withLock { $0.calls } }

    static func check(_ call: StaticString) throws(SystemError) {
        guard let faults = current else { return }
        let code: CInt? = faults.state.withLock { state in
            let index = state.calls.count
            state.calls.append("\(call)")
            if let from = state.failAllFrom, index >= from.index { return from.code }
            return state.failing[index]
        }
        if let code { throw SystemError(call, code) }
    }

    /// Test builds can be told to make each sync slow, to show that nobody else waits for it.
    static let syncDelayMilliseconds: UInt32 = {
        guard let text = unsafe getenv("MARTLET_TEST_FSYNC_DELAY_MS") else { return 0 }
        return UInt32(unsafe String(cString: text)) ?? 0
    }()

    static func delaySync() {
        if syncDelayMilliseconds > 0 { usleep(syncDelayMilliseconds * 1_000) }
    }
}
#else
enum Faults {
    @inline(__always) static func check(_ call: StaticString) throws(SystemError) {}
    @inline(__always) static func delaySync() {}
}
#endif
