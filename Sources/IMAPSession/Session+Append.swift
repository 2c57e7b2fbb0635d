import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  APPEND                                                                    RFC 9051 §6.3.12
//
//  The message goes to a file in the target's tmp/ as it comes; memory holds one chunk. What can be
//  refused is refused before the client sends it: the mailbox that does not exist, the size. A
//  literal that comes without being asked for (`{n+}`) is taken from the stream all the same, so that
//  the commands behind it are found.

extension Session {
    enum AppendStep {
        /// The literal is the mailbox's name: frame on, and come again.
        case needsBuffering
        case handled
        case closed
    }

    /// Called at a literal of an APPEND; sees the command through to its end.
    func append(_ header: LiteralHeader, _ count: Int) async -> AppendStep {
        var grammar = AppendGrammar()
        let events: [AppendGrammar.Event]
        let bytes = input
        do throws(SyntaxError) {
            switch try grammar.parse(bytes.span.extracting(consumed..<(consumed + count))) {
            case .needsLiteral: return .needsBuffering
            case .events(let parsed): events = parsed
            }
        } catch {
            badCommands += 1
            output.append(error)
            framer.refuseLiteral()
            consume(count)
            return .handled
        }
        guard case .command(let command)? = events.first else { return .needsBuffering }
        noteStart(of: command)
        defer { running = nil }
        do throws(CommandFailure) {
            let completion = try await append(command, events, header, count, &grammar)
            try await report(after: command.body)
            output.append(tagged: command.tag, .ok, completion.code, completion.text)
        } catch {
            if case .closed = error { return .closed }
            try? await report(after: command.body)
            answer(error, command.tag)
        }
        return .handled
    }

    private func append(
        _ command: Command,
        _ events: [AppendGrammar.Event],
        _ header: LiteralHeader,
        _ count: Int,
        _ grammar: inout AppendGrammar
    ) async throws(CommandFailure) -> Completion {
        let upload: Upload
        do throws(CommandFailure) {
            upload = try await beginUpload(command, events, header)
        } catch {
            framer.refuseLiteral()
            consume(count)
            throw error
        }
        framer.streamLiteral()
        consume(count)
        if header.isSynchronizing {
            output.append(continuation: "OK")
            try await flush()
        }
        do throws(CommandFailure) {
            let failure = try await receive(header.count, upload)
            try await endOfAppend(&grammar)
            if let failure { throw failure }
            return try await finish(upload)
        } catch {
            await upload.mailbox.discard(upload.staged)
            throw error
        }
    }

    private struct Upload {
        var mailbox: Mailbox
        var staged: StagedMessage
        var flags: [Flag]
        var date: InternalDate?
    }

    /// Checks what can be checked before the message comes.
    private func beginUpload(
        _ command: Command,
        _ events: [AppendGrammar.Event],
        _ header: LiteralHeader
    ) async throws(CommandFailure) -> Upload {
        guard case .append(let name) = command.body,
            case .beginMessage(let flags, let date, let kind)? = events.dropFirst().first,
            case .literal? = events.dropFirst(2).first, events.count == 3
        else { throw .bad("Form of APPEND is not offered by this server") }
        switch kind {
        case .plain:
            if header.isBinary { throw .bad("Binary literals are not offered by this server") }
        case .utf8:
            guard acceptsUTF8 else { throw .bad("UTF8=ACCEPT is not enabled") }
        case .catenate: throw .bad("CATENATE is not offered by this server")
        }
        guard header.count > 0 else { throw .refused(.cannot, "Message is empty") }
        guard header.count <= Limits.appendBytesMax else {
            throw .refused(.tooBig, "Message is too large")
        }
        let mailbox: Mailbox
        do throws(CommandFailure) {
            mailbox = try await open(try path(name), needing: .insert)
        } catch {
            if case .refused(.nonexistent, _) = error {
                throw .refused(.tryCreate, "No such mailbox")
            }
            throw error
        }
        do throws(StoreError) {
            try await store.checkRoom(bytes: header.count)
            return Upload(
                mailbox: mailbox,
                staged: try await mailbox.stage(),
                flags: flags,
                date: date
            )
        } catch {
            throw CommandFailure(error)
        }
    }

    /// Takes the octets of the literal from the stream. Returns why they could not be kept, when
    /// all of them have come.
    private func receive(
        _ count: Int,
        _ upload: Upload
    ) async throws(CommandFailure) -> CommandFailure? {
        var left = count
        var failure: CommandFailure?
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
            if failure == nil {
                do throws(StoreError) {
                    try await upload.mailbox.write(chunk, to: upload.staged)
                } catch {
                    failure = CommandFailure(error)
                }
            }
            chunk.removeAll(keepingCapacity: true)
        }
        return failure
    }

    /// The rest of the line behind the literal.
    private func endOfAppend(_ grammar: inout AppendGrammar) async throws(CommandFailure) {
        while true {
            let bytes = input
            switch framer.next(bytes.span.extracting(consumed..<bytes.count)) {
            case .needsMore:
                try await fill()
                if isEnding { throw .closed }
            case .command(let count):
                let result: AppendGrammar.Result
                do throws(SyntaxError) {
                    result = try grammar.parse(
                        bytes.span.extracting(consumed..<(consumed + count))
                    )
                } catch {
                    consume(count)
                    throw .bad("Expected the end of APPEND")
                }
                consume(count)
                guard case .events(let events) = result, events == [.endMessage, .end] else {
                    throw .bad("Expected the end of APPEND")
                }
                return
            case .literal(_, let count):
                // A second message: MULTIAPPEND.
                framer.refuseLiteral()
                consume(count)
                throw .bad("MULTIAPPEND is not offered by this server")
            case .refused(_, let count):
                consume(count)
                throw .bad("Expected the end of APPEND")
            case .discard(let count): consume(count)
            }
        }
    }

    private func finish(_ upload: Upload) async throws(CommandFailure) -> Completion {
        let (system, keywords) = Self.split(upload.flags)
        do throws(StoreError) {
            try await upload.mailbox.finish(
                upload.staged,
                date: upload.date.map { WallTime(seconds: $0.unixSeconds) }
            )
            let uid = try await upload.mailbox.admit(
                upload.staged,
                flags: system,
                keywords: keywords
            )
            return Completion(
                "Appended",
                .appendUID(UIDValidity(upload.mailbox.uidValidity), [uid...uid])
            )
        } catch {
            throw CommandFailure(error)
        }
    }
}
