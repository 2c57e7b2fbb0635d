import Bytes
import Glibc
import Maildir
import Posix

//  Flags and expunges, in batches under the lock: one rename or unlink a message, so that a crash
//  leaves each message as it was or as it is to be.

extension MailboxDisk {
    /// A change of one message's flags: what to take away, then what to add.
    struct FlagChange: Sendable {
        var uid: UInt32
        var location: FileLocation
        var remove: FlagLetters.Known
        var add: FlagLetters.Known
        /// The keywords without a letter that it has afterwards, where they change.
        var beyond: [Int]?
        /// Whether it is left as it is where another program changed these flags meanwhile.
        var isConditional = false

        var base: [UInt8] { MessageName(location.name)?.base ?? location.name }
    }

    /// A message's flags and file after a change.
    struct Flagged: Sendable {
        var uid: UInt32
        var flags: FlagLetters.Known
        /// The name where it does not follow from base name and flags.
        var location: FileLocation?
    }

    enum Changed: Sendable {
        case done(Flagged)
        /// The condition does not hold any more.
        case modified
        /// No file of that base name any more.
        case gone
        case refused(StoreError)
    }

    /// Renames at most a batch; returns one result for each change that was tried, in order. What
    /// is not tried when the time is up comes again with the next taking of the lock.
    func change(
        _ changes: ArraySlice<FlagChange>,
        _ lock: DotLock
    ) throws(MaildirError) -> [Changed] {
        let end = Instant.now.adding(milliseconds: Limits.lockBatchMillisecondsMax)
        let batch = changes.prefix(Limits.lockBatchMax)
        if batch.contains(where: { $0.beyond != nil }) {
            _ = try keywordsFile.refresh(in: directory)
            for change in batch {
                if let beyond = change.beyond {
                    keywordsFile.keywords.setBeyond(change.base, beyond)
                }
            }
            try keywordsFile.commit(lock)
        }
        var results: [Changed] = []
        results.reserveCapacity(batch.count)
        var present: [[UInt8]: FileLocation]?
        for change in batch {
            if !results.isEmpty, Instant.now > end { break }
            results.append(self.change(change, &present))
        }
        return results
    }

    private func change(
        _ change: FlagChange,
        _ present: inout [[UInt8]: FileLocation]?
    ) -> Changed {
        var location = change.location
        for attempt in 0..<Limits.renameRetriesMax {
            guard let name = MessageName(location.name) else { return .gone }
            var flags = name.flags
            flags.known.subtract(change.remove)
            flags.known.formUnion(change.add)
            let target = name.with(flags)
            do throws(SystemError) {
                if location.isNew || target != location.name {
                    try move(location.name, from: location.isNew ? new : cur, to: target)
                }
                let isRegular =
                    flags.rest.isEmpty && name.layout.baseCount == name.layout.stemCount
                return .done(
                    Flagged(
                        uid: change.uid,
                        flags: flags.known,
                        location: isRegular ? nil : FileLocation(isNew: false, name: target)
                    )
                )
            } catch {
                guard error.isMissing else { return .refused(StoreError(error)) }
            }
            do throws(MaildirError) {
                if present == nil || attempt > 0 { present = try locations() }
            } catch {
                return .refused(StoreError(error))
            }
            guard let found = present?[change.base] else { return .gone }
            if change.isConditional {
                let changed = FlagLetters(fileName: found.name.span).known
                    .symmetricDifference(FlagLetters(fileName: change.location.name.span).known)
                if !changed.isDisjoint(with: change.remove.union(change.add)) { return .modified }
            }
            location = found
        }
        return .gone
    }

    /// Where each message's file is now, by base name.
    func locations() throws(MaildirError) -> [[UInt8]: FileLocation] {
        let listing = try Listing(new: new, cur: cur)
        var locations: [[UInt8]: FileLocation] = [:]
        for index in listing.entries.indices {
            locations[listing.base(index)] = listing.location(index)
        }
        return locations
    }

    /// Makes sure that keywords have an index, on disk before it returns.
    func ensureKeywords(
        _ names: [[UInt8]],
        lettersInUse: FlagLetters.Known,
        _ lock: DotLock
    ) throws(MaildirError) -> Keywords {
        _ = try keywordsFile.refresh(in: directory)
        for name in names {
            do throws(KeywordsError) {
                _ = try keywordsFile.keywords.allocate(name, unnamedLetters: lettersInUse)
            } catch {
                throw .keywords(error)
            }
        }
        try keywordsFile.commit(lock)
        return keywordsFile.keywords
    }

    // MARK: Expunge

    struct Removal: Sendable {
        var uid: UInt32
        var base: [UInt8]
        var location: FileLocation
        /// Whether a session still numbers it: then the file is kept aside in `tmp/`.
        var isKept: Bool
        /// Whether it stays where another program took \Deleted away.
        var onlyDeleted = false
    }

    /// Removes at most a batch; returns one result for each that was tried: the name in `tmp/`
    /// where it was kept aside, or `messageGone` where it stays since it is not deleted any more.
    ///
    /// - Parameter compacts: whether the list may be written anew; of many batches the last does that.
    func remove(
        _ removals: ArraySlice<Removal>,
        _ lock: DotLock,
        compacts: Bool = true
    ) -> [Result<[UInt8]?, StoreError>] {
        let end = Instant.now.adding(milliseconds: Limits.lockBatchMillisecondsMax)
        var results: [Result<[UInt8]?, StoreError>] = []
        var removed: Set<UInt32> = []
        var present: [[UInt8]: FileLocation]?
        var freed = QuotaFile.Amount()
        let isCounted = quota.isKept(in: root)
        quota.begin()
        defer { quota.end(-freed, root: root) }
        for removal in removals.prefix(Limits.lockBatchMax) {
            if !results.isEmpty, Instant.now > end { break }
            results.append(remove(removal, &present, isCounted: isCounted, &freed))
            if case .success = results[results.count - 1] {
                uidList.list?.noteRemoved(removal.base.span)
                removed.insert(removal.uid)
            }
        }
        // A record without a file does no harm: mail can be removed from a full disk.
        guard compacts else { return results }
        do throws(MaildirError) { try compactList(without: removed, lock) } catch {
            Log.warning("event=uidlist-not-compacted error=\"\(error)\"")
        }
        return results
    }

    private func remove(
        _ removal: Removal,
        _ present: inout [[UInt8]: FileLocation]?,
        isCounted: Bool,
        _ freed: inout QuotaFile.Amount
    ) -> Result<[UInt8]?, StoreError> {
        var location = removal.location
        for attempt in 0..<Limits.renameRetriesMax {
            let source = location.isNew ? new : cur
            let size = isCounted ? Quota.size(of: location.name, in: source) ?? 0 : 0
            do throws(SystemError) {
                var aside: [UInt8]?
                if removal.isKept {
                    let name = Self.expungedPrefix + names.next()
                    try source.rename(location.name, to: tmp, name)
                    aside = name
                } else {
                    try source.unlink(location.name)
                }
                freed = freed + QuotaFile.Amount(bytes: size, messages: 1)
                return .success(aside)
            } catch {
                guard error.isMissing else { return .failure(StoreError(error)) }
            }
            do throws(MaildirError) {
                if present == nil || attempt > 0 { present = try locations() }
            } catch {
                return .failure(StoreError(error))
            }
            guard let found = present?[removal.base] else { return .success(nil) }
            if removal.onlyDeleted, !FlagLetters(fileName: found.name.span).known.contains(.trashed)
            {
                return .failure(.messageGone)
            }
            location = found
        }
        return .success(nil)
    }
}
