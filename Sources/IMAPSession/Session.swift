import Bytes
import IMAPWire
import Maildir
package import MailStore
package import Posix

//  One connection after login
//
//  `run` is the session: it frames commands, runs them one after the other in the order in which
//  they came, and answers. Output gathers in `output` and is sent before the session waits for input,
//  and whenever it has grown to `Limits.outputBytesMax`; a client that does not read makes its own
//  session wait and no other.
//
//  A session never sees a descriptor: it is given a byte stream, the user's store and a clock.

@EventLoop
package final class Session {
    /// Changes once: COMPRESS lays a layer over it.
    var stream: any ByteStream
    let store: MailStore
    let identity: SessionIdentity
    var input: [UInt8] = []
    var consumed = 0
    var output = ByteBuffer()
    var framer = CommandFramer(limits: .afterLogin)
    var selected: SelectedMailbox?
    /// Rev1 until ENABLE IMAP4rev2.
    var revision = Revision.rev1
    /// After ENABLE UTF8=ACCEPT.
    var acceptsUTF8 = false
    /// Whether names and headers go over the wire in UTF-8.
    var isUTF8: Bool { acceptsUTF8 || revision == .rev2 }
    /// IDLE, between its line and its beginning.
    private var idling: Command?
    var isIdling = false
    /// The command that is running came as `UID …`: whatever FETCH says meanwhile names the UID.
    var isUIDCommand = false
    var sync = SyncModes()
    /// COMPRESS was answered OK; what follows is compressed.
    var wantsCompression = false
    /// The UIDs that `$` stands for, ascending.                               RFC 5182
    var saved: [UInt32] = []
    /// What the client is reading piece by piece.
    var piecewise: Piecewise?
    /// In a row.
    var badCommands = 0
    /// In the order of their commands: see `Session+PendingAppends`.
    var pendingAppends: [PendingAppend] = []
    let appendFinished = Signal()
    /// Messages in one APPEND; tests have a smaller number.
    var appendMessagesMax = Limits.appendMessagesMax
    /// The command in progress, and how far it is: see `Session+Progress`.
    var running: Running?
    let progress = WorkProgress()
    var progressTimer: TimerID?
    var progressMilliseconds = Limits.progressMilliseconds
    var isWriting = false
    /// Sends output beside the command that runs.
    var telling: Task<Void, Never>?
    var multiSearchCountMax = Limits.multiSearchCountMax
    /// After the first NOTIFY.
    var notifier: Notifier?
    var notifyMailboxCountMax = Limits.notifyMailboxCountMax
    /// After ENABLE METADATA.
    var isMetadataEnabled = false
    /// While annotations that others change are to be told.
    var annotationChanges: AnnotationChanges?
    var annotationChangeCountMax = Limits.annotationChangeCountMax
    private var isLoggedOut = false
    private var ending: StaticString?
    private var endingCode: ResponseCode?
    var isEnding: Bool { ending != nil }
    private var isOver: Bool { isEnding || isLoggedOut }
    private(set) var source: UInt32

    private static var lastSource: UInt32 = 0

    package init(_ stream: any ByteStream, _ store: MailStore, _ identity: SessionIdentity) {
        self.stream = stream
        self.store = store
        self.identity = identity
        Self.lastSource &+= 1
        if Self.lastSource == 0 { Self.lastSource = 1 }
        source = Self.lastSource
    }

    /// A section of one message in the form in which it is sent.
    struct Piecewise {
        let uid: UInt32
        let content: FetchPlan.SectionContent
        let timer: TimerID
    }

    var mode: TextMode { isUTF8 ? .utf8 : .ascii }

    /// Answers the login command and serves until the client leaves, or is made to.
    ///
    /// - Parameters:
    ///   - tag: the login command's; nil where it was answered already.
    ///   - leftover: what came behind the login command.
    package func run(tag: [UInt8]?, leftover: [UInt8]) async {
        input = leftover
        do throws(CommandFailure) {
            if let tag {
                try await aside { await self.makeDefaultMailboxes() }
                output.append(tagged: tag, .ok, .capability(Self.capabilities), "Logged in")
            }
            while !isOver { try await serve() }
        } catch {
            // Closed: there is nobody to tell.
        }
        try? await aside { await self.finish() }
    }

    private func finish() async {
        _ = await answerAppends()
        selected?.close()
        selected = nil
        notifier?.stop()
        annotationChanges?.stop()
        if let ending, !isLoggedOut { output.append(untagged: .bye, endingCode, ending) }
        try? await flush()
        stream.close()
    }

    /// Ends the session with BYE as soon as its present command is done.
    package func end(_ reason: StaticString) {
        ending = reason
        endingCode = .unavailable
        stream.interrupt()
    }

    static let capabilities = CapabilityList.afterLogin(
        appendLimit: UInt64(Limits.appendBytesMax)
    )

    /// One event of what the client sends.
    ///
    /// A task keeps the stack that it once needed until it ends, and the session's lives for days. So only
    /// what waits for the client runs in it, and all else in tasks of its own: an idle session takes a
    /// third of the memory so.
    private func serve() async throws(CommandFailure) {
        switch next() {
        case .needsMore: try await fill(tellsEvents: true)
        case let event:
            try await aside { () async throws(CommandFailure) in try await self.handle(event) }
        }
        if let command = idling.take() {
            let result: Result<Completion, CommandFailure>
            do throws(CommandFailure) { result = .success(try await idle()) } catch {
                result = .failure(error)
            }
            try await aside { await self.complete(command, result) }
        }
        if selected?.mailbox.isGone == true { leaveGoneMailbox() }
    }

    private func handle(_ event: CommandFramer.Event) async throws(CommandFailure) {
        switch event {
        case .needsMore: break
        case .command(let count):
            let parsed = parse(count)
            if case .failure = parsed, isAppend(count) {
                // One without a literal: CATENATE of URLs alone.
                let piece = Piece(count: count, header: nil)
                if case .closed = await append(piece) { throw .closed }
            } else {
                consume(count)
                guard await answerAppends() else { throw .closed }
                await run(parsed)
            }
            if wantsCompression { try await beginCompression() }
            try await flushIfLarge()
            if badCommands >= Limits.badCommandsMax {
                ending = "Too many bad commands"
                endingCode = .clientBug
            }
        case .literal(let header, let count): try await literal(header, count)
        case .refused(let refusal, let count):
            guard await answerAppends() else { throw .closed }
            refuse(refusal, count)
            consume(count)
        case .discard(let count): consume(count)
        }
    }

    private func next() -> CommandFramer.Event {
        let bytes = input
        return framer.next(bytes.span.extracting(consumed..<bytes.count))
    }

    private func parse(_ count: Int) -> Result<Command, SyntaxError> {
        let bytes = input
        do throws(SyntaxError) {
            return .success(
                try Grammar.command(bytes.span.extracting(consumed..<(consumed + count)))
            )
        } catch {
            return .failure(error)
        }
    }

    func consume(_ count: Int) {
        consumed += count
        if consumed == input.count {
            // An idle session keeps no buffer.
            input = []
            consumed = 0
        } else if consumed > Limits.inputBytesMax {
            input.removeFirst(consumed)
            consumed = 0
        }
    }

    /// Sends what is due and waits for more input.
    ///
    /// - Parameter tellsEvents: whether no command runs, so that NOTIFY may be served.
    func fill(tellsEvents: Bool = false) async throws(CommandFailure) {
        if tellsEvents, notifier != nil { try await aside(tellEvents) }
        let deadline = Instant.after(seconds: Limits.idleSeconds)
        while true {
            guard await answerAppends(waits: false) else { throw .closed }
            try await flush()
            if ending != nil { return }
            do throws(StreamClosed) {
                if try stream.read(into: &input, max: Limits.inputBytesMax) > 0 { return }
            } catch {
                throw .closed
            }
            switch await stream.waitForInput(until: deadline) {
            case .ready: continue
            case .interrupted:
                if selected?.mailbox.isGone == true { return }
                guard tellsEvents, notifier != nil else { continue }
                try await aside(tellEvents)
                try await flush()
            case .timedOut:
                ending = "Idle for too long"
                return
            }
        }
    }

    func flush() async throws(CommandFailure) {
        // What is being sent already goes first.
        while let telling { await telling.value }
        guard await writeOutput() else { throw .closed }
    }

    /// Sends what there is. False where the client is gone. Nobody else writes meanwhile.
    @discardableResult
    func writeOutput() async -> Bool {
        guard !output.isEmpty else { return true }
        isWriting = true
        defer { isWriting = false }
        let bytes = output.take()
        do throws(StreamClosed) { try await stream.write(bytes) } catch { return false }
        running?.heard = .now
        return true
    }

    /// Called inside long answers: the loop is given back, and the client's pace is kept.
    func flushIfLarge() async throws(CommandFailure) {
        guard output.count >= Limits.outputBytesMax else { return }
        try await flush()
        await EventLoop.yield()
    }

    // MARK: Literals and refusals

    private func literal(_ header: LiteralHeader, _ count: Int) async throws(CommandFailure) {
        if isAppend(count) {
            switch await append(Piece(count: count, header: header)) {
            case .needsBuffering: break
            case .handled: return
            case .closed: throw .closed
            }
        }
        guard await answerAppends() else { throw .closed }
        if let refusal = framer.bufferLiteral() {
            refuse(refusal, count)
            consume(count)
        } else if header.isSynchronizing {
            output.append(continuation: "OK")
        }
    }

    private func isAppend(_ count: Int) -> Bool {
        let bytes = input
        return AppendGrammar.handles(bytes.span.extracting(consumed..<(consumed + count)))
    }

    func refuse(_ refusal: CommandFramer.Refusal, _ count: Int) {
        badCommands += 1
        let bytes = input
        let tag = Grammar.tag(of: bytes.span.extracting(consumed..<(consumed + count)))
        switch refusal {
        case .literalTooBig: answer(tag, .no, .tooBig, "Literal is too large")
        case .lineTooLong: answer(tag, .bad, nil, "Line is too long")
        case .tooManyLiterals: answer(tag, .bad, nil, "Too many literals")
        case .commandTooLong: answer(tag, .bad, nil, "Command is too long")
        }
    }

    private func answer(
        _ tag: [UInt8]?,
        _ condition: StatusCondition,
        _ code: ResponseCode?,
        _ text: StaticString
    ) {
        if let tag {
            output.append(tagged: tag, condition, code, text)
        } else {
            output.append(untagged: condition, code, text)
        }
    }

    // MARK: Commands

    private func run(_ parsed: Result<Command, SyntaxError>) async {
        switch parsed {
        case .failure(let error):
            badCommands += 1
            output.append(error)
        case .success(let command):
            badCommands = 0
            await run(command)
        }
    }

    func run(_ command: Command) async {
        if !isFetching(command.body), let ended = piecewise {
            EventLoop.cancel(ended.timer)
            piecewise = nil
        }
        if case .idle = command.body {
            idling = command
            return
        }
        noteStart(of: command)
        defer { running = nil }
        let result: Result<Completion, CommandFailure>
        do throws(CommandFailure) { result = .success(try await execute(command)) } catch {
            result = .failure(error)
        }
        await complete(command, result)
    }

    /// Tells what happened meanwhile, and answers.
    private func complete(
        _ command: Command,
        _ result: Result<Completion, CommandFailure>
    ) async {
        do throws(CommandFailure) {
            let completion = try result.get()
            try await report(after: command.body)
            let highest = highestModseqCode(hasRoom: completion.code == nil)
            output.append(tagged: command.tag, .ok, completion.code ?? highest, completion.text)
        } catch {
            if case .closed = error {} else { try? await report(after: command.body) }
            _ = highestModseqCode(hasRoom: false)
            answer(error, command.tag)
        }
        if case .select = command.body { await completeSelected() }
    }

    func answer(_ failure: CommandFailure, _ tag: [UInt8]) {
        switch failure {
        case .bad(let text): output.append(tagged: tag, .bad, text)
        case .uidRequired:
            output.append(tagged: tag, .bad, .uidRequired, "Message numbers are not allowed")
        case .clientBug(let text): output.append(tagged: tag, .bad, .clientBug, text)
        case .refused(let code, let text): output.append(tagged: tag, .no, code, text)
        case .closed: ending = ending ?? "Connection closed"
        }
    }

    /// What happened in the mailbox meanwhile, at the one place where a command may tell it.
    func report(after body: CommandBody) async throws(CommandFailure) {
        // SELECT has told what there is; what changed meanwhile is for the next command.
        if case .select = body { return }
        try await tellChanges(
            allowsExpunge: !body.forbidsExpunge,
            withUID: body.isUIDForm || notifier != nil,
            expunged: body.expunges
        )
        try await tellEnabledAnnotations()
    }

    /// The selected mailbox was deleted or replaced under the session.
    private func leaveGoneMailbox() {
        selected?.close()
        selected = nil
        end("Selected mailbox is gone")
    }

    /// What the tagged OK says.
    struct Completion {
        var code: ResponseCode?
        var text: StaticString

        init(_ text: StaticString, _ code: ResponseCode? = nil) {
            self.code = code
            self.text = text
        }
    }

    /// Runs something in a task of its own: see `serve`.
    func aside(
        _ body: @escaping @EventLoop () async throws(CommandFailure) -> Void
    ) async throws(CommandFailure) {
        let outcome = Task { () async -> Result<Void, CommandFailure> in
            do throws(CommandFailure) { return .success(try await body()) } catch {
                return .failure(error)
            }
        }
        try await outcome.value.get()
    }

    /// Whether a command may come now, before it is looked at further.
    func checkState(for body: CommandBody) throws(CommandFailure) {
        switch body.requiredState {
        case .any, .authenticated: break
        case .notAuthenticated: throw .clientBug("Already logged in")
        case .selected:
            guard let selected else { throw .clientBug("No mailbox is selected") }
            if selected.mailbox.isGone { throw .refused(.nonexistent, "Mailbox is gone") }
            if selected.isReadOnly, body.changesSelectedMailbox {
                throw .refused(.readOnly, "Mailbox is opened read-only")
            }
        }
        if revision == .rev2, body.isLeftOutOfRev2 { throw .bad("Not a part of IMAP4rev2") }
        if sync.uidOnly, body.namesSequenceNumbers { throw .uidRequired }
    }

    private func execute(_ command: Command) async throws(CommandFailure) -> Completion {
        let body = command.body
        isUIDCommand = body.isUIDForm
        try checkState(for: body)
        try await prepareSync(body)
        switch body {
        case .capability:
            output.append(capabilities: Self.capabilities)
            return Completion("Capabilities listed")
        case .noop, .check:
            selected?.mailbox.drainEvents()
            return Completion("Done")
        case .logout:
            isLoggedOut = true
            output.append(untagged: .bye, "Logging out")
            return Completion("Logged out")
        case .id(let fields): return identify(fields)
        case .enable(let names): return try await enable(names)
        case .namespace:
            output.append(
                namespacePrefix: store.naming.prefix,
                separator: store.naming.separator,
                mode
            )
            return Completion("Namespaces listed")
        case .idle: return Completion("Idle completed")
        case .select(let command): return try await select(command)
        case .close: return try await close()
        case .unselect:
            selected?.close()
            selected = nil
            return Completion("Unselected")
        case .create(let mailbox, let uses): return try await create(mailbox, uses)
        case .delete(let mailbox): return try await delete(mailbox)
        case .rename(let old, let new): return try await rename(old, to: new)
        case .subscribe(let mailbox): return try await subscribe(mailbox, true)
        case .unsubscribe(let mailbox): return try await subscribe(mailbox, false)
        case .list(let command): return try await list(command)
        case .lsub(let reference, let pattern): return try await lsub(reference, pattern)
        case .status(let mailbox, let items): return try await status(mailbox, items)
        case .expunge: return try await expunge(nil)
        case .uidExpunge(let set): return try await expunge(set)
        case .fetch(let command): return try await fetch(command)
        case .store(let command): return try await storeFlags(command)
        case .search(let search): return try await self.search(search, tag: command.tag)
        case .sort(let sort): return try await self.sort(sort, tag: command.tag)
        case .thread(let thread): return try await self.thread(thread)
        case .multiSearch(let search):
            return try await multiSearch(search, tag: command.tag)
        case .copy(let kind, let set, let mailbox):
            return try await copy(kind, set, mailbox, isMove: false)
        case .move(let kind, let set, let mailbox):
            return try await copy(kind, set, mailbox, isMove: true)
        case .notify(let command): return try await notify(command)
        case .cancelUpdate(let tags): return try cancelUpdate(tags)
        case .append: throw .bad("APPEND needs a message literal")
        case .startTLS, .authenticate, .login: throw .bad("Already logged in")
        case .compress(let algorithm): return try compress(algorithm)
        case .getQuota, .getQuotaRoot, .setQuota, .setACL, .deleteACL, .getACL, .listRights,
            .myRights, .getMetadata, .setMetadata, .language, .unauthenticate:
            return try await administer(body)
        case .replace:
            throw .bad("Command is not offered by this server")
        }
    }

    private func isFetching(_ body: CommandBody) -> Bool {
        if case .fetch = body { true } else { false }
    }
}

/// Who the session is, for the log and for ID.
package struct SessionIdentity: Sendable {
    package var id: String
    package var user: String

    package init(id: String, user: String) {
        self.id = id
        self.user = user
    }
}
