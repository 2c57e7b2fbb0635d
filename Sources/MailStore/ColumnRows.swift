import Bytes
package import InternetMessage
import MessageIndex

//  Columns of some messages, in their order
//
//  Taken out of the index a block at a time: mostly a block has just the messages that are asked for, so
//  that its cells are taken over in one piece.

/// The cells of some messages.
package struct ColumnRows: Sendable {
    package let columns: [MessageColumn]
    /// In the order of the columns, a cell for each message; empty where `isThere` is false.
    package private(set) var cells: [ColumnCells]
    /// Whether all cells of the message are known.
    package private(set) var isThere: [Bool] = []
    /// The offsets of the other messages, ascending.
    package private(set) var missing: [Int] = []
    /// Internal dates that were seen on the way, by offset.
    package private(set) var dates: [Int: Int64] = [:]

    package init(_ columns: [MessageColumn]) {
        self.columns = columns
        cells = Array(repeating: ColumnCells(), count: columns.count)
    }

    package var count: Int { isThere.count }

    /// The cells of a column, which must be one of them.
    package subscript(column: MessageColumn) -> ColumnCells {
        guard let index = columns.firstIndex(of: column) else { return ColumnCells() }
        return cells[index]
    }

    /// What the store has of messages, whose UIDs ascend.
    package init(_ columns: [MessageColumn], of uids: [UInt32], in store: (any ColumnStore)?) {
        self.init(columns)
        isThere.reserveCapacity(uids.count)
        var start = 0
        while start < uids.count {
            let block = SummaryBlock.number(of: uids[start])
            let range = SummaryBlock.uids(of: block)
            var end = start
            while end < uids.count, range.contains(uids[end]) { end += 1 }
            let found = store?.readBlock(block, columns) ?? []
            take(found.compactMap { $0 }, uids[start..<end])
            start = end
        }
    }

    private mutating func take(_ blocks: [ColumnBlock], _ wanted: ArraySlice<UInt32>) {
        guard blocks.count == columns.count else {
            for _ in wanted { appendNothing() }
            return
        }
        if blocks.allSatisfy({ $0.uids[...] == wanted }) {
            for index in blocks.indices { cells[index].append(contentsOf: blocks[index].cells) }
            isThere.append(contentsOf: repeatElement(true, count: wanted.count))
            return
        }
        var places = Array(repeating: 0, count: blocks.count)
        for uid in wanted {
            var isWhole = true
            for index in blocks.indices {
                let uids = blocks[index].uids
                while places[index] < uids.count, uids[places[index]] < uid { places[index] += 1 }
                if places[index] == uids.count || uids[places[index]] != uid { isWhole = false }
            }
            guard isWhole else {
                appendNothing()
                continue
            }
            for index in blocks.indices {
                cells[index].append(places[index], of: blocks[index].cells)
            }
            isThere.append(true)
        }
    }

    private mutating func appendNothing() {
        for index in cells.indices { cells[index].close() }
        missing.append(isThere.count)
        isThere.append(false)
    }

    /// Appends the messages of others, which have the same columns.
    package mutating func append(contentsOf other: ColumnRows) {
        let start = count
        for index in cells.indices { cells[index].append(contentsOf: other.cells[index]) }
        isThere += other.isThere
        for offset in other.missing { missing.append(start + offset) }
        for (offset, date) in other.dates { dates[start + offset] = date }
    }

    /// What was found out of messages that were missing: the first so many of them.
    package struct Found: Sendable {
        package var cells: [ColumnCells]
        package var isThere: [Bool] = []
        /// `.min` for unknown.
        package var dates: [Int64] = []

        package init(_ columns: [MessageColumn]) {
            cells = Array(repeating: ColumnCells(), count: columns.count)
        }

        package mutating func append(contentsOf other: Found) {
            for index in cells.indices { cells[index].append(contentsOf: other.cells[index]) }
            isThere += other.isThere
            dates += other.dates
        }
    }

    /// Puts in what was missing; as many as are in `missing`.
    package mutating func complete(with found: Found) {
        let wasMissing = missing
        precondition(found.isThere.count == wasMissing.count, "one cell for each missing message")
        missing = []
        let isAll = wasMissing.count == count
        for index in cells.indices {
            if isAll {
                cells[index] = found.cells[index]
                continue
            }
            var merged = ColumnCells()
            var next = 0
            for offset in isThere.indices {
                if next < wasMissing.count, wasMissing[next] == offset {
                    merged.append(next, of: found.cells[index])
                    next += 1
                } else {
                    merged.append(offset, of: cells[index])
                }
            }
            cells[index] = merged
        }
        for (index, offset) in wasMissing.enumerated() {
            isThere[offset] = found.isThere[index]
            if !found.isThere[index] { missing.append(offset) }
            if found.dates[index] != .min { dates[offset] = found.dates[index] }
        }
    }
}

extension Array where Element == UInt32 {
    /// Ascending UIDs in pieces that are looked at together.
    package var columnPieces: [Range<Int>] {
        var pieces: [Range<Int>] = []
        var start = 0
        var blocks = 0
        var last: UInt32?
        for (index, uid) in enumerated() {
            let block = SummaryBlock.number(of: uid)
            if block != last {
                blocks += 1
                last = block
            }
            if blocks > Limits.columnBlocksMax || index - start >= Limits.columnRowsMax {
                pieces.append(start..<index)
                (start, blocks) = (index, 1)
            }
        }
        if start < count { pieces.append(start..<count) }
        return pieces
    }
}
