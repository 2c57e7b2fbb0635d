import Bytes
import Glibc
import Maildir
package import Posix

//  One mailbox on disk: scans, admissions, renames
//
//  Everything here waits for the disk: it runs in jobs, one at a time for a mailbox (the holder of
//  `Mailbox.turnstile`), and with Dovecot's lock held where it scans or changes names. What is on
//  disk is described where it is read and written (`UIDListFile`, `KeywordsFile`, `MessageName`).
//
//  Admission of a message that we write (APPEND, COPY, MOVE):
//
//  1. write or link it in tmp/, fsync      crash here: a file in tmp/, removed after 36 hours
//  2. take the lock, refresh the list
//  3. rename into cur/                     crash here: the message is there without a UID, which the
//                                          next scan gives it; it was not acknowledged
//  4. append the record, fdatasync         crash here: the same, or the record is there as well
//  5. fsync cur/                           after it: a power cut loses neither name nor UID
//
//  Only then is the UID announced. Mail that others deliver into new/ takes steps 2 and 4, and is
//  then renamed to cur/ for a session that has the mailbox open for writing.
//
//  Expunge: unlink, or, while a session of this process still numbers the message, a rename to
//  tmp/martlet-expunged.*; what a crash leaves of those is removed when the mailbox is next opened.

/// The files of one mailbox. Belongs to whoever holds the mailbox's turnstile.
package final class MailboxDisk: @unchecked Sendable {
    package let directory: Directory
    package let cur: Directory
    package let new: Directory
    package let tmp: Directory
    private let names: NameSource
    private var uidList = UIDListFile()
    private var keywordsFile = KeywordsFile()
    private let root: Directory

    static let expungedPrefix = [UInt8]("martlet-expunged.")

    /// Opens the three subdirectories, making those that are missing.
    init(_ directory: Directory, root: Directory, names: NameSource) throws(SystemError) {
        self.directory = directory
        self.root = root
        self.names = names
        func open(_ name: StaticString) throws(SystemError) -> Directory {
            do throws(SystemError) { return try directory.subdirectory([UInt8](name)) } catch {
                guard error.isMissing else { throw error }
                try MailboxTree.makeSubdirectories(
                    in: directory,
                    MailboxPermissions(of: try directory.status())
                )
                return try directory.subdirectory([UInt8](name))
            }
        }
        cur = try open("cur")
        new = try open("new")
        tmp = try open("tmp")
    }

    // MARK: Scan

    /// All that a mailbox holds.
    struct Snapshot: Sendable {
        var uidValidity: UInt32
        var nextUID: UInt32
        var guid: [UInt8]
        var messages: MessageTable
        var keywords: Keywords
        /// UIDs given by this scan: nobody was told of them before.
        var firstNewUID: UInt32
    }

    /// Reconciles lists and directories: new files get UIDs, and lists are durable on return.
    ///
    /// - Parameters:
    ///   - movesNew: whether files in `new/` are moved to `cur/`, for a session that opened the
    ///     mailbox for writing.
    ///   - known: the UIDs that sessions know, ascending; nil at the first scan.
    func scan(
        _ lock: DotLock,
        movesNew: Bool,
        known: [UInt32]?
    ) throws(MaildirError) -> Snapshot {
        try refreshLists(lock)
        var listing = try Listing(new: new, cur: cur)
        var match = Match(listing, list)
        if let known, forgetReturned(match, known) { match = Match(listing, list) }
        if match.hasMissing {
            // Renames by programs that know no lock can hide a file from one listing.
            for _ in 0..<3 {
                let before = try stamps()
                let second = try Listing(new: new, cur: cur)
                match.fillGaps(with: second, list, into: &listing)
                if try stamps() == before { break }
            }
        }
        try rescueBaseless(listing)
        try resolveDuplicates(&listing, match)
        for index in match.missing(list) { uidList.list?.remove(index) }
        let firstNewUID = list.nextUID
        try assignUIDs(&match, listing)
        try commit(lock)
        if movesNew { try moveToCur(&listing) }
        return snapshot(listing, firstNewUID)
    }

    /// A message that sessions were told is expunged and whose file came back gets a new UID: a
    /// sequence number cannot come back in the middle. Returns whether there was one.
    private func forgetReturned(_ match: Match, _ known: [UInt32]) -> Bool {
        guard let last = known.last else { return false }
        var returned: [Int] = []
        var next = 0
        for record in match.present(list) where list.uid(record) <= last {
            let uid = list.uid(record)
            while next < known.count, known[next] < uid { next += 1 }
            if next == known.count || known[next] != uid { returned.append(record) }
        }
        for record in returned { uidList.list?.remove(record) }
        return !returned.isEmpty
    }

    private var list: UIDList {
        guard let list = uidList.list else { preconditionFailure("the uidlist was not read") }
        return list
    }

    private func stamps() throws(MaildirError) -> [WallTime] {
        try system { () throws(SystemError) in
            [try new.status().changed, try cur.status().changed]
        }
    }

    private func refreshLists(_ lock: DotLock) throws(MaildirError) {
        _ = try keywordsFile.refresh(in: directory)
        _ = try uidList.refresh(in: directory)
        if uidList.list == nil { uidList.list = try courierList() }
        if uidList.list == nil {
            uidList.list = UIDList(
                uidValidity: try UIDValiditySource.next(root: root, now: .now),
                guid: UIDList.newGUID()
            )
        } else if list.header.uidValidity == 0 {
            uidList.list?.header.uidValidity = try UIDValiditySource.next(root: root, now: .now)
        }
        if list.header.guid == nil { uidList.list?.header.guid = UIDList.newGUID() }
    }

    /// The UIDs that Courier gave, where it served this mailbox before and nobody since.
    private func courierList() throws(MaildirError) -> UIDList? {
        guard
            let file = try? directory.readFile(
                CourierFiles.uidList,
                max: Maildir.Limits.uidListBytesMax
            )
        else { return nil }
        do throws(UIDListError) { return try UIDList(file: file) } catch { throw .uidList(error) }
    }

    private func commit(_ lock: DotLock) throws(MaildirError) {
        try keywordsFile.commit(lock)
        if list.isChanged || list.needsRewrite { try uidList.commit(lock) }
    }

    private func assignUIDs(_ match: inout Match, _ listing: Listing) throws(MaildirError) {
        guard !match.fresh.isEmpty else { return }
        let bases = match.fresh.map { listing.base($0) }
        for base in MessageName.sortedByArrival(bases) where list.index(of: base.span) == nil {
            do throws(UIDListError) { _ = try uidList.list?.add(base.span) } catch {
                // A name that no list can carry is not served, and hides no other message.
                guard error == .unlistableName else { throw .uidList(error) }
                Log.warning("event=unlistable-name path=\(directory.child(base).quotedForLog)")
            }
        }
    }

    /// Files whose name has no base get one, in new/; the next scan or event finds them.
    private func rescueBaseless(_ listing: Listing) throws(MaildirError) {
        for location in listing.baseless {
            let source = location.isNew ? new : cur
            do throws(SystemError) {
                try source.rename(location.name, to: new, names.next())
            } catch {
                if !error.isMissing { throw .system(error) }
            }
        }
    }

    /// Two files of one base name. Different messages: one gets a fresh name in new/. One message
    /// twice (links): one name goes, if it is no rename under way. Otherwise it was a race.
    private func resolveDuplicates(_ listing: inout Listing, _ match: Match) throws(MaildirError) {
        for (kept, other) in match.duplicates {
            let first = listing.location(kept)
            let second = listing.location(other)
            guard first != second else { continue }
            do throws(SystemError) {
                let firstStatus = try (first.isNew ? new : cur).status(first.name)
                let secondStatus = try (second.isNew ? new : cur).status(second.name)
                if firstStatus.identity != secondStatus.identity {
                    let hints = MessageName(second.name)?.base ?? second.name
                    try (second.isNew ? new : cur).rename(
                        second.name,
                        to: new,
                        names.next(keepingFieldsOf: hints)
                    )
                } else if firstStatus.linkCount > 1,
                    WallTime.now.seconds - firstStatus.changed.seconds > 30
                {
                    try (second.isNew ? new : cur).unlink(second.name)
                }
            } catch {
                // One of them is gone: the other is the message.
                guard error.isMissing else { throw .system(error) }
                if (try? (first.isNew ? new : cur).status(first.name)) == nil {
                    listing.replace(kept, with: other)
                }
            }
        }
    }

    private func moveToCur(_ listing: inout Listing) throws(MaildirError) {
        for index in listing.entries.indices where listing.entries[index].isNew {
            let old = listing.location(index)
            guard let name = MessageName(old.name) else { continue }
            let target = name.layout.hasInfo ? old.name : name.with(FlagLetters())
            do throws(SystemError) {
                try new.rename(old.name, to: cur, target)
                listing.moveToCur(index, target)
            } catch {
                // Somebody else moved or removed it: its event tells. On a read-only or full
                // filesystem it stays where it is.
                Log.debug("event=move-to-cur-failed error=\(error)")
            }
        }
    }

    private func snapshot(_ listing: Listing, _ firstNewUID: UInt32) -> Snapshot {
        let list = self.list
        var entryOfRecord = [Int32](repeating: -1, count: list.recordCount)
        for index in listing.entries.indices {
            if let record = list.index(of: listing.baseSpan(index)) {
                if entryOfRecord[record] < 0 { entryOfRecord[record] = Int32(index) }
            }
        }
        let keywords = keywordsFile.keywords
        var messages = MessageTable()
        for record in 0..<list.recordCount where entryOfRecord[record] >= 0 && list.isLive(record) {
            let message = listing.message(Int(entryOfRecord[record]), uid: list.uid(record))
            messages.append(message, modseq: 0)
            let beyond = keywords.beyond(message.base)
            if !beyond.isEmpty { messages.beyond[message.uid] = beyond }
        }
        return Snapshot(
            uidValidity: list.header.uidValidity,
            nextUID: list.nextUID,
            guid: list.header.guid ?? [],
            messages: messages,
            keywords: keywords,
            firstNewUID: firstNewUID
        )
    }

    // MARK: Admission

    /// A message on its way in.
    struct Admission: Sendable {
        enum Source: Sendable {
            /// Somebody put it into `new/` or `cur/` under this name.
            case found(FileLocation)
            /// We put it into `tmp/` under this name, complete and synced.
            case staged(name: [UInt8], base: [UInt8])
        }
        var source: Source
        var flags: FlagLetters.Known = []
        var keywords: [[UInt8]] = []
    }

    enum Admitted: Sendable {
        case message(FoundMessage, beyond: [Int])
        /// The file went away before it had a UID.
        case vanished
        case refused(StoreError)
    }

    struct AdmissionResult: Sendable {
        var messages: [Admitted]
        var nextUID: UInt32
        var keywords: Keywords
        /// Another program gave out UIDs meanwhile: a scan is due.
        var needsScan: Bool
    }

    /// Gives messages their UIDs, all with one sync of the list. Durable on return.
    func admit(
        _ items: [Admission],
        movesNew: Bool,
        lettersInUse: FlagLetters.Known,
        _ lock: DotLock
    ) throws(MaildirError) -> AdmissionResult {
        let knownCount = uidList.list?.recordCount
        let knownNext = uidList.list?.nextUID
        try refreshLists(lock)
        var needsScan =
            knownNext != nil && (list.nextUID != knownNext || list.recordCount != knownCount)
        if knownNext == nil { needsScan = true }
        // Meanings of letters reach the disk before any name that carries them.
        var placed: [(flags: FlagLetters.Known, beyond: [Int])?] = []
        for item in items { placed.append(allocate(item, lettersInUse)) }
        for (item, keywords) in zip(items, placed) {
            guard case .staged(_, let base) = item.source, let keywords, !keywords.beyond.isEmpty
            else { continue }
            keywordsFile.keywords.setBeyond(base, keywords.beyond)
        }
        try keywordsFile.commit(lock)

        var results: [Admitted] = []
        var moved: [FileLocation] = []
        var firstError: MaildirError?
        for (item, keywords) in zip(items, placed) {
            guard let keywords else {
                results.append(.refused(.tooManyKeywords))
                continue
            }
            do throws(SystemError) {
                let (message, isKnown) = try place(item, keywords.flags)
                guard var message else {
                    results.append(.vanished)
                    continue
                }
                if case .staged = item.source {
                    moved.append(message.location ?? fileLocation(message))
                }
                message.uid = isKnown ? message.uid : 0
                results.append(.message(message, beyond: keywords.beyond))
            } catch {
                results.append(.refused(StoreError(error)))
            }
        }
        do throws(MaildirError) {
            for index in results.indices {
                guard case .message(var message, let beyond) = results[index] else { continue }
                if message.uid == 0 {
                    do throws(UIDListError) {
                        message.uid = try uidList.list?.add(message.base.span) ?? 0
                    } catch {
                        throw .uidList(error)
                    }
                }
                results[index] = .message(message, beyond: beyond)
            }
            try commit(lock)
            if !moved.isEmpty {
                try system { () throws(SystemError) in try cur.sync() }
            }
        } catch {
            firstError = error
        }
        if let firstError {
            // Not acknowledged: a client will send it again, so it must not be there as well.
            for location in moved { try? cur.unlink(location.name) }
            throw firstError
        }
        if movesNew {
            for index in results.indices {
                guard case .message(var message, let beyond) = results[index] else { continue }
                moveToCur(&message)
                results[index] = .message(message, beyond: beyond)
            }
        }
        return AdmissionResult(
            messages: results,
            nextUID: list.nextUID,
            keywords: keywordsFile.keywords,
            needsScan: needsScan
        )
    }

    private func allocate(
        _ item: Admission,
        _ lettersInUse: FlagLetters.Known
    ) -> (flags: FlagLetters.Known, beyond: [Int])? {
        var flags = item.flags
        var beyond: [Int] = []
        for name in item.keywords {
            guard
                let index = try? keywordsFile.keywords.allocate(name, unnamedLetters: lettersInUse)
            else { return nil }
            if index < Maildir.Limits.keywordLetterCount {
                flags.insert(.keyword(index))
            } else if !beyond.contains(index) {
                beyond.append(index)
            }
        }
        return (flags, beyond.sorted())
    }

    /// Puts a staged message into `cur/`, or looks whether a found one is still there. The UID is 0
    /// unless the list has one already.
    private func place(
        _ item: Admission,
        _ flags: FlagLetters.Known
    ) throws(SystemError) -> (FoundMessage?, isKnown: Bool) {
        switch item.source {
        case .staged(let name, let base):
            var buffer = ByteBuffer(base)
            FlagLetters(flags).write(to: &buffer)
            try tmp.rename(name, to: cur, buffer.bytes)
            return (
                FoundMessage(uid: 0, base: base, flags: flags, place: .cur, location: nil), false
            )
        case .found(let location):
            guard let name = MessageName(location.name) else { return (nil, false) }
            let source = location.isNew ? new : cur
            do throws(SystemError) { _ = try source.status(location.name) } catch {
                if error.isMissing { return (nil, false) }
                throw error
            }
            var message = Self.found(location, name)
            if let record = list.index(of: message.base.span) {
                message.uid = list.uid(record)
                return (message, true)
            }
            return (message, false)
        }
    }

    private func fileLocation(_ message: FoundMessage) -> FileLocation {
        var buffer = ByteBuffer(message.base)
        FlagLetters(message.flags).write(to: &buffer)
        return FileLocation(isNew: false, name: buffer.bytes)
    }

    private func moveToCur(_ message: inout FoundMessage) {
        guard message.place == .new || message.location?.isNew == true else { return }
        let old = message.location?.name ?? message.base
        guard let name = MessageName(old) else { return }
        let target = name.layout.hasInfo ? old : name.with(FlagLetters())
        do throws(SystemError) {
            try new.rename(old, to: cur, target)
            guard let moved = MessageName(target) else { return }
            let uid = message.uid
            message = Self.found(FileLocation(isNew: false, name: target), moved)
            message.uid = uid
        } catch {
            Log.debug("event=move-to-cur-failed error=\(error)")
        }
    }

    /// The row of a file, without its UID.
    static func found(_ location: FileLocation, _ name: MessageName) -> FoundMessage {
        let flags = name.flags
        let isRegular =
            location.isNew
            ? !name.layout.hasInfo : flags.rest.isEmpty && location.name == name.with(flags)
        return FoundMessage(
            uid: 0,
            base: name.base,
            flags: flags.known,
            place: isRegular ? (location.isNew ? .new : .cur) : .irregular,
            location: isRegular ? nil : location
        )
    }

    // MARK: Flags

    /// A change of one message's flags: what to take away, then what to add.
    struct FlagChange: Sendable {
        var uid: UInt32
        var base: [UInt8]
        var location: FileLocation
        var remove: FlagLetters.Known
        var add: FlagLetters.Known
        /// The keywords without a letter that it has afterwards, where they change.
        var beyond: [Int]?
    }

    enum Changed: Sendable {
        case done(FoundMessage)
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
        var present: [[UInt8]: FileLocation]?
        for change in batch {
            if !results.isEmpty, Instant.now > end { break }
            results.append(try self.change(change, &present))
        }
        return results
    }

    private func change(
        _ change: FlagChange,
        _ present: inout [[UInt8]: FileLocation]?
    ) throws(MaildirError) -> Changed {
        var location = change.location
        for attempt in 0..<Limits.renameRetriesMax {
            guard let name = MessageName(location.name) else { return .gone }
            var flags = name.flags
            flags.known.subtract(change.remove)
            flags.known.formUnion(change.add)
            let target = name.with(flags)
            do throws(SystemError) {
                if location.isNew || target != location.name {
                    try (location.isNew ? new : cur).rename(location.name, to: cur, target)
                }
                let moved = FileLocation(isNew: false, name: target)
                guard let newName = MessageName(target) else { return .gone }
                var message = Self.found(moved, newName)
                message.uid = change.uid
                return .done(message)
            } catch {
                guard error.isMissing else { return .refused(StoreError(error)) }
                if present == nil || attempt > 0 { present = try locations() }
                guard let found = present?[change.base] else { return .gone }
                location = found
            }
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
    }

    /// Removes at most a batch; returns one result for each that was tried: the name in `tmp/`
    /// where it was kept aside.
    func remove(
        _ removals: ArraySlice<Removal>,
        _ lock: DotLock
    ) throws(MaildirError) -> [Result<[UInt8]?, StoreError>] {
        let end = Instant.now.adding(milliseconds: Limits.lockBatchMillisecondsMax)
        var results: [Result<[UInt8]?, StoreError>] = []
        var present: [[UInt8]: FileLocation]?
        for removal in removals.prefix(Limits.lockBatchMax) {
            if !results.isEmpty, Instant.now > end { break }
            results.append(try remove(removal, &present))
            if case .success = results[results.count - 1],
                let record = uidList.list?.index(of: removal.base.span)
            {
                uidList.list?.remove(record)
            }
        }
        if uidList.list?.needsRewrite == true {
            _ = try uidList.refresh(in: directory)
            if uidList.list?.needsRewrite == true { try uidList.commit(lock) }
        }
        return results
    }

    private func remove(
        _ removal: Removal,
        _ present: inout [[UInt8]: FileLocation]?
    ) throws(MaildirError) -> Result<[UInt8]?, StoreError> {
        var location = removal.location
        for attempt in 0..<Limits.renameRetriesMax {
            let source = location.isNew ? new : cur
            do throws(SystemError) {
                guard removal.isKept else {
                    try source.unlink(location.name)
                    return .success(nil)
                }
                let aside = Self.expungedPrefix + names.next()
                try source.rename(location.name, to: tmp, aside)
                return .success(aside)
            } catch {
                guard error.isMissing else { return .failure(StoreError(error)) }
                if present == nil || attempt > 0 { present = try locations() }
                guard let found = present?[removal.base] else { return .success(nil) }
                location = found
            }
        }
        return .success(nil)
    }

    /// Removes what sessions of an earlier process still numbered, and what was left in `tmp/` for
    /// 36 hours. Only one process serves the Maildir, so the first kind belongs to nobody.
    func cleanUp() throws(SystemError) {
        let now = WallTime.now.seconds
        for name in try tmp.names() {
            guard !name.starts(with: Self.expungedPrefix) else {
                try? tmp.unlink(name)
                continue
            }
            guard let status = try? tmp.status(name), status.isRegular,
                now - max(status.changed.seconds, status.accessed.seconds) > 36 * 3_600
            else { continue }
            try? tmp.unlink(name)
        }
    }
}

func system<Result>(_ body: () throws(SystemError) -> Result) throws(MaildirError) -> Result {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}
