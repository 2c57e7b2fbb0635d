import Maildir
import Posix

//  EXPUNGE on a live mailbox
//
//  In batches, as in `Mailbox+Store`: each message is there or not, since each is one unlink, or one rename
//  into tmp/ while another session numbers it; what a crash leaves there is removed after 36 hours.

extension Mailbox {
    /// Removes messages, in batches. Files of messages that another session still numbers are kept
    /// aside until it has been told.
    ///
    /// - Parameter onlyDeleted: whether a message stays from which \Deleted was taken meanwhile.
    /// - Returns: the UIDs that are gone now, ascending; what could not be removed stays.
    package func expunge(
        _ uids: [UInt32],
        source: UInt32,
        by session: (any MailboxObserver)? = nil,
        onlyDeleted: Bool = false,
        progress: WorkProgress? = nil
    ) async throws(StoreError) -> (gone: [UInt32], failure: StoreError?) {
        let isQuiet = beginQuiet(uids.count)
        let result: (gone: [UInt32], failure: StoreError?)
        do throws(StoreError) {
            result = try await remove(uids, source, session, onlyDeleted, progress)
        } catch {
            if isQuiet { await endQuiet() }
            throw error
        }
        if isQuiet { await endQuiet() }
        if !result.gone.isEmpty { try await syncNames() }
        return result
    }

    private func remove(
        _ uids: [UInt32],
        _ source: UInt32,
        _ session: (any MailboxObserver)?,
        _ onlyDeleted: Bool,
        _ progress: WorkProgress?
    ) async throws(StoreError) -> (gone: [UInt32], failure: StoreError?) {
        progress?.begin(uids.count)
        var gone: [UInt32] = []
        var failure: StoreError?
        var left = uids[...]
        while !left.isEmpty {
            var removals: [MailboxDisk.Removal] = []
            var next = left.endIndex
            try await locked { () -> Job<[Result<[UInt8]?, StoreError>]>? in
                for (index, uid) in zip(left.indices, left) {
                    guard let row = table.row(of: uid) else { continue }
                    if onlyDeleted, !table.flags(row).contains(.trashed) { continue }
                    guard removals.count < Limits.lockBatchMax else {
                        next = index
                        break
                    }
                    removals.append(
                        MailboxDisk.Removal(
                            uid: uid,
                            base: table.base(row),
                            location: table.location(row),
                            isKept: isNumbered(uid, except: session),
                            onlyDeleted: onlyDeleted
                        )
                    )
                }
                if removals.isEmpty { return nil }
                let jobs = removals
                let isLast = next == left.endIndex
                return { (disk, lock) throws(MaildirError) in
                    disk.remove(jobs[...], lock, compacts: isLast)
                }
            } makesManyEvents: {
                quietChanges == 0 && removals.count >= Limits.manyEvents
            } applying: { results in
                var rows: [Int] = []
                for (removal, result) in zip(removals, results) {
                    switch result {
                    case .success(let aside):
                        gone.append(removal.uid)
                        if let aside { ghosts[removal.uid] = aside }
                        if let row = table.row(of: removal.uid) { rows.append(row) }
                        logExpunge(removal.uid, source: source)
                    case .failure(.messageGone): break
                    case .failure(let error): failure = error
                    }
                }
                table.remove(rows)
                if results.count < removals.count {
                    let untried = removals[results.count].uid
                    next = left.firstIndex(of: untried) ?? left.endIndex
                }
            }
            left = left[next...]
            progress?.done = uids.count - left.count
            notify()
            await EventLoop.yield()
        }
        return (gone, failure)
    }

    func isNumbered(_ uid: UInt32, except session: (any MailboxObserver)?) -> Bool {
        observers.values.contains { $0.observer !== session && $0.observer.numbers(uid) }
    }

    /// Unlinks what was kept aside and no session numbers any more.
    package func releaseGhosts() {
        guard !ghosts.isEmpty else { return }
        let released = ghosts.filter { ghost in
            !observers.values.contains { $0.observer.numbers(ghost.key) }
        }
        guard !released.isEmpty else { return }
        for uid in released.keys { ghosts[uid] = nil }
        let names = Array(released.values)
        let tmp = disk.tmp
        Task { [pool = context.pool] in
            await pool.run(.syncing) { for name in names { try? tmp.unlink(name) } }
        }
    }
}
