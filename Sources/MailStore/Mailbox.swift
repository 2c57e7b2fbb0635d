import Bytes
package import Maildir
package import Posix

//  A live mailbox: one object for all sessions of the user
//
//  State comes from three sources: a scan under the lock (`rescan`), events of inotify applied one
//  by one (`Mailbox+Events`), and what our own operations did. While the watches live and their
//  queue is drained the state is current, so a delivery costs no scan.
//
//  Our own operations run in jobs, one at a time (`turnstile`). Events about names in `cur/` that
//  come meanwhile wait until the operation's own results are applied; then they tell nothing new.
//  An arrival in `new/` never waits: sessions are told of it at once (EXISTS names no UID), and its
//  UID follows when the list is on disk.

/// A session that has the mailbox selected.
@EventLoop
package protocol MailboxObserver: AnyObject {
    /// Something changed; look when you next may tell the client.
    func mailboxChanged()
    /// Whether the session still numbers this message.
    func numbers(_ uid: UInt32) -> Bool
}

@EventLoop
package final class Mailbox {
    package let path: MailboxPath
    package internal(set) var table = MessageTable()
    package internal(set) var keywords = Keywords()
    package internal(set) var uidValidity: UInt32 = 0
    package internal(set) var uidNext: UInt32 = 1
    package internal(set) var guid: [UInt8] = []
    package internal(set) var log = ChangeLog()
    /// The newest modseq that any message or expunge got.
    package internal(set) var highestModseq: UInt64 = 1
    /// Messages that no session has claimed as \Recent yet.
    package internal(set) var unclaimedRecent: Set<UInt32> = []
    /// The mailbox was deleted, replaced, or got another UIDVALIDITY: sessions must leave it.
    package internal(set) var isGone = false

    let disk: MailboxDisk
    let context: StoreContext
    private let turnstile = Turnstile()
    var observers: [ObjectIdentifier: (observer: any MailboxObserver, isWriter: Bool)] = [:]
    var watches: [Inotify.WatchID] = []

    /// Files that came and have no UID yet, in the order of coming.
    var arrivals: [FileLocation] = []
    /// Our own messages that wait for a UID; one sync serves all that wait.
    var admissions: [PendingAdmission] = []
    /// Messages whose file was seen to go under its last name.
    var suspects: Set<UInt32> = []
    var needsScan = true
    var deferredEvents: [(event: FileEvent, isNew: Bool)] = []
    var isWorking = false
    var lastFailure: StoreError?
    let settled = Signal()
    /// Expunged messages that a session still numbers: their file in `tmp/`.
    var ghosts: [UInt32: [UInt8]] = [:]
    var polling: TimerID?

    struct PendingAdmission {
        let admission: MailboxDisk.Admission
        let done: (Result<MailboxDisk.Admitted, StoreError>) -> Void
    }

    init(_ path: MailboxPath, _ disk: MailboxDisk, _ context: StoreContext) {
        self.path = path
        self.disk = disk
        self.context = context
        watch()
    }

    // MARK: Sessions

    /// - Parameter isWriter: whether mail in `new/` is moved to `cur/` (SELECT, not EXAMINE).
    package func add(_ observer: any MailboxObserver, isWriter: Bool) {
        observers[ObjectIdentifier(observer)] = (observer, isWriter)
    }

    package func remove(_ observer: any MailboxObserver) {
        observers[ObjectIdentifier(observer)] = nil
        releaseGhosts()
        context.mailboxBecameIdle(self)
    }

    package var isObserved: Bool { !observers.isEmpty }
    var hasWriter: Bool { observers.values.contains { $0.isWriter } }

    func notify() {
        for (observer, _) in observers.values { observer.mailboxChanged() }
    }

    /// How many messages there are, those without a UID included.
    package var announcedCount: Int { table.count + arrivals.count }

    /// Whether every message has its UID.
    package var isSettled: Bool { arrivals.isEmpty && !needsScan && suspects.isEmpty }

    /// Waits until every message that came so far has its UID on disk.
    package func settle() async throws(StoreError) {
        context.inotify?.drain()
        while !isSettled {
            lastFailure = nil
            work()
            await settled.wait()
            if let lastFailure, !isSettled { throw lastFailure }
        }
    }

    /// Moves what lies in `new/` to `cur/` for a session that opens the mailbox for writing.
    package func claimNew() async throws(StoreError) {
        guard table.uids.indices.contains(where: { table.isNew($0) }) else { return }
        needsScan = true
        try await settle()
    }

    // MARK: Working on the disk

    /// Runs `body` in a job with the uidlist's lock held, when nothing else of this process works
    /// on the mailbox.
    func locked<Success: Sendable>(
        _ body: @escaping @Sendable (MailboxDisk, DotLock) throws(MaildirError) -> Success,
        applying apply: (Success) -> Void
    ) async throws(StoreError) {
        await turnstile.enter()
        defer {
            turnstile.leave()
            if !turnstile.isBusy { applyDeferredEvents() }
        }
        apply(try await lockedJob(body))
        // Our own renames are events too; the kernel's queue must not fill up with them.
        context.inotify?.drain()
    }

    var isBusy: Bool { turnstile.isBusy }

    private enum Attempt<Success: Sendable>: Sendable {
        case done(Success)
        case held(DotLock.Observation)
        case again
    }

    private func lockedJob<Success: Sendable>(
        _ body: @escaping @Sendable (MailboxDisk, DotLock) throws(MaildirError) -> Success
    ) async throws(StoreError) -> Success {
        let disk = disk
        let owner = context.lockOwner
        var patience = DotLockPatience.uidList(now: .now)
        var retries = 0
        while true {
            let attempt: Attempt<Success>
            do throws(MaildirError) {
                attempt = try await context.pool.run { () throws(MaildirError) in
                    try Self.attempt(body, disk, owner)
                }
            } catch {
                // Another program took our lock for stale, or wrote without it: once more.
                if error == .stale || error == .lockLost, retries < 3 {
                    retries += 1
                    continue
                }
                context.logFailure(error, disk.directory)
                throw StoreError(error)
            }
            switch attempt {
            case .done(let success): return success
            case .again: continue
            case .held(let observation):
                try await waitForLock(observation, &patience)
            }
        }
    }

    private nonisolated static func attempt<Success: Sendable>(
        _ body: @Sendable (MailboxDisk, DotLock) throws(MaildirError) -> Success,
        _ disk: MailboxDisk,
        _ owner: DotLock.Owner
    ) throws(MaildirError) -> Attempt<Success> {
        let outcome = try system { () throws(SystemError) in
            try DotLock.tryAcquire(UIDListFile.name, in: disk.directory, as: owner)
        }
        switch outcome {
        case .held(let observation): return .held(observation)
        case .gone: return .again
        case .acquired(let lock):
            do throws(MaildirError) {
                let success = try body(disk, lock)
                _ = try? lock.release()
                return .done(success)
            } catch {
                _ = try? lock.release()
                throw error
            }
        }
    }

    private func waitForLock(
        _ observation: DotLock.Observation,
        _ patience: inout DotLockPatience
    ) async throws(StoreError) {
        switch patience.judge(observation, now: .now, date: .now) {
        case .wait(let milliseconds):
            // The file's going is an event; the time is for filesystems that tell none.
            let released = Signal()
            let watch = try? context.inotify?.add(disk.directory) { event in
                if event.kind == .deleted || event.kind == .movedFrom { released.fire() }
            }
            _ = await released.wait(until: .after(milliseconds: milliseconds))
            if let watch { context.inotify?.remove(watch) }
        case .override:
            Log.warning("event=lock-overridden path=\(disk.directory.path.quotedForLog)")
            let directory = disk.directory
            try? await context.pool.run { () throws(SystemError) in
                try DotLock.override(observation, UIDListFile.name, in: directory)
            }
            await EventLoop.sleep(milliseconds: DotLockPatience.pauseAfterOverride)
        case .timedOut:
            Log.error("event=lock-timeout path=\(disk.directory.path.quotedForLog)")
            throw .locked
        }
    }

    // MARK: Catching up

    /// Starts the work that is due, if none runs yet.
    func work() {
        guard !isWorking, !isGone else { return settled.fire() }
        isWorking = true
        Task {
            var failure: StoreError?
            do throws(StoreError) { try await workOff() } catch { failure = error }
            isWorking = false
            lastFailure = failure
            settled.fire()
            if let failure { retryLater(after: failure) }
        }
    }

    private func retryLater(after failure: StoreError) {
        // The disk may have room again, the lock may be free: mail must not wait for a command.
        EventLoop.schedule(at: .after(seconds: 5)) { [weak self] in
            guard let self, !self.isSettled else { return }
            self.work()
        }
    }

    private func workOff() async throws(StoreError) {
        while !isGone {
            if needsScan || !suspects.isEmpty {
                try await rescan()
            } else if !arrivals.isEmpty || !admissions.isEmpty {
                try await admitAll()
            } else {
                return
            }
        }
    }

    private func rescan() async throws(StoreError) {
        let movesNew = hasWriter
        let known = uidValidity == 0 ? nil : table.uids
        try await locked { (disk, lock) throws(MaildirError) in
            try disk.scan(lock, movesNew: movesNew, known: known)
        } applying: { snapshot in
            needsScan = false
            suspects = []
            merge(snapshot)
        }
    }

    /// Takes over what a scan found; sessions learn the differences.
    private func merge(_ snapshot: MailboxDisk.Snapshot) {
        let isFirst = uidValidity == 0
        if !isFirst, uidValidity != snapshot.uidValidity {
            Log.warning("event=uidvalidity-changed path=\(disk.directory.path.quotedForLog)")
            isGone = true
            return notify()
        }
        uidValidity = snapshot.uidValidity
        uidNext = max(uidNext, snapshot.nextUID)
        guid = snapshot.guid
        keywords = snapshot.keywords
        var fresh = snapshot.messages
        var old = 0
        for row in 0..<fresh.count {
            let uid = fresh.uids[row]
            while old < table.count, table.uids[old] < uid {
                logExpunge(table.uids[old], source: 0)
                old += 1
            }
            if old < table.count, table.uids[old] == uid {
                fresh.inherit(row, from: table, old)
                if fresh.flags(row) != table.flags(old) || fresh.beyond[uid] != table.beyond[uid] {
                    fresh.modseqs[row] = nextModseq()
                    log.append(.init(uid: uid, isExpunge: false, source: 0))
                }
                old += 1
            } else {
                fresh.modseqs[row] = isFirst ? highestModseq : nextModseq()
                if fresh.isNew(row) || uid >= snapshot.firstNewUID { unclaimedRecent.insert(uid) }
            }
        }
        while old < table.count {
            logExpunge(table.uids[old], source: 0)
            old += 1
        }
        table = fresh
        // What has a UID now is no arrival any more; what has none any more was seen in vain.
        arrivals.removeAll { arrival in
            guard let name = MessageName(arrival.name) else { return true }
            return table.row(of: name.base.span) != nil || !isThere(arrival)
        }
        notify()
    }

    private func isThere(_ location: FileLocation) -> Bool {
        (try? (location.isNew ? disk.new : disk.cur).status(location.name)) != nil
    }

    func logExpunge(_ uid: UInt32, source: UInt32) {
        _ = nextModseq()
        unclaimedRecent.remove(uid)
        log.append(.init(uid: uid, isExpunge: true, source: source))
    }

    /// Above all given before, and close to the time in microseconds.
    func nextModseq() -> UInt64 {
        highestModseq = max(highestModseq + 1, UInt64(max(WallTime.now.microseconds, 0)))
        return highestModseq
    }

    /// The messages that are \Recent to a session that may claim them now.
    package func claimRecent() -> Set<UInt32> {
        let claimed = unclaimedRecent
        unclaimedRecent = []
        return claimed
    }
}

extension Mailbox {
    /// Messages that sessions may announce and that have no UID yet.
    package var arrivalCount: Int { arrivals.count }

    /// Applies what the kernel has queued, so that what happened before is known.
    package func drainEvents() { context.inotify?.drain() }
}
