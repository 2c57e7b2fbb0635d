import Bytes
import Glibc
package import Posix
import Synchronization

//  The file of a lock that is taken again and again
//
//  A lock file of its own for each taking of a lock costs an inode made and freed, which is most of
//  what locking costs. So of a mailbox that is written to often the file is kept, in tmp/ as
//  `martlet-lock.<pid>`: the lock is taken by link() of it to the lock's name, which fails where that
//  name is taken, and given up by unlink() as ever. Others see a lock like any other.
//
//  Staleness: link() sets the ctime, and what the file says of its process is true from the
//  beginning. The modification time, by which Dovecot decides whether to look at the process, is set
//  once a second.
//
//  What a crash leaves: the file in tmp/, removed when the mailbox is next opened (or by whoever
//  removes old files there), and the lock, as ever.
//
//  What others can do: remove the file; the next taking makes another. Put another in its place: the
//  lock is then not ours (`DotLock.isStillOurs`), nothing is written under it, and the next taking
//  makes a new file. Where links are refused, each lock has a file of its own.

package final class LockFile: Sendable {
    package static let prefix = [UInt8]("martlet-lock.")

    private let tmp: Directory
    private let name: [UInt8]

    private struct State: ~Copyable {
        /// Takings so far, while there is no file.
        var uses = 0
        /// Kept open: otherwise, once somebody removed it, another file could get the same inode.
        var file: OwnedDescriptor?
        var identity: FileIdentity?
        /// When its modification time was last set.
        var touched = Instant(nanoseconds: 0)
        /// Whether a lock has it now.
        var isLent = false
        /// Whether the filesystem refuses links.
        var isRefused = false
    }
    private let state = Mutex(State())

    /// Takings of a lock before its file is kept: most mailboxes are only looked at.
    private static let usesMin = 3
    private static let touchMilliseconds: Int64 = 1_000

    package init(in tmp: Directory, of owner: DotLock.Owner) {
        self.tmp = tmp
        var buffer = ByteBuffer()
        buffer.append(Self.prefix)
        buffer.append(decimal: owner.processID)
        name = buffer.bytes
    }

    /// Has a file and marks it as lent. Nil where the lock is to have a file of its own.
    func lend(
        filling fill: (borrowing OwnedDescriptor) throws(SystemError) -> Void
    ) -> FileIdentity? {
        let now = Instant.now
        let isDue = state.withLock { (state) -> Bool in
            if state.isLent || state.isRefused { return false }
            state.uses += 1
            if state.uses <= Self.usesMin { return false }
            state.isLent = true
            return true
        }
        guard isDue else { return nil }
        let identity = state.withLock { (state) -> FileIdentity? in
            guard state.identity != nil else { return nil }
            if now.milliseconds(since: state.touched) >= Self.touchMilliseconds {
                try? state.file?.setModified(.now)
                state.touched = now
            }
            return state.identity
        }
        if let identity { return identity }
        do throws(SystemError) { return try make(now, fill) } catch {
            // A full disk, say: then the lock is made as it always was.
            try? tmp.unlink(name)
            state.withLock { $0.isLent = false }
            return nil
        }
    }

    private func make(
        _ now: Instant,
        _ fill: (borrowing OwnedDescriptor) throws(SystemError) -> Void
    ) throws(SystemError) -> FileIdentity {
        // Left by an earlier process of our number, or put there.
        try tmp.unlinkIfThere(name)
        let made = try tmp.open(name, O_WRONLY | O_CREAT | O_EXCL)
        try fill(made)
        let identity = try made.status().identity
        var file = Optional(made)
        state.withLock { state in
            state.file = file.take()
            state.identity = identity
            state.touched = now
        }
        return identity
    }

    /// Gives the file that was lent a lock's name; EEXIST where it is taken.
    func link(_ lockName: [UInt8], in directory: Directory) throws(SystemError) {
        try tmp.link(name, to: directory, lockName)
    }

    /// Links cannot be made here.
    func refuse() {
        state.withLock { $0.isRefused = true }
        try? tmp.unlink(name)
    }

    /// The lock was given up. Without `isGood` it was not this file: the next taking makes another.
    func giveBack(isGood: Bool) {
        state.withLock { state in
            state.isLent = false
            if isGood { return }
            state.file = nil
            state.identity = nil
        }
    }
}
