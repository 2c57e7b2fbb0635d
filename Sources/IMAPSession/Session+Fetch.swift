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
        let view = try await settledView()
        view.reportKeywords(to: &output)
        let plan = FetchPlan(command, isUTF8: isUTF8, view.telling)
        var ranges = try indexes(command.set, command.kind, view)
        if let since = command.changedSince?.value {
            if command.vanished { try await appendVanished(since: since, command.set, view) }
            ranges = changed(since: since, in: ranges, view)
        }
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
                error == .messageGone || error == .unreadableMessage
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

    /// For plans that need no content.
    func fetchSummary(
        _ range: Range<Int>,
        _ plan: FetchPlan,
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        var state = FetchState()
        try await fetchSummary(range, plan, view, &state)
    }

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
                if view.mailbox.table.row(of: ghost) != nil {
                    try await fetchUnknown(index, plan, view, &state)
                } else {
                    try await fetchGhost(index, ghost, plan, view, &state)
                }
                index += 1
            }
            progress.done += index - start
            try await flushIfLarge()
        }
    }

    /// Appends messages until the range or the room in the output ends, or one is not in the mailbox
    /// any more, or was not found under its name when its size and date were looked up. Returns the
    /// index that comes next, and the UID there in the last two cases.
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
        defer { view.noteSeen(writer.largestModseq) }
        let room = Limits.outputBytesMax
        let start = writer.appendFlags(range, uids, room: room, to: &buffer)
        if buffer.count >= room { return (start, nil) }
        for index in start..<range.upperBound {
            guard let row = writer.row(of: uids[index]), writer.knows(row) else {
                return (index, uids[index])
            }
            _ = writer.append(index, uids[index], row, to: &buffer)
            buffer.append(")\r\n")
            if buffer.count >= room { return (index + 1, nil) }
        }
        return (range.upperBound, nil)
    }

    /// A message whose size or date was not found. One that is there and cannot be read is told all
    /// the same, with a size of 0: a client that lists the mailbox must not fail on it.
    private func fetchUnknown(
        _ index: Int,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        let uid = view.uids[index]
        let content: MessageContent
        do throws(StoreError) { content = try await view.mailbox.read(uid) } catch {
            var writer = SummaryWriter(plan, view)
            guard error != .messageGone, let row = writer.row(of: uid) else {
                state.failure = state.failure ?? CommandFailure(error)
                return
            }
            _ = writer.append(index, uid, row, to: &output)
            output.append(")\r\n")
            return
        }
        try await append(plan.render(content), index, false, plan, view, &state)
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
        if rendered.hasUnknownEncoding { state.isUnknownEncoding = true }
        var items = ByteBuffer()
        if plan.wantsUID {
            items.append(" UID ")
            items.append(decimal: uid)
        }
        if plan.wantsFlags { items.append(" FLAGS (\\Deleted)") }
        if plan.wantsModseq {
            // Its expunge is newer, and comes.
            items.append(.space)
            view.appendModseq(view.newestModseq, to: &items)
        }
        if plan.wantsDate {
            items.append(" INTERNALDATE ")
            items.append(date: InternalDate(unixSeconds: rendered.date, zoneMinutes: 0))
        }
        if plan.wantsSize {
            items.append(" RFC822.SIZE ")
            items.append(decimal: rendered.size)
        }
        // Its name is another one since it was expunged.
        if plan.wantsSaveDate { items.append(" SAVEDATE NIL") }
        items.append(rendered.bytes)
        if items.isEmpty { return }
        view.appendFetch(index, uid, to: &output)
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
        if range.count == 1, plan.piece != nil {
            return try await fetchPiece(range.lowerBound, plan, setsSeen, view, &state)
        }
        // Where \Seen is set it is set for what is sent next, and no further ahead.
        guard setsSeen else { return try await stream(range, plan, [], view, &state) }
        var start = range.lowerBound
        while start < range.upperBound {
            let end = min(start + Limits.renderCountMax, range.upperBound)
            let changed = await setSeen(view.uids[start..<end], view)
            try await stream(start..<end, plan, changed, view, &state)
            start = end
        }
    }

    /// Answers are made in jobs, ahead of what is being sent.
    private func stream(
        _ range: Range<Int>,
        _ plan: FetchPlan,
        _ changed: Set<UInt32>,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        // Where records are made of what is read, little of it goes out, and they are kept together.
        let makesRecords = plan.records != .none
        let budget = makesRecords ? Limits.lookBytesMax : Limits.renderBytesMax
        let pipeline = MessagePipeline(
            view.mailbox,
            count: range.count,
            ahead: makesRecords ? 2 : 1,
            batchMax: makesRecords || !plan.needsWhole
                ? Limits.renderHeaderCountMax : Limits.renderCountMax,
            budget: budget,
            readsFilesOnly: !makesRecords
        ) { [self] part in
            let indexes =
                (range.lowerBound + part.lowerBound)..<(range.lowerBound + part.upperBound)
            return batch(indexes, plan, changed, view)
        } work: { batch, reader in
            plan.answer(batch, reader, budget: budget)
        }
        while let (part, batch) = await pipeline.take() {
            view.mailbox.keep(batch.made)
            try await send(batch, from: range.lowerBound + part.lowerBound, plan, view, &state)
            progress.done += part.count
        }
    }

    /// What a job needs to answer for some messages.
    private func batch(
        _ indexes: Range<Int>,
        _ plan: FetchPlan,
        _ changed: Set<UInt32>,
        _ view: SelectedMailbox
    ) -> FetchBatch {
        view.reportKeywords(to: &output)
        let uids = view.uids
        let names = view.mailbox.names(of: uids[indexes])
        var messages: [FetchBatch.Message] = []
        var beginnings = ByteBuffer(capacity: indexes.count * 64)
        var sizesAreKnown = true
        messages.reserveCapacity(indexes.count)
        var writer = SummaryWriter(plan, view)
        defer { view.noteSeen(writer.largestModseq) }
        for index in indexes {
            let begin = beginnings.count
            var message = FetchBatch.Message(
                begin: begin,
                end: begin,
                isBare: true,
                size: -1,
                date: .min
            )
            if let row = writer.row(of: uids[index]) {
                message.isBare = writer.appendBeginning(
                    index,
                    uids[index],
                    row,
                    isChanged: changed.contains(uids[index]),
                    to: &beginnings
                )
                (message.size, message.date) = writer.sizeAndDate(row)
            }
            message.end = beginnings.count
            if message.size < 0, !names.claimsWireSize(index - indexes.lowerBound) {
                sizesAreKnown = false
            }
            messages.append(message)
        }
        let look = plan.look(at: names, details: view.mailbox.details, sizesAreKnown: sizesAreKnown)
        return FetchBatch(look: look, beginnings: beginnings, messages: messages)
    }

    /// Sends what a job has made; looks singly for what was not where it was expected.
    private func send(
        _ batch: FetchedBatch,
        from index: Int,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        var isWhole = true
        for (offset, message) in batch.messages.enumerated() {
            if message.isMissing { isWhole = false }
            if message.hasUnknownEncoding { state.isUnknownEncoding = true }
            view.mailbox.note(view.uids[index + offset], size: message.size, date: message.date)
        }
        if isWhole {
            // A large answer goes out as it is, without a copy.
            if !output.isEmpty, output.count + batch.bytes.count > Limits.outputBytesMax {
                try await flush()
            }
            if output.isEmpty { output.bytes = batch.bytes } else { output.append(batch.bytes) }
            return try await flushIfLarge()
        }
        var sent = 0
        for (offset, message) in batch.messages.enumerated() {
            output.append(batch.bytes[sent..<message.end])
            sent = message.end
            if message.isMissing { try await fetchSingly(index + offset, plan, view, &state) }
            try await flushIfLarge()
        }
    }

    /// A message that was renamed meanwhile, or expunged.
    private func fetchSingly(
        _ index: Int,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        let uid = view.uids[index]
        // Whether this command set \Seen is not known here.
        if plan.setsSeen { view.tellsOwnChanges = true }
        guard let content = await read(uid, view.mailbox, &state) else { return }
        try await append(plan.render(content), index, false, plan, view, &state)
    }

    private func append(
        _ rendered: FetchPlan.Rendered,
        _ index: Int,
        _ isChanged: Bool,
        _ plan: FetchPlan,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        let uid = view.uids[index]
        view.mailbox.note(uid, size: Int64(rendered.size), date: rendered.date)
        var writer = SummaryWriter(plan, view)
        guard let row = writer.row(of: uid) else {
            return try await fetchGhost(index, uid, plan, view, &state)
        }
        if rendered.hasUnknownEncoding { state.isUnknownEncoding = true }
        view.reportKeywords(to: &output)
        let start = output.count
        let isFirst = writer.append(index, uid, row, isChanged: isChanged, to: &output)
        view.noteSeen(writer.largestModseq)
        if isFirst, rendered.bytes.isEmpty {
            return output.bytes.removeSubrange(start...)
        }
        output.append(isFirst ? rendered.bytes.dropFirst() : rendered.bytes[...])
        output.append(")\r\n")
        try await flushIfLarge()
    }

    // MARK: Piece by piece

    private func fetchPiece(
        _ index: Int,
        _ plan: FetchPlan,
        _ setsSeen: Bool,
        _ view: SelectedMailbox,
        _ state: inout FetchState
    ) async throws(CommandFailure) {
        let uids = view.uids[index...index]
        var changed: Set<UInt32> = []
        if setsSeen { changed = await setSeen(uids, view) }
        guard let rendered = await piece(view.uids[index], plan, view.mailbox) else {
            return try await fetchSingly(index, plan, view, &state)
        }
        try await append(rendered, index, !changed.isEmpty, plan, view, &state)
        progress.done += 1
    }

    /// The client reads one message piece by piece: the section is kept for the next piece.
    private func piece(
        _ uid: UInt32,
        _ plan: FetchPlan,
        _ mailbox: Mailbox
    ) async -> FetchPlan.Rendered? {
        guard let (section, partial) = plan.piece else { return nil }
        if piecewise?.uid != uid || piecewise?.content.section != section {
            let made = await mailbox.process([uid], budget: Limits.renderBytesMax) { _, content in
                plan.content(of: section, content)
            }
            guard let content = made[0] else { return nil }
            if let piecewise { EventLoop.cancel(piecewise.timer) }
            let timer = EventLoop.schedule(at: .after(seconds: 20)) { [weak self] in
                self?.piecewise = nil
            }
            piecewise = Piecewise(uid: uid, content: content, timer: timer)
        }
        guard let content = piecewise?.content else { return nil }
        return plan.render(content, partial)
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
        guard let outcomes else {
            // Some may have it all the same.
            view.tellsOwnChanges = true
            return []
        }
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
        let command = FetchCommand(kind: .sequenceNumber, set: SequenceSet([]), items: items)
        let plan = FetchPlan(command, isUTF8: isUTF8, view.telling)
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
            .rfc822Text, .rfc822Size, .bodySection, .binary, .binarySize, .modSeq, .emailID,
            .threadID, .saveDate, .preview:
            true
        }
    }
}
