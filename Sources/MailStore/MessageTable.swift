package import Maildir
import Bytes
import MessageIndex

//  The messages of a live mailbox, in columns
//
//  Nothing here is on disk: it mirrors file names and uidlist as the last scan and the events since
//  then have shown them. One row a message, ascending by UID, so that a session's view is a copy of
//  one column and a scan of flags touches four bytes a message.
//
//  A file name is the base name, `:2,` and the letters of the flags; only the base name is kept. A
//  name that is not made like that (no info in `cur/`, letters unsorted, unknown letters) is in
//  `irregular`, which is nearly always empty.

/// Where a message's file lies and how its name follows from its row.
package enum Place: UInt8, Sendable {
    /// `cur/` base `:2,` letters
    case cur
    /// `new/` base
    case new
    /// The name is in `irregular`.
    case irregular
}

/// One message's file.
package struct FileLocation: Hashable, Sendable {
    package let isNew: Bool
    package let name: [UInt8]
}

/// A message as a scan or an admission found it.
package struct FoundMessage: Sendable {
    package var uid: UInt32
    package var base: [UInt8]
    package var flags: FlagLetters.Known
    package var place: Place
    /// The name where `place` is irregular.
    package var location: FileLocation?
}

package struct MessageTable: Sendable {
    package private(set) var uids: [UInt32] = []
    private var flagBits: [UInt32] = []
    private var places: [UInt8] = []
    private var nameOffsets: [UInt32] = []
    private var nameCounts: [UInt8] = []
    package internal(set) var modseqs: [UInt64] = []
    /// Seconds since 1970; `.min` where not looked up yet.
    package internal(set) var dates: [Int64] = []
    /// RFC822.SIZE; -1 where not counted yet.
    package internal(set) var sizes: [Int64] = []
    private var arena: [UInt8] = []
    private var irregular: [UInt32: FileLocation] = [:]
    /// Keyword indexes from 26 on, which no file name shows.
    package internal(set) var beyond: [UInt32: [Int]] = [:]
    /// What the rows' names take of `arena`.
    private var liveNameBytes = 0
    /// Hash table of names: UIDs, so that removing rows leaves it right. 0 is empty; a UID that is no
    /// row any more is passed over.
    private var slots: [UInt32] = []
    private var usedSlots = 0
    /// What the index does not have as it is here.
    var touched = TouchedBlocks()

    package init() {}

    package var count: Int { uids.count }
    package var isEmpty: Bool { uids.isEmpty }

    /// The row of a UID.
    package func row(of uid: UInt32) -> Int? {
        let row = firstRow(from: uid)
        return row < uids.count && uids[row] == uid ? row : nil
    }

    /// The first row whose UID is at least this; `count` where there is none.
    package func firstRow(from uid: UInt32) -> Int {
        var low = 0
        var high = uids.count
        while low < high {
            let middle = (low + high) / 2
            if uids[middle] < uid { low = middle + 1 } else { high = middle }
        }
        return low
    }

    package func flags(_ row: Int) -> FlagLetters.Known { .init(rawValue: flagBits[row]) }
    package func isNew(_ row: Int) -> Bool {
        switch Place(rawValue: places[row]) {
        case .new: true
        case .irregular: irregular[uids[row]]?.isNew ?? false
        default: false
        }
    }

    /// How many files lie in `new/`.
    var newCount: Int {
        var count = 0
        for row in uids.indices where places[row] != Place.cur.rawValue && isNew(row) { count += 1 }
        return count
    }

    /// The first messages above a UID whose file lies in `new/`.
    func newMessages(above uid: UInt32, _ countMax: Int) -> [FoundMessage] {
        var list: [FoundMessage] = []
        var row = uid == .max ? count : firstRow(from: uid + 1)
        while row < count, list.count < countMax {
            if places[row] != Place.cur.rawValue, isNew(row) { list.append(message(row)) }
            row += 1
        }
        return list
    }

    private func message(_ row: Int) -> FoundMessage {
        FoundMessage(
            uid: uids[row],
            base: base(row),
            flags: flags(row),
            place: Place(rawValue: places[row]) ?? .cur,
            location: irregular[uids[row]]
        )
    }

    package func base(_ row: Int) -> [UInt8] {
        let start = Int(nameOffsets[row])
        return Array(arena[start..<(start + Int(nameCounts[row]))])
    }

    /// The file as last seen.
    package func location(_ row: Int) -> FileLocation {
        switch Place(rawValue: places[row]) {
        case .new: return FileLocation(isNew: true, name: base(row))
        case .irregular: return irregular[uids[row]] ?? FileLocation(isNew: false, name: base(row))
        default:
            var buffer = ByteBuffer(base(row))
            FlagLetters(flags(row)).write(to: &buffer)
            return FileLocation(isNew: false, name: buffer.bytes)
        }
    }

    /// All letters that any message carries.
    package var lettersInUse: FlagLetters.Known {
        .init(rawValue: flagBits.reduce(0, |))
    }

    // MARK: Changes

    /// Appends a message; its UID is above all others.
    mutating func append(_ message: FoundMessage, modseq: UInt64) {
        precondition(message.uid > uids.last ?? 0, "messages are appended in the order of UIDs")
        uids.append(message.uid)
        flagBits.append(message.flags.rawValue)
        places.append(message.place.rawValue)
        nameOffsets.append(UInt32(arena.count))
        nameCounts.append(UInt8(clamping: message.base.count))
        arena.append(contentsOf: message.base)
        liveNameBytes += message.base.count
        modseqs.append(modseq)
        dates.append(.min)
        sizes.append(-1)
        touched.noteBoth(message.uid)
        if message.place == .irregular { irregular[message.uid] = message.location }
        if !slots.isEmpty { enter(message.uid, uids.count - 1) }
    }

    /// Takes over what is known of a message from an older table.
    mutating func inherit(_ row: Int, from old: MessageTable, _ oldRow: Int) {
        modseqs[row] = old.modseqs[oldRow]
        dates[row] = old.dates[oldRow]
        sizes[row] = old.sizes[oldRow]
    }

    /// Says where the file of a message is now and which flags it carries.
    mutating func update(
        _ row: Int,
        flags: FlagLetters.Known,
        place: Place,
        location: FileLocation?
    ) {
        flagBits[row] = flags.rawValue
        places[row] = place.rawValue
        irregular[uids[row]] = place == .irregular ? location : nil
        touched.noteState(uids[row])
    }

    /// Records what reading a message showed.
    mutating func note(_ row: Int, size: Int64? = nil, date: Int64) {
        if date != .min, dates[row] != date {
            dates[row] = date
            touched.noteFixed(uids[row])
        }
        if let size, size >= 0, sizes[row] != size {
            sizes[row] = size
            touched.noteFixed(uids[row])
        }
    }

    /// Removes rows, given in ascending order.
    mutating func remove(_ rows: [Int]) {
        guard !rows.isEmpty else { return }
        for row in rows { touched.noteBoth(uids[row]) }
        var next = 0
        var kept = rows[0]
        var goneNameBytes = 0
        for row in rows[0]..<uids.count {
            if next < rows.count, rows[next] == row {
                goneNameBytes += Int(nameCounts[row])
                irregular[uids[row]] = nil
                beyond[uids[row]] = nil
                next += 1
                continue
            }
            if kept != row {
                uids[kept] = uids[row]
                flagBits[kept] = flagBits[row]
                places[kept] = places[row]
                nameOffsets[kept] = nameOffsets[row]
                nameCounts[kept] = nameCounts[row]
                modseqs[kept] = modseqs[row]
                dates[kept] = dates[row]
                sizes[kept] = sizes[row]
            }
            kept += 1
        }
        let gone = uids.count - kept
        uids.removeLast(gone)
        flagBits.removeLast(gone)
        places.removeLast(gone)
        nameOffsets.removeLast(gone)
        nameCounts.removeLast(gone)
        modseqs.removeLast(gone)
        dates.removeLast(gone)
        sizes.removeLast(gone)
        liveNameBytes -= goneNameBytes
        if arena.count > 4_096, arena.count > 4 * liveNameBytes { compactArena() }
    }

    private mutating func compactArena() {
        var fresh: [UInt8] = []
        for row in uids.indices {
            let start = Int(nameOffsets[row])
            nameOffsets[row] = UInt32(fresh.count)
            fresh.append(contentsOf: arena[start..<(start + Int(nameCounts[row]))])
        }
        arena = fresh
    }

    // MARK: Finding by base name

    /// The row of a base name. The first call of all builds the table of names.
    mutating func row(of base: Span<UInt8>) -> Int? {
        if slots.isEmpty { buildSlots() }
        var slot = Self.hash(base) & (slots.count - 1)
        while slots[slot] != 0 {
            if let row = row(of: slots[slot]), name(row).equals(base) { return row }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    @_lifetime(borrow self)
    private func name(_ row: Int) -> Span<UInt8> {
        let start = Int(nameOffsets[row])
        return arena.span.extracting(start..<(start + Int(nameCounts[row])))
    }

    private mutating func buildSlots() {
        var size = 16
        // Room to grow: entering the last row of all must not lead here again.
        while size < (uids.count + 1) * 2 { size *= 2 }
        slots = [UInt32](repeating: 0, count: size)
        usedSlots = 0
        for row in uids.indices { enter(uids[row], row) }
    }

    private mutating func enter(_ uid: UInt32, _ row: Int) {
        if (usedSlots + 1) * 2 > slots.count { return buildSlots() }
        let mask = slots.count - 1
        var slot = Self.hash(name(row)) & mask
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = uid
        usedSlots += 1
    }

    /// Names are chosen by whoever delivers, so the hash is seeded.
    private static let seed = UInt64.random(in: .min ... .max)

    private static func hash(_ base: Span<UInt8>) -> Int {
        var hash = seed
        for index in base.indices {
            hash = (hash ^ UInt64(base[index])) &* 0x100_0000_01B3
        }
        hash ^= hash >> 29
        hash = hash &* 0xBF58_476D_1CE4_E5B9
        return Int(truncatingIfNeeded: hash >> 16) & Int(UInt32.max)
    }
}

// MARK: In the index

extension MessageTable {
    /// What a summary tells. Nil where its names are none that files of a mailbox can have.
    init?(_ summary: MailboxSummary, _ keywords: Keywords) {
        let (slash, zero) = (UInt8(ascii: "/"), UInt8(0))
        guard summary.names.span.firstIndex(of: slash) == nil,
            summary.names.span.firstIndex(of: zero) == nil
        else { return nil }
        uids = summary.uids
        flagBits = summary.flags
        places = summary.places
        modseqs = summary.modseqs
        nameCounts = summary.nameCounts
        arena = summary.names
        liveNameBytes = arena.count
        nameOffsets.reserveCapacity(uids.count)
        dates.reserveCapacity(uids.count)
        sizes.reserveCapacity(uids.count)
        var offset: UInt32 = 0
        for row in uids.indices {
            guard Place(rawValue: places[row]) != nil else { return nil }
            nameOffsets.append(offset)
            offset += UInt32(nameCounts[row])
            let date = summary.dates[row]
            dates.append(date == 0 ? .min : Int64(date))
            let size = summary.sizes[row]
            sizes.append(size == .max ? -1 : Int64(size))
        }
        for name in summary.header.irregular {
            guard !name.name.contains(slash), !name.name.contains(zero) else { return nil }
            irregular[name.uid] = FileLocation(isNew: name.isNew, name: name.name)
        }
        if !keywords.beyondLetters.isEmpty {
            for row in uids.indices {
                let indexes = keywords.beyond(base(row))
                if !indexes.isEmpty { beyond[uids[row]] = indexes }
            }
        }
    }

    /// The header's part of what the rows say; the caller adds what they do not.
    var summaryHeader: SummaryHeader {
        var header = SummaryHeader()
        header.messageCount = UInt32(count)
        header.nameBytes = UInt64(liveNameBytes)
        header.newCount = UInt32(newCount)
        for bits in flagBits {
            let flags = FlagLetters.Known(rawValue: bits)
            if !flags.contains(.seen) { header.unseenCount += 1 }
            if flags.contains(.trashed) { header.deletedCount += 1 }
        }
        for (uid, location) in irregular {
            header.irregular.append(
                IrregularName(uid: uid, isNew: location.isNew, name: location.name)
            )
        }
        return header
    }

    mutating func touchAll() {
        for uid in uids { touched.noteBoth(uid) }
    }

    /// Whether a summary can hold the table.
    var fitsSummary: Bool { irregular.count <= SummaryHeader.irregularMax }

    /// The blocks as they are now.
    func summaryBlocks(_ touched: TouchedBlocks) -> [SummaryBlock] {
        touched.state.union(touched.fixed).sorted().map { number in
            let rows = rows(ofBlock: number)
            if rows.isEmpty { return SummaryBlock(number: number, state: [], fixed: []) }
            return SummaryBlock(
                number: number,
                state: touched.state.contains(number) ? stateRecord(rows) : nil,
                fixed: touched.fixed.contains(number) ? fixedRecord(rows) : nil
            )
        }
    }

    private func rows(ofBlock number: UInt32) -> Range<Int> {
        let start = firstRow(from: SummaryBlock.first(of: number))
        let end = UInt32(exactly: SummaryBlock.end(of: number)).map { firstRow(from: $0) } ?? count
        return start..<end
    }

    private func stateRecord(_ rows: Range<Int>) -> [UInt8] {
        SummaryBlock.state(
            modseqs.span.extracting(rows),
            uids.span.extracting(rows),
            flagBits.span.extracting(rows),
            places.span.extracting(rows)
        )
    }

    private func fixedRecord(_ rows: Range<Int>) -> [UInt8] {
        var dates: [UInt32] = []
        var sizes: [UInt32] = []
        var names: [UInt8] = []
        for row in rows {
            let date = self.dates[row]
            // Outside of these years it is looked up each time.
            dates.append(date > 0 ? UInt32(exactly: date) ?? 0 : 0)
            sizes.append(UInt32(exactly: self.sizes[row]) ?? .max)
            let start = Int(nameOffsets[row])
            names.append(contentsOf: arena[start..<(start + Int(nameCounts[row]))])
        }
        return SummaryBlock.fixed(
            uids.span.extracting(rows),
            dates.span,
            sizes.span,
            nameCounts.span.extracting(rows),
            names.span
        )
    }

    /// Whether two rows are one message in one place.
    func isSame(_ row: Int, as other: MessageTable, _ otherRow: Int) -> Bool {
        places[row] == other.places[otherRow]
            && (irregular.isEmpty && other.irregular.isEmpty
                || irregular[uids[row]] == other.irregular[other.uids[otherRow]])
    }

    func hasSameName(_ row: Int, as other: MessageTable, _ otherRow: Int) -> Bool {
        name(row).equals(other.name(otherRow))
    }
}
