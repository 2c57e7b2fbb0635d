import Bytes
import Glibc
package import Maildir
import Posix

//  STORE, EXPUNGE, COPY and reading on a live mailbox
//
//  Names change in batches, each a job under the lock; between two the loop and the lock are free. A
//  crash leaves each message of a batch as it was or as it is to be, since each is one rename or unlink;
//  a copy that was not admitted is a file in tmp/, removed after 36 hours.

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

    // MARK: Flags

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

    // MARK: Expunge

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

    // MARK: Reading

    /// The content of a message; of one that a sibling session expunged as well, while a session
    /// numbers it.
    package func read(_ uid: UInt32) async throws(StoreError) -> MessageContent {
        for attempt in 0..<Limits.renameRetriesMax {
            let place: (Directory, [UInt8])
            if let row = table.row(of: uid) {
                let location = table.location(row)
                place = (location.isNew ? disk.new : disk.cur, location.name)
            } else if let aside = ghosts[uid] {
                place = (disk.tmp, aside)
            } else {
                throw .messageGone
            }
            let content = try await context.pool.run { () throws(StoreError) in
                try MessageFile.read(place.1, in: place.0)
            }
            if let content {
                if let row = table.row(of: uid) { table.note(row, date: content.date.seconds) }
                return content
            }
            // Renamed meanwhile: the event is queued already, or a scan finds it.
            context.inotify?.drain()
            if attempt > 0 || watches.isEmpty { wantScan() }
            try await settle()
        }
        throw .messageGone
    }

    /// Looks up internal dates that are not known yet. What is gone meanwhile keeps none.
    package func loadDates(_ uids: [UInt32]) async {
        for start in stride(from: 0, to: uids.count, by: Limits.dateBatchMax) {
            let end = min(start + Limits.dateBatchMax, uids.count)
            await loadDates(of: uids[start..<end])
        }
    }

    private func loadDates(of uids: ArraySlice<UInt32>) async {
        for attempt in 0..<Limits.renameRetriesMax {
            var missing: [(uid: UInt32, directory: Directory, name: [UInt8])] = []
            for uid in uids {
                if let row = table.row(of: uid), table.dates[row] == .min {
                    let location = table.location(row)
                    missing.append((uid, location.isNew ? disk.new : disk.cur, location.name))
                }
            }
            guard !missing.isEmpty else { return }
            let list = missing
            let dates = await context.pool.run { () -> [Int64?] in
                list.map { try? $0.directory.statusFollowingLinks($0.name).modified.seconds }
            }
            var isComplete = true
            for (entry, date) in zip(missing, dates) {
                if let date, let row = table.row(of: entry.uid) {
                    table.note(row, date: date)
                } else {
                    isComplete = false
                }
            }
            await EventLoop.yield()
            if isComplete { return }
            // Renamed meanwhile, perhaps by our own move out of new/: as in `read`.
            context.inotify?.drain()
            if attempt > 0 || watches.isEmpty { wantScan() }
            do throws(StoreError) { try await settle() } catch { return }
        }
    }

    // MARK: Copy

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
    private static func forbidsLinks(_ error: SystemError) -> Bool {
        [EXDEV, EMLINK, EPERM, ENOTSUP].contains(error.code)
    }

    /// Whoever renamed the file: the event is queued already, or a scan finds it.
    private func lookAgain(_ attempt: Int) async throws(StoreError) {
        context.inotify?.drain()
        if attempt > 0 || watches.isEmpty { wantScan() }
        try await settle()
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
            guard [EXDEV, EMLINK, EPERM, ENOTSUP].contains(error.code) else { throw error }
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

extension Mailbox {
    /// Runs `body` over the content of messages, in one job, until `budget` bytes were read.
    ///
    /// - Returns: results for the first messages, at least one; nil for a message whose file was not
    ///   where it was expected: `read` finds it or says that it is gone.
    package func process<Success: Sendable>(
        _ uids: ArraySlice<UInt32>,
        budget: Int,
        _ body: @escaping @Sendable (UInt32, MessageContent) -> Success
    ) async -> [Success?] {
        var places: [(uid: UInt32, directory: Directory, name: [UInt8])?] = []
        for uid in uids {
            if let row = table.row(of: uid) {
                let location = table.location(row)
                places.append((uid, location.isNew ? disk.new : disk.cur, location.name))
            } else {
                places.append(nil)
            }
        }
        let list = places
        return await context.pool.run { () -> [Success?] in
            var results: [Success?] = []
            var left = budget
            for place in list {
                guard let place,
                    let content = try? MessageFile.read(place.name, in: place.directory)
                else {
                    results.append(nil)
                    continue
                }
                results.append(body(place.uid, content))
                left -= content.bytes.count
                if left <= 0 { break }
            }
            return results
        }
    }

    /// Counts RFC822.SIZE of messages where it is not known yet.
    package func loadSizes(
        _ uids: [UInt32],
        _ count: @escaping @Sendable ([UInt8]) -> Int
    ) async {
        var missing = uids.filter { uid in table.row(of: uid).map { table.sizes[$0] < 0 } ?? false
        }[...]
        while !missing.isEmpty {
            let batch = missing.prefix(256)
            let sizes = await process(batch, budget: 4 << 20) { _, content in
                (count(content.bytes), content.date.seconds)
            }
            for (uid, result) in zip(batch, sizes) {
                if let result {
                    note(uid, size: Int64(result.0), date: result.1)
                } else if let content = try? await read(uid) {
                    note(uid, size: Int64(count(content.bytes)), date: content.date.seconds)
                }
            }
            missing = missing.dropFirst(max(sizes.count, 1))
            await EventLoop.yield()
        }
    }

    /// Records what reading a message showed.
    ///
    /// - Parameters:
    ///   - size: -1 where it showed none.
    ///   - date: `.min` where it showed none.
    package func note(_ uid: UInt32, size: Int64, date: Int64) {
        guard let row = table.row(of: uid) else { return }
        table.note(row, size: size, date: date)
        saveSummaryLater()
    }
}
