import Bytes
import IMAPWire
import MailStore

//  SORT, THREAD                                                              RFC 5256, RFC 5267 §3

extension Session {
    func sort(_ command: SortCommand, tag: [UInt8]) async throws(CommandFailure) -> Completion {
        if let returns = command.returns, returns.update || returns.context {
            throw .bad("CONTEXT=SORT is not offered by this server")
        }
        let view = try await settledView()
        let found = try await find(command.key, command.charset, command.returns, view)
        let program = SortProgram(command.criteria)
        var facts = try await collect(found, view) { index, content in
            program.facts(index, content)
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
        let messages = try await collect(found, view) { index, content in
            ThreadMessage(number: kind == .uid ? uids[index] : UInt32(index + 1), content)
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
        _ body: @escaping @Sendable (Int, MessageContent) -> Value
    ) async throws(CommandFailure) -> [Value] {
        var values: [Value] = []
        values.reserveCapacity(found.count)
        var left = found[...]
        progress.begin(found.count)
        while !left.isEmpty {
            let batch = Array(left.prefix(256))
            let uids = batch.map { view.uids[$0] }
            var indexes: [UInt32: Int] = [:]
            for index in batch { indexes[view.uids[index]] = index }
            let indexOf = indexes
            let results = await view.mailbox.process(uids[...], budget: 4 << 20) { uid, content in
                body(indexOf[uid] ?? 0, content)
            }
            for (index, result) in zip(batch, results) {
                if let result {
                    values.append(result)
                } else if let content = try? await view.mailbox.read(view.uids[index]) {
                    values.append(body(index, content))
                }
            }
            left = left.dropFirst(max(results.count, 1))
            progress.done = found.count - left.count
            if isEnding { throw .closed }
        }
        return values
    }
}
