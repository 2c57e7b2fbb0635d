import Bytes
import Glibc
package import Posix
import Synchronization

//  Dovecot's dotlock
//
//  On disk: `<file>.lock` beside the protected file, with `<pid>:<host>` in it. It is written without
//  a name and then linked to that name, which fails where the name is taken; where the filesystem has
//  no files without a name, it is created with O_EXCL and then written. A lock that is taken again and
//  again is a link of a file that is kept (`LockFile`).
//  Whoever has created it may change the protected file; whoever is done unlinks it. Where the new
//  content is written into the lock file itself, the unlocking is its rename over the protected file.
//
//  Who writes: Dovecot and we. Creation with O_EXCL and Dovecot's other way (a link of a temporary
//  file) exclude each other.
//
//  What a crash leaves: the lock file. Others remove it when the process in it is gone from the same
//  host, or when neither lock nor protected file has changed for the stale time (`DotLockPatience`).
//
//  What others can do to us: take our lock for stale when we stall for long, and remove it. So a
//  holder refreshes the time of a lock it keeps for long, looks before each write that publishes
//  something whether the lock is still its own, and never unlinks a lock that is not.
//
//  A full disk must not keep mail from being deleted: a lock whose content could not be written is
//  held all the same, as in Dovecot.
//
//  Nothing here waits. A lock that is held is tried again by the caller, from a timer or when inotify
//  tells that it is gone.

/// A lock that this process holds. Functions that change what it protects take it as an argument.
package final class DotLock: Sendable {
    /// Where lock and protected file are.
    package let directory: Directory
    /// The protected file.
    package let name: [UInt8]
    private let identity: FileIdentity
    /// Kept open: otherwise, once somebody removed our lock, theirs could get the same inode.
    private let file: OpenFile?
    /// What keeps the file open where it is used for many locks.
    private let kept: LockFile?
    private let owner: Owner

    private final class OpenFile: Sendable {
        let descriptor: OwnedDescriptor
        init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
    }

    private init(
        _ directory: Directory,
        _ name: [UInt8],
        _ file: OpenFile,
        _ owner: Owner
    ) throws(SystemError) {
        let identity = try file.descriptor.status().identity
        self.directory = directory
        self.name = name
        self.identity = identity
        self.file = file
        kept = nil
        self.owner = owner
        owner.held.withLock { _ = $0.insert(identity) }
    }

    private init(
        _ directory: Directory,
        _ name: [UInt8],
        _ identity: FileIdentity,
        _ kept: LockFile,
        _ owner: Owner
    ) {
        self.directory = directory
        self.name = name
        self.identity = identity
        file = nil
        self.kept = kept
        self.owner = owner
        owner.held.withLock { _ = $0.insert(identity) }
    }

    deinit { _ = try? release() }

    package static func lockName(of name: [UInt8]) -> [UInt8] { name + [UInt8](".lock") }
    private var lockName: [UInt8] { Self.lockName(of: name) }

    /// Who we are to other programs that see the lock, and which locks we hold. One per process.
    package final class Owner: Sendable {
        package let processID: Int32
        package let host: [UInt8]
        /// A lock with our number that is not in here was left by an earlier process of that number.
        fileprivate let held = Mutex<Set<FileIdentity>>([])

        package init(processID: Int32, host: [UInt8]) {
            self.processID = processID
            self.host = host
        }

        fileprivate var content: [UInt8] {
            var buffer = ByteBuffer()
            buffer.append(decimal: processID)
            buffer.append(UInt8(ascii: ":"))
            buffer.append(host)
            return buffer.bytes
        }
    }

    private var isHeld: Bool { owner.held.withLock { $0.contains(identity) } }

    /// - Parameter wasOurs: whether the lock's file was what we had made.
    private func forget(wasOurs: Bool = true) {
        let wasHeld = owner.held.withLock { $0.remove(identity) != nil }
        if wasHeld { kept?.giveBack(isGood: wasOurs) }
    }

    package enum Outcome: Sendable {
        case acquired(DotLock)
        case held(Observation)
        /// It was held, and gone when looked at: try again at once.
        case gone
    }

    /// Tries once to take the lock of a file, which need not exist.
    ///
    /// - Parameter kept: the file that becomes the lock, where it is to be used again. The lock cannot
    ///   replace what it protects then.
    package static func tryAcquire(
        _ name: [UInt8],
        in directory: Directory,
        as owner: Owner,
        using kept: LockFile? = nil
    ) throws(SystemError) -> Outcome {
        do throws(SystemError) {
            if let kept, let lock = try take(name, in: directory, as: owner, kept) {
                return .acquired(lock)
            }
            return .acquired(try create(name, in: directory, as: owner))
        } catch {
            guard error.code == EEXIST else { throw error }
            guard let observation = try Observation(name, in: directory, by: owner) else {
                return .gone
            }
            return .held(observation)
        }
    }

    /// Takes the lock by a link of the file that is kept for it; nil where it must be made.
    private static func take(
        _ name: [UInt8],
        in directory: Directory,
        as owner: Owner,
        _ kept: LockFile
    ) throws(SystemError) -> DotLock? {
        // The second time where the file was gone.
        for _ in 0..<2 {
            let identity = kept.lend { (file) throws(SystemError) in
                apply(directory, to: file)
                try file.writeAll(owner.content)
            }
            guard let identity else { return nil }
            let lock = DotLock(directory, name, identity, kept, owner)
            do throws(SystemError) {
                try kept.link(lockName(of: name), in: directory)
                return lock
            } catch {
                lock.forget(wasOurs: error.code != ENOENT)
                switch error.code {
                case ENOENT: continue
                case EPERM, EXDEV, EMLINK, EOPNOTSUPP, ENOSYS, EACCES:
                    kept.refuse()
                    return nil
                default: throw error
                }
            }
        }
        return nil
    }

    /// The file gets its name when its content is in it: a crash in between leaves nothing, where
    /// a lock without content would stop everybody for the stale time.
    private static func create(
        _ name: [UInt8],
        in directory: Directory,
        as owner: Owner
    ) throws(SystemError) -> DotLock {
        let lockName = lockName(of: name)
        do throws(SystemError) {
            let file = OpenFile(try directory.openUnnamed())
            fill(file.descriptor, directory, owner)
            let lock = try DotLock(directory, name, file, owner)
            do throws(SystemError) {
                try directory.giveName(lockName, to: file.descriptor)
            } catch {
                lock.forget()
                throw error
            }
            return lock
        } catch {
            switch error.code {
            case EOPNOTSUPP, EISDIR, EINVAL, ENOENT, EPERM, EXDEV: break
            default: throw error
            }
        }
        // A filesystem, or a sandbox, without files that have no name.
        let file = OpenFile(try directory.open(lockName, O_WRONLY | O_CREAT | O_EXCL))
        let lock = try DotLock(directory, name, file, owner)
        fill(file.descriptor, directory, owner)
        return lock
    }

    /// What cannot be written, on a full disk, is left out: the lock is one all the same.
    private static func fill(
        _ file: borrowing OwnedDescriptor,
        _ directory: Directory,
        _ owner: Owner
    ) {
        apply(directory, to: file)
        try? file.writeAll(owner.content)
    }

    /// Who may see what is in the directory may see the lock.
    private static func apply(_ directory: Directory, to file: borrowing OwnedDescriptor) {
        guard let status = try? directory.status() else { return }
        try? MailboxPermissions(of: status).apply(to: file, isDirectory: false)
    }

    /// Whether nobody has removed the lock meanwhile.
    package func isStillOurs() throws(SystemError) -> Bool {
        guard isHeld else { return false }
        do throws(SystemError) {
            return try directory.status(lockName).identity == identity
        } catch {
            if error.isMissing { return false }
            throw error
        }
    }

    /// Tells other hosts that the holder is alive. For locks that are held longer than ten seconds.
    package func refresh() throws(SystemError) {
        guard try isStillOurs() else { return }
        try directory.setModified(lockName, .now)
    }

    /// Gives the lock up. False where somebody else had removed it; then what was done under it may
    /// have met another's changes.
    @discardableResult
    package func release() throws(SystemError) -> Bool {
        guard try isStillOurs() else {
            forget(wasOurs: false)
            return false
        }
        try directory.unlink(lockName)
        forget()
        return true
    }

    /// Replaces the protected file by way of the lock file, and so gives the lock up.
    ///
    /// On an error the lock is still held, and the protected file is the old one, or the new one
    /// where only the last step, the sync of the directory, failed.
    package func replaceProtected(
        with content: [UInt8],
        _ permissions: MailboxPermissions
    ) throws(MaildirError) {
        precondition(kept == nil, "a lock file that is kept is not renamed")
        guard try system({ () throws(SystemError) in try isStillOurs() }) else { throw .lockLost }
        try system { () throws(SystemError) in
            let file = try directory.open(lockName, O_WRONLY | O_TRUNC)
            try permissions.apply(to: file, isDirectory: false)
            try file.writeAll(content)
            try file.syncData()
            try file.close()
        }
        guard try system({ () throws(SystemError) in try isStillOurs() }) else { throw .lockLost }
        try system { () throws(SystemError) in
            try directory.rename(lockName, to: directory, name)
            forget()
            try directory.sync()
        }
    }
}

// MARK: Locks of others

extension DotLock {
    /// Whose lock it is, as far as its content tells.
    package enum Holder: Sendable, Equatable {
        /// No number, or another host.
        case unknown
        /// A process of this host that runs.
        case running
        /// A process of this host that is gone; or one of our number that is not this process.
        case gone
    }

    /// A lock of somebody else, at one moment.
    package struct Observation: Sendable, Equatable {
        package let lock: FileFingerprint
        /// Nil where the protected file is missing.
        package let protected: FileFingerprint?
        package let holder: Holder

        package init(lock: FileFingerprint, protected: FileFingerprint?, holder: Holder) {
            self.lock = lock
            self.protected = protected
            self.holder = holder
        }

        /// Nil where there is no lock.
        init?(_ name: [UInt8], in directory: Directory, by owner: Owner) throws(SystemError) {
            do throws(SystemError) {
                lock = FileFingerprint(try directory.status(DotLock.lockName(of: name)))
            } catch {
                if error.isMissing { return nil }
                throw error
            }
            var protected: FileFingerprint?
            do throws(SystemError) { protected = FileFingerprint(try directory.status(name)) } catch
            {
                if !error.isMissing { throw error }
            }
            self.protected = protected
            let content = try? directory.readFile(
                DotLock.lockName(of: name),
                max: Limits.lockBytesMax
            )
            let identity = lock.identity
            let isOurs = owner.held.withLock { $0.contains(identity) }
            holder = isOurs ? .running : Self.holder(content ?? [], seenBy: owner)
        }

        /// PID ":" HOSTNAME [LF]
        static func holder(_ content: [UInt8], seenBy owner: Owner) -> Holder {
            var cursor = ByteCursor(content.span)
            guard let processID = cursor.decimal(max: UInt64(Int32.max)), processID > 0,
                cursor.accept(UInt8(ascii: ":"))
            else { return .unknown }
            var host = content[cursor.offset...]
            if host.last == .lf { host.removeLast() }
            guard Array(host) == owner.host else { return .unknown }
            if Int32(processID) == owner.processID { return .gone }
            return processExists(Int32(processID)) ? .running : .gone
        }
    }

    /// Removes a lock that was judged stale, unless it has changed since it was observed.
    ///
    /// Wait `DotLockPatience.pauseAfterOverride` before trying to take it: another process may be
    /// about to remove the same stale lock, and must not find a new one in its place.
    package static func override(
        _ observation: Observation,
        _ name: [UInt8],
        in directory: Directory
    ) throws(SystemError) {
        do throws(SystemError) {
            guard FileFingerprint(try directory.status(lockName(of: name))) == observation.lock
            else {
                return
            }
            try directory.unlink(lockName(of: name))
        } catch {
            if !error.isMissing { throw error }
        }
    }
}
