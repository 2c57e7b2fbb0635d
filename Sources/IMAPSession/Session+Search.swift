import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  SEARCH                                                                    RFC 9051 §6.4.4, RFC 4731

extension Session {
    func search(_ command: SearchCommand, tag: [UInt8]) async throws(CommandFailure) -> Completion {
        try checkUpdate(command.returns, tag)
        // RFC 6855 §3.
        if acceptsUTF8, command.charset != nil {
            throw .bad("No CHARSET after UTF8=ACCEPT: all is UTF-8")
        }
        let view = try await settledView()
        let found = try await find(command.key, command.charset, command.returns, view)
        let numbers = found.map { number($0, command.kind, view) }
        guard let returns = command.returns ?? impliedReturn else {
            output.append("SEARCH", numbers: numbers, modSeq: modSeq(command.key, found, view))
            return Completion("Searched")
        }
        if returns.save { saved = returns.saved(of: found.map { view.uids[$0] }) }
        if returns.isAnswered {
            let modSeq = modSeq(command.key, returns.told(of: found), view)
            answer(returns, numbers, tag, isUID: command.kind == .uid, modSeq)
        }
        if returns.update {
            keepUpdated(
                command.key,
                command.charset,
                returns,
                found: found.map { view.uids[$0] },
                in: view,
                tag: tag,
                isUID: command.kind == .uid
            )
        }
        return Completion("Searched")
    }

    /// In rev2 SEARCH without RETURN is answered by ESEARCH too.              RFC 9051 §6.4.4
    private var impliedReturn: SearchReturn? {
        guard revision == .rev2 else { return nil }
        var returns = SearchReturn()
        returns.all = true
        return returns
    }

    /// The indexes of the messages that a search program finds, ascending.
    ///
    /// - Parameter isStrict: whether a sequence number that is not there is BAD; else it is nothing.
    func find(
        _ key: SearchKey,
        _ charset: [UInt8]?,
        _ returns: SearchReturn?,
        _ view: SelectedMailbox,
        isStrict: Bool = true
    ) async throws(CommandFailure) -> [Int] {
        if let returns, !returns.isOffered {
            throw .bad("Search return option is not offered by this server")
        }
        do throws(CommandFailure) {
            let program = try program(key, charset, view, isStrict: isStrict)
            return try await matches(program, view, within: [view.uids.indices])
        } catch {
            // RFC 5182 §2.1: a search that fails with NO leaves the empty set.
            if returns?.save == true, case .refused = error { saved = [] }
            throw error
        }
    }

    func program(
        _ key: SearchKey,
        _ charset: [UInt8]?,
        _ view: SelectedMailbox,
        isStrict: Bool
    ) throws(CommandFailure) -> SearchProgram {
        try SearchProgram(
            key,
            charset: charset,
            keywords: view.mailbox.keywords,
            count: view.numberCount,
            lastUID: view.uids.last ?? 0,
            saved: view === selected ? saved : [],
            isStrict: isStrict
        )
    }

    func number(_ index: Int, _ kind: NumberKind, _ view: SelectedMailbox) -> UInt32 {
        kind == .uid ? view.uids[index] : UInt32(index + 1)
    }

    /// ESEARCH, for SEARCH and SORT with RETURN. The numbers are in the order of the result.
    func answer(
        _ returns: SearchReturn,
        _ numbers: [UInt32],
        _ tag: [UInt8],
        isUID: Bool,
        _ modSeq: ModSeq? = nil
    ) {
        var response = response(returns, numbers, tag, isUID: isUID)
        response.modSeq = modSeq
        output.append(response, mode)
    }

    func response(
        _ returns: SearchReturn,
        _ numbers: [UInt32],
        _ tag: [UInt8],
        isUID: Bool
    ) -> ESearchResponse {
        var response = ESearchResponse(tag: tag, isUID: isUID)
        if returns.min { response.min = numbers.first }
        if returns.max { response.max = numbers.last }
        if returns.count { response.count = UInt32(numbers.count) }
        if returns.all { response.all = RangeBuilder(numbers).ranges }
        if let range = returns.partial {
            let window = numbers[range.indices(count: numbers.count)]
            response.partial = .init(range: range, result: RangeBuilder(window).ranges)
        }
        return response
    }

    /// Throws what is wrong with a search that needs no mailbox to see it.
    func check(
        _ key: SearchKey,
        _ charset: [UInt8]?,
        _ returns: SearchReturn
    ) throws(CommandFailure) {
        guard returns.isOffered else {
            throw .bad("Search return option is not offered by this server")
        }
        _ = try SearchProgram(
            key,
            charset: charset,
            keywords: Keywords(),
            count: 0,
            lastUID: 0,
            saved: [],
            isStrict: false
        )
    }

    /// The indexes of the messages that match, among those in runs of indexes; ascending.
    func matches(
        _ program: SearchProgram,
        _ view: SelectedMailbox,
        within runs: [Range<Int>]
    ) async throws(CommandFailure) -> [Int] {
        var found: [Int] = []
        var unknown: [(index: Int, facts: MessageFacts)] = []
        for run in runs {
            if program.needsDates { await view.mailbox.loadDates(Array(view.uids[run])) }
            var start = run.lowerBound
            while start < run.upperBound {
                let end = min(start + 4_096, run.upperBound)
                sort(start..<end, program, view, &found, &unknown)
                start = end
                if start < run.upperBound { await EventLoop.yield() }
            }
        }
        guard !unknown.isEmpty else { return found }
        found += try await read(program, unknown, view)
        return found.sorted()
    }

    /// The first round over a run of messages: the columns are held once, and not across an await.
    private func sort(
        _ range: Range<Int>,
        _ program: SearchProgram,
        _ view: SelectedMailbox,
        _ found: inout [Int],
        _ unknown: inout [(index: Int, facts: MessageFacts)]
    ) {
        let uids = view.uids
        let table = view.mailbox.table
        let recent = view.recent
        let hasBeyond = !table.beyond.isEmpty
        var row = table.firstRow(from: uids[range.lowerBound])
        for index in range {
            let uid = uids[index]
            while row < table.count, table.uids[row] < uid { row += 1 }
            guard row < table.count, table.uids[row] == uid else { continue }
            let facts = MessageFacts(
                sequence: UInt32(index + 1),
                uid: uid,
                flags: table.flags(row),
                beyond: hasBeyond ? table.beyond[uid] ?? [] : [],
                isRecent: !recent.isEmpty && recent.contains(uid),
                date: table.dates[row] == .min ? nil : table.dates[row],
                size: table.sizes[row] < 0 ? nil : table.sizes[row],
                modseq: table.modseqs[row],
                saveDate: program.needsSaveDates
                    ? SaveDate.seconds(inName: table.base(row)) : nil
            )
            switch program.evaluate(facts) {
            case true?: found.append(index)
            case false?: break
            case nil: unknown.append((index, facts))
            }
        }
    }

    /// The second round: looks into the files.
    private func read(
        _ program: SearchProgram,
        _ unknown: [(index: Int, facts: MessageFacts)],
        _ view: SelectedMailbox
    ) async throws(CommandFailure) -> [Int] {
        var found: [Int] = []
        var left = unknown[...]
        progress.begin(unknown.count)
        while !left.isEmpty {
            let batch = Array(left.prefix(256))
            var factsByUID: [UInt32: MessageFacts] = [:]
            for entry in batch { factsByUID[entry.facts.uid] = entry.facts }
            let facts = factsByUID
            let uids = batch.map(\.facts.uid)
            // One job at a time uses it.
            let reader = SearchProgram.Reader()
            let results = await view.mailbox.process(uids[...], budget: 4 << 20) { uid, content in
                guard let facts = facts[uid] else { return false }
                return program.evaluate(facts, content, reader)
            }
            for (entry, result) in zip(batch, results) {
                if let result {
                    if result { found.append(entry.index) }
                } else if let content = try? await view.mailbox.read(entry.facts.uid) {
                    if program.evaluate(entry.facts, content, reader) {
                        found.append(entry.index)
                    }
                }
            }
            left = left.dropFirst(max(results.count, 1))
            progress.done = unknown.count - left.count
            if isEnding { throw .closed }
        }
        return found
    }
}

extension SearchReturn {
    /// What is not finished is refused.
    fileprivate var isOffered: Bool { !relevancy }
}
