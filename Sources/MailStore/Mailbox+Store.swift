import Bytes
package import Maildir
import Posix

//  STORE on a live mailbox
//
//  Names change in batches, each a job under the lock; between two the loop and the lock are free. A
//  crash leaves each message of a batch as it was or as it is to be, since each is one rename.

/// What STORE asks of each message's flags.
package struct FlagsDelta: Sendable {
    package enum Mode: Sendable { case add, remove, replace }
    package var mode: Mode
    package var system: FlagLetters.Known
    /// Names, `$Forwarded` among them.
    package var keywords: [[UInt8]]

    package init(mode: Mode, system: FlagLetters.Known, keywords: [[UInt8]]) {
        self.mode = mode
        self.system = system
        self.keywords = keywords
    }
}

/// How one message fared.
package enum StoreOutcome: Sendable, Equatable {
    case changed
    /// It had these flags already.
    case unchanged
    /// What was to be changed changed after the modseq of the condition: nothing was done.
    ///                                                                   RFC 7162 §3.1.3, §3.1.12
    case modified
    case gone
    case refused(StoreError)
}

extension Mailbox {
    /// The keyword that `P` in a file name means.
    package nonisolated static var forwarded: [UInt8] { [UInt8]("$Forwarded") }

    /// Changes flags, in batches that let others of this process and Dovecot in between.
    ///
    /// - Parameters:
    ///   - uids: ascending.
    ///   - unchangedSince: only messages that did not change after this modseq, as far as the flags
    ///     in question are concerned.
    ///   - source: the session, which finds its own changes in the log by it.
    /// - Returns: one outcome for each UID.
    package func store(
        _ uids: [UInt32],
        _ delta: FlagsDelta,
        unchangedSince: UInt64? = nil,
        source: UInt32,
        progress: WorkProgress? = nil
    ) async throws(StoreError) -> [StoreOutcome] {
        progress?.begin(uids.count)
        let masks = try await resolve(delta)
        var outcomes: [StoreOutcome] = []
        outcomes.reserveCapacity(uids.count)
        let isQuiet = beginQuiet(uids.count)
        do throws(StoreError) {
            while outcomes.count < uids.count {
                let next = outcomes.count
                let end = min(next + Limits.lockBatchMax, uids.count)
                try await storeBatch(
                    uids[next..<end],
                    delta.mode,
                    masks,
                    unchangedSince,
                    source,
                    &outcomes
                )
                progress?.done = outcomes.count
                await EventLoop.yield()
            }
        } catch {
            if isQuiet { await endQuiet() }
            throw error
        }
        if isQuiet { await endQuiet() }
        if outcomes.contains(.changed) { try await syncNames() }
        return outcomes
    }

    /// Makes renames and removals durable, once for a command and outside the lock.
    func syncNames() async throws(StoreError) {
        let cur = disk.cur
        do throws(SystemError) {
            try await context.pool.run(.syncing) { () throws(SystemError) in try cur.sync() }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    private struct Masks {
        var letters: FlagLetters.Known
        var beyond: [Int]
    }

    /// Letters and indexes of the flags; new keywords are on disk on return.
    private func resolve(_ delta: FlagsDelta) async throws(StoreError) -> Masks {
        var masks = Masks(letters: delta.system, beyond: [])
        var names: [[UInt8]] = []
        for name in delta.keywords {
            if name.equalsIgnoringCase(Self.forwarded) {
                masks.letters.insert(.passed)
            } else {
                names.append(name)
            }
        }
        // Dovecot gave the keyword a letter: both must go for the flag to be gone.
        if delta.mode == .remove, masks.letters.contains(.passed) { names.append(Self.forwarded) }
        let unknown = names.filter { keywords.index(of: $0) == nil }
        if !unknown.isEmpty, delta.mode != .remove {
            guard unknown.allSatisfy({ Keywords.isValid($0) }) else { throw .invalidKeyword }
            do throws(StoreError) {
                try await locked { () -> Job<Keywords>? in
                    let letters = table.lettersInUse
                    return { (disk, lock) throws(MaildirError) in
                        try disk.ensureKeywords(unknown, lettersInUse: letters, lock)
                    }
                } applying: { keywords in
                    self.keywords = keywords
                }
            } catch {
                if case .maildir(.keywords) = error { throw .tooManyKeywords }
                throw error
            }
        }
        for name in names {
            guard let index = keywords.index(of: name) else { continue }
            if index < Maildir.Limits.keywordLetterCount {
                masks.letters.insert(.keyword(index))
            } else {
                masks.beyond.append(index)
            }
        }
        return masks
    }

    private func storeBatch(
        _ uids: ArraySlice<UInt32>,
        _ mode: FlagsDelta.Mode,
        _ masks: Masks,
        _ unchangedSince: UInt64?,
        _ source: UInt32,
        _ outcomes: inout [StoreOutcome]
    ) async throws(StoreError) {
        var changes: [MailboxDisk.FlagChange] = []
        var batch: [StoreOutcome] = []
        var positions: [Int] = []
        var tried = 0
        var mustScan = false
        try await locked { () -> Job<[MailboxDisk.Changed]>? in
            changes.reserveCapacity(uids.count)
            batch.reserveCapacity(uids.count)
            positions.reserveCapacity(uids.count)
            let (changeable, mayWrite) = (changeableLetters, rights.contains(.write))
            let failing = unchangedSince.map { changed(uids, mode, masks, since: $0) } ?? []
            for uid in uids {
                guard let row = table.row(of: uid) else {
                    batch.append(.gone)
                    continue
                }
                // What other programs do meanwhile `MailboxDisk.change` sees, under the lock.
                if failing.contains(uid) {
                    batch.append(.modified)
                    continue
                }
                guard var change = change(row, mode, masks, changeable, mayWrite) else {
                    batch.append(.unchanged)
                    continue
                }
                change.isConditional = unchangedSince != nil
                positions.append(batch.count)
                batch.append(.changed)
                changes.append(change)
            }
            if changes.isEmpty { return nil }
            let jobs = changes
            return { (disk, lock) throws(MaildirError) in try disk.change(jobs[...], lock) }
        } makesManyEvents: {
            quietChanges == 0 && changes.count >= Limits.manyEvents
        } applying: { results in
            tried = results.count
            for (index, result) in results.enumerated() {
                switch result {
                case .done(let message): applyFlags(message, changes[index], source)
                case .modified:
                    batch[positions[index]] = .modified
                    mustScan = true
                case .gone:
                    batch[positions[index]] = .gone
                    mustScan = true
                case .refused(let error): batch[positions[index]] = .refused(error)
                }
            }
        }
        if mustScan { wantScan() }
        // What the time did not suffice for is tried with the next batch.
        outcomes += tried < positions.count ? batch[..<positions[tried]] : batch[...]
        notify()
    }

    /// The messages whose flags in question changed after a modseq, or may have.
    ///                                                                   RFC 7162 §3.1.3, §3.1.12
    private func changed(
        _ uids: ArraySlice<UInt32>,
        _ mode: FlagsDelta.Mode,
        _ masks: Masks,
        since modseq: UInt64
    ) -> Set<UInt32> {
        var newer: [(uid: UInt32, modseq: UInt64)] = []
        for uid in uids {
            guard let row = table.row(of: uid), table.modseqs[row] > modseq else { continue }
            newer.append((uid, table.modseqs[row]))
        }
        // What is replaced is all flags.
        if newer.isEmpty || mode == .replace { return Set(newer.map(\.uid)) }
        let asked = ChangedFlags(letters: masks.letters, beyond: !masks.beyond.isEmpty)
        var failing: Set<UInt32> = []
        for (message, changed) in zip(newer, log.flagsChanged(in: newer, since: modseq)) {
            if let changed, changed.isDisjoint(with: asked) { continue }
            failing.insert(message.uid)
        }
        return failing
    }

    /// The change that a row needs, or nil for none.
    private func change(
        _ row: Int,
        _ mode: FlagsDelta.Mode,
        _ masks: Masks,
        _ changeable: FlagLetters.Known,
        _ mayWrite: Bool
    ) -> MailboxDisk.FlagChange? {
        let old = table.flags(row)
        let uid = table.uids[row]
        let oldBeyond = table.beyond.isEmpty ? [] : table.beyond[uid] ?? []
        var remove: FlagLetters.Known = []
        var add: FlagLetters.Known = []
        var beyond = oldBeyond
        switch mode {
        case .add:
            add = masks.letters
            if !masks.beyond.isEmpty {
                beyond += masks.beyond.filter { !oldBeyond.contains($0) }
            }
        case .remove:
            remove = masks.letters
            beyond.removeAll { masks.beyond.contains($0) }
        case .replace:
            // Letters without a name are other programs' own: they stay.
            remove = .system
            for index in 0..<Maildir.Limits.keywordLetterCount where keywords.name(index) != nil {
                remove.insert(.keyword(index))
            }
            remove.subtract(masks.letters)
            add = masks.letters
            beyond = masks.beyond
        }
        remove.formIntersection(changeable)
        add.formIntersection(changeable)
        if !mayWrite { beyond = oldBeyond }
        if beyond.count > 1 { beyond.sort() }
        let changesLetters = old.subtracting(remove).union(add) != old
        guard changesLetters || beyond != oldBeyond else { return nil }
        return MailboxDisk.FlagChange(
            uid: uid,
            location: table.location(row),
            remove: remove,
            add: add,
            beyond: beyond == oldBeyond ? nil : beyond
        )
    }

    /// Where another program had changed the flags meanwhile, the session that asked is told too: it
    /// knows its own change only.
    private func applyFlags(
        _ message: MailboxDisk.Flagged,
        _ change: MailboxDisk.FlagChange,
        _ source: UInt32
    ) {
        guard let row = table.row(of: message.uid) else { return }
        let old = table.flags(row)
        let expected = old.subtracting(change.remove).union(change.add)
        let source = message.flags == expected ? source : 0
        table.update(
            row,
            flags: message.flags,
            place: message.location == nil ? .cur : .irregular,
            location: message.location
        )
        if let beyond = change.beyond {
            table.beyond[message.uid] = beyond.isEmpty ? nil : beyond
        }
        let changed = ChangedFlags(
            letters: old.symmetricDifference(message.flags),
            beyond: change.beyond != nil
        )
        noteFlags(row, changed: changed, source: source)
    }
}
