import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

@Suite("DotLock")
struct DotLockTests {
    let scratch: Scratch
    let owner = DotLock.Owner(processID: 4_000_001, host: Array("here".utf8))
    let name = Array("list".utf8)

    init() throws { scratch = try Scratch() }

    func attempt() throws -> DotLock.Outcome {
        try DotLock.tryAcquire(name, in: scratch.directory, as: owner)
    }

    func acquire() throws -> DotLock {
        guard case .acquired(let lock) = try attempt() else { throw Scratch.Held() }
        return lock
    }

    func holder() throws -> DotLock.Holder? {
        guard case .held(let observation) = try attempt() else { return nil }
        return observation.holder
    }

    @Test("says who holds it, keeps others out, and goes") func life() throws {
        let lock = try acquire()
        #expect(scratch.read("list.lock") == "4000001:here")
        #expect(try lock.isStillOurs())
        // Our own lock, while we hold it, is no stale one.
        #expect(try holder() == .running)
        let released = try lock.release()
        #expect(released)
        #expect(!scratch.exists("list.lock"))
        #expect(try lock.isStillOurs() == false)
        let again = try lock.release()
        #expect(!again)
    }

    @Test("goes when its last user forgets it") func dropped() throws {
        _ = try acquire()
        #expect(!scratch.exists("list.lock"))
    }

    @Test("a lock that is not ours any more stays") func overridden() throws {
        let lock = try acquire()
        try scratch.remove("list.lock")
        try scratch.write("list.lock", "1:elsewhere")
        #expect(try lock.isStillOurs() == false)
        let released = try lock.release()
        #expect(!released)
        #expect(scratch.read("list.lock") == "1:elsewhere")
    }

    @Test(
        "whose lock it is",
        arguments: [
            ("1:here", .running), ("1:here\n", .running), ("1:there", .unknown),
            // Above the largest number that Linux gives to a process.
            ("4194305:here", .gone), ("4000001:here", .gone), ("4000001:there", .unknown),
            ("", .unknown), ("0:here", .unknown), ("-1:here", .unknown), ("1", .unknown),
            ("99999999999:here", .unknown), ("1 :here", .unknown), ("INBOX\nWork", .unknown),
        ] as [(String, DotLock.Holder)]
    )
    func holders(_ content: String, _ holder: DotLock.Holder) throws {
        try scratch.write("list.lock", content)
        #expect(try self.holder() == holder)
    }

    @Test("a lock's content at the limit and above", arguments: [1_024, 1_025])
    func longContent(_ count: Int) throws {
        let host = String(repeating: "x", count: count - 2)
        try scratch.write("list.lock", "1:\(host)")
        let owner = DotLock.Owner(processID: 9, host: Array(host.utf8))
        guard
            case .held(let observation) = try DotLock.tryAcquire(
                name,
                in: scratch.directory,
                as: owner
            )
        else { throw Scratch.Held() }
        #expect(observation.holder == (count == 1_024 ? .running : .unknown))
    }

    @Test("overrides what it saw and nothing else") func override() throws {
        try scratch.write("list.lock", "4194305:here")
        guard case .held(let observation) = try attempt() else { throw Scratch.Held() }
        try scratch.append("list.lock", "x")
        try DotLock.override(observation, name, in: scratch.directory)
        #expect(scratch.exists("list.lock"))
        guard case .held(let second) = try attempt() else { throw Scratch.Held() }
        try DotLock.override(second, name, in: scratch.directory)
        #expect(!scratch.exists("list.lock"))
        try DotLock.override(second, name, in: scratch.directory)
    }

    @Test("is held though the disk is full") func fullDisk() throws {
        try Faults.$current.withValue(Faults(failing: 1, with: ENOSPC)) {
            let lock = try acquire()
            #expect(Faults.current?.calls == ["openat", "write", "linkat"])
            #expect(scratch.read("list.lock") == "")
            let released = try lock.release()
            #expect(released)
        }
    }

    @Test("refreshes its time") func refresh() throws {
        let lock = try acquire()
        try scratch.directory.setModified(Array("list.lock".utf8), WallTime(seconds: 1))
        try lock.refresh()
        #expect(try scratch.directory.status(Array("list.lock".utf8)).modified.seconds > 1)
    }

    @Test("replaces what it protects") func replace() throws {
        try scratch.write("list", "old")
        let lock = try acquire()
        let permissions = MailboxPermissions(of: try scratch.directory.status())
        try lock.replaceProtected(with: Array("new".utf8), permissions)
        #expect(scratch.read("list") == "new")
        #expect(!scratch.exists("list.lock"))
        #expect(throws: MaildirError.lockLost) {
            try lock.replaceProtected(with: [], permissions)
        }
        #expect(scratch.read("list") == "new")
    }

    @Test("the replaced file is the old one or the new one, whichever call fails")
    func replaceFaults() throws {
        var index = 0
        while true {
            try scratch.write("list", "old")
            let lock = try acquire()
            let faults = Faults(failing: index)
            let permissions = MailboxPermissions(of: try scratch.directory.status())
            var failed = false
            Faults.$current.withValue(faults) {
                do { try lock.replaceProtected(with: Array("new".utf8), permissions) } catch {
                    failed = true
                }
            }
            _ = try lock.release()
            #expect(!scratch.exists("list.lock"))
            if !failed { break }
            #expect(["old", "new"].contains(scratch.read("list")))
            index += 1
        }
        #expect(scratch.read("list") == "new")
        #expect(index == 5)
    }
}

@Suite("DotLockPatience")
struct DotLockPatienceTests {
    static let date = WallTime(seconds: 1_000_000)

    func observation(
        _ holder: DotLock.Holder,
        lockAge: Int64,
        protectedAge: Int64? = nil
    ) -> DotLock.Observation {
        func print(_ inode: UInt64, _ age: Int64) -> FileFingerprint {
            let time = WallTime(seconds: Self.date.seconds &- age)
            return FileFingerprint(
                identity: FileIdentity(device: 1, inode: inode),
                size: 3,
                modified: time,
                changed: time
            )
        }
        return DotLock.Observation(
            lock: print(1, lockAge),
            protected: protectedAge.map { print(2, $0) },
            holder: holder
        )
    }

    /// After that many seconds of the same sight.
    func verdict(_ seen: DotLock.Observation, after seconds: Int) -> DotLockPatience.Verdict {
        let start = Instant(nanoseconds: 5_000_000_000_000)
        var patience = DotLockPatience(staleAfterSeconds: 120, timeoutSeconds: 122, now: start)
        _ = patience.judge(seen, now: start, date: Self.date)
        return patience.judge(
            seen,
            now: start.adding(milliseconds: seconds * 1_000),
            date: WallTime(seconds: Self.date.seconds + Int64(seconds))
        )
    }

    static let waits = DotLockPatience.Verdict.wait(milliseconds: 45)

    /// Holder, age of the lock and of the protected file at first sight, seconds waited, verdict.
    static let cases: [(DotLock.Holder, Int64, Int64?, Int, DotLockPatience.Verdict)] = [
        (.running, 0, nil, 0, waits), (.running, 100_000, 100_000, 121, waits),
        (.running, 0, nil, 122, .timedOut),
        (.gone, 0, nil, 0, waits), (.gone, 2, nil, 0, waits), (.gone, 3, nil, 0, .override),
        (.gone, 0, nil, 3, .override), (.gone, -5, nil, 0, waits),
        (.gone, -1_000, nil, 120, .override),
        (.unknown, 0, 0, 119, waits), (.unknown, 0, 0, 120, .override),
        (.unknown, 120, 120, 0, .override), (.unknown, 119, 500, 0, waits),
        (.unknown, 500, 119, 0, waits), (.unknown, 500, nil, 0, .override),
        (.unknown, 500, 100, 20, .override), (.unknown, -500, nil, 119, waits),
        (.unknown, .min, nil, 0, waits), (.unknown, .max, nil, 0, .override),
    ]

    @Test("verdict", arguments: cases)
    func verdicts(
        _ holder: DotLock.Holder,
        _ lockAge: Int64,
        _ protectedAge: Int64?,
        _ seconds: Int,
        _ expected: DotLockPatience.Verdict
    ) {
        let seen = observation(holder, lockAge: lockAge, protectedAge: protectedAge)
        #expect(verdict(seen, after: seconds) == expected)
    }

    @Test("a change of the lock or the protected file starts the stale time anew") func changes() {
        let start = Instant(nanoseconds: 5_000_000_000_000)
        var patience = DotLockPatience(staleAfterSeconds: 30, timeoutSeconds: 120, now: start)
        var verdicts: [DotLockPatience.Verdict] = []
        let sights = [
            (0, 0, 9), (25, 0, 9), (50, 0, 8), (75, -60, 8), (100, -60, 8), (106, -60, 8),
        ]
        for (seconds, lockAge, protectedAge) in sights {
            let seen = observation(
                .unknown,
                lockAge: Int64(lockAge),
                protectedAge: Int64(protectedAge)
            )
            let now = start.adding(milliseconds: seconds * 1_000)
            verdicts.append(patience.judge(seen, now: now, date: Self.date))
        }
        #expect(verdicts.dropLast().allSatisfy { $0 != .override })
        #expect(verdicts.last == .override)
    }

    @Test("waits longer each time, up to a second") func backOff() {
        var patience = DotLockPatience.uidList(now: Instant(nanoseconds: 0))
        var waits: [Int] = []
        for _ in 0..<15 {
            let seen = observation(.running, lockAge: 0)
            let verdict = patience.judge(seen, now: Instant(nanoseconds: 1), date: Self.date)
            if case .wait(let milliseconds) = verdict { waits.append(milliseconds) }
        }
        #expect(waits.count == 15)
        #expect(waits == waits.sorted())
        #expect(waits.first == 30)
        #expect(waits.last == 1_000)
    }
}
