import Bytes
import IMAPWire
import InternetMessage
import MailStore
import Posix

//  SORT, THREAD                                                              RFC 5256, RFC 5267 §3

extension Session {
    func sort(_ command: SortCommand, tag: [UInt8]) async throws(CommandFailure) -> Completion {
        if let returns = command.returns, returns.update || returns.context {
            throw .bad("CONTEXT=SORT is not offered by this server")
        }
        let view = try await settledView()
        let found = try await find(command.key, command.charset, command.returns, view)
        let program = SortProgram(command.criteria)
        let messages = try await collect(
            found,
            view,
            program.columns,
            ColumnSource(view.mailbox),
            needsArrivals: program.needsArrivals,
            needsSizes: program.needsSizes
        )
        let sorted = await view.mailbox.inJob { () -> [Int] in
            program.order(messages).map { messages.indexes[$0] }
        }
        let numbers = sorted.map { number($0, command.kind, view) }
        guard let returns = command.returns else {
            output.append("SORT", numbers: numbers, modSeq: modSeq(command.key, sorted, view))
            return Completion("Sorted")
        }
        if returns.save { saved = returns.saved(of: sorted.map { view.uids[$0] }) }
        if returns.isAnswered {
            let modSeq = modSeq(command.key, returns.told(of: sorted), view)
            answer(returns, numbers, tag, isUID: command.kind == .uid, modSeq)
        }
        return Completion("Sorted")
    }

    func thread(_ command: ThreadCommand) async throws(CommandFailure) -> Completion {
        let algorithm = command.algorithm
        if case .unknown = algorithm {
            throw .bad("Thread algorithm is not offered by this server")
        }
        let view = try await settledView()
        let found = try await find(command.key, command.charset, nil, view)
        let source = ColumnSource(view.mailbox)
        let messages = try await collect(
            found,
            view,
            ThreadMessages.columns(for: algorithm),
            source,
            needsArrivals: algorithm == .refs
        )
        let numbers = messages.indexes.map { number($0, command.kind, view) }
        let text = await view.mailbox.inJob { () -> [UInt8] in
            var text = ByteBuffer(capacity: 16 + 8 * numbers.count)
            text.append("* THREAD")
            if !numbers.isEmpty { text.append(.space) }
            ThreadForest(algorithm, ThreadMessages(messages, numbers, seed: source.seed))
                .write(to: &text)
            text.append("\r\n")
            return text.bytes
        }
        output.append(text)
        return Completion("Threaded")
    }

    /// Columns, internal dates and sizes of messages; the order is kept, what is gone is left out.
    private func collect(
        _ found: [Int],
        _ view: SelectedMailbox,
        _ columns: [MessageColumn],
        _ source: ColumnSource,
        needsArrivals: Bool,
        needsSizes: Bool = false
    ) async throws(CommandFailure) -> SortMessages {
        progress.begin(found.count)
        let needsDates = needsArrivals || columns.contains(.sent)
        var needs: SearchRows.Needs = []
        if needsDates { needs.insert(.dates) }
        if needsSizes { needs.insert(.sizes) }
        let rows = SearchRows(found, view, needs)
        var cells = ColumnRows(columns)
        if !columns.isEmpty {
            for piece in rows.uids.columnPieces {
                let uids = Array(rows.uids[piece])
                let more = try await withColumns(columns, of: uids, view, source) { $0 }
                if piece.count == rows.count {
                    cells = more
                } else {
                    cells.append(contentsOf: more)
                }
            }
        }
        var (dates, sizes) = (rows.dates, rows.sizes)
        if needsDates { await loadDates(rows, cells, isEach: needsArrivals, view, &dates) }
        if needsSizes { try await loadSizes(rows, view, &sizes) }
        return SortMessages(indexes: rows.indexes, rows: cells, dates: dates, sizes: sizes)
    }

    /// Looks up internal dates: of each message, or where there is no sent date.
    private func loadDates(
        _ rows: SearchRows,
        _ cells: ColumnRows,
        isEach: Bool,
        _ view: SelectedMailbox,
        _ dates: inout [Int64]
    ) async {
        for (offset, date) in cells.dates { dates[offset] = date }
        let sent = cells[.sent]
        let missing = dates.indices.filter {
            dates[$0] == .min && (isEach || sent.sentTime($0) == nil)
        }
        if missing.isEmpty { return }
        await view.mailbox.loadDates(missing.map { rows.uids[$0] })
        let table = view.mailbox.table
        for offset in missing {
            if let row = table.row(of: rows.uids[offset]) { dates[offset] = table.dates[row] }
        }
    }

    /// Counts RFC822.SIZE where it is not known yet.
    private func loadSizes(
        _ rows: SearchRows,
        _ view: SelectedMailbox,
        _ sizes: inout [Int64]
    ) async throws(CommandFailure) {
        let missing = sizes.indices.filter { sizes[$0] < 0 }
        if missing.isEmpty { return }
        let mailbox = view.mailbox
        let pipeline = MessagePipeline(
            mailbox,
            count: missing.count,
            batchMax: Limits.renderHeaderCountMax,
            budget: Limits.lookBytesMax
        ) { part in
            DetailJob(
                names: mailbox.names(of: missing[part].map { rows.uids[$0] }[...]),
                details: mailbox.details,
                extent: .whole,
                makes: .ofHeader
            )
        } work: { job, reader in
            var results: [Int?] = []
            let run = job.run(
                reader,
                budget: Limits.lookBytesMax,
                size: { _ in nil },
                isEnough: { $1.size != nil }
            ) { _, message in
                results.append(message.content?.size ?? message.record?.size)
                return true
            }
            return PipelineOutput(
                value: (results: results, made: run.made),
                done: results.count,
                bytes: run.read
            )
        }
        while let (part, output) = await pipeline.take() {
            mailbox.keep(output.made)
            for (offset, result) in output.results.enumerated() {
                let place = missing[part.lowerBound + offset]
                let uid = rows.uids[place]
                var size = result
                if size == nil, let content = try? await mailbox.read(uid) {
                    let bytes = content.bytes
                    size = MessageText.crlfSize(of: bytes.span)
                }
                guard let size else { continue }
                sizes[place] = Int64(size)
                mailbox.note(uid, size: Int64(size), date: .min)
            }
            progress.done = min(progress.done + part.count, progress.goal)
            if isEnding { throw .closed }
        }
    }
}
