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
//  1. write it in tmp/, fsync              crash here: a file in tmp/, removed after 36 hours
//  2. take the lock, refresh the list
//  3. rename into cur/; a copy is a link   crash here: the message is there without a UID, which the
//     made there, and has no step 1        next scan gives it; it was not acknowledged
//  4. append the record, fdatasync         crash here: the same, or the record is there as well
//  5. fsync cur/                           after it: a power cut loses neither name nor UID
//
//  Only then is the UID announced. All messages that wait take the steps together: the files are
//  written, then synced one behind the other, and one sync of the list and one of cur/ serve all.
//  Where a step fails, what was renamed goes back to tmp/, and what was linked goes. A copy of many
//  messages takes the steps in batches; when a later batch fails, the earlier ones are expunged. Mail
//  that others deliver into new/ takes steps 2 and 4, and is then renamed to cur/ for a session that
//  has the mailbox open for writing.
//
//  A move is a copy and then an expunge, not one rename: a filesystem without a journal can lose a
//  rename from one directory into another between the two.
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
    let names: NameSource
    let quota: Quota
    var uidList = UIDListFile()
    var keywordsFile = KeywordsFile()
    let root: Directory
    private var lockFile: LockFile?
    /// What sessions know, while a job runs.
    var rows: Rows?

    static let expungedPrefix = [UInt8]("martlet-expunged.")

    /// Opens the three subdirectories, making those that are missing.
    init(
        _ directory: Directory,
        root: Directory,
        names: NameSource,
        quota: Quota
    ) throws(SystemError) {
        self.directory = directory
        self.root = root
        self.names = names
        self.quota = quota
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

    /// The file that becomes the lock of this mailbox, time and again.
    func lockFile(of owner: DotLock.Owner) -> LockFile {
        if let lockFile { return lockFile }
        let file = LockFile(in: tmp, of: owner)
        lockFile = file
        return file
    }

    // MARK: Scan

    /// What sessions were told of the mailbox.
    struct Known: Sendable {
        var uidValidity: UInt32
        var uidNext: UInt32
        var guid: [UInt8]
        var messages: MessageTable
    }

    /// How far UIDs were given when the summary was written.
    struct Given: Sendable {
        var uidValidity: UInt32
        var uidNext: UInt32

        init(_ uidValidity: UInt32, _ uidNext: UInt32) {
            self.uidValidity = uidValidity
            self.uidNext = uidNext
        }
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
    /// - Parameters:
    ///   - known: nil at the first scan.
    ///   - given: at the first scan, what the index knows.
    func scan(
        _ lock: DotLock,
        _ known: Known?,
        _ given: Given? = nil
    ) throws(MaildirError) -> Snapshot {
        try refreshLists(known, creating: true)
        // An older list came back while nobody looked: what was given is not given again.
        if let given, list.header.uidValidity == given.uidValidity, list.nextUID < given.uidNext {
            uidList.list?.raiseNextUID(to: given.uidNext)
        }
        var (listing, match) = try survey(known)
        var postponed: MaildirError?
        var hasUnfinished = false
        var firstNewUID = list.nextUID
        var rows: [(uid: UInt32, entry: Int32)] = []
        do throws(MaildirError) {
            try rescueBaseless(listing)
            try resolveDuplicates(&listing, match)
            for index in match.missing(list) { uidList.list?.remove(index) }
            hasUnfinished = try assignUIDs(&match, listing)
            // A rewrite of the list gives its records other indexes.
            rows = match.rows(list)
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
            rows = match.rows(list)
            firstNewUID = list.nextUID
            postponed = error
        }
        return snapshot(listing, rows, firstNewUID, hasUnfinished, postponed)
    }

    /// A scan without the lock, where none can be made: nothing is written, and who has no UID gets
    /// none.
    func look(_ known: Known?, because error: MaildirError) throws(MaildirError) -> Snapshot {
        try refreshListsOnly(known, because: error)
        let (listing, match) = try survey(known)
        return snapshot(listing, match.rows(list), list.nextUID, false, error)
    }

    /// The files, and which record each belongs to.
    func survey(_ known: Known?) throws(MaildirError) -> (Listing, Match) {
        var listing = try Listing(new: new, cur: cur, capacity: list.liveCount)
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
    func forgetReturned(_ match: Match, _ known: Known) -> Bool {
        let uids = known.messages.uids
        guard known.uidValidity == list.header.uidValidity else { return false }
        var returned: [Int] = []
        var next = 0
        for record in match.present(list) where list.uid(record) < known.uidNext {
            let uid = list.uid(record)
            while next < uids.count, uids[next] < uid { next += 1 }
            if next == uids.count || uids[next] != uid { returned.append(record) }
        }
        for record in returned { uidList.list?.remove(record) }
        return !returned.isEmpty
    }

    var list: UIDList {
        guard let list = uidList.list else { preconditionFailure("the uidlist was not read") }
        return list
    }

    func stamps() throws(MaildirError) -> [WallTime] {
        try system { () throws(SystemError) in
            [try new.status().changed, try cur.status().changed]
        }
    }

    /// - Parameter creating: whether a list that is missing, or lacks what it must have, is made.
    func refreshLists(_ known: Known?, creating: Bool) throws(MaildirError) {
        _ = try keywordsFile.refresh(in: directory)
        _ = try uidList.refresh(in: directory)
        if let known {
            restore(known)
            // An older list came back under us: what was given is not given again.
            if let list = uidList.list, list.header.uidValidity == known.uidValidity,
                list.nextUID < known.uidNext
            {
                uidList.list?.raiseNextUID(to: known.uidNext)
            }
        }
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
    func refreshListsOnly(
        _ known: Known?,
        because reason: MaildirError
    ) throws(MaildirError) {
        do throws(MaildirError) { return try refreshLists(known, creating: false) } catch {
            throw reason
        }
    }

    /// Where somebody removed or damaged the list under sessions, it is made again from what they
    /// know, and from what others have added since.
    func restore(_ known: Known) {
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
    func courierList() throws(MaildirError) -> UIDList? {
        guard
            let file = try? directory.readFile(
                CourierFiles.uidList,
                max: Maildir.Limits.uidListBytesMax
            )
        else { return nil }
        do throws(UIDListError) { return try UIDList(file: file) } catch { throw .uidList(error) }
    }

    func commit(_ lock: DotLock) throws(MaildirError) {
        try keywordsFile.commit(lock)
        if uidList.isCommitDue { try uidList.commit(lock) }
    }

    /// Returns whether a file was left out because it seemed to have a writer still: its closing is
    /// an event, or it is looked at again.
    func assignUIDs(_ match: inout Match, _ listing: Listing) throws(MaildirError) -> Bool {
        if match.fresh.isEmpty { return false }
        var hasUnfinished = false
        var entries: [[UInt8]: Int] = [:]
        for index in match.fresh {
            switch completeness(listing.location(index)) {
            case .written, .unknown: hasUnfinished = true
            case .complete:
                let base = listing.base(index)
                if entries[base] == nil { entries[base] = index }
            // Renamed since it was listed, or gone: the next look tells.
            case .gone: hasUnfinished = true
            }
        }
        for base in MessageName.sortedByArrival(Array(entries.keys)) {
            guard list.index(of: base.span) == nil, try assignUID(base) != nil,
                let entry = entries[base]
            else { continue }
            match.assign(entry, list.recordCount - 1)
        }
        return hasUnfinished
    }

    /// A name that no list can carry is not served, and hides no other message.
    @discardableResult
    func assignUID(_ base: [UInt8]) throws(MaildirError) -> UInt32? {
        do throws(UIDListError) { return try uidList.list?.add(base.span) } catch {
            guard error == .unlistableName else { throw .uidList(error) }
            Log.warning("event=unlistable-name path=\(directory.child(base).quotedForLog)")
            return nil
        }
    }

    /// Files whose name has no base get one, in new/; the next scan or event finds them.
    func rescueBaseless(_ listing: Listing) throws(MaildirError) {
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
    func resolveDuplicates(_ listing: inout Listing, _ match: Match) throws(MaildirError) {
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

    /// What a batch of moves came to.
    struct Moves: Sendable {
        /// The messages whose place changed.
        var moved: [FoundMessage] = []
        /// The last one that was tried: a slow disk leaves the others to the next batch.
        var lastUID: UInt32 = 0
    }

    /// Moves files from `new/` to `cur/`, until there was enough time for one batch.
    func moveToCur(_ messages: [FoundMessage], _ lock: DotLock) -> Moves {
        let end = Instant.now.adding(milliseconds: 4 * Limits.lockBatchMillisecondsMax)
        var moves = Moves()
        for message in messages where moves.moved.isEmpty || Instant.now < end {
            var message = message
            moves.lastUID = message.uid
            if moveToCur(&message) { moves.moved.append(message) }
        }
        return moves
    }

    func moveToCur(_ message: inout FoundMessage) -> Bool {
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
    func move(
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

    func snapshot(
        _ listing: Listing,
        _ rows: [(uid: UInt32, entry: Int32)],
        _ firstNewUID: UInt32,
        _ hasUnfinished: Bool,
        _ postponed: MaildirError?
    ) -> Snapshot {
        let header = list.header
        let keywords = keywordsFile.keywords
        let hasBeyond = !keywords.beyondLetters.isEmpty
        var messages = MessageTable()
        messages.reserve(rows.count)
        // What a failed write left in the file is not for sure on the disk: nobody is told.
        let end = min(list.nextUID, uidList.doubtfulFrom ?? .max)
        for (uid, number) in rows {
            if uid >= end { break }
            let index = Int(number)
            let entry = listing.entries[index]
            let place: Place = entry.isRegular ? (entry.isNew ? .new : .cur) : .irregular
            messages.append(
                uid: uid,
                flags: FlagLetters.Known(rawValue: entry.flags),
                place: place,
                isLink: entry.isLink,
                base: listing.baseSpan(index),
                location: place == .irregular ? listing.location(index) : nil,
                modseq: 0
            )
            if hasBeyond {
                let beyond = keywords.beyond(listing.base(index))
                if !beyond.isEmpty { messages.beyond[uid] = beyond }
            }
        }
        // Here it keeps nobody waiting; on the loop it would.
        messages.indexNames()
        return Snapshot(
            uidValidity: header.uidValidity,
            nextUID: end,
            guid: header.guid ?? [],
            messages: messages,
            keywords: keywords,
            firstNewUID: firstNewUID,
            hasUnfinished: hasUnfinished,
            postponed: postponed
        )
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

    /// Removes what sessions of an earlier process still numbered, and what was left in `tmp/` for
    /// 36 hours. Only one process serves the Maildir, so the first kind belongs to nobody.
    func cleanUp() throws(SystemError) {
        let now = WallTime.now.seconds
        for name in try tmp.names() {
            if name.starts(with: Self.expungedPrefix) || name.starts(with: LockFile.prefix) {
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
