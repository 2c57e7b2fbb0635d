import Foundation
import MailStore
import Posix

@testable import IMAPSession

extension ModelRun {
    /// Everything is let come to rest and compared.
    func halt() async throws {
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
        for client in clients { try await client.session?.selected?.mailbox.settle() }
        for client in clients {
            client.send("NOOP", .free)
            await client.finish()
        }
        for client in clients { checkModseq(client) }
        let told = clients.map(\.messages)
        for client in clients where !client.messages.isEmpty {
            let items = "1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
            if client.modes.namesByUID {
                client.send("UID FETCH \(items)", .free)
            } else {
                client.send("FETCH \(items)", .fixed)
            }
            await client.finish()
        }
        for (client, old) in zip(clients, told) { compare(client, old) }
        for client in clients {
            let truth = try filesOnDisk(client.mailbox)
            let believed = client.messages.map { ($0.flags ?? []).sorted().joined(separator: " ") }
            if believed.sorted() != truth.sorted() {
                failures.append(
                    "\(client.name) has \(believed.sorted()), the disk \(truth.sorted())"
                )
            }
            let first = clients.first { $0.mailbox == client.mailbox }
            if let first, client.messages.map(\.uid) != first.messages.map(\.uid) {
                failures.append("\(client.name) and \(first.name) have other messages")
            }
        }
        for mailbox in Self.mailboxes {
            let clients = clients.filter { $0.mailbox == mailbox }
            checkModseqs(clients)
            checkRecent(clients)
        }
        for client in clients { try await checkStatus(client) }
        for client in clients where failures.isEmpty { await probe(client) }
        if failures.isEmpty, let client = clients.randomElement(using: &random) {
            await probeUnchangedSince(client)
        }
        try report()
    }

    func report() throws {
        for client in clients { failures += client.violations }
        guard !failures.isEmpty else { return }
        for mailbox in Self.mailboxes {
            failures += try maildir.names(mailbox + "/cur") + ["new:"]
            failures += try maildir.names(mailbox + "/new")
            let list = maildir.path(mailbox) + "/dovecot-uidlist"
            failures.append((try? String(contentsOfFile: list, encoding: .utf8)) ?? "no list")
        }
        failures += clients.map { "\($0.name) \($0.modes.capabilities)\n" + $0.recentHistory }
    }

    /// Nothing is held back now: what a client believes is what the mailbox has, or less.
    func checkModseq(_ client: ModelClient) {
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
    func checkModseqs(_ clients: [ModelClient]) {
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
    func compare(_ client: ModelClient, _ old: [ModelClient.Message]) {
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

    func checkRecent(_ clients: [ModelClient]) {
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
    func filesOnDisk(_ mailbox: String) throws -> [String] {
        let path = maildir.path(mailbox) + "/dovecot-keywords"
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
        for name in try maildir.names(mailbox + "/cur") + maildir.names(mailbox + "/new") {
            let letters = name.split(separator: ",", omittingEmptySubsequences: false).last ?? ""
            let flags = name.contains(":2,") ? letters.compactMap { names[$0] } : []
            files.append(flags.sorted().joined(separator: " "))
        }
        return files
    }
}
