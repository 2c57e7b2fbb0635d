import CLinux
import Glibc
package import Posix

/// Whom a child becomes before it is exec'd.
package enum ChildIdentity: Sendable {
    /// As its parent.
    case unchanged
    case user(uid: UInt32, gid: UInt32, groups: [UInt32])
}

/// How a child ended.
package struct ChildEnd: Equatable, Sendable, CustomStringConvertible {
    package let code: CInt
    package let wasSignalled: Bool

    /// Whether it ended by its own fault, not because somebody killed it.
    package var isCrash: Bool {
        wasSignalled && [SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSYS].contains(code)
    }

    /// As in a log line.
    package var description: String { wasSignalled ? "signal=\(code)" : "status=\(code)" }
}

/// A child process, exec'd afresh. Known by its pidfd, so that a signal never meets a stranger.
@EventLoop
package final class Child {
    package let pid: Int32
    private let pidfd: OwnedDescriptor
    private let watch: DescriptorWatch
    private var end: ChildEnd?

    /// Starts an executable with exactly these descriptors, numbered from 0, and nothing else of
    /// this process. Blocks until the exec has worked or failed (about a millisecond).
    package init(
        path: [UInt8],
        arguments: [String],
        environment: [String],
        descriptors: [CInt],
        identity: ChildIdentity = .unchanged
    ) throws(SystemError) {
        var pid: Int32 = 0
        var pidfd: CInt = -1
        var failedCall: UnsafePointer<CChar>? = nil
        var drops: CInt = 0
        var (user, group): (uid_t, gid_t) = (0, 0)
        var groups: [gid_t] = []
        if case .user(let uid, let gid, let list) = identity {
            drops = 1
            (user, group, groups) = (uid, gid, list)
        }
        let terminated = path.map { CChar(bitPattern: $0) } + [0]
        let argumentList = CStringList(arguments)
        let environmentList = CStringList(environment)
        let error = unsafe martlet_spawn(
            terminated,
            argumentList.pointers,
            environmentList.pointers,
            descriptors,
            CInt(descriptors.count),
            drops,
            user,
            group,
            groups,
            groups.count,
            &pid,
            &pidfd,
            &failedCall
        )
        withExtendedLifetime((argumentList, environmentList)) {}
        guard error == 0 else {
            let call = unsafe failedCall.map { unsafe String(cString: $0) } ?? "fork"
            Log.error("event=spawn-failed path=\(path.quotedForLog) call=\(call) errno=\(error)")
            throw SystemError("execve", error, path: path)
        }
        self.pid = pid
        self.pidfd = OwnedDescriptor(pidfd)
        watch = try DescriptorWatch(pidfd)
    }

    /// Waits for the end of the child, and reaps it. One waiter; later calls answer at once.
    package func waitForEnd() async -> ChildEnd {
        while true {
            if let end { return end }
            var code: CInt = 0
            var wasSignalled: CInt = 0
            let result = unsafe martlet_reap(pidfd.raw, &code, &wasSignalled)
            if result != 0 {
                // A child that cannot be waited for is gone.
                let end = ChildEnd(code: result < 0 ? -1 : code, wasSignalled: wasSignalled != 0)
                self.end = end
                watch.stop()
                return end
            }
            watch.didBlockReading()
            _ = await watch.waitReadable()
        }
    }

    package var hasEnded: Bool { end != nil }

    /// Signals the child and what it started. It leads a group of its own, whose number nobody
    /// else can have before the child is reaped.
    package func signalGroup(_ number: CInt) {
        guard end == nil else { return }
        _ = kill(-pid, number)
    }

    package func signal(_ number: CInt) {
        guard end == nil else { return }
        _ = martlet_pidfd_signal(pidfd.raw, number)
    }
}

/// Strings as C wants argv and envp: an array of pointers that ends in nil.
@safe
private final class CStringList {
    let pointers: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
    private let count: Int

    init(_ strings: [String]) {
        count = strings.count
        unsafe pointers = .allocate(capacity: count + 1)
        for (index, string) in strings.enumerated() { unsafe pointers[index] = strdup(string) }
        unsafe pointers[count] = nil
    }

    deinit {
        for index in 0..<count { unsafe free(pointers[index]) }
        unsafe pointers.deallocate()
    }
}
