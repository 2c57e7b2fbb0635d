import Bytes
import Posix

/// What the index has of one mailbox. Every call may wait for the disk: use it in jobs.
///
/// Nothing here fails: what cannot be read is not there, and what cannot be written is made anew when
/// it is next asked for. The log says once why.
package final class MailboxIndex: Sendable {
    package let index: MessageIndex
    let number: UInt32

    init(_ index: MessageIndex, _ number: UInt32) {
        self.index = index
        self.number = number
    }

    // MARK: Details

    /// Calls `body` for each UID that has a detail record, in the order of `uids`: cheapest where
    /// they ascend. The bytes are valid only inside. One consistent look; writers wait for its end.
    package func readDetails(
        _ uids: [UInt32],
        _ body: (UInt32, borrowing Span<UInt8>) -> Void
    ) {
        try? index.read { transaction throws(IndexError) in
            for uid in uids {
                try transaction.read(IndexKey(.detail, mailbox: number, uid)) { bytes in
                    body(uid, bytes)
                }
            }
        }
    }

    /// Stores or replaces detail records, in one transaction. One that is too long is left out.
    package func writeDetails(_ records: [(uid: UInt32, bytes: [UInt8])]) {
        guard !records.isEmpty else { return }
        do throws(IndexError) { try store(records) } catch {
            // This mailbox has had its share of the room: it begins anew.
            if error == .isFull { removeAll() }
        }
    }

    /// The same for records that lie behind one another.
    package func writeDetails(_ batches: [(bytes: [UInt8], ends: [(uid: UInt32, end: Int)])]) {
        do throws(IndexError) {
            try index.write { transaction throws(IndexError) in
                for batch in batches { try store(batch, transaction) }
            }
        } catch {
            if error == .isFull { removeAll() }
        }
    }

    private func store(
        _ batch: (bytes: [UInt8], ends: [(uid: UInt32, end: Int)]),
        _ transaction: borrowing IndexTransaction
    ) throws(IndexError) {
        let bytes = batch.bytes
        var start = 0
        for (uid, end) in batch.ends {
            if end - start <= Limits.detailBytesMax {
                let key = IndexKey(.detail, mailbox: number, uid)
                try transaction.write(key, bytes.span.extracting(start..<end))
            }
            start = end
        }
    }

    private func store(_ records: [(uid: UInt32, bytes: [UInt8])]) throws(IndexError) {
        try index.write { transaction throws(IndexError) in
            for record in records where record.bytes.count <= Limits.detailBytesMax {
                let key = IndexKey(.detail, mailbox: number, record.uid)
                try transaction.write(key, record.bytes.span)
            }
        }
    }

    /// Removes the details of messages that are gone.
    package func removeDetails(_ uids: [UInt32]) {
        try? index.write { transaction throws(IndexError) in
            for uid in uids { try transaction.remove(IndexKey(.detail, mailbox: number, uid)) }
        }
    }

    // MARK: Columns

    /// One column of one block of UIDs.
    package struct ColumnPlace: Hashable, Sendable {
        package let column: UInt8
        /// UID / 1,024.
        package let block: UInt32

        package init(column: UInt8, block: UInt32) {
            self.column = column
            self.block = block
        }
    }

    /// Calls `body` with each record that is there and its index in `places`: cheapest where columns,
    /// and the blocks of each, ascend. The bytes are valid only inside.
    package func readColumns(
        _ places: [ColumnPlace],
        _ body: (Int, borrowing Span<UInt8>) -> Void
    ) {
        try? index.read { transaction throws(IndexError) in
            for (offset, place) in places.enumerated() {
                try transaction.read(key(place)) { bytes in body(offset, bytes) }
            }
        }
    }

    /// Stores or replaces blocks, in one transaction; an empty one is removed, and so is one that is
    /// too long.
    package func writeColumns(_ blocks: [(place: ColumnPlace, bytes: [UInt8])]) {
        guard !blocks.isEmpty else { return }
        do throws(IndexError) {
            try index.write { transaction throws(IndexError) in
                for (place, bytes) in blocks {
                    let isKept = bytes.count <= Limits.columnBlockBytesMax
                    try transaction.replace(key(place), isKept ? bytes : [])
                }
            }
        } catch {
            if error == .isFull { removeAll() }
        }
    }

    private func key(_ place: ColumnPlace) -> IndexKey {
        IndexKey(column: place.column, block: place.block, mailbox: number)
    }

    // MARK: Summary

    /// The header alone.
    package func readHeader() -> SummaryHeader? {
        try? index.read { transaction throws(IndexError) in try header(transaction) }
    }

    /// The whole summary; nil where there is none.
    package func readSummary() -> MailboxSummary? { readOutline().flatMap(readRest) }

    /// The summary's changing half: UIDs, flags, modseqs and places. Nil where there is none.
    package func readOutline() -> MailboxSummary? {
        try? index.read { transaction throws(IndexError) -> MailboxSummary? in
            guard var header = try header(transaction) else { return nil }
            try transaction.read(IndexKey(.extra, mailbox: number)) { bytes throws(IndexError) in
                try header.readExtra(bytes)
            }
            var summary = MailboxSummary(header)
            try readBlocks(transaction, .state) { block, bytes throws(IndexError) in
                try summary.append(state: bytes, block)
            }
            try summary.checkState()
            return summary
        }
    }

    /// The other half to it: dates, sizes and names. Nil where it does not fit.
    package func readRest(of outline: MailboxSummary) -> MailboxSummary? {
        try? index.read { transaction throws(IndexError) in
            var summary = outline
            summary.reserveFixed()
            try readBlocks(transaction, .fixed) { _, bytes throws(IndexError) in
                try summary.append(fixed: bytes)
            }
            try summary.checkFixed()
            return summary
        }
    }

    private func readBlocks(
        _ transaction: borrowing IndexTransaction,
        _ kind: IndexKey.Kind,
        _ body: (_ block: UInt32, borrowing Span<UInt8>) throws(IndexError) -> Void
    ) throws(IndexError) {
        var next = IndexKey(kind, mailbox: number)
        let end = IndexKey.end(kind, mailbox: number)
        while true {
            var block: UInt32?
            try transaction.readFirst(from: next, below: end) { key, bytes throws(IndexError) in
                block = key.number
                try body(key.number, bytes)
            }
            guard let block, block < .max else { return }
            next = IndexKey(kind, mailbox: number, block + 1)
        }
    }

    private func header(
        _ transaction: borrowing IndexTransaction
    ) throws(IndexError) -> SummaryHeader? {
        var header: SummaryHeader?
        try transaction.read(IndexKey(.header, mailbox: number)) { bytes throws(IndexError) in
            header = try SummaryHeader(bytes)
        }
        return header
    }

    /// Writes blocks and, with or after the last of them, the header, in one transaction. Returns
    /// whether they are there now. A mailbox for which there is no room has no summary any more.
    package func write(_ blocks: [SummaryBlock], _ header: SummaryHeader?) -> Bool {
        do throws(IndexError) {
            try index.write { transaction throws(IndexError) in
                for block in blocks {
                    let state = IndexKey(.state, mailbox: number, block.number)
                    let fixed = IndexKey(.fixed, mailbox: number, block.number)
                    try transaction.replace(state, block.state)
                    try transaction.replace(fixed, block.fixed)
                }
                guard var header else { return }
                header.ages = index.ages
                let (record, extra) = (header.record, header.extraRecord)
                try transaction.write(IndexKey(.header, mailbox: number), record.span)
                try transaction.write(IndexKey(.extra, mailbox: number), extra.span)
            }
            return true
        } catch {
            if error == .isFull { removeSummary() }
            return false
        }
    }

    /// Forgets the summary; details stay.
    package func removeSummary() { try? index.removeSummary(number) }

    /// Drops all that is known of the mailbox.
    package func removeAll() { try? index.remove(number) }
}
