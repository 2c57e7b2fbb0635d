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
//  Only then is the UID announced. Where a step fails, what was renamed goes back to tmp/. Mail that
//  others deliver into new/ takes steps 2 and 4, and is then renamed to cur/ for a session that has
//  the mailbox open for writing.
//
//  No rename of a message ever replaces a file (`move`): two programs can make the same name, and a
//  name can be moved twice.
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

    /// What sessions were told of the mailbox.
    struct Known: Sendable {
        var uidValidity: UInt32
        var uidNext: UInt32
        var guid: [UInt8]
        var messages: MessageTable
    }

    /// All that a mailbox holds.
    struct Snapshot: Sendable {
        var uidValidity: UInt32
        var nextUID: UInt32
        var guid: [UInt8]
        var messages: MessageTable
        var keywords: Keywords
        /// UIDs given by this scan: nobody was told of them before.
        var firstNewUID: UInt32
        /// Whether a file was left out because it seemed to have a writer still.
        var hasUnfinished: Bool
        /// Why files without a UID were given none: the disk takes nothing now.
        var postponed: MaildirError?
    }

    /// Reconciles lists and directories: new files get UIDs, and lists are durable on return.
    ///
    /// Where lists cannot be written, the messages that have UIDs are served all the same.
    ///
    /// - Parameter known: nil at the first scan.
    func scan(_ lock: DotLock, _ known: Known?) throws(MaildirError) -> Snapshot {
        try refreshLists(known, creating: true)
        var (listing, match) = try survey(known)
        var postponed: MaildirError?
        var hasUnfinished = false
        var firstNewUID = list.nextUID
        do throws(MaildirError) {
            try rescueBaseless(listing)
            try resolveDuplicates(&listing, match)
            for index in match.missing(list) { uidList.list?.remove(index) }
            hasUnfinished = try assignUIDs(match, listing)
            if !keywordsFile.keywords.beyondLetters.isEmpty {
                let list = self.list
                keywordsFile.keywords.keepBeyond { list.index(of: $0.span) != nil }
            }
            try commit(lock)
        } catch {
            guard error != .stale, error != .lockLost else { throw error }
            // What is in the lists now only the files tell.
            try refreshListsOnly(known, because: error)
            (listing, match) = try survey(known)
            firstNewUID = list.nextUID
            postponed = error
        }
        return snapshot(listing, firstNewUID, hasUnfinished, postponed)
    }

    /// A scan without the lock, where none can be made: nothing is written, and who has no UID gets
    /// none.
    func look(_ known: Known?, because error: MaildirError) throws(MaildirError) -> Snapshot {
        try refreshListsOnly(known, because: error)
        let (listing, _) = try survey(known)
        return snapshot(listing, list.nextUID, false, error)
    }

    /// The files, and which record each belongs to.
    private func survey(_ known: Known?) throws(MaildirError) -> (Listing, Match) {
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
        return (listing, match)
    }

    /// A message that sessions were told is expunged and whose file came back gets a new UID: a
    /// sequence number cannot come back in the middle. Returns whether there was one.
    private func forgetReturned(_ match: Match, _ known: Known) -> Bool {
        let uids = known.messages.uids
        guard let last = uids.last, known.uidValidity == list.header.uidValidity else {
            return false
        }
        var returned: [Int] = []
        var next = 0
        for record in match.present(list) where list.uid(record) <= last {
            let uid = list.uid(record)
            while next < uids.count, uids[next] < uid { next += 1 }
            if next == uids.count || uids[next] != uid { returned.append(record) }
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

    /// - Parameter creating: whether a list that is missing, or lacks what it must have, is made.
    private func refreshLists(_ known: Known?, creating: Bool) throws(MaildirError) {
        _ = try keywordsFile.refresh(in: directory)
        _ = try uidList.refresh(in: directory)
        if let known { restore(known) }
        if uidList.list == nil { uidList.list = try courierList() }
        guard creating else {
            if let list = uidList.list, list.header.uidValidity != 0 { return }
            throw .noUIDValidity
        }
        if uidList.list == nil {
            uidList.list = UIDList(
                uidValidity: try UIDValiditySource.next(root: root, now: .now),
                guid: UIDList.newGUID()
            )
        } else if list.header.uidValidity == 0 {
            uidList.list?.header.uidValidity =
                if let known { known.uidValidity } else {
                    try UIDValiditySource.next(root: root, now: .now)
                }
        }
        if list.header.guid == nil { uidList.list?.header.guid = known?.guid ?? UIDList.newGUID() }
    }

    /// Reads the lists where nothing can be written; where there are none, that is why nothing goes.
    private func refreshListsOnly(
        _ known: Known?,
        because reason: MaildirError
    ) throws(MaildirError) {
        do throws(MaildirError) { return try refreshLists(known, creating: false) } catch {
            throw reason
        }
    }

    /// Where somebody removed or damaged the list under sessions, it is made again from what they
    /// know, and from what others have added since.
    private func restore(_ known: Known) {
        if let list = uidList.list {
            let isDamaged = list.damage.isHeaderDamaged || list.damage.brokenLines > 0
            let isSame = [0, known.uidValidity].contains(list.header.uidValidity)
            guard isDamaged, isSame else { return }
        }
        var restored = UIDList(uidValidity: known.uidValidity, guid: known.guid)
        func add(_ uid: UInt32, _ base: Span<UInt8>) {
            restored.raiseNextUID(to: uid)
            // What cannot be listed, or is twice, gets a new UID by the scan.
            if restored.nextUID == uid { _ = try? restored.add(base) }
        }
        for row in 0..<known.messages.count {
            add(known.messages.uids[row], known.messages.base(row).span)
        }
        restored.raiseNextUID(to: known.uidNext)
        if let list = uidList.list {
            for record in 0..<list.recordCount where list.isLive(record) {
                add(list.uid(record), list.baseName(record))
            }
            restored.raiseNextUID(to: list.nextUID)
        }
        uidList.list = restored
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
        if uidList.isCommitDue { try uidList.commit(lock) }
    }

    /// Returns whether a file was left out because it seemed to have a writer still: its closing is
    /// an event, or it is looked at again.
    private func assignUIDs(_ match: Match, _ listing: Listing) throws(MaildirError) -> Bool {
        var hasUnfinished = false
        var bases: [[UInt8]] = []
        bases.reserveCapacity(match.fresh.count)
        for index in match.fresh {
            switch completeness(listing.location(index)) {
            case .written, .unknown: hasUnfinished = true
            case .complete: bases.append(listing.base(index))
            // Renamed since it was listed, or gone: the next look tells.
            case .gone: hasUnfinished = true
            }
        }
        for base in MessageName.sortedByArrival(bases) where list.index(of: base.span) == nil {
            try assignUID(base)
        }
        return hasUnfinished
    }

    /// A name that no list can carry is not served, and hides no other message.
    @discardableResult
    private func assignUID(_ base: [UInt8]) throws(MaildirError) -> UInt32? {
        do throws(UIDListError) { return try uidList.list?.add(base.span) } catch {
            guard error == .unlistableName else { throw .uidList(error) }
            Log.warning("event=unlistable-name path=\(directory.child(base).quotedForLog)")
            return nil
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

    /// Moves files from `new/` to `cur/`. Returns those whose place changed.
    func moveToCur(_ messages: [FoundMessage], _ lock: DotLock) -> [FoundMessage] {
        let end = Instant.now.adding(milliseconds: 4 * Limits.lockBatchMillisecondsMax)
        var moved: [FoundMessage] = []
        for message in messages where moved.isEmpty || Instant.now < end {
            var message = message
            if moveToCur(&message) { moved.append(message) }
        }
        return moved
    }

    private func moveToCur(_ message: inout FoundMessage) -> Bool {
        guard message.place == .new || message.location?.isNew == true else { return false }
        let old = message.location?.name ?? message.base
        guard let name = MessageName(old) else { return false }
        let target = name.layout.hasInfo ? old : name.with(FlagLetters())
        do throws(SystemError) {
            try move(old, from: new, to: target)
        } catch {
            // Somebody else moved or removed it: its event tells. On a read-only or full filesystem
            // it stays where it is.
            Log.debug("event=move-to-cur-failed error=\"\(error)\"")
            return false
        }
        guard let moved = MessageName(target) else { return false }
        let uid = message.uid
        message = Self.found(FileLocation(isNew: false, name: target), moved)
        message.uid = uid
        return true
    }

    /// Gives a message file a name in `cur/`, never over another message: where the name is taken by
    /// another file, that one gets a fresh name in `new/`, and a UID of its own.
    private func move(
        _ name: [UInt8],
        from source: Directory,
        to target: [UInt8]
    ) throws(SystemError) {
        do throws(SystemError) {
            return try source.renameExclusively(name, to: cur, target)
        } catch {
            guard error.code == EEXIST else { throw error }
        }
        let there = try cur.status(target)
        if there.identity == (try source.status(name)).identity {
            return try source.unlink(name)
        }
        let base = MessageName(target)?.base ?? target
        try cur.renameExclusively(target, to: new, names.next(keepingFieldsOf: base))
        try source.renameExclusively(name, to: cur, target)
    }

    private func snapshot(
        _ listing: Listing,
        _ firstNewUID: UInt32,
        _ hasUnfinished: Bool,
        _ postponed: MaildirError?
    ) -> Snapshot {
        let list = self.list
        var entryOfRecord = [Int32](repeating: -1, count: list.recordCount)
        for index in listing.entries.indices {
            if let record = list.index(of: listing.baseSpan(index)) {
                if entryOfRecord[record] < 0 { entryOfRecord[record] = Int32(index) }
            }
        }
        let keywords = keywordsFile.keywords
        var messages = MessageTable()
        // What a failed write left in the file is not for sure on the disk: nobody is told.
        let end = min(list.nextUID, uidList.doubtfulFrom ?? .max)
        for record in 0..<list.recordCount where entryOfRecord[record] >= 0 && list.isLive(record) {
            if list.uid(record) >= end { break }
            let message = listing.message(Int(entryOfRecord[record]), uid: list.uid(record))
            messages.append(message, modseq: 0)
            let beyond = keywords.beyond(message.base)
            if !beyond.isEmpty { messages.beyond[message.uid] = beyond }
        }
        return Snapshot(
            uidValidity: list.header.uidValidity,
            nextUID: end,
            guid: list.header.guid ?? [],
            messages: messages,
            keywords: keywords,
            firstNewUID: firstNewUID,
            hasUnfinished: hasUnfinished,
            postponed: postponed
        )
    }

    // MARK: Admission

    /// A message of ours on its way in: a file in `tmp/`, complete and synced.
    struct Admission: Sendable {
        var name: [UInt8]
        var base: [UInt8]
        var flags: FlagLetters.Known
        var keywords: [[UInt8]]
    }

    struct AdmissionRequest: Sendable {
        /// What others put into `new/` or `cur/`.
        var found: [FileLocation]
        /// What we bring: of each group all or none.
        var groups: [[Admission]]
        /// Of the list that the mailbox is known to have.
        var uidValidity: UInt32
        /// The last message that sessions know.
        var lastUID: UInt32
        var movesNew: Bool
        var lettersInUse: FlagLetters.Known

        var isEmpty: Bool { found.isEmpty && groups.isEmpty }
    }

    struct Admitted: Sendable {
        var message: FoundMessage
        var beyond: [Int] = []
    }

    struct AdmissionResult: Sendable {
        /// False where the list is missing or another one: nothing was done.
        var isDone = false
        var found: [Admitted] = []
        /// Base names of files that went away before they had a UID, or can have none.
        var vanished: [[UInt8]] = []
        var groups: [Result<[Admitted], StoreError>] = []
        var nextUID: UInt32 = 1
        var keywords = Keywords()
        /// Another program gave out UIDs meanwhile, to messages that are not among these.
        var needsScan = false
    }

    /// Gives messages their UIDs, all with one sync of the list. Durable on return.
    func admit(_ request: AdmissionRequest, _ lock: DotLock) throws(MaildirError) -> AdmissionResult
    {
        var result = AdmissionResult()
        let knownCount = uidList.list?.recordCount
        let refresh = try uidList.refresh(in: directory)
        guard let header = uidList.list?.header, header.uidValidity == request.uidValidity,
            header.guid != nil
        else { return result }
        _ = try keywordsFile.refresh(in: directory)

        try admitFound(request, &result)
        result.needsScan =
            result.needsScan || hasForeign(refresh, knownCount, among: result.found)
        try admitGroups(request, &result, lock)
        if request.movesNew {
            for index in result.found.indices { _ = moveToCur(&result.found[index].message) }
        }
        result.isDone = true
        result.nextUID = list.nextUID
        result.keywords = keywordsFile.keywords
        return result
    }

    /// Whether the list has records that are new to us and name none of these messages.
    private func hasForeign(
        _ refresh: UIDListFile.Refresh,
        _ knownCount: Int?,
        among found: [Admitted]
    ) -> Bool {
        switch refresh {
        case .unchanged: return false
        case .replaced, .missing: return true
        case .grown(let growth):
            guard growth.superseded.isEmpty, growth.firstIndex == knownCount else { return true }
            let uids = Set(found.map(\.message.uid))
            return (growth.firstIndex..<list.recordCount).contains { record in
                list.isLive(record) && !uids.contains(list.uid(record))
            }
        }
    }

    /// Files that others delivered, in the order of their coming. They have records afterwards.
    private func admitFound(
        _ request: AdmissionRequest,
        _ result: inout AdmissionResult
    ) throws(MaildirError) {
        for location in request.found {
            guard let name = MessageName(location.name) else { continue }
            guard (try? (location.isNew ? new : cur).status(location.name)) != nil else {
                result.vanished.append(name.base)
                continue
            }
            var message = Self.found(location, name)
            if let record = list.index(of: message.base.span) {
                message.uid = list.uid(record)
                // A message that was told as expunged would come back in the middle.
                if message.uid <= request.lastUID { result.needsScan = true }
            } else if let uid = try assignUID(message.base) {
                message.uid = uid
            } else {
                result.vanished.append(name.base)
                continue
            }
            result.found.append(Admitted(message: message))
        }
    }

    private func admitGroups(
        _ request: AdmissionRequest,
        _ result: inout AdmissionResult,
        _ lock: DotLock
    ) throws(MaildirError) {
        // Meanings of letters reach the disk before any name that carries them.
        let meanings = request.groups.map { group in
            group.map { allocate($0, request.lettersInUse) }
        }
        try keywordsFile.commit(lock)
        var moved: [(name: [UInt8], staged: [UInt8])] = []
        do throws(MaildirError) {
            for (group, meanings) in zip(request.groups, meanings) {
                result.groups.append(place(group, meanings, &moved))
            }
            for index in result.groups.indices {
                guard case .success(var group) = result.groups[index] else { continue }
                for entry in group.indices {
                    guard let uid = try assignUID(group[entry].message.base) else {
                        throw .uidList(.unlistableName)
                    }
                    group[entry].message.uid = uid
                }
                result.groups[index] = .success(group)
            }
            try commit(lock)
            if !moved.isEmpty {
                try system { () throws(SystemError) in try cur.sync() }
            }
        } catch {
            // Not acknowledged: a client will send it again, so it must not be there as well.
            withdraw(moved[...])
            throw error
        }
    }

    /// Puts files back into `tmp/`, from where they are tried again or removed.
    private func withdraw(_ moved: ArraySlice<(name: [UInt8], staged: [UInt8])>) {
        for (name, staged) in moved {
            do throws(SystemError) { try cur.rename(name, to: tmp, staged) } catch {
                try? cur.unlink(name)
            }
        }
    }

    /// Puts a group's files into `cur/`, all or none.
    private func place(
        _ group: [Admission],
        _ meanings: [(flags: FlagLetters.Known, beyond: [Int])?],
        _ moved: inout [(name: [UInt8], staged: [UInt8])]
    ) -> Result<[Admitted], StoreError> {
        var admitted: [Admitted] = []
        let first = moved.count
        for (item, meaning) in zip(group, meanings) {
            guard let meaning else { return refuse(.tooManyKeywords, first, &moved) }
            var buffer = ByteBuffer(item.base)
            FlagLetters(meaning.flags).write(to: &buffer)
            do throws(SystemError) {
                try tmp.renameExclusively(item.name, to: cur, buffer.bytes)
            } catch {
                return refuse(StoreError(error), first, &moved)
            }
            moved.append((buffer.bytes, item.name))
            let message = FoundMessage(
                uid: 0,
                base: item.base,
                flags: meaning.flags,
                place: .cur,
                location: nil
            )
            admitted.append(Admitted(message: message, beyond: meaning.beyond))
        }
        return .success(admitted)
    }

    private func refuse(
        _ error: StoreError,
        _ first: Int,
        _ moved: inout [(name: [UInt8], staged: [UInt8])]
    ) -> Result<[Admitted], StoreError> {
        withdraw(moved[first...])
        moved.removeSubrange(first...)
        return .failure(error)
    }

    /// Nil where there are too many keywords.
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
        if !beyond.isEmpty { keywordsFile.keywords.setBeyond(item.base, beyond) }
        return (flags, beyond.sorted())
    }

    /// The row of a file, without its UID.
    static func found(_ location: FileLocation, _ name: MessageName) -> FoundMessage {
        let flags = name.flags
        let isRegular =
            location.isNew
            ? !name.layout.hasInfo
            : flags.rest.isEmpty && name.layout.baseCount == name.layout.stemCount
                && location.name == name.with(flags)
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
                let moved = FileLocation(isNew: false, name: target)
                guard let newName = MessageName(target) else { return .gone }
                var message = Self.found(moved, newName)
                message.uid = change.uid
                return .done(message)
            } catch {
                guard error.isMissing else { return .refused(StoreError(error)) }
            }
            do throws(MaildirError) {
                if present == nil || attempt > 0 { present = try locations() }
            } catch {
                return .refused(StoreError(error))
            }
            guard let found = present?[change.base] else { return .gone }
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
    func remove(
        _ removals: ArraySlice<Removal>,
        _ lock: DotLock
    ) -> [Result<[UInt8]?, StoreError>] {
        let end = Instant.now.adding(milliseconds: Limits.lockBatchMillisecondsMax)
        var results: [Result<[UInt8]?, StoreError>] = []
        var present: [[UInt8]: FileLocation]?
        for removal in removals.prefix(Limits.lockBatchMax) {
            if !results.isEmpty, Instant.now > end { break }
            results.append(remove(removal, &present))
            if case .success = results[results.count - 1],
                let record = uidList.list?.index(of: removal.base.span)
            {
                uidList.list?.remove(record)
            }
        }
        // A record without a file does no harm: mail can be removed from a full disk.
        do throws(MaildirError) { try compactList(lock) } catch {
            Log.warning("event=uidlist-not-compacted error=\"\(error)\"")
        }
        return results
    }

    private func compactList(_ lock: DotLock) throws(MaildirError) {
        guard uidList.list?.needsRewrite == true else { return }
        _ = try uidList.refresh(in: directory)
        if uidList.isCommitDue { try uidList.commit(lock) }
    }

    private func remove(
        _ removal: Removal,
        _ present: inout [[UInt8]: FileLocation]?
    ) -> Result<[UInt8]?, StoreError> {
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
