import Foundation
import Glibc
import MailStore
import Posix
import Testing

@testable import IMAPSession

//  Five sessions and another program at work on one mailbox
//
//  Each client knows another part of the protocol: plain, CONDSTORE, QRESYNC, UIDONLY, rev2. Commands are
//  chosen at random, from a seed, and run at the same time; connections are cut, and the process ends and
//  comes back. What clients are told must be consistent at every line, and at each halt all clients must
//  believe what is on disk: those too that came back and asked for what they had missed alone.
//
//  A run is a list of steps, each with a seed of its own. Of a run that fails, steps are taken out as long
//  as it fails.

@Suite("a mailbox under many hands", .serialized)
struct ModelTests {
    /// `MARTLET_SEEDS=100-200` for more.
    static let seeds: [UInt64] = {
        let text = ProcessInfo.processInfo.environment["MARTLET_SEEDS"] ?? ""
        let bounds = text.split(separator: "-").compactMap { UInt64($0) }
        guard bounds.count == 2, bounds[0] <= bounds[1] else { return [1, 2, 3, 4, 5, 6] }
        return Array(bounds[0]...bounds[1])
    }()

    @Test("views agree with the disk", arguments: seeds)
    func views(_ seed: UInt64) async throws {
        var generator = SeededGenerator(state: seed)
        let plan = (0..<140).map { _ in generator.next() }
        var failures = try await Self.run(seed, plan)
        guard !failures.isEmpty else { return }
        let shrunk = try await Self.shrink(seed, plan, &failures)
        Issue.record(
            "seed \(seed), \(shrunk.count) of \(plan.count) steps:\n\(failures.joined(separator: "\n"))"
        )
    }

    private static func run(_ seed: UInt64, _ plan: [UInt64]) async throws -> [String] {
        try await EventLoop.test {
            let run = try await ModelRun(seed: seed)
            try await run.run(plan)
            return run.failures
        }
    }

    /// The steps that are left when taking out a further run of them makes it pass.
    private static func shrink(
        _ seed: UInt64,
        _ plan: [UInt64],
        _ failures: inout [String]
    ) async throws -> [UInt64] {
        let deadline = Instant.after(seconds: 90)
        var plan = plan
        var count = plan.count / 2
        while count > 0, .now < deadline {
            var start = 0
            while start < plan.count, .now < deadline {
                var less = plan
                less.removeSubrange(start..<min(start + count, plan.count))
                let result = try await run(seed, less)
                if result.isEmpty {
                    start += count
                } else {
                    plan = less
                    failures = result
                }
            }
            count /= 2
        }
        return plan
    }
}

/// splitmix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

@EventLoop
final class ModelRun {
    private let maildir: TestMaildir
    private var store: MailStore
    private var clients: [ModelClient] = []
    private var random: SeededGenerator
    private(set) var failures: [String] = []
    private static let flags = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$one", "$two"]
    private static let modes: [ModelClient.Modes] = [
        [.condStore], [.quickResync], [.quickResync, .uidOnly], [.rev2], [.rev2, .quickResync],
        [.uidOnly], [.condStore, .uidOnly], [.rev2, .condStore], [.quickResync, .condStore],
        [.rev2, .uidOnly, .quickResync],
    ]

    init(seed: UInt64) async throws {
        random = SeededGenerator(state: seed)
        maildir = try TestMaildir()
        for _ in 0..<6 { try maildir.add(Transcript.MessageSpec(flags: "S"), to: "INBOX") }
        store = try await MailStore.forTest(maildir.root)
        clients.append(ModelClient("A", []))
        let chosen = Self.modes.shuffled(using: &random)
        for (index, name) in ["B", "C", "D", "E"].enumerated() {
            clients.append(ModelClient(name, chosen[index]))
        }
        for client in clients { await client.connect(store, random.next()) }
    }

    func run(_ plan: [UInt64]) async throws {
        for seed in plan where failures.isEmpty {
            random = SeededGenerator(state: seed)
            if chance(8) { try await halt() } else { try await step() }
            for client in clients where !client.violations.isEmpty { try report() }
        }
        if failures.isEmpty { try await halt() }
        for client in clients { await client.disconnect() }
        await store.shutDown()
    }

    // MARK: Steps

    private func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &random) < percent
    }

    private func step() async throws {
        if chance(22) { return try external() }
        if chance(2) { return try await restart() }
        guard let client = clients.randomElement(using: &random) else { return }
        client.readAll()
        if chance(5) { await client.disconnect() }
        guard client.isConnected else { return await client.connect(store, random.next()) }
        if client.kind == .idle {
            if chance(40) {
                client.done()
                await client.finish()
            }
            return
        }
        if client.isBusy { await client.finish() }
        if !client.isSelected { return await client.select(random.next()) }
        command(client)
        if chance(50), client.kind != .idle { await finish(client) }
    }

    private func finish(_ client: ModelClient) async {
        await client.finish()
        if client.isConnected, !client.isSelected { client.unselected() }
    }

    /// The process ends, in order or not, and another one comes.
    private func restart() async throws {
        for client in clients { await client.disconnect() }
        await store.shutDown(inOrder: chance(50))
        store = try await MailStore.forTest(maildir.root)
    }

    private func external() throws {
        guard chance(60) else {
            return try maildir.perform(.deliver("INBOX", Transcript.MessageSpec()))
        }
        var files: [String] = []
        for directory in ["cur", "new"] {
            files += try maildir.names("INBOX/" + directory).map { directory + "/" + $0 }
        }
        guard let file = files.randomElement(using: &random) else { return }
        let path = maildir.root + "/" + file
        if chance(40) {
            unlink(path)
        } else {
            let name = file.dropFirst(4).split(separator: ":")[0]
            let letters = ["", "S", "FS", "T", "RS", "D"].randomElement(using: &random) ?? ""
            rename(path, maildir.root + "/cur/" + name + ":2," + letters)
        }
    }

    private func command(_ client: ModelClient) {
        let uids = client.uids
        let uid = uids.randomElement(using: &random) ?? 1
        let isEmpty = client.messages.isEmpty
        switch Int.random(in: 0..<(isEmpty ? 4 : 20), using: &random) {
        case 0: client.send("NOOP", .free)
        case 1: client.send("APPEND INBOX (\\Seen) {17+}\r\nSubject: a\r\n\r\nx\r\n", .free)
        case 2: client.send("IDLE", .idle)
        case 3: client.send("EXPUNGE", .free)
        case 4: storing(client, uid)
        case 5: client.send("UID FETCH \(uid):* (FLAGS)", .free)
        case 6: client.send("UID MOVE \(uid) INBOX", .free)
        case 7: client.send("UID EXPUNGE \(uid):*", .free)
        case 8: client.send("UID COPY \(uid) INBOX", .free)
        case 9: client.send("CLOSE", .select)
        case 10 where client.modes.hasModseqs: modseqCommand(client, uid)
        case 11 where client.modes.hasModseqs: modseqCommand(client, uid)
        default:
            if client.modes.contains(.uidOnly) {
                uidCommand(client, uid)
            } else {
                numberCommand(client)
            }
        }
    }

    /// Of messages named by their numbers.
    private func numberCommand(_ client: ModelClient) {
        let count = client.messages.count
        let first = Int.random(in: 1...max(count, 1), using: &random)
        let last = min(first + Int.random(in: 0...3, using: &random), max(count, 1))
        let set = first == last ? "\(first)" : "\(first):\(last)"
        let ids = client.messages[(first - 1)..<last].map(\.id)
        switch Int.random(in: 0..<9, using: &random) {
        case 0, 1, 2: store(client, "STORE \(set)", ids, .fixed)
        case 3: client.send("FETCH \(set) (UID BODY[TEXT])", .fixed)
        case 4: client.send("STORE \(set) +FLAGS (\\Deleted)", .fixed)
        case 5: client.send("COPY \(first) INBOX", .free)
        case 6: client.send("SEARCH OR SEEN SUBJECT m", .fixed)
        case 7: client.send("MOVE \(set) INBOX", .free)
        default: client.send("FETCH \(first) BODY.PEEK[TEXT]<1.2>", .fixed)
        }
    }

    private func uidCommand(_ client: ModelClient, _ uid: UInt32) {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: client.send("UID FETCH \(uid):\(uid + 3) (BODY[TEXT])", .free)
        case 1: client.send("UID STORE \(uid):\(uid + 2) +FLAGS (\\Deleted)", .free)
        case 2: client.send("UID SEARCH OR SEEN SUBJECT m", .free)
        default: client.send("UID FETCH \(uid) (UID BODY.PEEK[TEXT]<1.2>)", .free)
        }
    }

    private func modseqCommand(_ client: ModelClient, _ uid: UInt32) {
        let modseqs = client.messages.compactMap(\.modseq) + [client.believedModseq, 0, 1]
        let modseq = modseqs.randomElement(using: &random) ?? 1
        switch Int.random(in: 0..<4, using: &random) {
        case 0: client.send("UID SEARCH MODSEQ \(modseq)", .free)
        case 1:
            let isVanished = client.modes.contains(.quickResync) && chance(50)
            client.send(
                "UID FETCH 1:* (UID) (CHANGEDSINCE \(modseq)\(isVanished ? " VANISHED" : ""))",
                .free
            )
        default:
            let range = uid...(uid + UInt32.random(in: 0...3, using: &random))
            let ids = client.messages.filter { range.contains($0.uid ?? 0) }.map(\.id)
            let set = "\(range.lowerBound):\(range.upperBound) (UNCHANGEDSINCE \(modseq))"
            store(client, "UID STORE \(set)", ids, .free)
        }
    }

    private func storing(_ client: ModelClient, _ uid: UInt32) {
        let range = uid...(uid + 2)
        let ids = client.messages.filter { range.contains($0.uid ?? 0) }.map(\.id)
        // A message that it has not asked for yet may be meant too.
        let isKnown = client.messages.allSatisfy { $0.uid != nil }
        store(client, "UID STORE \(uid):\(uid + 2)", isKnown ? ids : nil, .free)
    }

    private func store(
        _ client: ModelClient,
        _ start: String,
        _ ids: [Int]?,
        _ kind: ModelClient.Kind
    ) {
        let flags = Set(Self.flags.shuffled(using: &random).prefix(2))
        let list = "(" + flags.sorted().joined(separator: " ") + ")"
        let sign = ["+", "-", ""].randomElement(using: &random) ?? ""
        guard let ids, chance(50) else {
            return client.send("\(start) \(sign)FLAGS \(list)", kind)
        }
        client.send(
            "\(start) \(sign)FLAGS.SILENT \(list)",
            kind,
            silent: .init(ids: ids) { old in
                switch sign {
                case "+": old.union(flags)
                case "-": old.subtracting(flags)
                default: flags
                }
            }
        )
    }

    // MARK: Halts

    /// Everything is let come to rest and compared.
    private func halt() async throws {
        for client in clients {
            client.readAll()
            if client.kind == .idle { client.done() }
            await finish(client)
        }
        for client in clients {
            if !client.isConnected {
                await client.connect(store, random.next())
            } else if !client.isSelected {
                await client.select(random.next())
            }
        }
        try await clients[0].session?.selected?.mailbox.settle()
        for client in clients {
            client.send("NOOP", .free)
            await client.finish()
        }
        for client in clients { checkModseq(client) }
        let told = clients.map(\.messages)
        for client in clients where !client.messages.isEmpty {
            let items = "1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
            if client.modes.contains(.uidOnly) {
                client.send("UID FETCH \(items)", .free)
            } else {
                client.send("FETCH \(items)", .fixed)
            }
            await client.finish()
        }
        for (client, old) in zip(clients, told) { compare(client, old) }
        let truth = try filesOnDisk()
        for client in clients {
            let believed = client.messages.map { ($0.flags ?? []).sorted().joined(separator: " ") }
            if believed.sorted() != truth.sorted() {
                failures.append(
                    "\(client.name) has \(believed.sorted()), the disk \(truth.sorted())"
                )
            }
            if client.messages.map(\.uid) != clients[0].messages.map(\.uid) {
                failures.append("\(client.name) and A have other messages")
            }
        }
        checkModseqs()
        checkRecent()
        try report()
    }

    private func report() throws {
        for client in clients { failures += client.violations }
        guard !failures.isEmpty else { return }
        failures += try maildir.names("INBOX/cur") + ["new:"] + maildir.names("INBOX/new")
        failures.append(
            try String(contentsOfFile: maildir.root + "/dovecot-uidlist", encoding: .utf8)
        )
        failures += clients.map { "\($0.name) \($0.modes.capabilities)\n" + $0.recentHistory }
    }

    /// Nothing is held back now: what a client believes is what the mailbox has, or less.
    private func checkModseq(_ client: ModelClient) {
        guard client.modes.hasModseqs, let mailbox = client.session?.selected?.mailbox else {
            return
        }
        let highest = mailbox.highestModseq
        let believed = client.believedModseq
        let isRight =
            client.modes.contains(.quickResync) ? believed == highest : believed <= highest
        if !isRight { failures.append("\(client.name) believes \(believed) of \(highest)") }
    }

    /// Who knows modseqs knows the same.
    private func checkModseqs() {
        var known: [UInt32: UInt64] = [:]
        for client in clients {
            for message in client.messages {
                guard let uid = message.uid, let modseq = message.modseq else { continue }
                if let other = known.updateValue(modseq, forKey: uid), other != modseq {
                    failures.append("UID \(uid) has the modseqs \(other) and \(modseq)")
                }
            }
        }
    }

    /// What a client was told before it asked must be what it is told now.
    private func compare(_ client: ModelClient, _ old: [ModelClient.Message]) {
        guard old.count == client.messages.count else {
            return failures.append("\(client.name): the number changed without a word")
        }
        for (index, pair) in zip(old, client.messages).enumerated() {
            // In UIDONLY what was not known yet has found its place.
            guard let uid = pair.0.uid, uid == pair.1.uid else { continue }
            if let flags = pair.0.flags, flags != pair.1.flags {
                failures.append("\(client.name): \(index + 1) was told \(pair.0), is \(pair.1)")
            }
            if let modseq = pair.0.modseq, modseq != pair.1.modseq {
                failures.append("\(client.name): \(index + 1) was told \(pair.0), is \(pair.1)")
            }
        }
        let uids = client.uids
        if uids.count != client.messages.count || uids != uids.sorted()
            || Set(uids).count < uids.count
        {
            failures.append("\(client.name): UIDs \(uids)")
        }
    }

    private func checkRecent() {
        var owners: [UInt32: String] = [:]
        for client in clients {
            for message in client.messages where message.isRecent {
                guard let uid = message.uid else { continue }
                if let other = owners.updateValue(client.name, forKey: uid) {
                    failures.append("UID \(uid) is \\Recent in \(other) and \(client.name)")
                }
            }
        }
    }

    /// The flags of each file.
    private func filesOnDisk() throws -> [String] {
        let path = maildir.root + "/dovecot-keywords"
        let lines = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
        var names: [Character: String] = [
            "S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "D": "\\Draft", "T": "\\Deleted",
        ]
        for line in lines.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard parts.count == 2, let index = UInt8(parts[0]) else { continue }
            names[Character(UnicodeScalar(UInt8(ascii: "a") + index))] = String(parts[1])
        }
        var files: [String] = []
        for name in try maildir.names("INBOX/cur") + maildir.names("INBOX/new") {
            let letters = name.split(separator: ",", omittingEmptySubsequences: false).last ?? ""
            let flags = name.contains(":2,") ? letters.compactMap { names[$0] } : []
            files.append(flags.sorted().joined(separator: " "))
        }
        return files
    }
}
