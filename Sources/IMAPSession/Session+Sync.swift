import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  CONDSTORE, QRESYNC                                                        RFC 7162
//  UIDONLY                                                                   RFC 9586
//
//  A client that was away names the newest modseq that it knows and is told what changed after it. So
//  the rule of all this: at the end of a command the HIGHESTMODSEQ that a client believes is never above
//  a change that it was not told of. While expunges are held back (`CommandBody.forbidsExpunge`) it is
//  told to believe less than it has seen (§3.2, §6).

/// What a client has asked for, until its connection ends.
struct SyncModes {
    var condStore = false
    /// Implies `condStore`.
    var quickResync = false
    var uidOnly = false
}

extension Session {
    // MARK: Enabling

    /// The first command of a client that shows that it knows CONDSTORE.       RFC 7162 §3.1
    ///
    /// Throws BAD for a command that needs modseqs where there are none.
    func prepareSync(_ body: CommandBody) async throws(CommandFailure) {
        if body.needsQuickResync, !sync.quickResync { throw .bad("QRESYNC is not enabled") }
        guard body.enablesCondStore else { return }
        await enableCondStore()
        if body.needsModseqs, selected?.telling.modseqs == false {
            throw .bad("Mod-sequences cannot be kept now")
        }
    }

    func enableCondStore() async {
        var modes = sync
        modes.condStore = true
        await change(to: modes)
    }

    /// Takes over what was enabled; the selected mailbox is told of in the new way from here on.
    func change(to modes: SyncModes) async {
        let hadCondStore = sync.condStore
        sync = modes
        if sync.quickResync { sync.condStore = true }
        guard let view = selected else { return }
        view.telling = await telling()
        if view.telling.vanished {
            // What was announced has a UID before it can vanish.
            try? await view.mailbox.settle()
            view.report(to: &output, allowsExpunge: false)
        }
        guard sync.condStore, !hadCondStore else { return }
        view.believe(view.settledModseq)
        appendHighestModseq(view, isKept: view.telling.modseqs)
    }

    /// How the mailbox that is selected next, or now, is told of. Waits until modseqs are durable.
    func telling() async -> SelectedMailbox.Telling {
        let modseqs = sync.condStore ? await store.reserveModseqs() : false
        return SelectedMailbox.Telling(
            modseqs: modseqs,
            vanished: sync.uidOnly || sync.quickResync && modseqs,
            uidOnly: sync.uidOnly
        )
    }

    /// HIGHESTMODSEQ or NOMODSEQ in the answer to SELECT, for every client: it may ask for CHANGEDSINCE
    /// when it comes again.                                                    RFC 7162 §3.1.2
    func appendHighestModseq(_ view: SelectedMailbox) async {
        let isKept =
            sync.condStore ? view.telling.modseqs : await store.makeDurable(view.settledModseq)
        appendHighestModseq(view, isKept: isKept)
    }

    private func appendHighestModseq(_ view: SelectedMailbox, isKept: Bool) {
        if isKept {
            output.append(untagged: .ok, .highestModSeq(ModSeq(view.settledModseq)), "Highest")
        } else {
            output.append(untagged: .ok, .noModSeq, "Mod-sequences cannot be kept now")
        }
    }

    /// For STATUS: 0 where there are none that last. Of the selected mailbox what the client was told.
    func highestModseq(_ mailbox: Mailbox) async -> UInt64 {
        guard await store.reserveModseqs() else { return 0 }
        if let view = selected, view.mailbox === mailbox { return view.settledModseq }
        return mailbox.highestModseq
    }

    // MARK: The end of a command

    /// What the tagged answer says of HIGHESTMODSEQ, when all that may be told was told.
    ///
    /// - Parameter hasRoom: whether the tagged answer can carry the code. Where it cannot and the client
    ///   must know, an untagged OK does.
    func highestModseqCode(hasRoom: Bool) -> ResponseCode? {
        guard let view = selected, view.telling.modseqs, !view.mailbox.isGone else { return nil }
        let settled = view.settledModseq
        let code = ResponseCode.highestModSeq(ModSeq(settled))
        let believed = max(view.believedModseq, view.seenModseq)
        if believed > settled {
            view.believe(settled, isHeldBack: true)
            if hasRoom { return code }
            output.append(untagged: .ok, code, "Expunges are held back")
            return nil
        }
        // Telling it spares the client work when it comes back; who knows QRESYNC makes use of it.
        if believed < settled, sync.quickResync || view.isHeldBack, hasRoom {
            view.believe(settled)
            return code
        }
        view.believe(believed, isHeldBack: view.isHeldBack && believed < settled)
        return nil
    }

    // MARK: SEARCH and SORT

    /// The highest mod-sequence of the messages that an answer names; nil where MODSEQ was no key.
    /// RFC 7162 §3.1.5, §3.1.9
    func modSeq(_ key: SearchKey, _ indexes: [Int], _ view: SelectedMailbox) -> ModSeq? {
        guard key.namesModSeq else { return nil }
        let table = view.mailbox.table
        let uids = view.uids
        var highest: UInt64 = 0
        for index in indexes {
            if let row = table.row(of: uids[index]) { highest = max(highest, table.modseqs[row]) }
        }
        return highest > 0 ? ModSeq(highest) : nil
    }

    // MARK: What a client missed

    /// The messages in these ranges that changed after a modseq.               RFC 7162 §3.1.4.1
    ///
    /// One pass over a column, without an allocation for a message.
    func changed(
        since modseq: UInt64,
        in ranges: [Range<Int>],
        _ view: SelectedMailbox
    ) -> [Range<Int>] {
        let uids = view.uids
        let table = view.mailbox.table
        var changed: [Range<Int>] = []
        for range in ranges where !range.isEmpty {
            var row = table.firstRow(from: uids[range.lowerBound])
            var start = -1
            for index in range {
                let uid = uids[index]
                while row < table.count, table.uids[row] < uid { row += 1 }
                // What is expunged and not told yet is told as VANISHED.
                let isChanged =
                    row < table.count && table.uids[row] == uid && table.modseqs[row] > modseq
                if isChanged {
                    if start < 0 { start = index }
                } else if start >= 0 {
                    changed.append(start..<index)
                    start = -1
                }
            }
            if start >= 0 { changed.append(start..<range.upperBound) }
        }
        return changed
    }

    /// `* VANISHED (EARLIER)` for what was expunged after a modseq, of the UIDs that the client names.
    ///
    /// - Parameters:
    ///   - known: ascending.
    ///   - knownUpTo: a UID up to which the client knows of every expunge. RFC 7162 §3.2.5.2
    func appendVanished(
        since modseq: UInt64,
        _ known: [ClosedRange<UInt32>],
        knownUpTo: UInt32 = 0,
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        let vanished = VanishedSet(view, since: modseq, known, knownUpTo: knownUpTo)
        for line in vanished.lines {
            output.append(vanished: Array(line), isEarlier: true)
            try await flushIfLarge()
        }
    }

    /// The same for UID FETCH with VANISHED.                                   RFC 7162 §3.2.6
    func appendVanished(
        since modseq: UInt64,
        _ set: SequenceSet,
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        // What `$` names is there, or is told as expunged to this session.
        guard !set.ranges.isEmpty else { return }
        let known = set.resolved(largest: view.uids.last ?? 0)
        let modseq = modseq > view.settledModseq ? 0 : modseq
        try await appendVanished(since: modseq, known, view)
    }

    //  "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"
    //                                                                        RFC 7162 §3.2.5
    func resynchronize(
        _ client: SelectCommand.QuickResync,
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        guard view.telling.modseqs, client.uidValidity.value == view.mailbox.uidValidity else {
            return
        }
        // Who knows a modseq that never was knows nothing.
        let modseq = client.modSeq.value > view.settledModseq ? 0 : client.modSeq.value
        let known = client.knownUIDs?.resolved(largest: .max) ?? [1 ... .max]
        let matched = Self.matched(client, view)
        try await appendVanished(since: modseq, known, knownUpTo: matched, view)
        let ranges = known.compactMap { view.indexes(of: $0) }
        let plan = FetchPlan(changesFor: view.telling)
        for range in changed(since: modseq, in: ranges, view) {
            try await fetchSummary(range, plan, view)
        }
    }

    /// The largest UID of which the client knows the sequence number rightly: it knows of every expunge
    /// up to there.
    private static func matched(
        _ client: SelectCommand.QuickResync,
        _ view: SelectedMailbox
    ) -> UInt32 {
        guard let numbers = client.matchSequence?.resolved(largest: .max),
            let uids = client.matchUIDs?.resolved(largest: .max)
        else { return 0 }
        var matched: UInt32 = 0
        var uidRange = 0
        var uidOffset: UInt32 = 0
        for range in numbers {
            guard range.lowerBound <= view.uids.count else { break }
            for number in range.lowerBound...min(range.upperBound, UInt32(view.uids.count)) {
                guard uidRange < uids.count else { return matched }
                let uid = uids[uidRange].lowerBound + uidOffset
                if view.uids[Int(number) - 1] == uid { matched = uid }
                if uid == uids[uidRange].upperBound {
                    uidRange += 1
                    uidOffset = 0
                } else {
                    uidOffset += 1
                }
            }
        }
        return matched
    }
}

/// UIDs that a client may know and that are not there any more.
struct VanishedSet {
    private(set) var ranges: [ClosedRange<UInt32>] = []

    /// - Parameter known: ascending, what the client names.
    @EventLoop
    init(
        _ view: SelectedMailbox,
        since modseq: UInt64,
        _ known: [ClosedRange<UInt32>],
        knownUpTo: UInt32
    ) {
        let mailbox = view.mailbox
        guard mailbox.uidNext > 1 else { return }
        // What was never given cannot have vanished.
        let last = mailbox.uidNext - 1
        let candidates: [ClosedRange<UInt32>]
        if let vanished = mailbox.history.vanished(since: modseq) {
            candidates = Self.intersection(vanished, known, 1...last)
        } else {
            guard knownUpTo < last else { return }
            candidates = Self.intersection(known, [(knownUpTo + 1)...last], 1...last)
        }
        // What the session still numbers is told by VANISHED without EARLIER; what it was not told of
        // yet is there.
        let uids = view.uids
        let there = mailbox.table.uids
        var index = 0
        var row = 0
        for range in candidates {
            var next = range.lowerBound
            while true {
                while index < uids.count, uids[index] < next { index += 1 }
                while row < there.count, there[row] < next { row += 1 }
                let present = min(
                    index < uids.count ? uids[index] : .max,
                    row < there.count ? there[row] : .max
                )
                // No UID is as large as .max (`Maildir.Limits.uidMax`).
                guard present <= range.upperBound, present != .max else {
                    ranges.append(next...range.upperBound)
                    break
                }
                if present > next { ranges.append(next...(present - 1)) }
                if present == range.upperBound { break }
                next = present + 1
            }
        }
    }

    /// What is in both, and in the bounds.
    private static func intersection(
        _ left: [ClosedRange<UInt32>],
        _ right: [ClosedRange<UInt32>],
        _ bounds: ClosedRange<UInt32>
    ) -> [ClosedRange<UInt32>] {
        var common: [ClosedRange<UInt32>] = []
        var first = 0
        var second = 0
        while first < left.count, second < right.count {
            let low = max(left[first].lowerBound, right[second].lowerBound, bounds.lowerBound)
            let high = min(left[first].upperBound, right[second].upperBound, bounds.upperBound)
            if low <= high { common.append(low...high) }
            if left[first].upperBound < right[second].upperBound {
                first += 1
            } else {
                second += 1
            }
        }
        return common
    }

    /// In pieces that make lines of bearable length.
    var lines: [ArraySlice<ClosedRange<UInt32>>] {
        stride(from: 0, to: ranges.count, by: Limits.vanishedRangesMax).map {
            ranges[$0..<min($0 + Limits.vanishedRangesMax, ranges.count)]
        }
    }
}
