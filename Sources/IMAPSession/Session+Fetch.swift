import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  FETCH                                                                     RFC 9051 §6.4.5
//
//  What is in memory (flags, UID, and dates and sizes once known) is written straight into the
//  output. What needs the message file is rendered in jobs, a batch ahead of the writer, so that a
//  slow client holds at most one batch in memory.

extension Session {
    func fetch(_ command: FetchCommand) async throws(CommandFailure) -> Completion {
        for item in command.items where !isOffered(item) {
            throw .bad("Fetch item is not offered by this server")
        }
        guard command.changedSince == nil, !command.vanished else {
            throw .bad("Fetch modifier is not offered by this server")
        }
        let view = try await settledView()
        view.reportKeywords(to: &output)
        let plan = FetchPlan(command, isUTF8: isUTF8)
        var ranges = try indexes(command.set, command.kind, view)
        if let partial = command.partial { ranges = partial.window(on: ranges) }
        let setsSeen = plan.setsSeen && !view.isReadOnly
        var state = FetchState()
        progress.begin(ranges.reduce(0) { $0 + $1.count })
        for range in ranges {
            if plan.needsContent || setsSeen {
                try await fetchContent(range, plan, setsSeen, view, &state)
            } else {
                try await fetchSummary(range, plan, view, &state)
            }
        }
        if state.isUnknownEncoding {
            throw .refused(.unknownCTE, "A part has an unknown transfer encoding")
        }
        if let failure = state.failure { throw failure }
        return Completion("Fetched")
    }

    private struct FetchState {
        /// Of the first message that could not be read.
        var failure: CommandFailure?
        var isUnknownEncoding = false
    }

    /// Reads one message; what keeps it from being read is told when the others are.
    private func read(
        _ uid: UInt32,
        _ mailbox: Mailbox,
        _ state: inout FetchState
    ) async -> MessageContent? {
        do throws(StoreError) { return try await mailbox.read(uid) } catch {
            let failure: CommandFailure =
                error == .messageGone
                ? CommandFailure(error)
                : .refused(
                    .unavailable,
                    "Some of the messages cannot be read, see the server's log"
                )
            state.failure = state.failure ?? failure
            return nil
        }
    }

    // MARK: From memory

    private func fetchSummary(
        _ range: Range<Int>,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        var index = range.lowerBound
        while index < range.upperBound {
            let end = min(index + 1_024, range.upperBound)
            if plan.wantsDate || plan.wantsSize {
                let uids = Array(view.uids[index..<end])
                if plan.wantsSize { _ = await sizes(of: uids, in: view.mailbox) }
                if plan.wantsDate { await view.mailbox.loadDates(uids) }
            }
            let start = index
            var ghost: UInt32?
            (index, ghost) = appendSummaries(index..<end, plan, view)
            if let ghost {
                try await fetchGhost(index, ghost, plan, view, &state)
                index += 1
            }
            progress.done += index - start
            try await flushIfLarge()
        }
    }

    /// Appends messages until the range or the room in the output ends, or one is not in the mailbox
    /// any more. Returns the index that comes next, and the UID there in the last case.
    private func appendSummaries(
        _ range: Range<Int>,
        _ plan: FetchPlan,
        _ view: SelectedMailbox
    ) -> (index: Int, ghost: UInt32?) {
        // A local buffer: each append to a property would check for exclusive access.
        var buffer = ByteBuffer()
        swap(&buffer, &output)
        defer { swap(&buffer, &output) }
        let uids = view.uids
        var writer = SummaryWriter(plan, view)
        for index in range {
            guard let row = writer.row(of: uids[index]) else { return (index, uids[index]) }
            _ = writer.append(index, uids[index], row, to: &buffer)
            buffer.append(")\r\n")
            if buffer.count >= Limits.outputBytesMax { return (index + 1, nil) }
        }
        return (range.upperBound, nil)
    }

    /// A message that a sibling session expunged and that this one still numbers.
    private func fetchGhost(
        _ index: Int,
        _ uid: UInt32,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        guard let content = await read(uid, view.mailbox, &state) else { return }
        let rendered = plan.render(content)
        output.appendFetch(UInt32(index + 1))
        var items = ByteBuffer()
        if plan.wantsUID {
            items.append(" UID ")
            items.append(decimal: uid)
        }
        if plan.wantsFlags { items.append(" FLAGS (\\Deleted)") }
        if plan.wantsDate {
            items.append(" INTERNALDATE ")
            items.append(date: InternalDate(unixSeconds: rendered.date, zoneMinutes: 0))
        }
        if plan.wantsSize {
            items.append(" RFC822.SIZE ")
            items.append(decimal: rendered.size)
        }
        items.append(rendered.bytes)
        output.append(items.bytes.dropFirst())
        output.append(")\r\n")
    }

    // MARK: From message files

    private func fetchContent(
        _ range: Range<Int>,
        _ plan: FetchPlan,
        _ setsSeen: Bool,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        let mailbox = view.mailbox
        var index = range.lowerBound
        while index < range.upperBound {
            let end = min(index + Limits.renderCountMax, range.upperBound)
            let uids = view.uids[index..<end]
            var rendered = try await render(uids, plan, range.count == 1, mailbox)
            var changed: Set<UInt32> = []
            if setsSeen { changed = await setSeen(uids.prefix(rendered.count), view) }
            for (offset, uid) in uids.prefix(rendered.count).enumerated() {
                if rendered[offset] == nil, let content = await read(uid, mailbox, &state) {
                    rendered[offset] = plan.render(content)
                }
                guard let result = rendered[offset] else { continue }
                rendered[offset] = nil
                mailbox.note(uid, size: result.size, date: result.date)
                var writer = SummaryWriter(plan, view)
                guard let row = writer.row(of: uid) else {
                    try await fetchGhost(index + offset, uid, plan, view, &state)
                    continue
                }
                if result.hasUnknownEncoding { state.isUnknownEncoding = true }
                view.reportKeywords(to: &output)
                let addsFlags = !plan.wantsFlags && changed.contains(uid)
                let isFirst = writer.append(
                    index + offset,
                    uid,
                    row,
                    addsFlags: addsFlags,
                    to: &output
                )
                output.append(isFirst ? result.bytes.dropFirst() : result.bytes[...])
                output.append(")\r\n")
                try await flushIfLarge()
            }
            index += max(rendered.count, 1)
            progress.done += max(rendered.count, 1)
        }
    }

    private func render(
        _ uids: ArraySlice<UInt32>,
        _ plan: FetchPlan,
        _ isSingle: Bool,
        _ mailbox: Mailbox
    ) async throws(CommandFailure) -> [FetchPlan.Rendered?] {
        guard isSingle, let (section, partial) = plan.piece, let uid = uids.first else {
            return await mailbox.process(uids, budget: Limits.renderBytesMax) { _, content in
                plan.render(content)
            }
        }
        // The client reads one message piece by piece: the section is kept for the next piece.
        if piecewise?.uid != uid || piecewise?.content.section != section {
            let made = await mailbox.process(uids, budget: Limits.renderBytesMax) { _, content in
                plan.content(of: section, content)
            }
            guard let content = made[0] else { return [nil] }
            if let piecewise { EventLoop.cancel(piecewise.timer) }
            let timer = EventLoop.schedule(at: .after(seconds: 20)) { [weak self] in
                self?.piecewise = nil
            }
            piecewise = Piecewise(uid: uid, content: content, timer: timer)
        }
        guard let content = piecewise?.content else { return [nil] }
        return [plan.render(content, partial)]
    }

    /// Sets \Seen where it is not set. Returns the messages that got it.
    private func setSeen(_ uids: ArraySlice<UInt32>, _ view: SelectedMailbox) async -> Set<UInt32> {
        let unseen = uids.filter { uid in
            view.mailbox.table.row(of: uid)
                .map { !view.mailbox.table.flags($0).contains(.seen) } ?? false
        }
        guard !unseen.isEmpty else { return [] }
        let delta = FlagsDelta(mode: .add, system: .seen, keywords: [])
        // A mailbox that cannot be written to can still be read.
        let outcomes = try? await view.mailbox.store(unseen, delta, source: source)
        guard let outcomes else { return [] }
        return Set(zip(unseen, outcomes).filter { $0.1 == .changed }.map(\.0))
    }
}

extension Session {
    /// FETCH responses for which no command asks now: of messages without a gap between them.
    func fetch(
        _ range: Range<Int>,
        _ items: [FetchItem],
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        if range.isEmpty || items.isEmpty { return }
        let command = FetchCommand(kind: .sequenceNumber, set: .ranges([]), items: items)
        let plan = FetchPlan(command, isUTF8: isUTF8)
        var state = FetchState()
        if plan.needsContent {
            try await fetchContent(range, plan, false, view, &state)
        } else {
            try await fetchSummary(range, plan, view, &state)
        }
        // What could not be read is left out: there is no command to fail.
    }

    /// What is not finished is refused.
    func isOffered(_ item: FetchItem) -> Bool {
        switch item {
        case .flags, .uid, .internalDate, .envelope, .body, .bodyStructure, .rfc822, .rfc822Header,
            .rfc822Text, .rfc822Size, .bodySection:
            true
        case .binary, .binarySize, .modSeq, .emailID, .threadID, .saveDate, .preview: false
        }
    }
}
