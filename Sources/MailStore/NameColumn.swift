import Bytes

//  The base names of a mailbox's messages, in the order of their rows
//
//  One behind the other in `arena`; where a name begins follows from the lengths before it, counted
//  from the last of every sixteen rows whose beginning is kept. So a name costs its bytes and a byte and
//  a quarter. Nothing is between two names: removing rows moves what is behind them.
//
//  Names are found by a hash table of UIDs, so that removing rows leaves it right: 0 is empty, and a UID
//  that is no row any more is passed over. `tags` has a byte of each name's hash.

struct NameColumn: Sendable {
    private var arena: [UInt8] = []
    private(set) var counts: [UInt8] = []
    /// Where the name of each sixteenth row begins.
    private var starts: [UInt32] = []
    private var slots: [UInt32] = []
    private var tags: [UInt8] = []
    private var usedSlots = 0

    private static let groupRows = 16

    init() {}

    /// - Parameter arena: as long in all as `counts` say.
    init(_ counts: [UInt8], _ arena: [UInt8]) {
        self.counts = counts
        self.arena = arena
        countStarts(from: 0)
    }

    /// As many rows without a name.
    init(empty count: Int) { self.init([UInt8](repeating: 0, count: count), []) }

    /// What all names have together.
    var byteCount: Int { arena.count }

    @_lifetime(borrow self)
    subscript(row: Int) -> Span<UInt8> {
        arena.span.extracting(range(row))
    }

    func count(_ row: Int) -> Int { Int(counts[row]) }

    private func start(_ row: Int) -> Int {
        let group = row / Self.groupRows
        var start = Int(starts[group])
        for before in (group * Self.groupRows)..<row { start += Int(counts[before]) }
        return start
    }

    private func range(_ row: Int) -> Range<Int> {
        let start = start(row)
        return start..<(start + Int(counts[row]))
    }

    /// The names of rows in a row.
    @_lifetime(borrow self)
    func names(of rows: Range<Int>) -> Span<UInt8> {
        guard let last = rows.last else { return arena.span.extracting(0..<0) }
        return arena.span.extracting(start(rows.lowerBound)..<range(last).upperBound)
    }

    private mutating func countStarts(from group: Int) {
        starts.removeSubrange(group...)
        let rows = group * Self.groupRows
        var start = UInt32(0)
        if group > 0 {
            start = starts[group - 1]
            for row in (rows - Self.groupRows)..<rows { start += UInt32(counts[row]) }
        }
        starts.reserveCapacity(counts.count / Self.groupRows + 1)
        for row in rows..<counts.count {
            if row % Self.groupRows == 0 { starts.append(start) }
            start += UInt32(counts[row])
        }
    }

    // MARK: Changes

    mutating func reserve(_ count: Int) {
        counts.reserveCapacity(count)
        starts.reserveCapacity(count / Self.groupRows + 1)
    }

    /// Makes room for all that is to come; what grows by itself has up to twice the room.
    mutating func reserveBytes(_ count: Int) { arena.reserveCapacity(count) }

    /// Appends the name of the last of these rows.
    mutating func append(_ name: Span<UInt8>, _ uids: [UInt32]) {
        if counts.count % Self.groupRows == 0 { starts.append(UInt32(arena.count)) }
        let length = min(name.count, Int(UInt8.max))
        counts.append(UInt8(length))
        unsafe name.extracting(..<length).withUnsafeBufferPointer {
            unsafe arena.append(contentsOf: $0)
        }
        if !slots.isEmpty { enter(counts.count - 1, uids) }
    }

    /// Removes rows, given in ascending order.
    mutating func remove(_ rows: [Int]) {
        guard let first = rows.first else { return }
        var removed: [Range<Int>] = []
        removed.reserveCapacity(rows.count)
        for row in rows { removed.append(range(row)) }
        unsafe arena.withUnsafeMutableBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return }
            var kept = removed[0].lowerBound
            for (number, hole) in removed.enumerated() {
                let end = number + 1 < removed.count ? removed[number + 1].lowerBound : bytes.count
                let count = end - hole.upperBound
                guard count > 0 else { continue }
                unsafe (base + kept).update(from: base + hole.upperBound, count: count)
                kept += count
            }
        }
        arena.removeLast(removed.reduce(0) { $0 + $1.count })
        counts.remove(rows: rows)
        countStarts(from: first / Self.groupRows)
    }

    // MARK: Finding

    /// The row of a name. The rows' UIDs ascend.
    mutating func row(of name: Span<UInt8>, _ uids: [UInt32]) -> Int? {
        if slots.isEmpty { index(uids) }
        let hash = name.hash(seed: Self.seed)
        let tag = Self.tag(hash)
        var slot = slot(hash)
        while slots[slot] != 0 {
            if tags[slot] == tag, let row = uids.row(of: slots[slot]), self[row].equals(name) {
                return row
            }
            slot = slot + 1 == slots.count ? 0 : slot + 1
        }
        return nil
    }

    /// Builds the hash table, four fifths full, so that a tenth of the rows can come before it is built
    /// again.
    mutating func index(_ uids: [UInt32]) {
        let size = uids.count + uids.count / 4 + 16
        slots = [UInt32](repeating: 0, count: size)
        tags = [UInt8](repeating: 0, count: size)
        usedSlots = 0
        var start = 0
        for row in uids.indices {
            let end = start + Int(counts[row])
            let hash = arena.span.extracting(start..<end).hash(seed: Self.seed)
            enter(hash, uids[row])
            start = end
        }
    }

    private mutating func enter(_ row: Int, _ uids: [UInt32]) {
        if (usedSlots + 1) * 8 > slots.count * 7 { return index(uids) }
        enter(self[row].hash(seed: Self.seed), uids[row])
    }

    private mutating func enter(_ hash: UInt64, _ uid: UInt32) {
        var slot = slot(hash)
        while slots[slot] != 0 { slot = slot + 1 == slots.count ? 0 : slot + 1 }
        slots[slot] = uid
        tags[slot] = Self.tag(hash)
        usedSlots += 1
    }

    private func slot(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: ((hash >> 32) &* UInt64(slots.count)) >> 32)
    }

    private static func tag(_ hash: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: hash) }

    /// Names are chosen by whoever delivers, so the hash is seeded.
    private static let seed = UInt64.random(in: .min ... .max)
}

extension [UInt32] {
    /// Where an element of ascending ones is.
    func row(of uid: UInt32) -> Int? {
        let row = firstRow(from: uid)
        return row < count && self[row] == uid ? row : nil
    }

    /// The first that is at least this; `count` where there is none.
    func firstRow(from uid: UInt32) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < uid { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
