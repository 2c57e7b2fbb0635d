import Foundation
import Glibc
import MailStore
import Posix
import Testing

@testable import IMAPSession

//  Three sessions and another program at work on one mailbox
//
//  Commands are chosen at random, from a seed, and run at the same time; what clients are told must be
//  consistent at every line, and at each halt all clients must believe what is on disk.

@Suite("a mailbox under many hands", .serialized)
struct ModelTests {
    /// `MARTLET_SEEDS=100-200` for more.
    static let seeds: [UInt64] = {
        let text = ProcessInfo.processInfo.environment["MARTLET_SEEDS"] ?? ""
        let bounds = text.split(separator: "-").compactMap { UInt64($0) }
        guard bounds.count == 2, bounds[0] <= bounds[1] else { return [1, 2, 3, 4, 5] }
        return Array(bounds[0]...bounds[1])
    }()

    @Test("views agree with the disk", arguments: seeds)
    func views(_ seed: UInt64) async throws {
        let failures = try await EventLoop.test {
            let run = try await ModelRun(seed: seed)
            try await run.run()
            return run.failures
        }
        #expect(failures.isEmpty, "seed \(seed): \(failures.joined(separator: "\n"))")
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
    private let store: MailStore
    private var clients: [ModelClient] = []
    private var random: SeededGenerator
    private(set) var failures: [String] = []
    private static let flags = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$one", "$two"]

    init(seed: UInt64) async throws {
        random = SeededGenerator(state: seed)
        maildir = try TestMaildir()
        for _ in 0..<6 { try maildir.add(Transcript.MessageSpec(flags: "S"), to: "INBOX") }
        let store = try await MailStore.forTest(maildir.root)
        self.store = store
        for name in ["A", "B", "C"] {
            let client = ModelClient(name) { stream in
                Session(stream, store, SessionIdentity(id: name, user: "ann"))
            }
            clients.append(client)
            client.send("SELECT INBOX", .select)
            await client.finish()
            client.send("FETCH 1:* (UID FLAGS)", .fixed)
            await client.finish()
        }
    }

    func run() async throws {
        for _ in 0..<12 where failures.isEmpty {
            for _ in 0..<14 { try await step() }
            try await halt()
        }
        for client in clients { client.stream.end() }
        store.close()
    }

    // MARK: Steps

    private func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &random) < percent
    }

    private func step() async throws {
        if chance(25) { return try external() }
        guard let client = clients.randomElement(using: &random) else { return }
        client.readAll()
        if client.kind == .idle {
            if chance(40) {
                client.done()
                await client.finish()
            }
            return
        }
        if client.isBusy { await client.finish() }
        if client.session.selected == nil {
            client.send("SELECT INBOX", .select)
            return await client.finish()
        }
        command(client)
        if chance(50), client.kind != .idle { await client.finish() }
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
        let count = client.messages.count
        let first = Int.random(in: 1...max(count, 1), using: &random)
        let last = min(first + Int.random(in: 0...3, using: &random), max(count, 1))
        let set = first == last ? "\(first)" : "\(first):\(last)"
        let uids = client.messages.compactMap(\.uid)
        let uid = uids.randomElement(using: &random) ?? 1
        switch Int.random(in: 0..<(count == 0 ? 4 : 18), using: &random) {
        case 0: client.send("NOOP", .free)
        case 1: client.send("APPEND INBOX (\\Seen) {17+}\r\nSubject: a\r\n\r\nx\r\n", .free)
        case 2: client.send("IDLE", .idle)
        case 3: client.send("EXPUNGE", .free)
        case 4, 5: storing(client, "STORE \(set)", Array((first - 1)..<last), .fixed)
        case 6: storing(client, "UID STORE \(uid):\(uid + 2)", nil, .free)
        case 7: client.send("FETCH \(set) (UID BODY[TEXT])", .fixed)
        case 8: client.send("UID FETCH \(uid):* (FLAGS)", .free)
        case 9: client.send("STORE \(set) +FLAGS (\\Deleted)", .fixed)
        case 10: client.send("COPY \(first) INBOX", .free)
        case 11: client.send("UID MOVE \(uid) INBOX", .free)
        case 12: client.send("SEARCH OR SEEN SUBJECT m", .fixed)
        case 13: client.send("MOVE \(set) INBOX", .free)
        case 14: client.send("FETCH \(first) BODY.PEEK[TEXT]<1.2>", .fixed)
        case 15: client.send("CLOSE", .select)
        default: client.send("UID EXPUNGE \(uid):*", .free)
        }
    }

    private func storing(
        _ client: ModelClient,
        _ start: String,
        _ indexes: [Int]?,
        _ kind: ModelClient.Kind
    ) {
        let flags = Set(Self.flags.shuffled(using: &random).prefix(2))
        let list = "(" + flags.sorted().joined(separator: " ") + ")"
        let sign = ["+", "-", ""].randomElement(using: &random) ?? ""
        guard let indexes, chance(50) else {
            return client.send("\(start) \(sign)FLAGS \(list)", kind)
        }
        client.send(
            "\(start) \(sign)FLAGS.SILENT \(list)",
            kind,
            silent: (
                indexes,
                { old in
                    switch sign {
                    case "+": old.union(flags)
                    case "-": old.subtracting(flags)
                    default: flags
                    }
                }
            )
        )
    }

    // MARK: Halts

    /// Everything is let come to rest and compared.
    private func halt() async throws {
        for client in clients {
            client.readAll()
            if client.kind == .idle { client.done() }
            await client.finish()
        }
        for client in clients where client.session.selected == nil {
            client.send("SELECT INBOX", .select)
            await client.finish()
        }
        try await clients[0].session.selected?.mailbox.settle()
        for client in clients {
            client.send("NOOP", .free)
            await client.finish()
        }
        let told = clients.map(\.messages)
        for client in clients where !client.messages.isEmpty {
            client.send("FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])", .fixed)
            await client.finish()
        }
        for client in clients { failures += client.violations }
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
        checkRecent()
        if !failures.isEmpty {
            failures += try maildir.names("INBOX/cur") + ["new:"] + maildir.names("INBOX/new")
            failures.append(
                try String(contentsOfFile: maildir.root + "/dovecot-uidlist", encoding: .utf8)
            )
            failures += clients.map(\.recentHistory)
        }
    }

    /// What a client was told before it asked must be what it is told now.
    private func compare(_ client: ModelClient, _ old: [ModelClient.Message]) {
        guard old.count == client.messages.count else {
            return failures.append("\(client.name): the number changed without a word")
        }
        for (index, pair) in zip(old, client.messages).enumerated() {
            if let flags = pair.0.flags, flags != pair.1.flags {
                failures.append("\(client.name): \(index + 1) was told \(flags), is \(pair.1)")
            }
        }
        let uids = client.messages.compactMap(\.uid)
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
