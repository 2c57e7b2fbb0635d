import Bytes
package import Maildir
package import MessageIndex
package import Posix

//  A live mailbox: one object for all sessions of the user
//
//  State comes from three sources: a scan under the lock (`rescan`), events of inotify applied one
//  by one (`Mailbox+Events`), and what our own operations did. While the watches live and their
//  queue is drained the state is current, so a delivery costs no scan.
//
//  Our own operations run in jobs, one at a time (`turnstile`). Events about names that come meanwhile
//  wait until the operation's own results are applied; then they tell nothing new. An arrival in
//  `new/` never waits: sessions are told of it at once (EXISTS names no UID), and its UID follows when
//  the list is on disk.
//
//  What is due (a scan, UIDs, moves out of `new/`) is done by one task, `workOff`, until nothing is.
//  When it fails (full disk, a lock that nobody gives back), what is known is served as it is, and a
//  timer tries again: mail that waits for its UID must not keep a user from deleting other mail.

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
    /// Modseqs and expunges; those of the messages are in `table`.
    package internal(set) var history = MailboxHistory(from: 1)
    /// The newest modseq that any message or expunge got.
    package var highestModseq: UInt64 { history.highestModseq }
    /// Messages that no session has claimed as \Recent yet.
    package internal(set) var unclaimedRecent: Set<UInt32> = [] {
        didSet { recentVersion += 1 }
    }
    /// Another one after each change of `unclaimedRecent`.
    package private(set) var recentVersion: UInt64 = 0
    /// Commands under way of whose renames and removals no events come.
    var quietChanges = 0
    /// The mailbox was deleted, replaced, or got another UIDVALIDITY: sessions must leave it.
    package internal(set) var isGone = false
    /// What the owner may do here.
    package internal(set) var rights = MailboxRights.all
    var aclFingerprint: FileFingerprint?

    /// Messages that are gone and whose detail records are still there.
    var goneDetails: [UInt32] = []
    /// Whether the index told of other messages under the same UIDs.
    var isIndexOfOthers = false
    /// Records that are not written yet.
    var keptDetails: [DetailBatch] = []
    var keptDetailBytes = 0

    let disk: MailboxDisk
    let context: StoreContext
    let turnstile = Turnstile()
    var observers: [ObjectIdentifier: (observer: any MailboxObserver, isWriter: Bool)] = [:]
    var watches: [Inotify.WatchID] = []
    /// Whether the directories are watched, or looked at by time, or were to be once.
    var isWatchDecided = false
    var isUnwatched = false

    /// Files that came and have no UID yet.
    var arrivals = Arrivals()
    /// Our own messages that wait for a UID; one sync serves all that wait.
    var admissions: [PendingAdmission] = []
    /// Messages whose file was seen to go under its last name.
    var suspects: Set<UInt32> = []
    /// Scans asked for so far, and how many of these the last one served: one that began before it
    /// was asked for does not.
    private(set) var scansWanted = 1
    var scansServed = 0
    /// Whether files in `new/` are to be moved to `cur/`, and up to where that was done.
    var movesDue = false
    var movedUpTo: UInt32 = 0
    var deferredEvents = DeferredEvents()
    /// Whether the results of the operation that still has the turnstile are applied, so that events
    /// need not wait for them.
    private(set) var appliesEvents = false
    /// Expunged messages that a session still numbers: their file in `tmp/`.
    var ghosts: [UInt32: [UInt8]] = [:]
    /// Messages copied into this mailbox at once; tests make it small.
    var copyBatchMax = Limits.copyBatchMax
    var polling: TimerID?
    private(set) var isWorking = false
    /// Why the last work could not be done; nil once it can.
    private var failure: StoreError?
    private var loggedFailure: MaildirError?
    private var retry: TimerID?
    private let settled = Signal()

    // The index (Mailbox+Index.swift)
    /// What the cache has of this mailbox; nil where there is none.
    package internal(set) var index: MailboxIndex?
    var indexUIDValidity: UInt32 = 0
    var hasConsultedIndex = false
    var isOpeningIndex = false
    var prior: Prior?
    var saving: TimerID?
    var isSaving = false
    /// `history.highestModseq` of the summary in the index.
    var savedModseq: UInt64 = 0
    /// Whether that summary can be taken instead of a scan.
    var hasSavedStamps = false
    /// How often a file was seen that has no row and whose completion changes no directory, and how
    /// many of these a scan has found complete since.
    var unseenFiles = 0
    var unseenFilesFound = 0

    init(_ path: MailboxPath, _ disk: MailboxDisk, _ context: StoreContext) {
        self.path = path
        self.disk = disk
        self.context = context
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
        hasSavedStamps = false
        saveSummaryLater()
    }

    /// How many messages there are, those without a UID included.
    package var announcedCount: Int { table.count + arrivals.count }

    /// The first message without \Seen.
    package var firstUnseen: UInt32? { table.firstUnseenRow().map { table.uids[$0] } }

    /// Whether every message has its UID.
    package var isSettled: Bool {
        arrivals.isEmpty && !needsScan && suspects.isEmpty && !table.isOutline
    }

    /// Whether only UIDs, flags and modseqs are here yet: what SELECT tells. Names, dates and sizes
    /// follow at once; until then nothing else may be asked of the mailbox (`settle`).
    package var isOutline: Bool { table.isOutline }

    /// The outline is there.
    func outlined() { settled.fire() }

    /// Waits until every message that came so far has its UID on disk.
    ///
    /// Where that cannot be (see the design note) it returns with what is known, and throws only for
    /// a mailbox that was never scanned or is gone.
    ///
    /// - Parameter outlineSuffices: for who goes on only with what an outline has.
    package func settle(outlineSuffices: Bool = false) async throws(StoreError) {
        context.inotify?.drain()
        while !isSettled {
            if outlineSuffices, isOutline, !isGone { return }
            if isGone { throw .noSuchMailbox }
            if let failure {
                if isKnown { return }
                throw failure
            }
            work()
            await settled.wait()
        }
    }

    /// Waits for what this process is doing to the mailbox. What inotify told of that before is then
    /// in the table: a name is seen to come before whoever brought it has the lock's work done.
    package func settleWork() async throws(StoreError) {
        await turnstile.enter()
        turnstile.leave()
        try await settle()
    }

    /// Whether a scan has shown what there is.
    var isKnown: Bool { uidValidity != 0 }

    /// Moves what lies in `new/` to `cur/` for a session that opens the mailbox for writing. A few
    /// are there on return; many follow while the session goes on.
    package func claimNew() async throws(StoreError) {
        guard startMoves() <= Limits.lockBatchMax else { return }
        while movesDue, failure == nil, !isGone { await settled.wait() }
    }

    // MARK: Working on the disk

    typealias Job<Success> =
        @Sendable (MailboxDisk, DotLock) throws(MaildirError) -> Success

    /// Runs a job with the uidlist's lock held, when nothing else of this process works on the
    /// mailbox.
    ///
    /// - Parameters:
    ///   - prepare: makes the job from the state as it is then; nil where nothing is left to do.
    ///   - makesManyEvents: whether the job will change so many names that the loop had better not be
    ///     woken for each.
    ///   - messages: what is made durable before the lock is taken.
    ///   - unlocked: what to do instead where no lock can be made (a read-only filesystem).
    ///   - apply: takes over what the job did, before any event about it.
    func locked<Success: Sendable>(
        _ prepare: () -> Job<Success>?,
        makesManyEvents: () -> Bool = { false },
        messages: () -> [StagedMessage] = { [] },
        unlocked: (@Sendable (MailboxDisk, MaildirError) throws(MaildirError) -> Success)? = nil,
        applying apply: (Success) -> Void
    ) async throws(StoreError) {
        await turnstile.enter()
        var holder: Inotify?
        defer {
            // Our own renames are events too. They are passed over now that their results are known;
            // and the kernel's queue must not fill up with them.
            applyDeferredEvents()
            appliesEvents = true
            context.inotify?.drain()
            appliesEvents = false
            holder?.release()
            turnstile.leave()
        }
        guard let job = prepare() else { return }
        if makesManyEvents() {
            holder = context.inotify
            holder?.hold()
        }
        apply(try await run(job, messages(), unlocked))
    }

    var isBusy: Bool { turnstile.isBusy }

    private enum Attempt<Success: Sendable>: Sendable {
        case done(Success)
        case held(DotLock.Observation)
        case again
    }

    private func run<Success: Sendable>(
        _ job: @escaping Job<Success>,
        _ messages: [StagedMessage],
        _ unlocked: (@Sendable (MailboxDisk, MaildirError) throws(MaildirError) -> Success)?
    ) async throws(StoreError) -> Success {
        let disk = disk
        let owner = context.lockOwner
        var patience = DotLockPatience.uidList(now: .now)
        var retries = 0
        while true {
            let attempt: Attempt<Success>
            disk.rows = .init(uidValidity: uidValidity, uidNext: uidNext, uids: table.uids)
            do throws(MaildirError) {
                attempt = try await context.pool.run(.syncing) { () throws(MaildirError) in
                    StagedMessage.makeDurable(messages)
                    return try Self.attempt(job, unlocked, disk, owner)
                }
            } catch {
                // Another program took our lock for stale, or wrote without it: once more.
                if error == .stale || error == .lockLost, retries < 3 {
                    retries += 1
                    continue
                }
                if case .system(let system) = error, system.isMissing, isRemoved {
                    leave()
                    throw .noSuchMailbox
                }
                logFailure(error)
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

    /// Whether the directories that are open have no name any more.
    var isRemoved: Bool {
        [disk.directory, disk.cur, disk.new].contains { (try? $0.status().linkCount) ?? 0 == 0 }
    }

    private nonisolated static func attempt<Success: Sendable>(
        _ job: Job<Success>,
        _ unlocked: (@Sendable (MailboxDisk, MaildirError) throws(MaildirError) -> Success)?,
        _ disk: MailboxDisk,
        _ owner: DotLock.Owner
    ) throws(MaildirError) -> Attempt<Success> {
        defer { disk.rest() }
        let outcome: DotLock.Outcome
        do throws(SystemError) {
            outcome = try DotLock.tryAcquire(
                UIDListFile.name,
                in: disk.directory,
                as: owner,
                using: disk.lockFile(of: owner)
            )
        } catch {
            guard let unlocked else { throw .system(error) }
            return .done(try unlocked(disk, .system(error)))
        }
        switch outcome {
        case .held(let observation): return .held(observation)
        case .gone: return .again
        case .acquired(let lock):
            do throws(MaildirError) {
                let success = try job(disk, lock)
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
            let name = DotLock.lockName(of: UIDListFile.name)
            let watch = try? context.inotify?.add(disk.directory) { event in
                let hasGone = event.kind == .deleted || event.kind == .movedFrom
                if hasGone, event.name == name { released.fire() }
            }
            // It may have gone before the watch was armed.
            if (try? disk.directory.status(name)) != nil {
                _ = await released.wait(until: .after(milliseconds: milliseconds))
            }
            if let watch { context.inotify?.remove(watch) }
        case .override:
            Log.warning("event=lock-overridden path=\(disk.directory.path.quotedForLog)")
            let directory = disk.directory
            try? await context.pool.run(.syncing) { () throws(SystemError) in
                try DotLock.override(observation, UIDListFile.name, in: directory)
            }
            await EventLoop.sleep(milliseconds: DotLockPatience.pauseAfterOverride)
        case .timedOut:
            Log.error("event=lock-timeout path=\(disk.directory.path.quotedForLog)")
            throw .locked
        }
    }

    // MARK: Catching up

    var needsScan: Bool { scansServed < scansWanted }

    /// Has the directories looked at, by a scan that begins after this.
    func wantScan() {
        scansWanted += 1
        work()
    }

    /// Starts the work that is due, if none runs yet.
    func work() {
        guard !isWorking else { return }
        isWorking = true
        Task { await workUntilDone() }
    }

    private func workUntilDone() async {
        var failure: StoreError?
        do throws(StoreError) { try await workOff() } catch { failure = error }
        if isGone { failure = .noSuchMailbox }
        isWorking = false
        self.failure = failure
        if let failure {
            let refused = admissions
            admissions = []
            for pending in refused { pending.finish(.failure(failure)) }
            if !isGone { retryLater() }
        } else {
            loggedFailure = nil
        }
        settled.fire()
    }

    /// The disk may have room again, the lock may be free: mail must not wait for a command.
    private func retryLater() {
        guard retry == nil else { return }
        retry = EventLoop.schedule(at: .after(seconds: Limits.retrySeconds)) { [weak self] in
            guard let self else { return }
            self.retry = nil
            if !self.isSettled { self.work() }
        }
    }

    /// One line for a failure that repeats.
    private func logFailure(_ error: MaildirError) {
        guard error != loggedFailure else { return }
        loggedFailure = error
        context.logFailure(error, disk.directory)
    }

    private func workOff() async throws(StoreError) {
        while !isGone {
            if !hasConsultedIndex {
                await consultIndex()
            } else if !isWatchDecided {
                await watch {}
            } else if needsScan || !suspects.isEmpty {
                try await rescan()
            } else if !arrivals.isEmpty || hasAdmissible {
                try await admitAll()
            } else if movesDue {
                await moveNew()
            } else {
                return
            }
        }
    }

    func rescan() async throws(StoreError) {
        var wanted = 0
        var unseen = 0
        var postponed: MaildirError?
        try await locked { () -> Job<MailboxDisk.Snapshot>? in
            wanted = scansWanted
            unseen = unseenFiles
            let known = known ?? prior?.known
            let given = prior.map { MailboxDisk.Given($0.uidValidity, $0.uidNext) }
            return { (disk, lock) throws(MaildirError) in try disk.scan(lock, known, given) }
        } unlocked: { [known] (disk, error) throws(MaildirError) in
            try disk.look(known, because: error)
        } applying: { snapshot in
            postponed = snapshot.postponed
            if postponed == nil {
                scansServed = wanted
                suspects = []
                unseenFilesFound = unseen
            }
            merge(snapshot)
            openIndexAfterScan()
        }
        if let postponed {
            logFailure(postponed)
            throw StoreError(postponed)
        }
    }

    /// What the sessions were told, for a scan to compare; nil before the first.
    private var known: MailboxDisk.Known? {
        guard isKnown else { return nil }
        return MailboxDisk.Known(
            uidValidity: uidValidity,
            uidNext: uidNext,
            guid: guid,
            messages: table
        )
    }

    /// Starts to move what lies in `new/`, for sessions that may. Returns how many there are.
    @discardableResult
    func startMoves() -> Int {
        guard hasWriter else { return 0 }
        let count = table.newCount
        if count > 0 {
            movesDue = true
            movedUpTo = 0
            work()
        }
        return count
    }

    /// Moves a batch out of `new/`. What cannot be moved stays where it is: it is served all the same.
    private func moveNew() async {
        do throws(StoreError) {
            try await locked { () -> Job<MailboxDisk.Moves>? in
                let batch =
                    hasWriter ? table.newMessages(above: movedUpTo, Limits.lockBatchMax) : []
                guard !batch.isEmpty else {
                    movesDue = false
                    return nil
                }
                return { (disk, lock) throws(MaildirError) in disk.moveToCur(batch, lock) }
            } makesManyEvents: {
                true
            } applying: { moves in
                movedUpTo = max(movedUpTo, moves.lastUID)
                for message in moves.moved {
                    guard let row = table.row(of: message.uid) else { continue }
                    table.update(
                        row,
                        flags: message.flags,
                        place: message.place,
                        location: message.location
                    )
                }
            }
        } catch {
            movesDue = false
        }
    }

    /// Takes over what a scan found; sessions learn the differences.
    private func merge(_ snapshot: MailboxDisk.Snapshot) {
        let isFirst = uidValidity == 0
        if !isFirst, uidValidity != snapshot.uidValidity {
            Log.warning("event=uidvalidity-changed path=\(disk.directory.path.quotedForLog)")
            return leave()
        }
        uidValidity = snapshot.uidValidity
        uidNext = max(uidNext, snapshot.nextUID)
        guid = snapshot.guid
        keywords = snapshot.keywords
        var fresh = snapshot.messages
        let base = isFirst ? beginFromPrior(snapshot) : Base(isKnown: true, isCached: true)
        var touched = table.touched
        let hasBeyond = !fresh.beyond.isEmpty || !table.beyond.isEmpty
        var old = 0
        for row in 0..<fresh.count {
            let uid = fresh.uids[row]
            while old < table.count, table.uids[old] < uid {
                noteGone(old, base, &touched)
                old += 1
            }
            if old < table.count, table.uids[old] == uid,
                !isFirst || fresh.hasSameName(row, as: table, old)
            {
                if !isFirst, !table.isOutline, !fresh.hasSameName(row, as: table, old) {
                    isIndexOfOthers = true
                }
                fresh.inherit(row, from: table, old)
                if !base.isKnown {
                    fresh.modseqs[row] = highestModseq
                    touched.noteState(uid)
                } else if fresh.flags(row) != table.flags(old)
                    || hasBeyond && fresh.beyond[uid] != table.beyond[uid]
                {
                    fresh.modseqs[row] = nextModseq()
                    log.append(
                        .init(
                            uid: uid,
                            modseq: fresh.modseqs[row],
                            changed: ChangedFlags(
                                letters: fresh.flags(row).symmetricDifference(table.flags(old)),
                                beyond: hasBeyond && fresh.beyond[uid] != table.beyond[uid]
                            ),
                            previous: table.modseqs[old],
                            source: 0
                        )
                    )
                    touched.noteState(uid)
                } else if !fresh.isSame(row, as: table, old) {
                    touched.noteState(uid)
                }
                old += 1
            } else {
                if old < table.count, table.uids[old] == uid { isIndexOfOthers = true }
                fresh.modseqs[row] = base.isKnown ? nextModseq() : highestModseq
                touched.noteBoth(uid)
                // At the first look what lies in cur/ has been seen by some other program.
                if fresh.isNew(row) || !isFirst { unclaimedRecent.insert(uid) }
            }
        }
        while old < table.count {
            noteGone(old, base, &touched)
            old += 1
        }
        if base.isCached { fresh.touched = touched }
        table = fresh
        // What has a UID now is no arrival any more. What has none is looked at when UIDs are given.
        arrivals.removeAll { table.row(of: $0.span) != nil }
        if isFirst || snapshot.firstNewUID < snapshot.nextUID { startMoves() }
        if snapshot.hasUnfinished { lookAgain() }
        notify()
    }

    /// What a scan is held against.
    private struct Base {
        /// Whether the modseqs of the rows are to be believed, and expunges to be told.
        var isKnown: Bool
        /// Whether the index has the rows, but for those that are touched.
        var isCached: Bool
    }

    /// Before the first merge: the rows of the summary, where there is one of this mailbox.
    private func beginFromPrior(_ snapshot: MailboxDisk.Snapshot) -> Base {
        defer { prior = nil }
        guard let prior, prior.uidValidity == snapshot.uidValidity, prior.guid == snapshot.guid
        else {
            history = MailboxHistory(from: context.nextModseq())
            return Base(isKnown: false, isCached: false)
        }
        table = prior.messages
        // Without it, of what was before nothing is known.
        history = prior.history ?? MailboxHistory(from: context.nextModseq())
        return Base(isKnown: prior.history != nil, isCached: true)
    }

    private func noteGone(_ row: Int, _ base: Base, _ touched: inout TouchedBlocks) {
        if base.isKnown { logExpunge(table.uids[row], source: 0) }
        touched.noteBoth(table.uids[row])
    }

    /// A file had a writer still, and the filesystem may not tell when it is done.
    func lookAgain() {
        unseenFiles += 1
        EventLoop.schedule(at: .after(seconds: Limits.unfinishedSeconds)) { [weak self] in
            guard let self, !self.isGone else { return }
            self.wantScan()
        }
    }

    /// The mailbox is not there any more, or not the one that sessions know: they must leave it.
    func leave() {
        guard !isGone else { return }
        isGone = true
        abandonSummary()
        context.mailboxIsGone(self)
        notify()
        work()
    }

    func logExpunge(_ uid: UInt32, source: UInt32) {
        forgetDetails(of: uid)
        let modseq = context.nextModseq()
        history.noteExpunge(uid, modseq)
        unclaimedRecent.remove(uid)
        log.append(.init(uid: uid, modseq: modseq, isExpunge: true, source: source))
    }

    /// The modseq of a change that happens now.
    func nextModseq() -> UInt64 {
        let modseq = context.nextModseq()
        history.noteChange(modseq)
        return modseq
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
