package import InternetMessage
package import MessageIndex
import Posix

//  Where columns are kept, in blocks of 1,024 UIDs
//
//  A block follows from what messages contain, which never changes under their UIDs: a cell becomes
//  wrong only with its message, and UIDs never come back. So blocks may be lost, lack messages, or have
//  some that are gone. Two jobs that complete one block at once: one of them is lost, and the next
//  search completes it again.

/// The columns of one mailbox. In jobs.
package protocol ColumnStore: AnyObject, Sendable {
    /// Of the hashes in `MessageColumn.references`: the same as long as there are any.
    var seed: UInt64 { get }
    /// The block of each column, where it is there and right.
    func readBlock(_ block: UInt32, _ columns: [MessageColumn]) -> [ColumnBlock?]
    func writeBlock(_ block: UInt32, _ parts: [(MessageColumn, ColumnBlock)])
    func removeColumns(blocks: [UInt32])
}

extension MailboxIndex: ColumnStore {
    package var seed: UInt64 { index.seed }

    package func readBlock(_ block: UInt32, _ columns: [MessageColumn]) -> [ColumnBlock?] {
        var found: [ColumnBlock?] = Array(repeating: nil, count: columns.count)
        let uids = SummaryBlock.uids(of: block)
        readColumns(columns.map { ColumnPlace(column: $0.rawValue, block: block) }) {
            index,
            bytes in
            found[index] = ColumnBlock(copy bytes, columns[index], uids)
        }
        return found
    }

    package func writeBlock(_ block: UInt32, _ parts: [(MessageColumn, ColumnBlock)]) {
        writeColumns(
            parts.map { column, part in
                (
                    ColumnPlace(column: column.rawValue, block: block),
                    part.uids.isEmpty ? [] : part.record(column)
                )
            }
        )
    }

    package func removeColumns(blocks: [UInt32]) {
        for block in blocks {
            writeBlock(block, MessageColumn.allCases.map { ($0, ColumnBlock()) })
        }
    }
}

/// Messages of some columns, to be kept: as many cells in each as there are UIDs, which ascend.
package struct MadeColumns: Sendable {
    package var columns: [MessageColumn]
    package var uids: [UInt32]
    package var cells: [ColumnCells]

    package init(columns: [MessageColumn], uids: [UInt32], cells: [ColumnCells]) {
        self.columns = columns
        self.uids = uids
        self.cells = cells
    }

    /// Completes the blocks, those for which it is worth it.
    ///
    /// - Parameter live: the UIDs of the mailbox, at least those of the blocks concerned; ascending.
    func store(in store: any ColumnStore, live: [UInt32]) {
        var start = 0
        var first = 0
        while start < uids.count {
            let block = SummaryBlock.number(of: uids[start])
            let range = SummaryBlock.uids(of: block)
            var end = start
            while end < uids.count, range.contains(uids[end]) { end += 1 }
            while first < live.count, live[first] < range.lowerBound { first += 1 }
            var last = first
            while last < live.count, range.contains(live[last]) { last += 1 }
            let own = Array(live[first..<last])
            let old = store.readBlock(block, columns)
            var parts: [(MessageColumn, ColumnBlock)] = []
            for (index, column) in columns.enumerated() {
                let oldCount = old[index]?.uids.count ?? 0
                guard (end - start) * Limits.columnShareMin >= oldCount else { continue }
                var made = ColumnBlock()
                for row in start..<end { made.append(uids[row], row, of: cells[index]) }
                parts.append((column, ColumnBlock(old[index], made, live: own)))
            }
            if !parts.isEmpty { store.writeBlock(block, parts) }
            first = last
            start = end
        }
    }
}

extension Mailbox {
    /// Where columns are kept; nil for nowhere.
    package var columns: (any ColumnStore)? { index }

    /// Keeps cells that were made, when nobody waits.
    package func keep(_ made: MadeColumns, in columns: any ColumnStore) {
        guard let first = made.uids.first, let last = made.uids.last else { return }
        let lower = SummaryBlock.uids(of: SummaryBlock.number(of: first)).lowerBound
        let upper = SummaryBlock.uids(of: SummaryBlock.number(of: last)).upperBound
        let end = upper == .max ? table.count : table.firstRow(from: upper + 1)
        let live = Array(table.uids[table.firstRow(from: lower)..<end])
        Task { [pool = context.pool] in await pool.run { made.store(in: columns, live: live) } }
    }

    /// The blocks of these UIDs in which no message is left.
    func emptiedBlocks(_ gone: [UInt32]) -> [UInt32] {
        Set(gone.map { SummaryBlock.number(of: $0) }).filter { block in
            let range = SummaryBlock.uids(of: block)
            let row = table.firstRow(from: range.lowerBound)
            return row == table.count || !range.contains(table.uids[row])
        }.sorted()
    }
}
