import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  SEARCH                                                                    RFC 9051 §6.4.4, RFC 4731

extension Session {
    func search(_ command: SearchCommand, tag: [UInt8]) async throws(CommandFailure) -> Completion {
        try checkUpdate(command.returns, tag)
        // RFC 9755 §3 has a charset refused "due to the conflicting charset labels". UTF-8 conflicts with
        // nothing, and Thunderbird goes on sending it.
        if acceptsUTF8, let charset = command.charset, Charset(charset) != .utf8 {
            throw .bad("After UTF8=ACCEPT all is UTF-8")
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
        var unknown: [Int] = []
        for run in runs {
            if program.needsDates { await view.loadDates(run) }
            var start = run.lowerBound
            while start < run.upperBound {
                let end = min(start + Limits.searchRowsMax, run.upperBound)
                let rows = SearchRows(start..<end, view, program.needs)
                sort(rows.indexes, program.evaluate(rows, nil), &found, &unknown)
                start = end
                if start < run.upperBound { await EventLoop.yield() }
            }
        }
        guard !unknown.isEmpty else { return found }
        progress.begin(unknown.count)
        if !program.columns.isEmpty {
            let open = unknown
            unknown = []
            try await searchColumns(program, view, open, &found, &unknown)
        }
        if !unknown.isEmpty {
            progress.goal = progress.done + unknown.count
            found += try await read(program, unknown, view)
        }
        return found.sorted()
    }

    private func sort(
        _ indexes: [Int],
        _ answers: [UInt8],
        _ found: inout [Int],
        _ unknown: inout [Int]
    ) {
        for (offset, index) in indexes.enumerated() {
            switch answers[offset] {
            case SearchProgram.yes: found.append(index)
            case SearchProgram.unknown: unknown.append(index)
            default: break
            }
        }
    }

    /// The second round: asks columns of the header.
    private func searchColumns(
        _ program: SearchProgram,
        _ view: SelectedMailbox,
        _ open: [Int],
        _ found: inout [Int],
        _ unknown: inout [Int]
    ) async throws(CommandFailure) {
        let uids = view.uids
        let source = ColumnSource(view.mailbox)
        for piece in open.map({ uids[$0] }).columnPieces {
            let rows = SearchRows(open[piece], view, program.needs)
            let answers = try await withColumns(program.columns, of: rows.uids, view, source) {
                program.evaluate(rows, $0)
            }
            sort(rows.indexes, answers, &found, &unknown)
        }
    }

    /// The third round: looks into the files.
    private func read(
        _ program: SearchProgram,
        _ unknown: [Int],
        _ view: SelectedMailbox
    ) async throws(CommandFailure) -> [Int] {
        var found: [Int] = []
        let mailbox = view.mailbox
        let uids = view.uids
        let pipeline = MessagePipeline(
            mailbox,
            count: unknown.count,
            batchMax: Limits.renderHeaderCountMax,
            budget: Limits.lookBytesMax
        ) { part in
            let look = program.look
            let facts = MessageFacts.of(unknown[part], view, program)
            let job = DetailJob(
                names: mailbox.names(of: facts.map(\.uid)[...]),
                details: look.makes == .none ? nil : mailbox.details,
                extent: look.extent,
                makes: mailbox.details == nil ? .none : look.makes
            )
            return (job: job, facts: facts)
        } work: { input, messageReader in
            let reader = SearchProgram.Reader()
            var results: [Bool?] = []
            let run = input.job.run(
                messageReader,
                budget: Limits.lookBytesMax,
                size: { input.facts[$0].size.map { Int($0) } },
                isEnough: { program.answers(input.facts[$0], $1, reader) }
            ) { offset, message in
                results.append(program.evaluate(input.facts[offset], message, reader))
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
                let index = unknown[part.lowerBound + offset]
                if let result {
                    if result { found.append(index) }
                } else if let content = try? await mailbox.read(uids[index]) {
                    let facts = MessageFacts.of([index], view, program)[0]
                    if program.evaluate(facts, content, SearchProgram.Reader()) {
                        found.append(index)
                    }
                }
            }
            progress.done += part.count
            if isEnding { throw .closed }
        }
        return found
    }
}

extension SelectedMailbox {
    /// Looks up the internal dates that are not known yet.
    func loadDates(_ range: Range<Int>) async {
        guard !range.isEmpty else { return }
        let table = mailbox.table
        let known = table.uids
        var missing: [UInt32] = []
        var row = table.firstRow(from: uids[range.lowerBound])
        for index in range {
            let uid = uids[index]
            while row < known.count, known[row] < uid { row += 1 }
            guard row < known.count, known[row] == uid else { continue }
            if table.dates[row] == .min { missing.append(uid) }
        }
        if !missing.isEmpty { await mailbox.loadDates(missing) }
    }
}

extension MessageFacts {
    /// What is in memory of messages. One that is gone has nothing but its numbers: its file may
    /// be there still.
    @EventLoop
    fileprivate static func of(
        _ indexes: some Collection<Int>,
        _ view: SelectedMailbox,
        _ program: SearchProgram
    ) -> [MessageFacts] {
        let table = view.mailbox.table
        let (uids, recent) = (view.uids, view.recent)
        return indexes.map { index in
            let uid = uids[index]
            var facts = MessageFacts(
                sequence: UInt32(index + 1),
                uid: uid,
                flags: [],
                beyond: table.beyond[uid] ?? [],
                isRecent: recent.contains(uid),
                modseq: 0
            )
            guard let row = table.row(of: uid) else { return facts }
            facts.flags = table.flags(row)
            facts.modseq = table.modseqs[row]
            if table.dates[row] != .min { facts.date = table.dates[row] }
            if table.sizes[row] >= 0 { facts.size = table.sizes[row] }
            if program.needsSaveDates { facts.saveDate = SaveDate.seconds(inName: table.base(row)) }
            return facts
        }
    }
}

extension SearchReturn {
    /// What is not finished is refused.
    fileprivate var isOffered: Bool { !relevancy }
}
