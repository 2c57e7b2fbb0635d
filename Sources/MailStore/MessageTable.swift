package import Maildir
import Bytes
import MessageIndex

//  The messages of a live mailbox, in columns
//
//  Nothing here is on disk: it mirrors file names and uidlist as the last scan and the events since
//  then have shown them. One row a message, ascending by UID, so that a session's view is a copy of
//  one column and a scan of flags touches four bytes a message.
//
//  A file name is the base name, `:2,` and the letters of the flags; only the base name is kept
//  (`NameColumn`). A
//  name that is not made like that (no info in `cur/`, letters unsorted, unknown letters) is in
//  `irregular`, which is nearly always empty.
//
//  What a client asks of a mailbox of any size at any moment is counted as it changes: how many are
//  unseen or deleted, and below which UID none is unseen.

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
    /// Whether the name is, or may be, a symbolic link: a copy of it is not made by a link.
    package var isLink = false
}

package struct MessageTable: Sendable {
    package private(set) var uids: [UInt32] = []
    private var flagBits: [UInt32] = []
    /// A `Place`, and `linkBit`.
    private var places: [UInt8] = []
    private var names = NameColumn()
    package internal(set) var modseqs = ModseqColumn()
    /// Seconds since 1970; `.min` where not looked up yet.
    package internal(set) var dates = DateColumn()
    /// RFC822.SIZE; -1 where not counted yet.
    package internal(set) var sizes = SizeColumn()
    private var irregular: [UInt32: FileLocation] = [:]
    /// Keyword indexes from 26 on, which no file name shows.
    package internal(set) var beyond: [UInt32: [Int]] = [:]
    /// Whether names, dates and sizes are yet to come (`Mailbox+Index`).
    private(set) var isOutline = false
    /// What the index does not have as it is here.
    var touched = TouchedBlocks()

    private var letters: FlagLetters.Known = []

    /// How many messages lack \Seen.
    package private(set) var unseenCount = 0
    /// How many messages have \Deleted.
    package private(set) var deletedCount = 0
    /// How many files lie in `new/`.
    package private(set) var newCount = 0
    /// No message below this UID lacks \Seen.
    private var seenBelow: UInt32 = 0

    private static let linkBit: UInt8 = 0x80

    package init() {}

    package var count: Int { uids.count }
    package var isEmpty: Bool { uids.isEmpty }

    /// The row of a UID.
    package func row(of uid: UInt32) -> Int? { uids.row(of: uid) }

    /// The first row whose UID is at least this; `count` where there is none.
    package func firstRow(from uid: UInt32) -> Int { uids.firstRow(from: uid) }

    package func flags(_ row: Int) -> FlagLetters.Known { .init(rawValue: flagBits[row]) }

    /// Calls `body` with the flags of messages, for as long as it says so and the UIDs are those of the
    /// rows from this one on. Returns how many that were.
    package func forEachFlags(
        from row: Int,
        _ wanted: ArraySlice<UInt32>,
        _ body: (_ offset: Int, _ uid: UInt32, _ flags: FlagLetters.Known) -> Bool
    ) -> Int {
        let count = min(wanted.count, uids.count - row)
        for offset in 0..<count {
            let uid = uids[row + offset]
            guard uid == wanted[wanted.startIndex + offset] else { return offset }
            guard body(offset, uid, flags(row + offset)) else { return offset + 1 }
        }
        return count
    }

    private func place(_ row: Int) -> Place {
        Place(rawValue: places[row] & ~Self.linkBit) ?? .cur
    }

    package func isNew(_ row: Int) -> Bool {
        switch place(row) {
        case .new: true
        case .irregular: irregular[uids[row]]?.isNew ?? false
        case .cur: false
        }
    }

    /// Whether the file is, or may be, a symbolic link.
    func isLink(_ row: Int) -> Bool { places[row] & Self.linkBit != 0 }

    /// Whether the file's name follows from base name and flags, and lies in `cur/`.
    func isRegularInCur(_ row: Int) -> Bool { place(row) == .cur }

    /// The first row without \Seen. What was passed over is not looked at again.
    package mutating func firstUnseenRow() -> Int? {
        guard unseenCount > 0 else { return nil }
        var row = firstRow(from: seenBelow)
        while row < flagBits.count, flags(row).contains(.seen) { row += 1 }
        guard row < flagBits.count else { return nil }
        seenBelow = uids[row]
        return row
    }

    /// The first messages above a UID whose file lies in `new/`.
    func newMessages(above uid: UInt32, _ countMax: Int) -> [FoundMessage] {
        guard newCount > 0, uid < .max else { return [] }
        var list: [FoundMessage] = []
        var row = firstRow(from: uid + 1)
        while row < count, list.count < countMax {
            if places[row] & ~Self.linkBit != Place.cur.rawValue, isNew(row) {
                list.append(message(row))
            }
            row += 1
        }
        return list
    }

    private func message(_ row: Int) -> FoundMessage {
        FoundMessage(
            uid: uids[row],
            base: base(row),
            flags: flags(row),
            place: place(row),
            location: irregular[uids[row]],
            isLink: isLink(row)
        )
    }

    package func base(_ row: Int) -> [UInt8] { names[row].array }

    /// The file as last seen.
    package func location(_ row: Int) -> FileLocation {
        switch place(row) {
        case .new: return FileLocation(isNew: true, name: base(row))
        case .irregular: return irregular[uids[row]] ?? FileLocation(isNew: false, name: base(row))
        case .cur:
            var buffer = ByteBuffer(capacity: names.count(row) + 12)
            appendName(row, flags(row), to: &buffer)
            return FileLocation(isNew: false, name: buffer.bytes)
        }
    }

    /// Appends the name of a message's file. Returns whether it lies in `new/`.
    func appendLocation(_ row: Int, to buffer: inout ByteBuffer) -> Bool {
        switch place(row) {
        case .cur: appendName(row, flags(row), to: &buffer)
        case .new, .irregular:
            let location = location(row)
            buffer.append(location.name)
            return location.isNew
        }
        return false
    }

    /// Appends the name that a message has in `cur/` with these flags.
    func appendName(_ row: Int, _ flags: FlagLetters.Known, to buffer: inout ByteBuffer) {
        buffer.append(names[row])
        FlagLetters(flags).write(to: &buffer)
    }

    /// Whether the message's file is known to be exactly this one.
    func isAt(_ row: Int, _ file: Span<UInt8>, isNew: Bool, _ listed: MessageName.Listed) -> Bool {
        switch place(row) {
        case .new: isNew && !listed.layout.hasInfo
        case .cur: !isNew && listed.isCanonical && listed.flags == flags(row)
        case .irregular: irregular[uids[row]] == FileLocation(isNew: isNew, name: file.array)
        }
    }

    /// The messages with any of these flags, ascending.
    package func uids(with flags: FlagLetters.Known) -> [UInt32] {
        var found: [UInt32] = []
        for row in flagBits.indices where flagBits[row] & flags.rawValue != 0 {
            found.append(uids[row])
        }
        return found
    }

    /// All letters that any message carries, or carried since the last scan.
    package var lettersInUse: FlagLetters.Known { letters }

    // MARK: Changes

    /// Makes room for as many messages.
    ///
    /// - Parameter nameBytes: how long all names are together, where that is known.
    mutating func reserve(_ count: Int, nameBytes: Int = 0) {
        names.reserveBytes(nameBytes)
        uids.reserveCapacity(count)
        flagBits.reserveCapacity(count)
        places.reserveCapacity(count)
        names.reserve(count)
        dates.reserve(count)
        sizes.reserve(count)
    }

    /// Appends a message; its UID is above all others.
    mutating func append(_ message: FoundMessage, modseq: UInt64) {
        append(
            uid: message.uid,
            flags: message.flags,
            place: message.place,
            isLink: message.isLink,
            base: message.base.span,
            location: message.location,
            modseq: modseq
        )
    }

    mutating func append(
        uid: UInt32,
        flags: FlagLetters.Known,
        place: Place,
        isLink: Bool,
        base: Span<UInt8>,
        location: FileLocation?,
        modseq: UInt64
    ) {
        precondition(uid > uids.last ?? 0, "messages are appended in the order of UIDs")
        uids.append(uid)
        flagBits.append(flags.rawValue)
        places.append(place.rawValue | (isLink ? Self.linkBit : 0))
        names.append(base, uids)
        modseqs.append(modseq)
        dates.append(.min)
        sizes.append(-1)
        if place == .irregular { irregular[uid] = location }
        count(uids.count - 1, 1)
        touched.noteBoth(uid)
    }

    /// Counts a row in, or with -1 out.
    private mutating func count(_ row: Int, _ step: Int) {
        let flags = flags(row)
        if !flags.contains(.seen) {
            unseenCount += step
            seenBelow = min(seenBelow, uids[row])
        }
        if flags.contains(.trashed) { deletedCount += step }
        letters.formUnion(flags)
        if places[row] & ~Self.linkBit != Place.cur.rawValue, isNew(row) {
            newCount += step
        }
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
        count(row, -1)
        flagBits[row] = flags.rawValue
        places[row] = place.rawValue | places[row] & Self.linkBit
        if place == .irregular {
            irregular[uids[row]] = location
        } else if !irregular.isEmpty {
            irregular[uids[row]] = nil
        }
        count(row, 1)
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

    /// Removes rows, given in ascending order. What is behind them is moved as memory: a million rows
    /// take a millisecond or two.
    mutating func remove(_ rows: [Int]) {
        guard !rows.isEmpty else { return }
        for row in rows {
            count(row, -1)
            touched.noteBoth(uids[row])
            if !irregular.isEmpty { irregular[uids[row]] = nil }
            if !beyond.isEmpty { beyond[uids[row]] = nil }
        }
        uids.remove(rows: rows)
        flagBits.remove(rows: rows)
        places.remove(rows: rows)
        names.remove(rows)
        modseqs.remove(rows)
        dates.remove(rows)
        sizes.remove(rows)
    }

    // MARK: Finding by base name

    /// The row of a base name.
    mutating func row(of base: Span<UInt8>) -> Int? { names.row(of: base, uids) }

    /// Has names found at once; else the first that is asked for pays for it.
    mutating func indexNames() { names.index(uids) }
}

// MARK: In the index

extension MessageTable {
    /// What a summary tells. Nil where its names are none that files of a mailbox can have.
    init?(_ summary: MailboxSummary, _ keywords: Keywords) {
        self.init(outline: summary)
        guard complete(summary) else { return nil }
        if !keywords.beyondLetters.isEmpty {
            for row in uids.indices {
                let indexes = keywords.beyond(base(row))
                if !indexes.isEmpty { beyond[uids[row]] = indexes }
            }
        }
    }

    /// What the changing half of a summary tells: all but names, dates and sizes.
    init?(outline summary: MailboxSummary) {
        isOutline = true
        uids = summary.uids
        flagBits = summary.flags
        places = summary.places
        modseqs = ModseqColumn(summary.modseqs)
        let (slash, zero) = (UInt8(ascii: "/"), UInt8(0))
        for name in summary.header.irregular {
            guard !name.name.contains(slash), !name.name.contains(zero) else { return nil }
            irregular[name.uid] = FileLocation(isNew: name.isNew, name: name.name)
        }
        seenBelow = .max
        let (seen, trashed) = (FlagLetters.Known.seen.rawValue, FlagLetters.Known.trashed.rawValue)
        var all: UInt32 = 0
        for row in uids.indices {
            let flags = flagBits[row]
            all |= flags
            if flags & seen == 0 {
                unseenCount += 1
                seenBelow = min(seenBelow, uids[row])
            }
            if flags & trashed != 0 { deletedCount += 1 }
            if places[row] == Place.cur.rawValue { continue }
            guard Place(rawValue: places[row] & ~Self.linkBit) != nil else { return nil }
            if isNew(row) { newCount += 1 }
        }
        letters = FlagLetters.Known(rawValue: all)
    }

    /// Takes over the other half. False where its names are none that files of a mailbox can have.
    mutating func complete(_ summary: MailboxSummary) -> Bool {
        guard summary.nameCounts.count == count,
            summary.names.span.firstIndex(of: UInt8(ascii: "/")) == nil,
            summary.names.span.firstIndex(of: 0) == nil
        else { return false }
        names = NameColumn(summary.nameCounts, summary.names)
        dates = DateColumn(summary.dates)
        sizes = SizeColumn(summary.sizes)
        isOutline = false
        return true
    }

    /// Takes over the other half from a table of the same rows, or, without one, does without: then a
    /// scan finds what it can.
    mutating func complete(_ other: MessageTable?) {
        names = other?.names ?? NameColumn(empty: count)
        dates = other?.dates ?? DateColumn([UInt32](repeating: 0, count: count))
        sizes = other?.sizes ?? SizeColumn([UInt32](repeating: .max, count: count))
        isOutline = false
    }

    /// The header's part of what the rows say; the caller adds what they do not.
    var summaryHeader: SummaryHeader {
        var header = SummaryHeader()
        header.messageCount = UInt32(count)
        header.nameBytes = UInt64(names.byteCount)
        header.newCount = UInt32(newCount)
        header.unseenCount = UInt32(unseenCount)
        header.deletedCount = UInt32(deletedCount)
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
            modseqs.values(rows).span,
            uids.span.extracting(rows),
            flagBits.span.extracting(rows),
            places.span.extracting(rows)
        )
    }

    private func fixedRecord(_ rows: Range<Int>) -> [UInt8] {
        var dates: [UInt32] = []
        var sizes: [UInt32] = []
        for row in rows {
            let date = self.dates[row]
            // Outside of these years it is looked up each time.
            dates.append(date > 0 ? UInt32(exactly: date) ?? 0 : 0)
            sizes.append(UInt32(exactly: self.sizes[row]) ?? .max)
        }
        return SummaryBlock.fixed(
            uids.span.extracting(rows),
            dates.span,
            sizes.span,
            names.counts.span.extracting(rows),
            names.names(of: rows)
        )
    }

    /// Whether two rows are one message in one place.
    func isSame(_ row: Int, as other: MessageTable, _ otherRow: Int) -> Bool {
        places[row] == other.places[otherRow]
            && (irregular.isEmpty && other.irregular.isEmpty
                || irregular[uids[row]] == other.irregular[other.uids[otherRow]])
    }

    func hasSameName(_ row: Int, as other: MessageTable, _ otherRow: Int) -> Bool {
        names[row].equals(other.names[otherRow])
    }
}

extension Array {
    /// Removes elements at ascending indexes; each stretch between two is moved at once.
    mutating func remove(rows: [Int]) {
        guard rows.count > 1 else {
            remove(at: rows[0])
            return
        }
        unsafe withUnsafeMutableBufferPointer { elements in
            var kept = rows[0]
            for (number, row) in rows.enumerated() {
                let start = row + 1
                let end = number + 1 < rows.count ? rows[number + 1] : elements.count
                guard end > start, let base = elements.baseAddress else { continue }
                unsafe (base + kept).update(from: base + start, count: end - start)
                kept += end - start
            }
        }
        removeLast(rows.count)
    }
}

/// Seconds since 1970, `.min` for unknown: four bytes each while all lie between 1970 and 2106.
package struct DateColumn: Sendable {
    private var near: [UInt32] = []
    private var wide: [Int64]?

    init() {}

    /// - Parameter near: 0 for unknown.
    init(_ near: [UInt32]) { self.near = near }

    /// 1970 itself counts as far: 0 is unknown.
    private static func isNear(_ date: Int64) -> Bool {
        date == .min || date > 0 && date <= Int64(UInt32.max)
    }

    package subscript(row: Int) -> Int64 {
        get {
            if let wide { return wide[row] }
            return near[row] == 0 ? .min : Int64(near[row])
        }
        set {
            if !Self.isNear(newValue), wide == nil { widen() }
            if wide == nil {
                near[row] = newValue == .min ? 0 : UInt32(newValue)
            } else {
                wide?[row] = newValue
            }
        }
    }

    private mutating func widen() {
        wide = near.map { $0 == 0 ? .min : Int64($0) }
        near = []
    }

    mutating func reserve(_ count: Int) { near.reserveCapacity(count) }

    mutating func append(_ date: Int64) {
        if !Self.isNear(date), wide == nil { widen() }
        if wide == nil {
            near.append(date == .min ? 0 : UInt32(date))
        } else {
            wide?.append(date)
        }
    }

    fileprivate mutating func remove(_ rows: [Int]) {
        if wide == nil { near.remove(rows: rows) } else { wide?.remove(rows: rows) }
    }
}

/// RFC822.SIZE, -1 for unknown. One of four gigabytes is not kept.
package struct SizeColumn: Sendable {
    private var sizes: [UInt32] = []

    init() {}

    /// - Parameter sizes: `UInt32.max` for unknown.
    init(_ sizes: [UInt32]) { self.sizes = sizes }

    private static func kept(_ size: Int64) -> UInt32 { UInt32(exactly: size) ?? .max }

    package subscript(row: Int) -> Int64 {
        get { sizes[row] == .max ? -1 : Int64(sizes[row]) }
        set { sizes[row] = Self.kept(newValue) }
    }

    mutating func reserve(_ count: Int) { sizes.reserveCapacity(count) }
    mutating func append(_ size: Int64) { sizes.append(Self.kept(size)) }
    fileprivate mutating func remove(_ rows: [Int]) { sizes.remove(rows: rows) }
}
