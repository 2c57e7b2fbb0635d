import Glibc
import Maildir
import Posix

//  COPY from a live mailbox
//
//  A copy is a second name of the same file, admitted to the target under the lock of that. One that was
//  not admitted is a file in tmp/, removed after 36 hours.

extension Mailbox {
    /// Copies messages into another mailbox, all or none, keeping flags, keywords and dates.
    ///
    /// - Returns: the new UIDs, in the order of `uids`.
    package func copy(
        _ uids: [UInt32],
        to target: Mailbox,
        progress: WorkProgress? = nil
    ) async throws(StoreError) -> [UInt32] {
        progress?.begin(uids.count)
        guard !target.isGone else { throw .noSuchMailbox }
        var copies: [UInt32] = []
        copies.reserveCapacity(uids.count)
        do throws(StoreError) {
            while copies.count < uids.count {
                let batch = uids[copies.count...].prefix(target.copyBatchMax)
                copies += try await copyBatch(batch, to: target)
                progress?.done = copies.count
                await EventLoop.yield()
            }
            return copies
        } catch {
            // What cannot be taken away again is logged there.
            if !copies.isEmpty { _ = try? await target.expunge(copies, source: 0) }
            throw error
        }
    }

    private func copyBatch(
        _ uids: ArraySlice<UInt32>,
        to target: Mailbox
    ) async throws(StoreError) -> [UInt32] {
        for attempt in 0..<Limits.renameRetriesMax {
            var list: [MailboxDisk.Admission] = []
            list.reserveCapacity(uids.count)
            for uid in uids {
                guard let row = table.row(of: uid) else { throw .messageGone }
                // What a symbolic link leads to is copied.
                if table.isLink(row) { return try await copyFiles(uids, to: target) }
                list.append(admission(of: row))
            }
            do throws(StoreError) { return try await target.admit(list) } catch {
                switch error {
                case .system(let system) where system.isMissing:
                    if target.isRemoved { throw .noSuchMailbox }
                    // A file was renamed meanwhile, or it is gone.
                    try await lookAgain(attempt)
                case .system(let system) where Self.forbidsLinks(system):
                    return try await copyFiles(uids, to: target)
                default: throw error
                }
            }
        }
        throw .messageGone
    }

    /// Another filesystem, too many names, no links here, somebody else's file.
    fileprivate nonisolated static func forbidsLinks(_ error: SystemError) -> Bool {
        [EXDEV, EMLINK, EPERM, ENOTSUP].contains(error.code)
    }

    /// Copies by way of `tmp/`, where links cannot be made in the target.
    private func copyFiles(
        _ uids: ArraySlice<UInt32>,
        to target: Mailbox
    ) async throws(StoreError) -> [UInt32] {
        var admissions: [MailboxDisk.Admission] = []
        do throws(StoreError) {
            for uid in uids { admissions.append(try await stageCopy(of: uid, in: target)) }
            return try await target.admit(admissions)
        } catch {
            let staged = admissions.map(\.base)
            let tmp = target.disk.tmp
            await context.pool.run(.syncing) { for name in staged { try? tmp.unlink(name) } }
            throw error
        }
    }

    /// A second name for a row's message, with its flags and keywords.
    private func admission(of row: Int) -> MailboxDisk.Admission {
        let location = table.location(row)
        return MailboxDisk.Admission(
            source: .link(location.isNew ? disk.new : disk.cur, location.name),
            base: context.names.next(keepingFieldsOf: table.base(row)),
            flags: table.flags(row).intersection(.system),
            keywords: keywordNames(row)
        )
    }

    private func stageCopy(
        of uid: UInt32,
        in target: Mailbox
    ) async throws(StoreError) -> MailboxDisk.Admission {
        for attempt in 0..<Limits.renameRetriesMax {
            guard let row = table.row(of: uid) else { throw .messageGone }
            let location = table.location(row)
            let source = location.isNew ? disk.new : disk.cur
            var admission = admission(of: row)
            let name = admission.base
            admission.source = .staged(name)
            let tmp = target.disk.tmp
            do throws(SystemError) {
                try await context.pool.run(.syncing) { () throws(SystemError) in
                    try MailboxDisk.linkOrCopy(location.name, in: source, to: name, in: tmp)
                }
                return admission
            } catch {
                guard error.isMissing else {
                    context.logFailure(.system(error), disk.directory)
                    throw StoreError(error)
                }
                try await lookAgain(attempt)
            }
        }
        throw .messageGone
    }

    /// The names of a message's keywords, `$Forwarded` not among them.
    package func keywordNames(_ row: Int) -> [[UInt8]] {
        let flags = table.flags(row)
        if flags.isDisjoint(with: .keywords), table.beyond.isEmpty { return [] }
        let letters = flags.keywordIndexes
        let beyond = table.beyond[table.uids[row]] ?? []
        return (letters + beyond).compactMap { keywords.name($0) }
    }
}

extension MailboxDisk {
    /// A second name for a message file, or, where the filesystem has none to give, a copy of it.
    static func linkOrCopy(
        _ name: [UInt8],
        in source: Directory,
        to newName: [UInt8],
        in target: Directory
    ) throws(SystemError) {
        do throws(SystemError) {
            // A symbolic link may lead elsewhere from elsewhere.
            if try source.status(name).isSymbolicLink { throw SystemError("linkat", EXDEV) }
            try source.link(name, to: target, newName)
        } catch {
            guard Mailbox.forbidsLinks(error) else { throw error }
            let file = try source.openFollowingLinks(name, O_RDONLY | O_NONBLOCK)
            let status = try file.status()
            let content = try file.readAll(max: Limits.messageBytesMax)
            let copy = try target.open(
                newName,
                O_WRONLY | O_CREAT | O_EXCL,
                mode: status.permissions
            )
            try copy.writeAll(content)
            try copy.setModified(status.modified)
            try copy.sync()
            try copy.close()
        }
    }
}
