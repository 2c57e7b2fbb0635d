import Foundation
import Glibc
import MailStore
import Posix

@testable import IMAPSession

@EventLoop
final class ModelRun {
    let maildir: TestMaildir
    var store: MailStore
    /// Nil in runs without one.
    let index: ModelIndex?
    static let mailboxes = ["INBOX", "Other"]
    var clients: [ModelClient] = []
    var random: SeededGenerator
    var failures: [String] = []
    static let flags = ["\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$one", "$two"]
    static let modes: [ModelClient.Modes] = [
        [.condStore], [.quickResync], [.quickResync, .uidOnly], [.rev2], [.rev2, .quickResync],
        [.uidOnly], [.condStore, .uidOnly], [.rev2, .condStore], [.quickResync, .condStore],
        [.rev2, .uidOnly, .quickResync],
    ]

    init(seed: UInt64) async throws {
        random = SeededGenerator(state: seed)
        maildir = try TestMaildir()
        for _ in 0..<6 { try maildir.add(Transcript.MessageSpec(flags: "S"), to: "INBOX") }
        try maildir.make("Other")
        for _ in 0..<3 { try maildir.add(Transcript.MessageSpec(flags: ""), to: "Other") }
        index = Int.random(in: 0..<4, using: &random) == 0 ? nil : ModelIndex(maildir.cache)
        store = try await MailStore.forTest(maildir.root, cache: index?.path)
        clients.append(ModelClient("A", []))
        let chosen = Self.modes.shuffled(using: &random)
        for (index, name) in ["B", "C", "D", "E"].enumerated() {
            var modes = chosen[index]
            switch Int.random(in: 0..<6, using: &random) {
            case 0: modes.insert(.notify)
            case 1: modes.insert(.notifyDelayed)
            default: break
            }
            clients.append(ModelClient(name, modes))
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

    func chance(_ percent: Int) -> Bool {
        Int.random(in: 0..<100, using: &random) < percent
    }

    func step() async throws {
        if chance(22) { return try external() }
        if chance(2) { index?.remove() }
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
        if chance(6) { return await client.select(random.next(), anyMailbox()) }
        command(client)
        if chance(50), client.kind != .idle { await finish(client) }
    }

    func finish(_ client: ModelClient) async {
        await client.finish()
        if client.isConnected, !client.isSelected { client.unselected() }
    }

    /// The process ends, in order or not, and another one comes.
    func restart() async throws {
        for client in clients { await client.disconnect() }
        await store.shutDown(inOrder: chance(50))
        try index?.change(&random)
        store = try await MailStore.forTest(maildir.root, cache: index?.path)
    }

    /// The first one more often.
    func anyMailbox() -> String { chance(65) ? "INBOX" : "Other" }

    func external() throws {
        guard chance(60) else {
            return try maildir.perform(.deliver(anyMailbox(), Transcript.MessageSpec()))
        }
        let mailbox = anyMailbox()
        var files: [String] = []
        for directory in ["cur", "new"] {
            files += try maildir.names(mailbox + "/" + directory).map { directory + "/" + $0 }
        }
        guard let file = files.randomElement(using: &random) else { return }
        let path = maildir.path(mailbox) + "/" + file
        if chance(40) {
            unlink(path)
        } else {
            let name = file.dropFirst(4).split(separator: ":")[0]
            let letters = ["", "S", "FS", "T", "RS", "D"].randomElement(using: &random) ?? ""
            rename(path, maildir.path(mailbox) + "/cur/" + name + ":2," + letters)
        }
    }
}
