import Bytes

//  dovecot-uidlist: which message has which UID
//
//  On disk, one per mailbox, beside `cur/`:
//
//      3 V<uidvalidity> N<uidnext> G<32 hex digits> …        header
//      <uid> <KEY><value> … :<base name>                     one record per line, UIDs ascending
//
//  Version 1 (Dovecot before 1.1, and Courier's courierimapuiddb) has `1 <uidvalidity> <uidnext>` and
//  `<uid> <base name>`. We read both and write version 3.
//
//  Who writes: Dovecot and we, only while holding `dovecot-uidlist.lock`. Bytes that are in the file
//  never change: it grows by whole records, or another file is renamed over it. So reading needs no
//  lock, what has been read stays true, and after growth only the tail is read. A last line without
//  LF is being written by another process, or was left by one that died: a reader leaves it, and who
//  holds the lock rewrites the file, since nobody can still be writing.
//
//  What a crash leaves: an append can leave some whole records and one partial line. Their UIDs were
//  not announced, and each is the UID of the file it names, so they may stay. A rewrite leaves the
//  old file or the new one (`UIDListFile`).
//
//  Damage is not answered by giving every message a new UID, which would make clients load all mail
//  again. A line that cannot be read costs its own message its UID and no other. Where UIDs do not
//  ascend, the longest ascending run of records stays. Only without a UIDVALIDITY is all lost.
//
//  In memory the list *is* the file: `arena` holds its bytes, and a record is 12 bytes that point into
//  them. 100,000 records: 7 MB, as the file, + 1.2 MB + 2 MB of hash table, four allocations. Between
//  jobs only its end is kept (`UIDList+Rest`).

/// The UIDs of one mailbox, as its uidlist tells them.
package struct UIDList: Sendable {
    package var header: Header

    /// The UID that the next new message gets. Never sinks within one UIDVALIDITY.
    package internal(set) var nextUID: UInt32

    /// What was wrong with the file. Anything but nothing makes a rewrite due.
    package internal(set) var damage: Damage

    /// The file's version: 3, or 1 before its first rewrite.
    package internal(set) var version: UInt8

    /// Whether a line without its LF followed what was read.
    package internal(set) var hasPartialLine: Bool

    /// The complete lines of the file, then those added since and not yet written.
    var arena: [UInt8]

    /// How many bytes of `arena` are known to be in the file.
    var syncedCount: Int

    /// The header as the file has it, and what its records and header tell of UIDNEXT. Nil for a list
    /// that is in no file yet.
    var fileHeader: Header?
    var fileNextUID: UInt32

    var records: [Record]
    var table: NameTable

    /// What of the file is not held, where the list is at rest.
    var omitted = Omitted()

    /// Records that still name a message.
    package internal(set) var liveCount: Int

    package struct Header: Hashable, Sendable {
        /// Zero where the file does not tell it: then the caller gives one before anything else.
        package var uidValidity: UInt32
        /// The mailbox's GUID, 32 lower-case hex digits.
        package var guid: [UInt8]?
        /// Keys that mean nothing to us (`P` among them), each with a space before it.
        package var otherKeys: [UInt8]

        package init(uidValidity: UInt32, guid: [UInt8]? = nil, otherKeys: [UInt8] = []) {
            self.uidValidity = uidValidity
            self.guid = guid
            self.otherKeys = otherKeys
        }
    }

    package struct Damage: Hashable, Sendable {
        package var isHeaderDamaged = false
        /// Lines that are no record, or hold a key that no record has.
        package var brokenLines = 0
        /// Records that do not fit into the ascending order of the others.
        package var outOfOrder = 0
        /// Records whose base name a later one holds as well; the later one counts.
        package var duplicates = 0

        package init() {}
        package var isEmpty: Bool { self == Damage() }
    }

    /// Points into the arena. The keys end two bytes (` :`) before the name, the space before the
    /// first one not counted. A record without a name is dead.
    struct Record {
        let uid: UInt32
        let nameOffset: UInt32
        var nameCount: UInt16
        let keysCount: UInt16

        var isLive: Bool { nameCount > 0 }
        var nameRange: Range<Int> { Int(nameOffset)..<Int(nameOffset) + Int(nameCount) }
        var keysRange: Range<Int> {
            let end = Int(nameOffset) - 2
            return keysCount == 0 ? 0..<0 : end - Int(keysCount)..<end
        }
    }

    /// A list of a mailbox that has none yet.
    package init(uidValidity: UInt32, guid: [UInt8], nextUID: UInt32 = 1) {
        header = Header(uidValidity: uidValidity, guid: guid)
        self.nextUID = max(1, nextUID)
        fileHeader = nil
        fileNextUID = 1
        damage = Damage()
        version = 3
        hasPartialLine = false
        arena = []
        syncedCount = 0
        records = []
        table = NameTable(capacity: 0)
        liveCount = 0
    }
}

/// Why a uidlist cannot be used or changed.
package enum UIDListError: Error, Equatable {
    /// A version that is not known here: a later program's file, which we must not replace.
    case unsupportedVersion
    case tooLarge
    /// All UIDs are given out: the mailbox needs a new UIDVALIDITY, and every message a new UID.
    case exhausted
    /// The name is no base name: empty, too long, or with bytes that a record cannot carry.
    case unlistableName
    case alreadyListed
}

// MARK: Reading

extension UIDList {
    /// Parses a whole file, which becomes part of the list. Nil for an empty one, which counts as
    /// missing. Salvages what it can; see `damage`.
    package init?(file: consuming [UInt8]) throws(UIDListError) {
        guard !file.isEmpty else { return nil }
        guard file.count <= Limits.uidListBytesMax else { throw UIDListError.tooLarge }

        var parsedHeader = try ParsedHeader(file.span)
        var lines = RecordParser(isVersion1: parsedHeader.version == 1)
        lines.parse(file.span, from: parsedHeader.end)
        if lines.hasDisorder { parsedHeader.damage.outOfOrder = lines.keepAscending() }
        parsedHeader.damage.brokenLines += lines.brokenLines

        hasPartialLine = lines.end < file.count
        if hasPartialLine { file.removeSubrange(lines.end...) }
        arena = file
        syncedCount = arena.count
        header = parsedHeader.header
        fileHeader = parsedHeader.header
        version = parsedHeader.version
        damage = parsedHeader.damage
        records = lines.records
        liveCount = records.count { $0.isLive }
        table = NameTable(capacity: records.count)

        let afterLast = min(records.last?.uid ?? 0, Limits.uidMax) + 1
        if let next = parsedHeader.nextUID {
            nextUID = max(next, afterLast)
        } else {
            nextUID = min(afterLast, Limits.uidMax - Limits.uidSalvageGap) + Limits.uidSalvageGap
        }
        fileNextUID = nextUID
        enterNames(from: 0)
    }

    /// What the growth of the file brought.
    package struct Growth: Sendable, Equatable {
        /// Index of the first new record.
        package let firstIndex: Int
        /// UIDs that lost their base name to a later record.
        package let superseded: [UInt32]
    }

    /// Takes in what the file holds beyond `syncedCount`. Nil where that does not continue the
    /// list: then the file has to be read again from its start.
    ///
    /// A trailing partial line is left for the next time; `hasPartialLine` tells.
    package mutating func extend(with tail: [UInt8]) throws(UIDListError) -> Growth? {
        guard version == 3, syncedCount == arena.count, isWhole else { return nil }
        guard arena.count + tail.count <= Limits.uidListBytesMax else {
            throw UIDListError.tooLarge
        }
        var lines = RecordParser(isVersion1: false)
        lines.lastUID = records.last?.uid ?? 0
        lines.base = arena.count
        lines.parse(tail.span, from: 0)
        guard !lines.hasDisorder, lines.brokenLines == 0 else { return nil }

        hasPartialLine = lines.end < tail.count
        arena.append(contentsOf: tail[..<lines.end])
        syncedCount = arena.count
        let first = records.count
        records.append(contentsOf: lines.records)
        liveCount += lines.records.count
        if let last = records.last?.uid { fileNextUID = max(fileNextUID, last + 1) }
        nextUID = max(nextUID, fileNextUID)
        return Growth(firstIndex: first, superseded: enterNames(from: first))
    }

    /// Puts records into the table. Of two with one base name the later one lives.
    @discardableResult
    private mutating func enterNames(from first: Int) -> [UInt32] {
        var superseded: [UInt32] = []
        for index in first..<records.count where records[index].isLive {
            guard let older = table.insert(index, arena, records) else { continue }
            superseded.append(records[older].uid)
            records[older].nameCount = 0
            liveCount -= 1
            damage.duplicates += 1
        }
        return superseded
    }
}

// MARK: Asking

extension UIDList {
    /// How many records there are, dead ones among them. Their indexes run from 0 to this, ascending
    /// by UID, and stay until `compacted()`; of a list at rest there are none.
    package var recordCount: Int { omitted.recordCount + records.count }

    /// The UID of the last record; 0 without one.
    var lastUID: UInt32 { records.last?.uid ?? omitted.lastUID }

    package func isLive(_ index: Int) -> Bool { records[index].isLive }
    package func uid(_ index: Int) -> UInt32 { records[index].uid }

    /// Empty for a dead record.
    @_lifetime(borrow self)
    package func baseName(_ index: Int) -> Span<UInt8> {
        arena.span.extracting(records[index].nameRange)
    }

    /// The value of one of a record's keys (`W`, `G`, …), or nil.
    package func value(of key: UInt8, _ index: Int) -> [UInt8]? {
        let keys = records[index].keysRange
        let found = arena[keys].split(separator: .space).first { $0.first == key }
        return found.map { Array($0.dropFirst()) }
    }

    /// The live record of a base name.
    package func index(of baseName: Span<UInt8>) -> Int? {
        table.find(baseName, arena, records)
    }

    /// The live record of each of many base names, which lie in `arena`; -1 where there is none.
    package func indexes(of names: [NameRange], in arena: [UInt8]) -> [Int32] {
        table.find(names, in: arena, self.arena, records)
    }

    /// The live record of a UID.
    package func index(of uid: UInt32) -> Int? {
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].uid < uid { low = middle + 1 } else { high = middle }
        }
        guard low < records.count, records[low].uid == uid, records[low].isLive else { return nil }
        return low
    }
}
