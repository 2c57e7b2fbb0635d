import Bytes
import CLMDB
import Glibc
package import Posix
import Synchronization

//  The cache of one Maildir
//
//  On disk, in a directory of its own below `cache_directory`:
//
//      index       an LMDB file; keys are in IndexKey.swift, each value begins with a checksum
//      state       `martlet-index 1`, then `clean` or `open <boot id>`
//
//  Nothing here is mail, and nothing here is needed: whoever finds no record reads the Maildir. So
//  whatever is wrong with the file, the answer is the same: it is removed and made again, or gone
//  without, with one line in the log.
//
//  Who writes: one process. It holds a lock (flock) on the directory.
//
//  What a crash leaves: LMDB commits by its last write, so that a process that dies leaves the state
//  before or after a transaction. Nothing is synced, so that a machine that dies leaves anything. Before
//  the first write of a process `state` says `open` with the id of this boot, durably; a process that
//  ends well syncs the index, then says `clean`. An index that is open since another boot is removed.
//
//  What somebody else can do to the file: CLMDB catches what a broken file does to LMDB. A record whose
//  checksum is wrong, or a fault, ends the index for this process and removes the file.

/// Which Maildir an index is of, and what tells whether it may be believed.
package struct IndexIdentity: Equatable, Sendable {
    /// The Maildir's root directory.
    package var maildir: FileIdentity
    /// Of this boot of the machine; empty where it cannot be known, and nothing that was not closed
    /// is believed then.
    package var bootID: [UInt8]

    package init(maildir: FileIdentity, bootID: [UInt8]) {
        self.maildir = maildir
        self.bootID = bootID
    }
}

/// One Maildir's cache. All calls may wait for the disk: use them in jobs.
@safe
package final class MessageIndex: Sendable {
    let directory: Directory
    let identity: IndexIdentity
    private let mapBytesMax: Int
    private let environment: Environment
    private let state: Mutex<State>

    /// Whether `state` says `open`, durably. Held while that is done.
    private let isOpen = Mutex(false)

    private struct State {
        var isDropped = false
        var isClosed = false
        var hasLoggedWrite = false
        var mapBytes = Limits.mapBytesMin
        var ages = IndexAges()
        var stamp: [UInt8] = []
        /// `stamp` as it is in the file.
        var storedStamp: [UInt8] = []
        var nextMailbox: UInt32 = 1
        var seed = UInt64.random(in: .min ... .max)
    }

    /// The C side, which has locks of its own.
    @safe
    private struct Environment: @unchecked Sendable {
        let raw: OpaquePointer
    }

    static let fileName = [UInt8]("index")
    static let stateName = [UInt8]("state")
    private static let version: UInt32 = 2

    /// Opens or makes the index in a directory, which nobody else may be able to write to.
    ///
    /// - Parameters:
    ///   - mapBytesMax: what the file may become.
    ///   - accepts: whether an index with this stamp may stay; else it is made anew.
    package init(
        directory: Directory,
        identity: IndexIdentity,
        mapBytesMax: Int = Limits.mapBytesMax,
        accepts: (_ stamp: [UInt8]) -> Bool = { _ in true }
    ) throws(IndexError) {
        self.mapBytesMax = mapBytesMax
        self.directory = directory
        self.identity = identity
        guard flock(directory.descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .inUse }
        do throws(IndexError) {
            try Self.checkOwner(directory)
            let end = Self.lastEnd(directory, identity)
            if end == .unknown { try Self.remove(directory) }
            var opened: (Environment, State)
            do throws(IndexError) { opened = try Self.open(directory, identity, accepts) } catch {
                // An older version, another Maildir, a broken file: once more, from nothing.
                if case .system = error { throw error }
                Log.warning(
                    "event=index-removed path=\(directory.path.quotedForLog) reason=\"\(error)\""
                )
                try Self.remove(directory)
                opened = try Self.open(directory, identity, { _ in true })
            }
            if end == .sudden { opened.1.ages.epoch += 1 }
            environment = opened.0
            state = Mutex(opened.1)
        } catch {
            _ = flock(directory.descriptor, LOCK_UN)
            throw error
        }
    }

    // MARK: Opening

    deinit { close(isWhole: false) }

    private static func checkOwner(_ directory: Directory) throws(IndexError) {
        let own = try system { () throws(SystemError) in try directory.status() }
        guard own.uid == geteuid(), own.permissions & 0o022 == 0 else { throw .untrusted }
        for name in [fileName, stateName] {
            guard let status = try? directory.status(name) else { continue }
            guard status.isRegular, status.uid == geteuid(), status.linkCount == 1 else {
                throw .untrusted
            }
        }
    }

    private static func remove(_ directory: Directory) throws(IndexError) {
        for name in [fileName, stateName] {
            do throws(SystemError) { try directory.unlink(name) } catch {
                if !error.isMissing { throw .system(error) }
            }
        }
    }

    /// How the process before this one ended.
    private enum End {
        case clean
        /// It died, or was killed; the machine ran on.
        case sudden
        case unknown
    }

    private static func lastEnd(_ directory: Directory, _ identity: IndexIdentity) -> End {
        guard let text = try? directory.readFile(stateName, max: Limits.stateBytesMax) else {
            return .unknown
        }
        if text == cleanText { return .clean }
        return !identity.bootID.isEmpty && text == openText(identity) ? .sudden : .unknown
    }

    private static let cleanText = [UInt8]("martlet-index 1\nclean\n")
    private static func openText(_ identity: IndexIdentity) -> [UInt8] {
        [UInt8]("martlet-index 1\nopen ") + identity.bootID + [.lf]
    }

    private static func open(
        _ directory: Directory,
        _ identity: IndexIdentity,
        _ accepts: (_ stamp: [UInt8]) -> Bool
    ) throws(IndexError) -> (Environment, State) {
        var state = State()
        if let status = try? directory.status(fileName) {
            while state.mapBytes < Limits.mapBytesMax, state.mapBytes < 2 * status.size {
                state.mapBytes *= 2
            }
        }
        var result: OpaquePointer?
        let mapBytes = state.mapBytes
        let code = try system { () throws(SystemError) in
            try unsafe withPath(directory.child(fileName)) { path throws(SystemError) in
                unsafe martlet_lmdb_open(path, mapBytes, &result)
            }
        }
        guard code == 0, let raw = unsafe result else { throw IndexError(code: code) }
        let environment = unsafe Environment(raw: raw)
        do throws(IndexError) {
            try readIdentity(environment, identity, &state)
            if !state.stamp.isEmpty, !accepts(state.stamp) { throw .foreign }
        } catch {
            unsafe martlet_lmdb_close(raw, 0)
            throw error
        }
        return (environment, state)
    }

    private static func readIdentity(
        _ environment: Environment,
        _ identity: IndexIdentity,
        _ state: inout State
    ) throws(IndexError) {
        let transaction = unsafe try IndexTransaction(unsafe environment.raw, writes: false)
        var record = RecordReader()
        let isThere = try transaction.read(IndexKey(.environment)) { bytes in
            record = RecordReader(bytes)
        }
        // An empty file, just made.
        guard isThere else { return }
        guard record.uint32() == version, record.uint64() == identity.maildir.device,
            record.uint64() == identity.maildir.inode
        else { throw .inconsistent }
        state.ages = IndexAges(&record)
        state.nextMailbox = record.uint32()
        state.seed = record.uint64()
        state.stamp = record.data()
        state.storedStamp = state.stamp
        guard record.isAtEnd, state.nextMailbox > 0, state.ages.arePlausible else {
            throw .inconsistent
        }
    }

    private var identityRecord: (bytes: [UInt8], stamp: [UInt8]) {
        let (ages, next, seed, stamp) = state.withLock {
            ($0.ages, $0.nextMailbox, $0.seed, $0.stamp)
        }
        var record = RecordWriter()
        record.append(Self.version)
        record.append(identity.maildir.device)
        record.append(identity.maildir.inode)
        ages.write(to: &record)
        record.append(next)
        record.append(seed)
        record.append(stamp)
        return (record.bytes, stamp)
    }

    // MARK: The end

    /// Syncs and closes. Afterwards every call finds nothing.
    ///
    /// - Parameter isWhole: whether all that clients were told has been written; if not, the next
    ///   process finds what a crash leaves.
    package func close(isWhole: Bool = true) {
        // Who only looked leaves the file as the last process's: to be believed it needs today's stamp.
        if isWhole, isUsable, state.withLock({ $0.stamp != $0.storedStamp }) {
            try? write { _ throws(IndexError) in }
        }
        let wasClosed = state.withLock { state in
            defer { state.isClosed = true }
            return state.isClosed
        }
        if wasClosed { return }
        isOpen.withLock { isOpen in
            // Where it was dropped, the C side says so, and there is nothing to call clean.
            let code = unsafe martlet_lmdb_close(environment.raw, isOpen ? 1 : 0)
            if isOpen, isWhole, code == 0, !isDropped { try? store(Self.cleanText) }
        }
        _ = flock(directory.descriptor, LOCK_UN)
    }

    private func store(_ text: [UInt8]) throws(SystemError) {
        try directory.replaceFile(
            Self.stateName,
            via: Self.stateName + [UInt8](".tmp"),
            with: text,
            mode: 0o600
        )
    }

    /// Whether there is still something to ask.
    package var isUsable: Bool { state.withLock { !$0.isDropped && !$0.isClosed } }
    private var isDropped: Bool { state.withLock { $0.isDropped } }

    // MARK: What may be believed

    package var ages: IndexAges { state.withLock { $0.ages } }

    /// What the store wrote down to know this cache again (`CacheStamp`); empty for none.
    package var stamp: [UInt8] { state.withLock { $0.stamp } }

    /// Of hashes that the index keeps; it goes when they go. Nobody who sends mail knows it.
    package var seed: UInt64 { state.withLock { $0.seed } }

    /// Goes to the disk with the next write.
    package func setStamp(_ stamp: [UInt8]) { state.withLock { $0.stamp = stamp } }

    /// From now on nothing of what is there is believed but what follows from a message's content.
    package func beginEra(isRestored: Bool) {
        state.withLock { state in
            state.ages.era += 1
            if isRestored { state.ages.restoredEra = state.ages.era }
        }
    }

    // MARK: Transactions

    /// A look at the records.
    func read<Result>(
        _ body: (borrowing IndexTransaction) throws(IndexError) -> Result
    ) throws(IndexError) -> Result {
        do throws(IndexError) {
            let transaction = unsafe try IndexTransaction(unsafe environment.raw, writes: false)
            return try body(transaction)
        } catch {
            note(error)
            throw error
        }
    }

    /// A change of the records: all of it or nothing. `body` is run again after the map has grown.
    func write(
        _ body: (borrowing IndexTransaction) throws(IndexError) -> Void
    ) throws(IndexError) {
        do throws(IndexError) {
            try markOpen()
            while true {
                do throws(IndexError) {
                    let transaction = unsafe try IndexTransaction(
                        unsafe environment.raw,
                        writes: true
                    )
                    let (record, stamp) = identityRecord
                    try transaction.write(IndexKey(.environment), record.span)
                    try body(transaction)
                    try transaction.commit()
                    state.withLock { $0.storedStamp = stamp }
                    break
                } catch {
                    guard error == .isFull else { throw error }
                    try grow()
                }
            }
            state.withLock { $0.hasLoggedWrite = false }
        } catch {
            note(error)
            throw error
        }
    }

    /// Before the first write: what is not synced must not be believed after another boot.
    private func markOpen() throws(IndexError) {
        var failure: IndexError?
        isOpen.withLock { isOpen in
            guard !isOpen else { return }
            do throws(SystemError) {
                try store(Self.openText(identity))
                isOpen = true
            } catch {
                failure = .system(error)
            }
        }
        if let failure { throw failure }
    }

    private func grow() throws(IndexError) {
        let mapBytes = state.withLock { state in
            state.mapBytes *= 2
            return state.mapBytes
        }
        guard mapBytes <= mapBytesMax else {
            state.withLock { $0.mapBytes /= 2 }
            throw .isFull
        }
        let code = unsafe martlet_lmdb_grow(environment.raw, mapBytes)
        guard code == 0 else { throw IndexError(code: code) }
    }

    /// Gives back the memory that the file's map holds: a process that waits keeps none of it. The next
    /// transaction finds it in the file again.
    package func rest() {
        guard isUsable else { return }
        let code = unsafe martlet_lmdb_rest(environment.raw)
        if code != 0 { note(IndexError(code: code)) }
    }

    /// What becomes of the index after a failure: a file that does not hold what was put into it is
    /// removed; a disk that takes nothing now is left alone.
    private func note(_ error: IndexError) {
        switch error {
        case .isFull, .unfinished: return
        case .system:
            let isFirst = state.withLock { state in
                defer { state.hasLoggedWrite = true }
                return !state.hasLoggedWrite
            }
            guard isFirst else { return }
            Log.warning(
                "event=index-not-written path=\(directory.path.quotedForLog) reason=\"\(error)\""
            )
        default:
            let isFirst = state.withLock { state in
                defer { state.isDropped = true }
                return !state.isDropped && !state.isClosed
            }
            guard isFirst else { return }
            Log.warning(
                "event=index-removed path=\(directory.path.quotedForLog) reason=\"\(error)\""
            )
            try? Self.remove(directory)
        }
    }

    /// The newest modseq of any summary.
    package func largestModseq() -> UInt64 {
        var largest: UInt64 = 0
        try? read { transaction throws(IndexError) in
            var next = IndexKey(.header, mailbox: 0)
            let end = IndexKey.end(.header, mailbox: .max)
            while true {
                var found: IndexKey?
                try transaction.readFirst(from: next, below: end) { key, bytes throws(IndexError) in
                    found = key
                    largest = max(largest, try SummaryHeader(bytes).highestModseq)
                }
                guard let found, found.mailbox < .max else { break }
                next = IndexKey(.header, mailbox: found.mailbox + 1)
            }
        }
        return largest
    }

    // MARK: Mailboxes

    /// The records of one mailbox. Those of another UIDVALIDITY are dropped.
    ///
    /// - Parameters:
    ///   - guid: the 16 bytes that `G` of the uidlist names.
    ///   - directory: the mailbox's own: a copy that somebody made of it has the same GUID.
    package func mailbox(
        id guid: [UInt8],
        directory: FileIdentity,
        uidValidity: UInt32
    ) throws(IndexError) -> MailboxIndex {
        let key = IndexKey(mailbox: guid, directory)
        var known: MailboxRecord?
        try read { transaction throws(IndexError) in known = try .init(transaction, key) }
        let today = UInt32(clamping: WallTime.now.seconds / 86_400)
        if let known, known.uidValidity == uidValidity {
            if known.day != today {
                var record = known
                record.day = today
                // It is found all the same where this cannot be written.
                try? write { transaction throws(IndexError) in try record.write(transaction, key) }
            }
            return MailboxIndex(self, known.number)
        }
        if let known { try remove(known.number) }
        let record = MailboxRecord(
            number: state.withLock { state in
                defer { state.nextMailbox += 1 }
                return state.nextMailbox
            },
            uidValidity: uidValidity,
            day: today
        )
        try write { transaction throws(IndexError) in try record.write(transaction, key) }
        return MailboxIndex(self, record.number)
    }

    /// The header of a mailbox's summary, without its history; nil where there is none.
    package func header(
        id guid: [UInt8],
        directory: FileIdentity,
        uidValidity: UInt32
    ) -> SummaryHeader? {
        let key = IndexKey(mailbox: guid, directory)
        let known = try? read { transaction throws(IndexError) in
            try MailboxRecord(transaction, key)
        }
        guard let known, known.uidValidity == uidValidity else { return nil }
        return MailboxIndex(self, known.number).readHeader()
    }

    private struct MailboxRecord {
        var number: UInt32
        var uidValidity: UInt32
        /// Days since 1970, when it was last asked for.
        var day: UInt32

        init(number: UInt32, uidValidity: UInt32, day: UInt32) {
            self.number = number
            self.uidValidity = uidValidity
            self.day = day
        }

        init?(_ transaction: borrowing IndexTransaction, _ key: IndexKey) throws(IndexError) {
            var record = RecordReader()
            let isThere = try transaction.read(key) { record = RecordReader($0) }
            guard isThere else { return nil }
            number = record.uint32()
            uidValidity = record.uint32()
            day = record.uint32()
            guard record.isAtEnd, number > 0 else { throw .inconsistent }
        }

        func write(
            _ transaction: borrowing IndexTransaction,
            _ key: IndexKey
        ) throws(IndexError) {
            var record = RecordWriter()
            record.append(number)
            record.append(uidValidity)
            record.append(day)
            try transaction.write(key, record.bytes.span)
        }
    }

    /// Removes all that is known of a mailbox, in batches; the summary last, since who finds none
    /// cannot tell whether the rest is of other messages.
    func remove(_ number: UInt32) throws(IndexError) {
        try remove(number, [.detail, .column])
        try removeSummary(number)
    }

    func removeSummary(_ number: UInt32) throws(IndexError) {
        try remove(number, [.header, .extra, .state, .fixed])
    }

    private func remove(_ number: UInt32, _ kinds: [IndexKey.Kind]) throws(IndexError) {
        for kind in kinds {
            let first = IndexKey(kind, mailbox: number)
            let end = IndexKey.end(kind, mailbox: number)
            var count = Limits.removalBatch
            while count == Limits.removalBatch {
                try write { transaction throws(IndexError) in
                    count = try transaction.remove(first, end, Limits.removalBatch)
                }
            }
        }
    }
}

func system<Result>(_ body: () throws(SystemError) -> Result) throws(IndexError) -> Result {
    do throws(SystemError) { return try body() } catch { throw .system(error) }
}
