import Maildir
import MessageIndex
import Posix

//  The summary of a live mailbox in the index: taken instead of the first scan, or beside it, and
//  written some seconds after changes
//
//  Instead of the scan only where it is of this very state: device, inode and ctime of `cur/`, `new/`
//  and the lists are as they were, and were two seconds old when they were looked at, so that a change
//  in the same tick of the clock cannot hide. While the process lives, changes are events; so stamps
//  are taken, then the queue is drained, and where nothing is under way afterwards rows and stamps are
//  of one state.
//
//  Beside the scan it gives modseqs, dates and sizes to messages that are still there. Modseqs that
//  clients were told must be in it: where a process ended without writing them (`IndexAges`), or
//  a live mailbox was left so (`unsavedMailboxes`), all messages get new ones.

extension Mailbox {
    /// What a first scan takes over.
    struct Prior {
        var uidValidity: UInt32
        var uidNext: UInt32
        var guid: [UInt8]
        var messages: MessageTable
        /// Nil where modseqs are not to be believed.
        var history: MailboxHistory?
        /// What sessions were told before the Maildir was restored.
        var known: MailboxDisk.Known?

        init(_ cached: MailboxDisk.Cached, _ history: MailboxHistory?) {
            uidValidity = cached.header.uidValidity
            uidNext = cached.header.uidNext
            guid = cached.guid
            messages = cached.messages
            self.history = history
        }
    }

    /// Asks the index, once, before the first scan.
    func consultIndex() async {
        hasConsultedIndex = true
        guard let opened = await context.store?.openIndex() else { return }
        await turnstile.enter()
        defer {
            context.inotify?.drain()
            applyDeferredEvents()
            turnstile.leave()
        }
        let wanted = scansWanted
        let disk = disk
        guard let answer = await context.pool.run(.reading, { disk.askIndex(opened) }), !isGone
        else {
            return
        }
        index = answer.index
        indexUIDValidity = answer.uidValidity
        guard let cached = answer.cached else { return }
        let ages = opened.ages
        let isOfThisEra =
            cached.header.ages.era == ages.era && !context.unsavedMailboxes.contains(cached.guid)
        let isCurrent = cached.isUnchanged || cached.header.ages.epoch == ages.epoch
        let history = isOfThisEra && isCurrent ? cached.history : nil
        if let history, cached.isUnchanged, scansWanted == wanted, mayBeWatched {
            return await adopt(cached, history, wanted)
        }
        await take(cached, history, ages)
    }

    /// Takes the summary for the result of a scan; SELECT may be answered before all of it is there.
    private func adopt(_ cached: MailboxDisk.Cached, _ history: MailboxHistory, _ wanted: Int) async
    {
        table = cached.messages
        self.history = history
        uidValidity = cached.header.uidValidity
        uidNext = cached.header.uidNext
        guid = cached.guid
        keywords = cached.keywords
        savedModseq = history.highestModseq
        scansServed = wanted
        for message in table.newMessages(above: 0, .max) { unclaimedRecent.insert(message.uid) }
        outlined()
        let disk = disk
        // What changes before the directories are watched shows when they are looked at once more.
        let (rest, stamps) = await watch { () -> (MessageTable?, [FileStamp]?) in
            let rest = cached.messages.isOutline ? disk.readRest(cached) : cached.messages
            return (rest, try? disk.fileStamps())
        }
        guard !isGone else { return }
        if table.isOutline { table.complete(rest) }
        let isWhole = rest != nil && stamps == cached.stamps && !watches.isEmpty
        if !isWhole { wantScan() }
        arrivals.removeAll { table.row(of: $0.span) != nil }
        startMoves()
        notify()
        hasSavedStamps = isWhole
    }

    /// Keeps the summary for the first scan.
    private func take(
        _ cached: MailboxDisk.Cached,
        _ history: MailboxHistory?,
        _ ages: IndexAges
    ) async {
        var cached = cached
        if cached.messages.isOutline {
            let (disk, outline) = (disk, cached)
            guard let whole = await context.pool.run(.reading, { disk.readRest(outline) }) else {
                return
            }
            cached.messages = whole
        }
        prior = Prior(cached, history)
        if history == nil, cached.header.ages.era < ages.restoredEra {
            prior?.known = MailboxDisk.Known(
                uidValidity: cached.header.uidValidity,
                uidNext: cached.header.uidNext,
                guid: cached.guid,
                messages: cached.messages
            )
        }
    }

    /// The index of this mailbox, after its first scan.
    func openIndexAfterScan() {
        if indexUIDValidity != uidValidity { index = nil }
        if isIndexOfOthers { return leaveIndex() }
        guard index == nil, let opened = context.index, !isGone, !isOpeningIndex else { return }
        isOpeningIndex = true
        let (disk, uidValidity, guid) = (disk, uidValidity, guid)
        Task {
            let mailbox = await context.pool.run { disk.openIndex(opened, uidValidity, guid) }
            isOpeningIndex = false
            index = mailbox
            indexUIDValidity = uidValidity
            saveSummaryLater()
        }
    }

    /// Another list of the same UIDVALIDITY names other files: what the index has of a UID is of
    /// another message. This mailbox does without; the next process finds no records, or again that
    /// they do not fit.
    private func leaveIndex() {
        guard let left = index else { return }
        index = nil
        Log.warning("event=other-uidlist path=\(disk.directory.path.quotedForLog)")
        Task { [pool = context.pool] in await pool.run { left.removeAll() } }
    }

    // MARK: Writing

    /// Whether the index has all that clients may have been told.
    var isSaved: Bool {
        index == nil || history.highestModseq == savedModseq && table.touched.isEmpty
    }

    /// Whether it can be written at all.
    private var canSave: Bool {
        isKnown && !isGone && !table.isOutline && table.fitsSummary && index?.index.isUsable == true
    }

    /// Whether nothing is lost with this object.
    var mayBeForgotten: Bool {
        if isSaved || !canSave { return true }
        saveSummaryLater()
        return false
    }

    /// Has what changed written, when it has been quiet for some time or at the latest after a while.
    func saveSummaryLater() {
        guard saving == nil, index != nil, canSave else { return }
        saving = EventLoop.schedule(at: .after(seconds: Limits.summarySeconds)) { [weak self] in
            guard let self else { return }
            self.saving = nil
            Task { _ = await self.saveSummary() }
        }
    }

    /// Writes what changed. Returns whether the index has now all that clients were told.
    @discardableResult
    func saveSummary(isLast: Bool = false) async -> Bool {
        guard let index else { return true }
        guard canSave, !isSaving else { return isSaved }
        if isSaved, hasSavedStamps { return true }
        isSaving = true
        defer { isSaving = false }
        guard await context.store?.allowSummaries() == true else {
            if !isLast { saveSummaryLater() }
            return isSaved
        }
        while true {
            let disk = disk
            let stamps = try? await context.pool.run { () throws(SystemError) in
                try disk.fileStamps()
            }
            context.inotify?.drain()
            if isGone { return false }
            let taken = table.touched.takeFirst(Limits.summaryBlocksMax)
            let blocks = table.summaryBlocks(taken)
            let isWhole = table.touched.isEmpty
            let header = isWhole ? summaryHeader(stamps ?? []) : nil
            let isWritten = await context.pool.run { index.write(blocks, header) }
            guard isWritten else {
                // It is tried again with the next change; what else went with it is not known.
                table.touchAll()
                return false
            }
            guard let header else {
                await EventLoop.yield()
                continue
            }
            savedModseq = header.highestModseq
            hasSavedStamps = !header.stamps.isEmpty
            context.unsavedMailboxes.remove(guid)
            // So far as the stamps could be believed, or nothing changed meanwhile, that is all.
            if !isLast, !isSaved || !hasSavedStamps && mayStampLater { saveSummaryLater() }
            return isSaved
        }
    }

    /// Whether stamps can be believed once nothing has happened for a while.
    private var mayStampLater: Bool { !watches.isEmpty && unseenFiles == unseenFilesFound }

    private func summaryHeader(_ stamps: [FileStamp]) -> SummaryHeader {
        var header = table.summaryHeader
        // While the watch is mute (`Mailbox+Quiet`), what others do is not known yet.
        let isQuiet =
            isSettled && !isBusy && deferredEvents.isEmpty && admissions.isEmpty && mayStampLater
            && quietChanges == 0
        let now = WallTime.now
        let age = context.stampAgeMilliseconds
        if isQuiet, stamps.allSatisfy({ $0.isOlder(than: now, milliseconds: age) }) {
            header.stamps = stamps
        }
        header.uidValidity = uidValidity
        header.uidNext = uidNext
        header.highestModseq = history.highestModseq
        header.history = history.bytes
        return header
    }

    /// The mailbox is left: what was not written is not to be believed.
    func abandonSummary() {
        if let saving { EventLoop.cancel(saving) }
        saving = nil
        if !isSaved { context.unsavedMailboxes.insert(guid) }
    }
}

/// Blocks of the summary that the index does not have as they are now.
struct TouchedBlocks: Sendable {
    private(set) var state: Set<UInt32> = []
    private(set) var fixed: Set<UInt32> = []
    private var lastState: UInt32 = .max
    private var lastFixed: UInt32 = .max

    init() {}

    var isEmpty: Bool { state.isEmpty && fixed.isEmpty }

    /// Flags, modseq or place of a message changed.
    mutating func noteState(_ uid: UInt32) {
        let number = SummaryBlock.number(of: uid)
        // Changes come in rows: a set costs more than a number.
        guard number != lastState else { return }
        lastState = number
        state.insert(number)
    }

    /// Date or size of a message is known now.
    mutating func noteFixed(_ uid: UInt32) {
        let number = SummaryBlock.number(of: uid)
        guard number != lastFixed else { return }
        lastFixed = number
        fixed.insert(number)
    }

    mutating func noteBoth(_ uid: UInt32) {
        noteState(uid)
        noteFixed(uid)
    }

    mutating func formUnion(_ other: TouchedBlocks) {
        state.formUnion(other.state)
        fixed.formUnion(other.fixed)
    }

    /// Takes out some of them.
    mutating func takeFirst(_ count: Int) -> TouchedBlocks {
        var taken = TouchedBlocks()
        lastState = .max
        lastFixed = .max
        for number in state.union(fixed).sorted().prefix(count) {
            if state.remove(number) != nil { taken.state.insert(number) }
            if fixed.remove(number) != nil { taken.fixed.insert(number) }
        }
        return taken
    }
}
