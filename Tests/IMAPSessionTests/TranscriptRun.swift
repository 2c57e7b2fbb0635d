import Bytes
import Foundation
import Glibc
import IMAPWire
import Maildir
import MailStore
import Posix
import Testing

@testable import IMAPSession

/// How a transcript is run.
enum Way: String, CaseIterable, Sendable {
    case whole
    case byteByByte = "byte by byte"
    case pipelined
    /// The store is closed and opened again before each command.
    case restarted

    /// As `run: no-…` names it.
    var optOut: String {
        switch self {
        case .whole: "whole"
        case .byteByByte: "bytes"
        case .pipelined: "pipelined"
        case .restarted: "restart"
        }
    }

    func applies(to transcript: Transcript, _ revision: Revision) -> Bool {
        if transcript.optOuts.contains(optOut) { return false }
        switch revision {
        case .rev1: if transcript.optOuts.contains("rev1") { return false }
        case .rev2:
            if transcript.optOuts.contains("rev2") || transcript.isFirstLogin { return false }
            // The ways differ in what both revisions share.
            if self != .whole, !transcript.optOuts.contains("rev1") { return false }
        }
        return switch self {
        case .whole, .byteByByte: true
        case .pipelined, .restarted: transcript.isPlain
        }
    }
}

/// One run of one transcript in one way.
@EventLoop
final class TranscriptRun {
    let transcript: Transcript
    let way: Way
    let revision: Revision
    /// What SELECT says of HIGHESTMODSEQ is stated.
    private let isAboutModseqs: Bool
    /// The rules by session, where the expectations are not written down as they are in rev2.
    private var rules: [String: RevisionRules] = [:]
    private let maildir: TestMaildir
    private var store: MailStore
    private var clients: [String: Client] = [:]
    private var bindings: [String: [UInt8]] = [:]
    private var restarts = 0
    private(set) var failures: [String] = []
    /// The file as it should be, where expectations are rewritten.
    var rewriting: TranscriptRewriting?

    /// A session and the test's end of its connection.
    @EventLoop
    final class Client {
        let stream: MemoryStream
        let session: Session
        var isIdling = false
        private let ended = Signal()
        private var hasEnded = false

        init(_ stream: MemoryStream, _ store: MailStore) {
            self.stream = stream
            session = Session(stream, store, SessionIdentity(id: "test", user: "ann"))
        }

        func start(tag: [UInt8]?) {
            Task {
                await session.run(tag: tag, leftover: [])
                hasEnded = true
                ended.fire()
            }
        }

        func waitForEnd() async -> Bool {
            if hasEnded { return true }
            return await ended.wait(until: .after(seconds: 10))
        }

        /// The next response, or nil where none comes in time.
        func response(within milliseconds: Int) async -> ResponseLine? {
            let deadline = Instant.after(milliseconds: milliseconds)
            while true {
                var count = 0
                if let line = ResponseLine(stream.pending, count: &count) {
                    _ = stream.take(count)
                    return line
                }
                guard await stream.waitForOutput(until: deadline) else {
                    guard let line = ResponseLine(stream.pending, count: &count) else { return nil }
                    _ = stream.take(count)
                    return line
                }
            }
        }
    }

    init(_ transcript: Transcript, _ way: Way, _ revision: Revision) async throws {
        self.transcript = transcript
        self.way = way
        self.revision = revision
        isAboutModseqs = transcript.steps.contains {
            guard case .expect(_, let pattern) = $0.kind else { return false }
            let text = String(decoding: pattern.texts[0], as: UTF8.self)
            return text.contains("[HIGHESTMODSEQ ") || text.contains("[NOMODSEQ]")
        }
        if revision == .rev2, !transcript.optOuts.contains("rev1") {
            for name in transcript.sessions { rules[name] = RevisionRules() }
        }
        maildir = try TestMaildir()
        for mailbox in transcript.mailboxes {
            try maildir.make(mailbox.name)
            for message in mailbox.messages { try maildir.add(message, to: mailbox.name) }
        }
        for file in transcript.files {
            try maildir.write(file.content, to: maildir.root + "/" + file.path)
        }
        store = try await Self.open(maildir, transcript)
    }

    private static func open(_ maildir: TestMaildir, _ transcript: Transcript) async throws
        -> MailStore
    {
        try await MailStore.forTest(
            maildir.root,
            separator: transcript.separator,
            prefix: transcript.prefix,
            cache: maildir.cache
        )
    }

    // MARK: Running

    /// How long an expected line may take: generous, as machines are slow at times.
    private var patience: Int { rewriting == nil ? 20_000 : 3_000 }

    func run() async throws {
        try await listMailboxes()
        try await start()
        if way == .pipelined { sendAll() }
        var index = 0
        while index < transcript.steps.count, failures.isEmpty {
            let step = transcript.steps[index]
            index += 1
            if way == .pipelined, isLeftOutWhenPipelined(step, index) { continue }
            if rewriting == nil {
                guard step.revision == nil || step.revision == revision else { continue }
                try await perform(step, index - 1)
            } else {
                try await performAndRewrite(step)
            }
        }
        if failures.isEmpty { await checkEnd() }
        for client in clients.values {
            client.stream.end()
            _ = await client.waitForEnd()
        }
        await store.shutDown()
    }

    /// Gives messages their UIDs, as an earlier session would have.
    private func listMailboxes() async throws {
        for mailbox in transcript.mailboxes where !mailbox.isUnlisted {
            guard
                let path = mailbox.name == "INBOX"
                    ? .inbox : MailboxPath(storageName: Array(mailbox.name.utf8))
            else { continue }
            _ = try await store.open(path)
        }
        await store.shutDown(inOrder: false)
        store = try await Self.open(maildir, transcript)
    }

    private func start() async throws {
        for name in transcript.sessions {
            let stream = MemoryStream(readBytesMax: way == .byteByByte ? 1 : .max)
            let client = Client(stream, store)
            clients[name] = client
            client.start(tag: transcript.isFirstLogin ? Array("a0".utf8) : nil)
            if revision == .rev2 { try await enable(client, "IMAP4rev2") }
        }
        guard let (mailbox, isReadOnly) = transcript.selects else { return }
        for name in transcript.sessions {
            guard let client = clients[name] else { continue }
            let wire = Array(mailbox.utf8)
            let name = revision == .rev2 ? ModifiedUTF7.decode(wire) ?? wire : wire
            try await select(client, name, isReadOnly)
        }
    }

    /// ENABLE without a word in the transcript.
    private func enable(_ client: Client, _ name: String) async throws {
        client.stream.send(Array("enable ENABLE \(name)\r\n".utf8))
        try await expectOK(client, "enable")
    }

    /// Selects without a word in the transcript.
    private func select(_ client: Client, _ name: [UInt8], _ isReadOnly: Bool) async throws {
        let command = isReadOnly ? "EXAMINE" : "SELECT"
        client.stream.send(
            Array("select \(command) {\(name.count)+}\r\n".utf8) + name + [13, 10]
        )
        try await expectOK(client, "select")
    }

    private func expectOK(_ client: Client, _ tag: String) async throws {
        while let line = await client.response(within: patience) {
            guard line.isTagged(Array(tag.utf8)) else { continue }
            guard line.texts[0].hasPrefix("\(tag) OK") else { break }
            return
        }
        throw Transcript.Malformed(description: "\(tag) fails")
    }

    /// What the rules for rev2 have to know, where they hold.
    private func context(
        _ index: Int,
        _ name: String,
        _ step: Transcript.Step
    ) -> RevisionRules.Context? {
        guard step.revision == nil, rules[name] != nil else { return nil }
        return transcript.context(index, name, revision)
    }

    private func perform(_ step: Transcript.Step, _ index: Int) async throws {
        switch step.kind {
        case .send(let name, let texts, let literals):
            if way != .pipelined { try await send(name, texts, literals, step) }
        case .expect(let name, let pattern):
            try await expect(name, pattern, step, context(index, name, step))
        case .unordered(let patterns): try await unordered(patterns, step, index)
        case .action(let action):
            try maildir.perform(action)
            try await settle()
        case .disk(let directory, let patterns): try await check(directory, patterns, step)
        case .check(let smaller, let larger):
            let numbers = [smaller, larger].map {
                UInt64(String(decoding: LinePattern.filled($0, bindings), as: UTF8.self))
            }
            guard let first = numbers[0], let second = numbers[1], first < second else {
                return fail(step, "not so: \(numbers)")
            }
        case .stall(let name, let stalls): clients[name]?.stream.isStalled = stalls
        case .hangUp(let name): clients[name]?.stream.end()
        case .compress(let name): clients[name]?.stream.compress()
        case .pause: await EventLoop.sleep(milliseconds: 100)
        case .closed(let name):
            guard let client = clients[name] else { return }
            if await !client.waitForEnd() { fail(step, "the connection stays") }
        }
    }

    /// After what another program did: what was delivered has its UID, so that what sessions are
    /// told does not depend on how fast the disk is.
    private func settle() async throws {
        for client in clients.values {
            guard let mailbox = client.session.selected?.mailbox, !mailbox.isGone else { continue }
            // Another program holds the lock: nothing settles now.
            let path =
                mailbox.path.isInbox
                ? ""
                : "."
                    + String(
                        decoding: (try? mailbox.path.storageName(.modifiedUTF7)) ?? [],
                        as: UTF8.self
                    )
            if access(maildir.root + "/" + path + "/dovecot-uidlist.lock", F_OK) == 0 { continue }
            try? await mailbox.settle()
        }
    }

    func fail(_ step: Transcript.Step, _ text: String) {
        let place = "\(transcript.name):\(step.lines.lowerBound + 1)"
        failures.append("\(place): \(transcript.lines[step.lines.lowerBound])\n  \(text)")
    }

    // MARK: Sending

    private func command(_ texts: [[UInt8]], _ literals: [[UInt8]?]) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        for (index, text) in texts.enumerated() {
            var line = LinePattern.filled(text, bindings)
            if index < literals.count, let literal = literals[index] {
                for mark in ["{}", "{+}"] where line.hasSuffix(mark) {
                    line.removeLast(mark.utf8.count - 1)
                    line += Array("\(literal.count)\(mark.dropFirst())".utf8)
                }
                pieces.append(line + [13, 10])
                pieces.append(literal)
            } else {
                pieces.append(line + [13, 10])
            }
        }
        return pieces
    }

    private func isSynchronizing(_ line: [UInt8]) -> Bool { ResponseLine.literalSize(line) != nil }

    private func send(
        _ name: String,
        _ texts: [[UInt8]],
        _ literals: [[UInt8]?],
        _ step: Transcript.Step
    ) async throws {
        guard var client = clients[name] else { return }
        if !client.isIdling {
            let left = client.stream.pending
            if !left.isEmpty {
                return fail(step, "before it, not expected: \(Transcript.escaped(left))")
            }
        }
        if way == .restarted, !client.isIdling, !client.stream.isClosed {
            client = try await restart(name, client)
        }
        let pieces = command(texts, literals)
        for (index, piece) in pieces.enumerated() {
            client.stream.send(piece)
            guard index + 1 < pieces.count, index % 2 == 0, isSynchronizing(piece.dropLast(2)),
                literals[index / 2] != nil
            else { continue }
            guard let line = await client.response(within: patience), line.isContinuation else {
                return fail(step, "no continuation for the literal")
            }
        }
        let line = String(decoding: texts[0], as: UTF8.self).uppercased()
        if line.hasSuffix(" IDLE") { client.isIdling = true }
        if line == "DONE" { client.isIdling = false }
    }

    /// The end of the process, and a new one.
    private func restart(_ name: String, _ client: Client) async throws -> Client {
        let selected = client.session.selected.map {
            (store.naming.name(of: $0.mailbox.path), $0.isReadOnly)
        }
        let (isUTF8, acceptsUTF8) = (client.session.isUTF8, client.session.acceptsUTF8)
        let isRev2 = client.session.revision == .rev2
        let sync = client.session.sync
        client.stream.end()
        _ = await client.waitForEnd()
        // In turn: a crash, an end in order, and one so long after the last change that the next
        // process takes the index for what is there.
        restarts += 1
        if restarts % 3 == 2 { await EventLoop.sleep(milliseconds: 30) }
        await store.shutDown(inOrder: restarts % 3 != 0)
        store = try await Self.open(maildir, transcript)
        let next = Client(MemoryStream(), store)
        clients[name] = next
        next.start(tag: nil)
        if acceptsUTF8 { try await enable(next, "UTF8=ACCEPT") }
        if isRev2 { try await enable(next, "IMAP4rev2") }
        if sync.quickResync {
            try await enable(next, "QRESYNC")
        } else if sync.condStore {
            try await enable(next, "CONDSTORE")
        }
        if sync.uidOnly { try await enable(next, "UIDONLY") }
        if let (mailbox, isReadOnly) = selected {
            let wire = isUTF8 ? mailbox : ModifiedUTF7.encode(mailbox) ?? mailbox
            try await select(next, wire, isReadOnly)
        }
        return next
    }

    // MARK: Expecting

    private func expect(
        _ name: String,
        _ pattern: ResponsePattern,
        _ step: Transcript.Step,
        _ context: RevisionRules.Context?
    ) async throws {
        guard let client = clients[name] else { return }
        if way == .restarted, Self.isRecent(pattern) { return }
        var expected = way == .restarted ? pattern.withoutRecent : pattern
        if let context {
            guard let changed = RevisionRules.expected(expected, context) else { return }
            expected = changed
        }
        while true {
            guard let line = await next(client) else {
                return fail(
                    step,
                    "nothing comes; left: \(Transcript.escaped(client.stream.pending))"
                )
            }
            if let context, rules[name]?.takes(line, expected, context) == true { continue }
            if !matches(expected, line, context) {
                let rest = Transcript.escaped(client.stream.pending)
                return fail(step, "came: \(line.description)\n  then: \(rest)")
            }
            if let context, let complaint = rules[name]?.complaint(line, context) {
                return fail(step, "came: \(line.description)\n  in rev2: \(complaint)")
            }
            return
        }
    }

    private func matches(
        _ expected: ResponsePattern,
        _ line: ResponseLine,
        _ context: RevisionRules.Context?
    ) -> Bool {
        if expected.matches(line, &bindings) { return true }
        guard context != nil, let bare = RevisionRules.withoutUID(line) else { return false }
        return expected.matches(bare, &bindings)
    }

    /// The next response; when restarted, without what tells of \Recent, which no restart keeps.
    private func next(_ client: Client) async -> ResponseLine? {
        while var line = await client.response(within: patience) {
            if way == .pipelined, literalsToContinue > 0, line.isContinuation,
                line.texts[0] == Array("+ OK".utf8)
            {
                literalsToContinue -= 1
                continue
            }
            if isUntold(line) { continue }
            guard way == .restarted else { return line }
            if line.isUntagged, line.texts[0].hasSuffix(" RECENT") { continue }
            line.texts = line.texts.map(ResponsePattern.withoutRecent)
            return line
        }
        return nil
    }

    /// Every SELECT tells MAILBOXID and HIGHESTMODSEQ; only those transcripts that are about them say so.
    private func isUntold(_ line: ResponseLine) -> Bool {
        guard line.isUntagged else { return false }
        let text = line.texts[0]
        return text.hasPrefix("* OK [MAILBOXID ") && !transcript.name.hasPrefix("objectid/")
            || text.hasPrefix("* OK [HIGHESTMODSEQ ") && !isAboutModseqs
    }

    private static func isRecent(_ pattern: ResponsePattern) -> Bool {
        pattern.texts[0].hasPrefix("* ") && pattern.texts[0].hasSuffix(" RECENT")
    }

    private func unordered(
        _ patterns: [(String, ResponsePattern)],
        _ step: Transcript.Step,
        _ index: Int
    ) async throws {
        var left = patterns
        var contexts: [String: RevisionRules.Context] = [:]
        for name in Set(patterns.map(\.0)) { contexts[name] = context(index, name, step) }
        left = left.compactMap { name, pattern in
            guard let context = contexts[name] else { return (name, pattern) }
            return RevisionRules.expected(pattern, context).map { (name, $0) }
        }
        while let name = left.first?.0 {
            guard let client = clients[name], let line = await next(client) else {
                return fail(step, "\(left.count) of them do not come")
            }
            guard
                let index = left.firstIndex(where: {
                    $0.0 == name && matches($0.1, line, contexts[name])
                })
            else { return fail(step, "came: \(line.description)") }
            left.remove(at: index)
        }
    }

    private func check(
        _ directory: String,
        _ patterns: [[UInt8]],
        _ step: Transcript.Step
    ) async throws {
        // What is not needed any more is removed behind the answer.
        let deadline = Instant.after(seconds: 10)
        var names = try maildir.names(directory)
        while !matches(names, patterns) {
            if Instant.now > deadline { return fail(step, "there: \(names)") }
            await EventLoop.sleep(milliseconds: 2)
            names = try maildir.names(directory)
        }
    }

    private func matches(_ names: [String], _ patterns: [[UInt8]]) -> Bool {
        var bound = bindings
        guard names.count == patterns.count,
            zip(names, patterns).allSatisfy({
                LinePattern($1).matches(Array($0.utf8), &bound)
            })
        else { return false }
        bindings = bound
        return true
    }

    private func checkEnd() async {
        for name in transcript.sessions {
            guard let client = clients[name] else { continue }
            client.stream.end()
            if await !client.waitForEnd() {
                failures.append("\(transcript.name): session \(name) does not end")
            }
            let left = client.stream.pending
            if !left.isEmpty {
                failures.append(
                    "\(transcript.name): at the end, not expected: \(Transcript.escaped(left))"
                )
            }
        }
    }

    // MARK: Pipelined

    private var literalsToContinue = 0

    /// Everything at once, answers to come.
    private func sendAll() {
        for step in transcript.steps {
            guard case .send(let name, let texts, let literals) = step.kind,
                step.revision == nil || step.revision == revision
            else { continue }
            let pieces = command(texts, literals)
            for (index, piece) in pieces.enumerated() where index % 2 == 0 {
                if index / 2 < literals.count, literals[index / 2] != nil,
                    isSynchronizing(piece.dropLast(2))
                {
                    literalsToContinue += 1
                }
            }
            clients[name]?.stream.send(pieces.joined())
        }
    }

    /// What the disk holds between commands cannot be seen then.
    private func isLeftOutWhenPipelined(_ step: Transcript.Step, _ index: Int) -> Bool {
        guard case .disk = step.kind else { return false }
        return transcript.steps[index...].contains {
            if case .send = $0.kind { true } else { false }
        }
    }

    // MARK: Rewriting

    private func performAndRewrite(_ step: Transcript.Step) async throws {
        guard let rewriting else { return }
        guard step.revision == nil || step.revision == revision else {
            return rewriting.other(step)
        }
        switch step.kind {
        case .expect(_, let pattern):
            // What came was taken behind the command; the old line is kept where it fits.
            rewriting.old(pattern, step)
        case .unordered(let patterns):
            for (_, pattern) in patterns { rewriting.old(pattern, step) }
        case .send(let name, let texts, let literals):
            rewriting.flush()
            rewriting.keep(step)
            try await send(name, texts, literals, step)
            guard let client = clients[name] else { return }
            let tag = texts[0].split(separator: 32).first.map(Array.init) ?? []
            let isDone = String(decoding: texts[0], as: UTF8.self).uppercased() == "DONE"
            while let line = await client.response(within: client.isIdling ? 150 : patience) {
                if !isUntold(line) { rewriting.add(name, line) }
                if !client.isIdling, line.isTagged(tag) || isDone && !line.isUntagged { break }
            }
            await collectIdle(except: name)
        case .action:
            rewriting.flush()
            rewriting.keep(step)
            try await perform(step, 0)
            await collectIdle(except: "")
        case .disk(let directory, _):
            rewriting.flush()
            rewriting.disk(directory, try maildir.names(directory), step)
        case .compress, .stall, .hangUp:
            rewriting.flush()
            rewriting.keep(step)
            try await perform(step, 0)
        case .check, .closed, .pause:
            rewriting.flush()
            rewriting.keep(step)
        }
    }

    /// What sessions in IDLE were told.
    private func collectIdle(except active: String) async {
        for name in transcript.sessions where name != active {
            guard let client = clients[name], client.isIdling else { continue }
            while let line = await client.response(within: 100) { rewriting?.add(name, line) }
        }
    }
}

extension ResponsePattern {
    static func withoutRecent(_ text: [UInt8]) -> [UInt8] {
        let string = String(decoding: text, as: UTF8.self)
        guard string.utf8.elementsEqual(text) else { return text }
        return Array(
            string.replacingOccurrences(of: " \\Recent)", with: ")")
                .replacingOccurrences(of: "(\\Recent)", with: "()").utf8
        )
    }

    var withoutRecent: ResponsePattern {
        ResponsePattern(texts: texts.map(Self.withoutRecent), literals: literals)
    }
}
