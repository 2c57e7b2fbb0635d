import Bytes
import InternetMessage
import MailStore
import Posix

//  Columns of messages, for SEARCH, SORT and THREAD
//
//  They are taken out of the index; what it lacks is made from the headers, those of detail records or
//  of files, and kept for the next time. So the answer is the same whether they were there or not.

/// Where a command takes columns from. Hashes of one source can be compared.
struct ColumnSource: Sendable {
    fileprivate let store: (any ColumnStore)?
    let seed: UInt64

    @EventLoop
    init(_ mailbox: Mailbox) {
        store = mailbox.columns
        seed = store?.seed ?? .random(in: .min ... .max)
    }
}

extension Session {
    /// Runs `body`, in a job, with columns of messages of a view. A message whose header was not to
    /// be had is missing.
    ///
    /// - Parameter uids: ascending; one of `columnPieces`.
    func withColumns<Value: Sendable>(
        _ columns: [MessageColumn],
        of uids: [UInt32],
        _ view: SelectedMailbox,
        _ source: ColumnSource,
        _ body: @escaping @Sendable (ColumnRows) -> Value
    ) async throws(CommandFailure) -> Value {
        let mailbox = view.mailbox
        let store = source.store
        let looked = await mailbox.inJob { () -> (rows: ColumnRows, value: Value?) in
            let rows = ColumnRows(columns, of: uids, in: store)
            return rows.missing.isEmpty ? (ColumnRows(columns), body(rows)) : (rows, nil)
        }
        if let value = looked.value { return value }
        var rows = looked.rows
        let missing = rows.missing.map { uids[$0] }
        let found = try await readHeaders(columns, of: missing, mailbox, source.seed)
        rows.complete(with: found)
        if let store { mailbox.keep(MadeColumns(columns, missing, found), in: store) }
        let completed = rows
        return await mailbox.inJob { body(completed) }
    }

    /// Makes cells of messages, in their order.
    private func readHeaders(
        _ columns: [MessageColumn],
        of uids: [UInt32],
        _ mailbox: Mailbox,
        _ seed: UInt64
    ) async throws(CommandFailure) -> ColumnRows.Found {
        let details = mailbox.details
        var found = ColumnRows.Found(columns)
        let pipeline = MessagePipeline(
            mailbox,
            count: uids.count,
            batchMax: Limits.columnHeadersMax,
            budget: Limits.lookBytesMax
        ) { part in
            mailbox.names(of: uids[part])
        } work: { names, reader in
            Self.makeCells(columns, seed, names, details, reader)
        }
        while let (part, output) = await pipeline.take() {
            found.append(contentsOf: output)
            progress.done += part.count
            if isEnding { throw .closed }
        }
        // What was not where it was expected.
        guard found.isThere.contains(false) else { return found }
        var whole = ColumnRows.Found(columns)
        for (index, uid) in uids.enumerated() {
            let maker = ColumnMaker(columns, seed: seed)
            var date = found.dates[index]
            var isThere = found.isThere[index]
            if !isThere, let content = try? await mailbox.read(uid) {
                let bytes = content.bytes
                maker.add(bytes.span)
                date = content.date.seconds
                isThere = true
                for column in whole.cells.indices {
                    whole.cells[column].append(0, of: maker.cells[column])
                }
            } else {
                for column in whole.cells.indices {
                    whole.cells[column].append(index, of: found.cells[column])
                }
            }
            whole.isThere.append(isThere)
            whole.dates.append(date)
        }
        return whole
    }

    /// In a job.
    private nonisolated static func makeCells(
        _ columns: [MessageColumn],
        _ seed: UInt64,
        _ names: NameList,
        _ details: (any DetailStore)?,
        _ reader: MessageReader
    ) -> PipelineOutput<ColumnRows.Found> {
        var found = ColumnRows.Found(columns)
        let maker = ColumnMaker(columns, seed: seed)
        let entries = names.entries
        // The headers in detail records first: each of them saves a file.
        let records = ColumnMaker(columns, seed: seed)
        var places = Array(repeating: -1, count: entries.count)
        if let details {
            var next = 0
            var count = 0
            details.readDetails(entries.map(\.uid)) { uid, bytes in
                while next < entries.count, entries[next].uid != uid { next += 1 }
                guard next < entries.count, let record = DetailRecord(copy bytes) else { return }
                guard ColumnMaker.canUse(record.header) else { return }
                records.add(record.header)
                places[next] = count
                count += 1
            }
        }
        var read = 0
        var done = 0
        for (index, entry) in entries.enumerated() {
            var date = Int64.min
            var isThere = true
            if places[index] >= 0 {
                maker.take(places[index], of: records)
            } else {
                isThere = reader.read(
                    entry,
                    of: names,
                    .header,
                    hasHeader: { HeaderBlock.endIfComplete(in: $0) != nil }
                ) { span, facts in
                    read += span.count
                    date = facts.date.seconds
                    maker.add(span)
                }
                if !isThere { maker.addNothing() }
            }
            found.isThere.append(isThere)
            found.dates.append(date)
            done += 1
            if read >= Limits.lookBytesMax { break }
        }
        found.cells = maker.cells
        return PipelineOutput(value: found, done: done, bytes: read)
    }
}

extension MadeColumns {
    /// Those that were found.
    fileprivate init(_ columns: [MessageColumn], _ uids: [UInt32], _ found: ColumnRows.Found) {
        guard found.isThere.contains(false) else {
            self.init(columns: columns, uids: uids, cells: found.cells)
            return
        }
        self.init(
            columns: columns,
            uids: [],
            cells: Array(repeating: ColumnCells(), count: columns.count)
        )
        for (index, uid) in uids.enumerated() where found.isThere[index] {
            self.uids.append(uid)
            for column in columns.indices { cells[column].append(index, of: found.cells[column]) }
        }
    }
}
