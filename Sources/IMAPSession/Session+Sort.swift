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
        var facts = try await collect(found, view, needsSize: program.needsSize) {
            index,
            record,
            known in
            program.facts(index, record, known)
        }
        facts.sort { program.precedes($0, $1) }
        let numbers = facts.map { number($0.index, command.kind, view) }
        guard let returns = command.returns else {
            let indexes = facts.map(\.index)
            output.append("SORT", numbers: numbers, modSeq: modSeq(command.key, indexes, view))
            return Completion("Sorted")
        }
        if returns.save { saved = returns.saved(of: facts.map { view.uids[$0.index] }) }
        if returns.isAnswered {
            let modSeq = modSeq(command.key, returns.told(of: facts.map(\.index)), view)
            answer(returns, numbers, tag, isUID: command.kind == .uid, modSeq)
        }
        return Completion("Sorted")
    }

    func thread(_ command: ThreadCommand) async throws(CommandFailure) -> Completion {
        let view = try await settledView()
        let found = try await find(command.key, command.charset, nil, view)
        let kind = command.kind
        let uids = view.uids
        let needsReceived = command.algorithm == .refs
        let messages = try await collect(found, view) { index, record, known in
            ThreadMessage(
                number: kind == .uid ? uids[index] : UInt32(index + 1),
                record,
                known,
                needsReceived: needsReceived
            )
        }
        let forest: ThreadForest
        switch command.algorithm {
        case .orderedSubject: forest = ThreadForest(orderedSubject: messages)
        case .references: forest = ThreadForest(references: messages)
        case .refs: forest = ThreadForest(refs: messages)
        case .unknown: throw .bad("Thread algorithm is not offered by this server")
        }
        output.append("* THREAD")
        if !messages.isEmpty { output.append(.space) }
        forest.write(to: &output)
        output.append("\r\n")
        return Completion("Threaded")
    }

    /// Takes something from each message, in jobs; the order is kept, what is gone is left out.
    private func collect<Value: Sendable>(
        _ found: [Int],
        _ view: SelectedMailbox,
        needsSize: Bool = false,
        _ body: @escaping @Sendable (Int, borrowing DetailRecord, SortFacts.Known) -> Value?
    ) async throws(CommandFailure) -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(found.count)
        progress.begin(found.count)
        let mailbox = view.mailbox
        let uids = view.uids
        let pipeline = MessagePipeline(
            mailbox,
            count: found.count,
            batchMax: Limits.renderHeaderCountMax,
            budget: Limits.lookBytesMax
        ) { part in
            let indexes = Array(found[part])
            let table = mailbox.table
            let known = indexes.map { index -> SortFacts.Known in
                guard let row = table.row(of: uids[index]) else { return .init() }
                let (size, date) = (table.sizes[row], table.dates[row])
                return .init(size: size < 0 ? nil : Int(size), date: date == .min ? nil : date)
            }
            let job = DetailJob(
                names: mailbox.names(of: indexes.map { uids[$0] }[...]),
                details: mailbox.details,
                extent: needsSize ? .whole : .header,
                makes: .ofHeader
            )
            return (job: job, indexes: indexes, known: known)
        } work: { input, reader in
            var results: [Value?] = []
            let run = input.job.run(
                reader,
                budget: Limits.lookBytesMax,
                size: { input.known[$0].size },
                isEnough: { body(input.indexes[$0], $1, input.known[$0]) != nil }
            ) { offset, message in
                guard let record = message.record else {
                    results.append(nil)
                    return true
                }
                var known = input.known[offset]
                if let content = message.content {
                    known.date = content.date
                    known.size = content.size ?? known.size
                }
                results.append(body(input.indexes[offset], record, known))
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
                let index = found[part.lowerBound + offset]
                if let result {
                    values.append(result)
                } else if let content = try? await mailbox.read(uids[index]) {
                    if let value = Self.look(at: content, index, body) { values.append(value) }
                }
            }
            progress.done = part.upperBound
            if isEnding { throw .closed }
        }
        return values
    }

    /// The same for a message that was not where it was expected.
    private static func look<Value>(
        at content: MessageContent,
        _ index: Int,
        _ body: (Int, borrowing DetailRecord, SortFacts.Known) -> Value?
    ) -> Value? {
        let bytes = content.bytes
        let size = MessageText.crlfSize(of: bytes.span)
        let made = DetailRecord.make(bytes.span, [], size: size)
        guard let record = DetailRecord(made.span) else { return nil }
        return body(index, record, .init(size: size, date: content.date.seconds))
    }
}
