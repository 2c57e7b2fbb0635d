//  The modseqs of a mailbox's messages, in the order of their rows
//
//  Most messages have that of the scan that found them, in long stretches. So 256 rows in a row that
//  have one modseq cost as much as one; else each costs 8 bytes.

package struct ModseqColumn: Sendable, RandomAccessCollection {
    private struct Block: Sendable {
        /// Of all rows, where `each` is empty.
        var all: UInt64
        var each: [UInt64] = []
    }

    private var blocks: [Block] = []
    package private(set) var count = 0

    private static let blockRows = 256

    package var startIndex: Int { 0 }
    package var endIndex: Int { count }

    init() {}

    init(_ modseqs: [UInt64]) {
        var start = 0
        while start < modseqs.count {
            let end = Swift.min(start + Self.blockRows, modseqs.count)
            let first = modseqs[start]
            var isOne = true
            for row in start..<end where modseqs[row] != first { isOne = false }
            blocks.append(Block(all: first, each: isOne ? [] : Array(modseqs[start..<end])))
            start = end
        }
        count = modseqs.count
    }

    package subscript(row: Int) -> UInt64 {
        get {
            precondition(row < count, "no such row")
            let block = row / Self.blockRows
            let each = blocks[block].each
            return each.isEmpty ? blocks[block].all : each[row % Self.blockRows]
        }
        set {
            precondition(row < count, "no such row")
            let block = row / Self.blockRows
            if blocks[block].each.isEmpty {
                if blocks[block].all == newValue { return }
                let rows = Swift.min(Self.blockRows, count - block * Self.blockRows)
                blocks[block].each = Array(repeating: blocks[block].all, count: rows)
            }
            blocks[block].each[row % Self.blockRows] = newValue
        }
    }

    mutating func append(_ modseq: UInt64) {
        defer { count += 1 }
        guard count % Self.blockRows > 0 else { return blocks.append(Block(all: modseq)) }
        let block = blocks.count - 1
        if blocks[block].each.isEmpty {
            if blocks[block].all == modseq { return }
            let rows = count % Self.blockRows
            blocks[block].each = Array(repeating: blocks[block].all, count: rows)
        }
        blocks[block].each.append(modseq)
    }

    /// The modseqs of some rows.
    func values(_ rows: Range<Int>) -> [UInt64] {
        var values: [UInt64] = []
        values.reserveCapacity(rows.count)
        var row = rows.lowerBound
        while row < rows.upperBound {
            let (block, offset) = (row / Self.blockRows, row % Self.blockRows)
            let taken = Swift.min(Self.blockRows - offset, rows.upperBound - row)
            if blocks[block].each.isEmpty {
                values.append(contentsOf: repeatElement(blocks[block].all, count: taken))
            } else {
                values.append(contentsOf: blocks[block].each[offset..<(offset + taken)])
            }
            row += taken
        }
        return values
    }

    /// Removes rows, given in ascending order. What is behind the first is written anew.
    mutating func remove(_ rows: [Int]) {
        guard let first = rows.first else { return }
        let start = first / Self.blockRows * Self.blockRows
        var left = values(start..<count)
        left.remove(rows: rows.map { $0 - start })
        blocks.removeSubrange((start / Self.blockRows)...)
        let rest = ModseqColumn(left)
        blocks += rest.blocks
        count = start + rest.count
    }
}
