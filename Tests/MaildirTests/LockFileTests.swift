import Bytes
import Foundation
import Posix
import Testing

@testable import Maildir

/// The file of a lock that is taken again and again. The lock itself is tested by `DotLockTests`.
@Suite("LockFile")
struct LockFileTests {
    let scratch: Scratch
    let tmp: Directory
    let owner = DotLock.Owner(processID: 4_000_001, host: Array("here".utf8))
    let kept: LockFile
    let name = Array("list".utf8)
    /// Takings before the file is kept.
    let uses = 3

    init() throws {
        scratch = try Scratch()
        try scratch.directory.makeDirectory(Array("tmp".utf8), mode: 0o700)
        tmp = try scratch.directory.subdirectory(Array("tmp".utf8))
        kept = LockFile(in: tmp, of: owner)
    }

    func attempt() throws -> DotLock.Outcome {
        try DotLock.tryAcquire(name, in: scratch.directory, as: owner, using: kept)
    }

    func acquire() throws -> DotLock {
        guard case .acquired(let lock) = try attempt() else { throw Scratch.Held() }
        return lock
    }

    /// Takes and gives up the lock until its file is kept.
    func warmUp() throws { for _ in 0...uses { _ = try acquire().release() } }

    func inode(_ name: String) -> UInt64? {
        (try? scratch.directory.status(Array(name.utf8)))?.inode
    }

    var file: String { "tmp/martlet-lock.4000001" }

    @Test("is kept from the fourth taking on, and is the lock's file each time") func life() throws
    {
        for taking in 1...6 {
            let lock = try acquire()
            #expect(scratch.read("list.lock") == "4000001:here")
            #expect(try lock.isStillOurs())
            #expect((inode("list.lock") == inode(file)) == (taking > uses))
            let released = try lock.release()
            #expect(released)
            #expect(!scratch.exists("list.lock"))
        }
        #expect(scratch.exists(file))
    }

    @Test("keeps others out, and is no stale lock to its own process") func exclusive() throws {
        try warmUp()
        let lock = try acquire()
        guard case .held(let observation) = try attempt() else { throw Scratch.Held() }
        #expect(observation.holder == .running)
        let other = DotLock.Owner(processID: getpid(), host: Array("here".utf8))
        guard
            case .held(let seen) = try DotLock.tryAcquire(
                name,
                in: scratch.directory,
                as: other,
                using: LockFile(in: tmp, of: other)
            )
        else { throw Scratch.Held() }
        // No process has that number.
        #expect(seen.holder == .gone)
        #expect(try lock.isStillOurs())
    }

    @Test("a lock of somebody else is no more taken by a link than by a file") func held() throws {
        try warmUp()
        try scratch.write("list.lock", "1:there")
        guard case .held(let observation) = try attempt() else { throw Scratch.Held() }
        #expect(observation.holder == .unknown)
        try scratch.remove("list.lock")
        let lock = try acquire()
        #expect(inode("list.lock") == inode(file))
        _ = try lock.release()
    }

    @Test("one that was taken away is not ours, and not released again") func overridden() throws {
        try warmUp()
        let lock = try acquire()
        try scratch.remove("list.lock")
        #expect(try lock.isStillOurs() == false)
        try scratch.write("list.lock", "1:elsewhere")
        let released = try lock.release()
        #expect(!released)
        #expect(scratch.read("list.lock") == "1:elsewhere")
        try scratch.remove("list.lock")
        let next = try acquire()
        #expect(try next.isStillOurs())
    }

    @Test("an old lock does not take a later one for its own") func twice() throws {
        try warmUp()
        let old = try acquire()
        try scratch.remove("list.lock")
        // The file is lent still: this one has its own.
        let later = try acquire()
        #expect(try old.isStillOurs() == false)
        let released = try old.release()
        #expect(!released)
        #expect(try later.isStillOurs())
    }

    @Test("is made anew where it is gone") func removed() throws {
        try warmUp()
        try scratch.remove(file)
        let lock = try acquire()
        #expect(scratch.exists(file))
        #expect(inode("list.lock") == inode(file))
        #expect(try lock.isStillOurs())
    }

    @Test("another file in its place makes no lock that is ours, and goes") func replaced() throws {
        try warmUp()
        try scratch.remove(file)
        try scratch.write(file, "1:elsewhere")
        do {
            let lock = try acquire()
            #expect(try lock.isStillOurs() == false)
            let released = try lock.release()
            #expect(!released)
        }
        try scratch.remove("list.lock")
        let lock = try acquire()
        #expect(try lock.isStillOurs())
        #expect(scratch.read("list.lock") == "4000001:here")
    }

    @Test("its time is set where it is old") func touched() throws {
        try warmUp()
        let past = WallTime(seconds: 1)
        try scratch.directory.setModified(Array(file.utf8), past)
        usleep(1_050_000)
        _ = try acquire()
        let now = try scratch.directory.status(Array(file.utf8)).modified
        #expect(WallTime.now.seconds - now.seconds < 5)
    }

    @Test("where links or files cannot be made the lock has its own", arguments: [EPERM, ENOSPC])
    func refused(_ code: Int32) throws {
        for _ in 0..<uses { _ = try acquire().release() }
        // Its making, or its link, fails; the lock is made as ever.
        try Faults.$current.withValue(Faults(failing: code == ENOSPC ? 2 : 3, with: code)) {
            let lock = try acquire()
            #expect(try lock.isStillOurs())
            #expect(scratch.read("list.lock") == "4000001:here")
            #expect(inode("list.lock") != inode(file))
            _ = try lock.release()
        }
    }
}
