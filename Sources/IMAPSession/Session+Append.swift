import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  APPEND and REPLACE                                    RFC 9051 §6.3.12, RFC 3502, RFC 4469, RFC 8508
//
//  A message goes to a file in the target's tmp/ as it comes; memory holds one chunk. What can be
//  refused is refused before the client sends it: the mailbox that does not exist, the size. A
//  literal that comes without being asked for (`{n+}`) is taken from the stream all the same, so that
//  the commands behind it are found.
//
//  The messages of one command come in together or not at all: they are staged one by one, and
//  admitted with one writing of the uidlist when the command has ended without a fault. REPLACE
//  removes the old message only after the new one is durable, so a crash between leaves both. Where
//  both are in one mailbox that is one step under the lock, and sessions see it as one.
//
//  RFC 6855 §4 wants 8-bit headers refused from sessions without UTF8=ACCEPT. They are taken: old
//  mail has them, and who moves it here from another server would lose it.

extension Session {
    enum AppendStep {
        /// The literal is a mailbox's name or a URL: frame on, and come again.
        case needsBuffering
        case handled
        case closed
    }

    /// The messages of one command on their way in.
    struct Upload {
        struct Message {
            let staged: StagedMessage
            let flags: [Flag]
            let date: InternalDate?
            /// Octets in the form of the wire.
            var octets = 0
        }

        let command: Command
        let target: Mailbox
        /// The UID of the message that goes, of REPLACE.
        let replaced: UInt32?
        /// The last one is being written.
        var messages: [Message] = []
        /// Why an octet could not be kept.
        var failure: CommandFailure?
    }

    /// The rest of an input line: up to a literal, or to the end of the command.
    struct Piece {
        let count: Int
        /// Nil where the command ends.
        let header: LiteralHeader?
    }

    /// Called where an APPEND or REPLACE has come up to a literal or its end; sees the command
    /// through to its end.
    func append(_ first: Piece) async -> AppendStep {
        var grammar = AppendGrammar()
        var upload: Upload?
        var piece = first
        var isFirst = true
        let command = input
        defer { running = nil }
        let tag = Grammar.tag(of: command.span.extracting(consumed..<(consumed + first.count)))
        while true {
            let bytes = input
            let result: AppendGrammar.Result
            do throws(SyntaxError) {
                result = try grammar.parse(
                    bytes.span.extracting(consumed..<(consumed + piece.count))
                )
            } catch {
                if await !answerAppends() { return .closed }
                badCommands += 1
                output.append(error)
                drop(piece)
                await discard(upload)
                return .handled
            }
            do throws(CommandFailure) {
                switch result {
                case .needsLiteral where isFirst: return .needsBuffering
                case .needsLiteral: try await buffer(piece)
                case .events(let events):
                    if case .end? = events.last, let command = upload, command.replaced == nil,
                        command.failure == nil, hasMore(behind: piece.count)
                    {
                        _ = try await take(Array(events.dropLast()), piece, &upload)
                        consume(piece.count)
                        if let upload, let tag { return await admitLater(upload, tag) }
                    }
                    if let completion = try await take(events, piece, &upload) {
                        guard await answerAppends() else { return .closed }
                        badCommands = 0
                        try await report(upload)
                        let highest = highestModseqCode(hasRoom: completion.code == nil)
                        let code = completion.code ?? highest
                        output.append(tagged: tag ?? [], .ok, code, completion.text)
                        return .handled
                    }
                }
                isFirst = false
                piece = try await nextPiece()
            } catch {
                await discard(upload)
                if case .closed = error { return .closed }
                if await !answerAppends() { return .closed }
                if case .bad = error { badCommands += 1 } else { badCommands = 0 }
                try? await report(upload)
                _ = highestModseqCode(hasRoom: false)
                answer(error, tag ?? [])
                return .handled
            }
        }
    }

    private func report(_ upload: Upload?) async throws(CommandFailure) {
        guard let upload else { return }
        try await report(after: upload.command.body)
    }

    func discard(_ upload: Upload?) async {
        guard let upload else { return }
        await upload.target.discard(upload.messages.map(\.staged))
    }

    /// Ends the command here. What is still to come of it is discarded as it comes.
    private func drop(_ piece: Piece) {
        if piece.header != nil { framer.refuseLiteral() }
        consume(piece.count)
    }

    // MARK: Pieces

    private func nextPiece() async throws(CommandFailure) -> Piece {
        while true {
            let bytes = input
            switch framer.next(bytes.span.extracting(consumed..<bytes.count)) {
            case .needsMore:
                try await fill()
                if isEnding { throw .closed }
            case .command(let count): return Piece(count: count, header: nil)
            case .literal(let header, let count): return Piece(count: count, header: header)
            case .refused(_, let count):
                consume(count)
                throw .bad("Command is too long")
            case .discard(let count): consume(count)
            }
        }
    }

    /// Has the literal of a URL come in with its line.
    private func buffer(_ piece: Piece) async throws(CommandFailure) {
        guard let header = piece.header else { throw .bad("Expected a literal") }
        guard framer.bufferLiteral() == nil else {
            consume(piece.count)
            throw .bad("Literal is too large")
        }
        if header.isSynchronizing {
            guard await answerAppends() else { throw .closed }
            output.append(continuation: "OK")
        }
    }

    /// Does what a piece says; the input behind it, and its literal, is consumed on return. Returns
    /// what the command came to where it has ended.
    private func take(
        _ events: [AppendGrammar.Event],
        _ piece: Piece,
        _ upload: inout Upload?
    ) async throws(CommandFailure) -> Completion? {
        var isStreamed = false
        do throws(CommandFailure) {
            if let failure = upload?.failure { throw failure }
            for event in events {
                switch event {
                case .command(let command):
                    noteStart(of: command)
                    upload = try await begin(command)
                case .beginMessage(let flags, let date, let kind):
                    try await beginMessage(flags, date, kind, piece.header, &upload)
                case .url(let url): try await appendPart(url, &upload)
                case .literal(let header):
                    try await check(header, events, upload)
                    isStreamed = true
                    try await stream(header, piece, &upload)
                case .endMessage: try await endMessage(upload)
                case .end:
                    let completion = try await admit(upload)
                    consume(piece.count)
                    return completion
                }
            }
        } catch {
            if !isStreamed { drop(piece) }
            throw error
        }
        return nil
    }

    // MARK: Messages

    /// Checks what can be checked before the first message comes.
    private func begin(_ command: Command) async throws(CommandFailure) -> Upload {
        isUIDCommand = command.body.isUIDForm
        try checkState(for: command.body)
        switch command.body {
        case .append(let name):
            return Upload(command: command, target: try await target(name), replaced: nil)
        case .replace(let kind, let message, let name):
            let view = try await settledView()
            let set = SequenceSet([SetRange(first: message, last: message)])
            guard let uid = try uids(set, kind, view).first else {
                throw .refused(.nonexistent, "No such message")
            }
            return Upload(command: command, target: try await target(name), replaced: uid)
        default: throw .bad("Expected APPEND or REPLACE")
        }
    }

    private func target(_ name: MailboxName) async throws(CommandFailure) -> Mailbox {
        do throws(CommandFailure) { return try await open(try path(name), needing: .insert) } catch
        {
            if case .refused(.nonexistent, _) = error {
                throw .refused(.tryCreate, "No such mailbox")
            }
            throw error
        }
    }

    private func beginMessage(
        _ flags: [Flag],
        _ date: InternalDate?,
        _ kind: AppendGrammar.MessageKind,
        _ header: LiteralHeader?,
        _ upload: inout Upload?
    ) async throws(CommandFailure) {
        guard let target = upload?.target, let count = upload?.messages.count else { return }
        switch kind {
        case .plain, .catenate: break
        case .utf8: guard acceptsUTF8 else { throw .bad("UTF8=ACCEPT is not enabled") }
        }
        guard count < appendMessagesMax else {
            throw .refused(.limit, "Too many messages in one command")
        }
        let isBinary = kind != .catenate && header?.isBinary == true
        do throws(StoreError) {
            let staged = try await target.stage(isBinary: isBinary)
            upload?.messages.append(Upload.Message(staged: staged, flags: flags, date: date))
        } catch {
            throw CommandFailure(error)
        }
    }

    /// Whether the literal may come. An empty one as the whole message calls the command off.
    ///                                                                        RFC 3502 §3
    private func check(
        _ header: LiteralHeader,
        _ events: [AppendGrammar.Event],
        _ upload: Upload?
    ) async throws(CommandFailure) {
        let octets = upload?.messages.last?.octets ?? 0
        guard header.count <= Limits.appendBytesMax - octets else {
            throw .refused(.tooBig, "Message is too large")
        }
        if header.count == 0, case .beginMessage(_, _, let kind)? = events.dropLast().last,
            kind != .catenate
        {
            throw .refused(.cannot, "Message is empty")
        }
        try await checkRoom(for: header.count, upload)
    }

    /// Whether the quota has room for so many octets beside those that have come. What is replaced
    /// makes room.                                                            RFC 8508 §3.4
    func checkRoom(for octets: Int, _ upload: Upload?) async throws(CommandFailure) {
        guard let upload else { return }
        var bytes = upload.messages.reduce(octets) { $0 + $1.octets }
        var count = upload.messages.count
        if let replaced = upload.replaced {
            bytes -= selected?.mailbox.storedSize(replaced) ?? 0
            count -= 1
        }
        guard bytes > 0 || count > 0 else { return }
        do throws(StoreError) { try await store.checkRoom(bytes: bytes, messages: count) } catch {
            throw CommandFailure(error)
        }
    }

    private func stream(
        _ header: LiteralHeader,
        _ piece: Piece,
        _ upload: inout Upload?
    ) async throws(CommandFailure) {
        framer.streamLiteral()
        consume(piece.count)
        if header.isSynchronizing {
            guard await answerAppends() else { throw .closed }
            output.append(continuation: "OK")
            try await flush()
        }
        try await receive(header.count, &upload)
    }

    /// Takes the octets of the literal from the stream. Where they cannot be kept, that is told when
    /// all of them have come.
    private func receive(_ count: Int, _ upload: inout Upload?) async throws(CommandFailure) {
        guard let target = upload?.target, let staged = upload?.messages.last?.staged else {
            return
        }
        var left = count
        var chunk: [UInt8] = []
        while left > 0 {
            if consumed == input.count {
                try await fill()
                if isEnding { throw .closed }
            }
            let taken = min(left, input.count - consumed)
            chunk.append(contentsOf: input[consumed..<(consumed + taken)])
            consume(taken)
            left -= taken
            guard left == 0 || chunk.count >= Limits.uploadChunkBytes else { continue }
            if upload?.failure == nil {
                do throws(StoreError) { try await target.write(chunk, to: staged) } catch {
                    upload?.failure = CommandFailure(error)
                }
            }
            chunk.removeAll(keepingCapacity: true)
        }
        let last = (upload?.messages.count ?? 0) - 1
        upload?.messages[last].octets += count
    }

    private func endMessage(_ upload: Upload?) async throws(CommandFailure) {
        guard let upload, let message = upload.messages.last else { return }
        guard message.octets > 0 else { throw .refused(.cannot, "Message is empty") }
        do throws(StoreError) {
            try await upload.target.finish(
                message.staged,
                date: message.date.map { WallTime(seconds: $0.unixSeconds) }
            )
        } catch {
            throw CommandFailure(error)
        }
    }

    // MARK: The end

    func admit(_ upload: Upload?) async throws(CommandFailure) -> Completion {
        guard let upload else { throw .bad("Expected a message") }
        if let replaced = upload.replaced {
            // It went while the new one came: there is nothing to replace.
            guard selected?.mailbox.table.row(of: replaced) != nil else {
                throw Self.nothingToReplace
            }
        }
        let entries = upload.messages.map { message in
            let (system, keywords) = Self.split(message.flags)
            return StagedAdmission(message.staged, flags: system, keywords: keywords)
        }
        let uids: [UInt32]
        let isInPlace = upload.replaced != nil && upload.target === selected?.mailbox
        do throws(StoreError) {
            uids = try await upload.target.admit(
                entries,
                replacing: isInPlace
                    ? upload.replaced.map { .init(uid: $0, source: source, session: selected) }
                    : nil,
                by: source
            )
        } catch {
            if upload.replaced != nil, error == .messageGone { throw Self.nothingToReplace }
            throw CommandFailure(error)
        }
        selected?.noteOwn(uids, in: upload.target)
        // RFC 9051 §6.3.12
        if case .append(let name) = upload.command.body {
            appendNormalized(name, upload.target.path)
        }
        let code: ResponseCode? =
            maySelect(upload.target)
            ? .appendUID(UIDValidity(upload.target.uidValidity), RangeBuilder(uids).ranges) : nil
        guard let replaced = upload.replaced else { return Completion("Appended", code) }
        if !isInPlace { try await remove(replaced, for: uids, in: upload.target) }
        if let code { output.append(untagged: .ok, code, "Replacement is ready") }
        // RFC 8508 §3.2: EXISTS of the new message, then EXPUNGE of the old one.
        try await tellChanges(allowsExpunge: false, withUID: isUIDCommand || notifier != nil)
        return Completion("Replaced")
    }

    private static var nothingToReplace: CommandFailure {
        .refused(.expungeIssued, "The message no longer exists")
    }

    /// Removes the message that was replaced. Where it cannot go, its replacement goes again.
    private func remove(
        _ replaced: UInt32,
        for uids: [UInt32],
        in target: Mailbox
    ) async throws(CommandFailure) {
        guard let view = selected else { return }
        let failure: StoreError?
        do throws(StoreError) {
            failure = try await view.mailbox.expunge([replaced], source: source, by: view).failure
        } catch {
            failure = error
        }
        guard let failure else { return }
        _ = try? await target.expunge(uids, source: source)
        throw CommandFailure(failure)
    }
}
