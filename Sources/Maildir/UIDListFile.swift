import Bytes
import Glibc
package import Posix

//  How a uidlist reaches the disk
//
//  Under `dovecot-uidlist.lock`, after a refresh. Records are appended:
//
//  1. write at the end of the file       crash here: some whole records and one partial line; each UID
//                                        is that of its file, none was announced; the next holder of
//                                        the lock sees the partial line and rewrites
//  2. fdatasync                          crash after it: nothing is lost
//
//  Where a rewrite is due (`UIDList.needsRewrite`), or the last write failed:
//
//  1. write  dovecot-uidlist.tmp         crash here: a stale temporary file, removed by the next rewrite
//  2. fdatasync it                       crash here: the same
//  3. rename over dovecot-uidlist        atomic; readers see all of the old list or all of the new
//  4. fsync the directory                crash before it: the old list may come back, which is safe
//                                        only because UIDs are announced after step 4
//
//  Invariant: no client has ever seen a UID that a crash can take back. Whatever was given a UID may
//  be announced when `commit` returns, and not if it throws.
//
//  What others appended may not be on the disk: a process can be killed between the two steps, and
//  whoever reads the list next sees its records. So before anybody is told of a UID, what was read
//  and not written here is synced as well (`isSynced`), unless the file has been left alone for so long
//  that the kernel has written it of its own.
//
//  After an error the list in memory is thrown away and read again: what part of a write took effect
//  only the file can tell. And the next write is a whole new file, for after a failed fdatasync the
//  kernel may call pages clean that are not on disk, and a later success would say nothing.
//
//  Dovecot renames without syncing the directory. So the first append to a file that is not our own
//  syncs the directory as well, or a power cut could bring back the list before Dovecot's.
//
//  What others can do meanwhile: Dovecot can take the lock for stale and write. The lock is looked at
//  before each step that publishes, and after an append the size must be what we made it.

/// One mailbox's `dovecot-uidlist`, as last read or written.
///
/// A value: a job takes it, changes it on its thread and gives it back. Between jobs it is at rest
/// (`rest`): of a long list only its end is kept.
package struct UIDListFile: Sendable {
    /// Nil before the first read, and where there is no file.
    package var list: UIDList?

    /// The file that the list was read from, or written to.
    private var seen: FileFingerprint?
    private var mustRewrite = false
    /// Where a write failed: UIDs from this one on may be in the file and are not for sure on the disk,
    /// so that nobody may be told of them until a commit succeeds.
    package private(set) var doubtfulFrom: UInt32?
    /// The largest UIDNEXT read or written so far, and the UIDVALIDITY that it belongs to.
    private var known: (uidValidity: UInt32, nextUID: UInt32) = (0, 0)
    /// Whether the name is known to lead to this file after a crash.
    private var isNameDurable = false
    /// Whether all of the file that was read is known to be on the disk.
    private var isSynced = true

    /// The kernel writes what is dirty after 30 seconds, ten minutes on a laptop.
    private static let writtenBackSeconds: Int64 = 3_600

    package static let name = [UInt8]("dovecot-uidlist")
    private static let temporaryName = [UInt8]("dovecot-uidlist.tmp")

    package init() {}

    package enum Refresh: Sendable, Equatable {
        case unchanged
        case grown(UIDList.Growth)
        /// All was read: the list is new, with indexes of its own.
        case replaced
        /// There is no file, or an empty one.
        case missing
    }

    /// Reads what changed since the last time. Needs no lock.
    ///
    /// Changes that were not committed are dropped wherever the file is read again; whoever holds the
    /// lock refreshes before changing anything.
    ///
    /// - Parameter isWhole: whether the records are needed. Without, a file that is as it was is left
    ///   unread where the list is at rest: then it can be appended to.
    package mutating func refresh(
        in directory: Directory,
        isWhole: Bool = true
    ) throws(MaildirError) -> Refresh {
        let descriptor = try ifThere { () throws(SystemError) in
            // Not blocking: a FIFO of that name must not stop the process.
            try directory.open(Self.name, O_RDONLY | O_NONBLOCK)
        }
        guard let file = descriptor else { return forget() }
        let status = try system { () throws(SystemError) in try file.status() }
        guard status.isRegular else {
            throw .system(SystemError("open", EINVAL, path: directory.child(Self.name)))
        }
        let now = FileFingerprint(status)
        if let seen, seen.identity == now.identity, let list, !list.hasUncommitted {
            let isEnough = list.isWhole || !isWhole && !mustRewrite && !list.needsRewrite
            if seen == now, isEnough { return .unchanged }
            if list.isWhole, now.size > seen.size, let growth = try readTail(file, now) {
                keepNextUID()
                return .grown(growth)
            }
        }
        let age = WallTime.now.seconds - status.changed.seconds
        return try readWhole(file, now, isOld: age > Self.writtenBackSeconds)
    }

    /// Keeps only the end of the list, where nothing is under way.
    package mutating func rest() {
        guard seen != nil, isSynced, !mustRewrite, doubtfulFrom == nil,
            list.map({ !$0.isChanged && !$0.needsRewrite }) == true
        else { return }
        list?.rest()
    }

    /// Takes a list at rest for what the file holds, whose state was this.
    package mutating func adopt(_ resting: UIDList, _ state: FileFingerprint, uidNext: UInt32) {
        precondition(!resting.isWhole, "a whole list is read under `refresh`")
        list = resting
        list?.raiseNextUID(to: uidNext)
        seen = state
        known = (resting.header.uidValidity, max(resting.nextUID, uidNext))
        isNameDurable = false
        isSynced = WallTime.now.seconds - state.changed.seconds > Self.writtenBackSeconds
    }

    /// An older file put back in place, as by a restore, must not bring back UIDs that are given out.
    private mutating func keepNextUID() {
        guard let list else { return }
        if list.header.uidValidity == known.uidValidity {
            self.list?.raiseNextUID(to: known.nextUID)
        }
        known = (list.header.uidValidity, self.list?.nextUID ?? list.nextUID)
    }

    private mutating func forget() -> Refresh {
        list = nil
        seen = nil
        return .missing
    }

    /// Nil where the file is not the known one, only longer, and has to be read from its start.
    private mutating func readTail(
        _ file: borrowing OwnedDescriptor,
        _ now: FileFingerprint
    ) throws(MaildirError) -> UIDList.Growth? {
        guard var current = list.take() else { return nil }
        seen = nil
        let end = current.fileBytes
        let start = max(0, end - Self.overlapBytes)
        let (head, tail): ([UInt8], [UInt8])
        do throws(SystemError) {
            head = try file.read(at: 0, count: current.headerBytes.count)
            tail = try file.read(at: start, count: now.size - start)
        } catch {
            throw .system(error)
        }
        // A rewrite can have got the inode of the file before. It has another header then, or other
        // bytes where the known ones ended.
        guard head.elementsEqual(current.headerBytes), tail.count == now.size - start,
            tail[..<(end - start)].elementsEqual(current.lastBytes(end - start))
        else { return nil }
        let growth: UIDList.Growth?
        do throws(UIDListError) {
            growth = try current.extend(with: Array(tail[(end - start)...]))
        } catch {
            throw .uidList(error)
        }
        guard let growth else { return nil }
        list = current
        seen = now
        isSynced = false
        return growth
    }

    /// More than one record.
    private static let overlapBytes = 512

    private mutating func readWhole(
        _ file: borrowing OwnedDescriptor,
        _ now: FileFingerprint,
        isOld: Bool
    ) throws(MaildirError) -> Refresh {
        let resting = list.flatMap { $0.isWhole || $0.hasUncommitted ? nil : $0 }
        let (before, wasSynced) = (seen, isSynced)
        list = nil
        if seen?.identity != now.identity { isNameDurable = false }
        seen = nil
        let content: [UInt8]
        do throws(SystemError) {
            content = try file.readAll(max: Limits.uidListBytesMax)
        } catch {
            throw .system(error)
        }
        do throws(UIDListError) { list = try UIDList(file: content) } catch {
            throw .uidList(error)
        }
        guard list != nil else { return forget() }
        keepNextUID()
        // Where the file has grown since it was looked at, the next refresh sees that.
        seen = now
        isSynced = isOld
        guard let resting, let list, before?.identity == now.identity,
            let first = resting.firstNewRecord(of: list)
        else { return .replaced }
        // The list that was at rest, or that and what others appended.
        isSynced = isOld || first == list.recordCount && wasSynced
        return first == list.recordCount && before == now
            ? .unchanged : .grown(UIDList.Growth(firstIndex: first, superseded: []))
    }

    /// Whether there is anything for `commit` to do.
    package var isCommitDue: Bool {
        mustRewrite || !isSynced || list.map { $0.isChanged || $0.needsRewrite } ?? false
    }

    /// Brings the list to the disk, by appending or by a rewrite. UIDs may be announced once it
    /// returns. After a rewrite the records have new indexes.
    ///
    /// Throws `stale` where the file is not the one that was read; then, as after each error, refresh
    /// and do the change again.
    package mutating func commit(_ lock: DotLock) throws(MaildirError) {
        precondition(lock.name == Self.name, "the lock protects another file")
        // On any way out but success the list is read again.
        guard let current = list.take() else { return }
        precondition(current.header.uidValidity != 0, "a list without UIDVALIDITY is not written")
        let expected = seen.take()
        try checkUnchanged(lock.directory, expected)
        let rewrites = mustRewrite || current.needsRewrite
        // Whoever comes again reads it all.
        if rewrites, !current.isWhole { throw .stale }
        mustRewrite = true
        doubtfulFrom = min(doubtfulFrom ?? .max, current.fileNextUID)
        if rewrites {
            try rewrite(current, lock)
        } else if current.hasPending {
            try append(current, lock, expected)
        } else {
            if !isSynced { try sync(lock) }
            (list, seen) = (current, expected)
        }
        isSynced = true
        mustRewrite = false
        doubtfulFrom = nil
        keepNextUID()
    }

    private func checkUnchanged(
        _ directory: Directory,
        _ expected: FileFingerprint?
    ) throws(MaildirError) {
        let status = try ifThere { () throws(SystemError) in try directory.status(Self.name) }
        guard let status, status.size > 0 else {
            if expected == nil { return }
            throw .stale
        }
        guard FileFingerprint(status) == expected else { throw .stale }
    }

    private mutating func sync(_ lock: DotLock) throws(MaildirError) {
        do throws(SystemError) {
            let file = try lock.directory.open(Self.name, O_WRONLY)
            try file.syncData()
            try file.close()
            if !isNameDurable { try lock.directory.sync() }
        } catch {
            throw .system(error)
        }
        isNameDurable = true
    }

    private mutating func append(
        _ current: UIDList,
        _ lock: DotLock,
        _ expected: FileFingerprint?
    ) throws(MaildirError) {
        var current = current
        let end = current.fileBytes + current.pendingBytes.count
        var written: FileFingerprint?
        do throws(SystemError) {
            let file = try lock.directory.open(Self.name, O_WRONLY | O_APPEND)
            let before = FileFingerprint(try file.status())
            if before == expected, before.size == current.fileBytes, try lock.isStillOurs() {
                try file.writeAll(Array(current.pendingBytes))
                try file.syncData()
                written = FileFingerprint(try file.status())
            }
            try file.close()
            if written != nil, !isNameDurable { try lock.directory.sync() }
        } catch {
            throw .system(error)
        }
        guard let written, written.size == end else { throw .lockLost }
        isNameDurable = true
        current.markSynced()
        (list, seen) = (current, written)
    }

    private mutating func rewrite(_ current: UIDList, _ lock: DotLock) throws(MaildirError) {
        var new = current.compacted()
        let directory = lock.directory
        isNameDurable = false
        var written: FileFingerprint?
        do throws(SystemError) {
            let permissions = MailboxPermissions(of: try directory.status())
            try directory.unlinkIfThere(Self.temporaryName)
            let file = try directory.create(Self.temporaryName, permissions)
            try file.writeAll(new.pendingBytes.span)
            try file.syncData()
            try file.close()
            if try lock.isStillOurs() {
                try directory.rename(Self.temporaryName, to: directory, Self.name)
                try directory.sync()
                // The rename has changed the file's ctime.
                written = FileFingerprint(try directory.status(Self.name))
            }
        } catch {
            throw .system(error)
        }
        guard let written else { throw .lockLost }
        isNameDurable = true
        new.markSynced()
        (list, seen) = (new, written)
    }
}
