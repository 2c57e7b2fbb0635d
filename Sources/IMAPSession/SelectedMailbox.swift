import Bytes
import IMAPWire
import Maildir
import MailStore
package import Posix

//  One session's view of a mailbox
//
//  Sequence numbers belong to the session: they change when it is told so, and only then. `uids` is
//  what the client has been told, in order; what happened in the mailbox since then waits until
//  `report` may tell it. A message that was expunged elsewhere stays in `uids` meanwhile, and can
//  still be fetched where its file was kept aside.

@EventLoop
package final class SelectedMailbox: MailboxObserver {
    let mailbox: Mailbox
    let isReadOnly: Bool
    /// In rev2 nothing is `\Recent`, and what is told unasked names its UID.   RFC 9051 §7.5.2
    private let revision: Revision
    /// Marks this session's own changes in the mailbox's log.
    let source: UInt32
    private let wake: () -> Void

    private(set) var uids: [UInt32] = []
    /// The number of the last EXISTS; above `uids.count` while messages wait for their UIDs.
    private(set) var announced = 0
    private(set) var recent: Set<UInt32> = []
    private var toldRecent = -1
    /// `Mailbox.recentVersion` when it was last looked at.
    private var seenRecentVersion: UInt64?
    private var position = 0
    /// All changes up to here were told, but for `pendingExpunges`.
    private var lastModseq: UInt64 = 0
    /// Expunged, and not told yet.
    private var pendingExpunges: Set<UInt32> = []
    /// The first of their modseqs.
    private var firstPendingModseq: UInt64 = .max
    /// Whether what the session did itself is told as well: its command could not say it all.
    var tellsOwnChanges = false
    /// How changes are told.
    var telling = Telling()
    /// The HIGHESTMODSEQ that the client has for the mailbox now.              RFC 7162 §6
    private(set) var believedModseq: UInt64 = 0
    /// The largest MODSEQ in a FETCH response since the last tagged answer.
    private(set) var seenModseq: UInt64 = 0
    /// Whether the client was told to believe less than it had seen.
    private(set) var isHeldBack = false
    /// The keywords that the client was told of.
    private var toldKeywords: [[UInt8]] = [] {
        didSet { if toldKeywords != oldValue { flagTexts = [:] } }
    }
    private var flagTexts: [UInt32: [UInt8]] = [:]
    private var isChanged = true
    /// Searches that are kept up to date, the UIDs that they have to be asked about, and which of
    /// these are new.
    var contexts: [SearchContext] = []
    var touched: Set<UInt32> = []
    private(set) var arrived: Set<UInt32> = []
    /// Messages that this session itself brought: NOTIFY does not fetch them.    RFC 5465 §5.2
    private(set) var own: Set<UInt32> = []
    /// Whether `arrived` is asked for.
    var tracksArrivals = false
    /// Messages whose flags others changed, where these are not told now.
    private var pendingFlags: Set<UInt32> = []
    /// The first of their modseqs, so that the client does not believe a newer one.
    private var firstPendingFlagsModseq: UInt64 = .max

    init(
        _ mailbox: Mailbox,
        isReadOnly: Bool,
        revision: Revision,
        source: UInt32,
        wake: @escaping () -> Void
    ) {
        self.mailbox = mailbox
        self.isReadOnly = isReadOnly
        self.revision = revision
        self.source = source
        self.wake = wake
        mailbox.add(self, isWriter: !isReadOnly)
    }

    func close() {
        uids = []
        mailbox.remove(self)
    }

    /// Notes what the session's own command has put into a mailbox.
    func noteOwn(_ uids: [UInt32], in target: Mailbox) {
        if tracksArrivals, target === mailbox { own.formUnion(uids) }
    }

    /// Takes what came since this was last asked, and which of it others brought.
    func takeArrived() -> (all: Set<UInt32>, others: Set<UInt32>) {
        defer { (arrived, own) = ([], []) }
        return (arrived, arrived.subtracting(own))
    }

    // MARK: MailboxObserver

    package func mailboxChanged() {
        isChanged = true
        wake()
    }

    package func numbers(_ uid: UInt32) -> Bool { index(of: uid) != nil }

    // MARK: Numbers

    /// How many messages the client knows of: those without a UID have a number too.
    var numberCount: Int { max(announced, uids.count) }

    /// The index (sequence number less one) of a UID.
    func index(of uid: UInt32) -> Int? {
        let index = firstIndex(from: uid)
        return index < uids.count && uids[index] == uid ? index : nil
    }

    func firstIndex(from uid: UInt32) -> Int {
        var low = 0
        var high = uids.count
        while low < high {
            let middle = (low + high) / 2
            if uids[middle] < uid { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Takes in the state as SELECT tells it: everything is known, nothing is pending.
    func takeIn() {
        uids = mailbox.table.uids
        announced = uids.count
        position = mailbox.log.end
        lastModseq = mailbox.highestModseq
        believe(lastModseq)
        toldKeywords = keywordNames
        takeRecent(mailbox.unclaimedRecent)
        toldRecent = recent.count
        isChanged = mailbox.announcedCount != announced
    }

    private func takeRecent(_ candidates: Set<UInt32>) {
        if candidates.isEmpty || revision == .rev2 { return }
        recent.formUnion(isReadOnly ? candidates : mailbox.claimRecent())
    }

    var keywordNames: [[UInt8]] { mailbox.keywords.namedIndexes.compactMap(mailbox.keywords.name) }

    /// Says that the client has been told of the keywords that exist now.
    func noteKeywordsTold() { toldKeywords = keywordNames }

    // MARK: Reports

    /// Up to where the client was told of every change.
    var settledModseq: UInt64 {
        var settled = lastModseq
        if !pendingExpunges.isEmpty { settled = min(settled, firstPendingModseq - 1) }
        if !pendingFlags.isEmpty { settled = min(settled, firstPendingFlagsModseq - 1) }
        return settled
    }

    /// No change that was told is newer.
    var newestModseq: UInt64 { lastModseq }

    /// The client has this for HIGHESTMODSEQ when the command is over.
    func believe(_ modseq: UInt64, isHeldBack: Bool = false) {
        believedModseq = modseq
        seenModseq = 0
        self.isHeldBack = isHeldBack
    }

    /// A MODSEQ was told.
    func noteSeen(_ modseq: UInt64) { seenModseq = max(seenModseq, modseq) }

    /// Tells what happened since the last report.
    ///
    /// - Parameters:
    ///   - allowsExpunge: false while sequence numbers of a command in progress are in use.
    ///   - withUID: whether FETCH responses name the UID, as after UID commands.
    ///   - events: what is told at all; the rest waits until it is.
    func report(
        to output: inout ByteBuffer,
        allowsExpunge: Bool,
        withUID: Bool = false,
        events: ReportedEvents = .all
    ) {
        guard
            isChanged || !pendingExpunges.isEmpty || !pendingFlags.isEmpty
                || announced != uids.count
        else { return }
        if events.isEmpty { return }
        isChanged = events != .all
        var flagged = catchUp()
        if !pendingFlags.isEmpty || !events.contains(.flags) {
            let table = mailbox.table
            for uid in flagged where pendingFlags.insert(uid).inserted {
                guard let row = table.row(of: uid) else { continue }
                firstPendingFlagsModseq = min(firstPendingFlagsModseq, table.modseqs[row])
            }
            flagged = []
            if events.contains(.flags) {
                flagged = pendingFlags.sorted()
                pendingFlags = []
                firstPendingFlagsModseq = .max
            }
        }
        if allowsExpunge, events.contains(.expunged) { reportExpunges(to: &output) }
        guard events.contains(.new) else { return }
        let table = mailbox.table
        if let last = table.uids.last, last > uids.last ?? 0 {
            let first = table.firstRow(from: (uids.last ?? 0) + 1)
            uids.append(contentsOf: table.uids[first...])
            if !contexts.isEmpty { touched.formUnion(table.uids[first...]) }
            if tracksArrivals { arrived.formUnion(table.uids[first...]) }
        }
        reportCount(to: &output, allowsExpunge: allowsExpunge)
        reportKeywords(to: &output)
        for uid in flagged {
            guard let index = index(of: uid), let row = table.row(of: uid) else { continue }
            appendFetch(index, uid, to: &output)
            // RFC 7162 §3.2.4: with MODSEQ the UID.
            if !telling.uidOnly, telling.modseqs || withUID || revision == .rev2 {
                output.append("UID ")
                output.append(decimal: uid)
                output.append(.space)
            }
            output.append("FLAGS ")
            appendFlags(row, uid, to: &output)
            if telling.modseqs {
                output.append(.space)
                appendModseq(table.modseqs[row], to: &output)
            }
            output.append(")\r\n")
        }
        if allowsExpunge { mailbox.releaseGhosts() }
    }

    /// Reads the log: notes expunges, returns the messages whose flags others changed.
    private func catchUp() -> [UInt32] {
        var flagged: [UInt32] = []
        var seen: Set<UInt32> = []
        if let entries = mailbox.log.entries(from: position) {
            for entry in entries {
                if !contexts.isEmpty, !entry.isExpunge { touched.insert(entry.uid) }
                if entry.isExpunge {
                    guard index(of: entry.uid) != nil else { continue }
                    pendingExpunges.insert(entry.uid)
                    firstPendingModseq = min(firstPendingModseq, entry.modseq)
                } else if entry.source != source || tellsOwnChanges, seen.insert(entry.uid).inserted
                {
                    flagged.append(entry.uid)
                }
            }
        } else {
            // The log no longer reaches back so far: everything is compared.
            let table = mailbox.table
            var row = 0
            for uid in uids {
                while row < table.count, table.uids[row] < uid { row += 1 }
                if row < table.count, table.uids[row] == uid {
                    if table.modseqs[row] > lastModseq { flagged.append(uid) }
                } else {
                    pendingExpunges.insert(uid)
                    firstPendingModseq = min(firstPendingModseq, lastModseq + 1)
                }
            }
        }
        tellsOwnChanges = false
        position = mailbox.log.end
        lastModseq = mailbox.highestModseq
        if !contexts.isEmpty { touched.formUnion(flagged) }
        return flagged
    }

    private func reportExpunges(to output: inout ByteBuffer) {
        guard !pendingExpunges.isEmpty else { return }
        if !contexts.isEmpty { reportRemovals(of: pendingExpunges, to: &output) }
        let gone = pendingExpunges.compactMap { index(of: $0) }.sorted()
        var vanished = RangeBuilder()
        for (before, index) in gone.enumerated() {
            if telling.vanished {
                vanished.add(uids[index])
            } else {
                output.append(untagged: UInt32(index - before + 1), "EXPUNGE")
            }
            if !recent.isEmpty { recent.remove(uids[index]) }
        }
        announced -= gone.count
        if gone.count == 1 {
            uids.remove(at: gone[0])
        } else if let first = gone.first {
            var kept = first
            var next = 0
            for index in first..<uids.count {
                if next < gone.count, gone[next] == index {
                    next += 1
                } else {
                    uids[kept] = uids[index]
                    kept += 1
                }
            }
            uids.removeLast(gone.count)
        }
        pendingExpunges = []
        firstPendingModseq = .max
        for start in stride(from: 0, to: vanished.ranges.count, by: Limits.vanishedRangesMax) {
            let line = vanished.ranges[start...].prefix(Limits.vanishedRangesMax)
            output.append(vanished: Array(line), isEarlier: false)
        }
    }

    private func reportCount(to output: inout ByteBuffer, allowsExpunge: Bool) {
        // A message without a UID could not be said to have vanished, so none is announced.
        let withoutUID =
            telling.vanished
            ? min(mailbox.arrivalCount, announced - uids.count) : mailbox.arrivalCount
        let total = uids.count + max(withoutUID, 0)
        if total > announced {
            announced = total
            output.append(untagged: UInt32(total), "EXISTS")
        } else if total < announced, allowsExpunge {
            // Announced, and gone before it had a UID.
            while announced > total {
                output.append(untagged: UInt32(announced), "EXPUNGE")
                announced -= 1
            }
        }
        if revision == .rev2 { return }
        if mailbox.recentVersion != seenRecentVersion {
            seenRecentVersion = mailbox.recentVersion
            takeRecent(mailbox.unclaimedRecent.filter { index(of: $0) != nil })
        }
        if recent.count != toldRecent {
            toldRecent = recent.count
            output.append(untagged: UInt32(recent.count), "RECENT")
        }
    }

    /// New keywords are announced before the first FETCH that uses them.
    func reportKeywords(to output: inout ByteBuffer) {
        let names = keywordNames
        guard names != toldKeywords else { return }
        toldKeywords = names
        appendFlagLists(to: &output)
    }

    /// FLAGS and PERMANENTFLAGS as they are now.
    func appendFlagLists(to output: inout ByteBuffer) {
        let flags = allFlags
        output.append(flagsResponse: flags)
        let rights = isReadOnly ? .none : mailbox.rights
        let permanent = flags.filter { rights.allows($0) }
        output.append(
            untagged: .ok,
            .permanentFlags(permanent, allowsNew: rights.contains(.write)),
            isReadOnly ? "Read-only mailbox" : "Flags permitted"
        )
    }

    private var allFlags: [Flag] {
        var flags: [Flag] = [.answered, .flagged, .deleted, .seen, .draft]
        let names = keywordNames
        if !names.contains(where: { $0.equalsIgnoringCase(Mailbox.forwarded) }) {
            flags.append(.keyword(Mailbox.forwarded))
        }
        return flags + names.map { .keyword($0) }
    }

    /// The flag list of a message, with `\Recent` where this session has it.
    func appendFlags(_ row: Int, _ uid: UInt32, to output: inout ByteBuffer) {
        let table = mailbox.table
        appendFlags(table.flags(row), table.beyond, uid, to: &output)
    }

    /// - Parameter beyond: `MessageTable.beyond`.
    func appendFlags(
        _ known: FlagLetters.Known,
        _ beyond: [UInt32: [Int]],
        _ uid: UInt32,
        to output: inout ByteBuffer
    ) {
        output.append(UInt8(ascii: "("))
        let start = output.count
        output.append(text(of: known))
        if !beyond.isEmpty, let indexes = beyond[uid] {
            for index in indexes {
                guard let name = mailbox.keywords.name(index) else { continue }
                if output.count > start { output.append(.space) }
                output.append(name)
            }
        }
        if !recent.isEmpty, recent.contains(uid) {
            output.append(output.count > start ? " \\Recent" : "\\Recent")
        }
        output.append(UInt8(ascii: ")"))
    }

    /// The flags of letters as they go on the wire. A mailbox has few combinations, so each is made
    /// once.
    private func text(of known: FlagLetters.Known) -> [UInt8] {
        if let text = flagTexts[known.rawValue] { return text }
        var words: [[UInt8]] = []
        if known.contains(.replied) { words.append([UInt8]("\\Answered")) }
        if known.contains(.flagged) { words.append([UInt8]("\\Flagged")) }
        if known.contains(.trashed) { words.append([UInt8]("\\Deleted")) }
        if known.contains(.seen) { words.append([UInt8]("\\Seen")) }
        if known.contains(.draft) { words.append([UInt8]("\\Draft")) }
        words += known.keywordIndexes.compactMap { mailbox.keywords.name($0) }
        if known.contains(.passed),
            !words.contains(where: { $0.equalsIgnoringCase(Mailbox.forwarded) })
        {
            words.append(Mailbox.forwarded)
        }
        let text = [UInt8](words.joined(separator: [.space]))
        if flagTexts.count > 1_000 { flagTexts = [:] }
        flagTexts[known.rawValue] = text
        return text
    }
}
