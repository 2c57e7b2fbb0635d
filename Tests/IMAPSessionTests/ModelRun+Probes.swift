import MailStore
import Posix

@testable import IMAPSession

//  Questions at a halt
//
//  A client that has just been found to believe the truth can work out the answers itself.

extension ModelRun {
    func probe(_ client: ModelClient) async {
        await probeContexts(client)
        await probeSaved(client)
        guard !client.messages.isEmpty else { return }
        switch Int.random(in: 0..<4, using: &random) {
        case 0: await probeSort(client)
        case 1: await probePartial(client)
        case 2 where client.modes.hasModseqs: await probeChangedSince(client)
        default: await probeSearch(client)
        }
    }

    private func expect<Value: Equatable>(
        _ client: ModelClient,
        _ value: Value,
        _ expected: Value,
        _ what: String
    ) {
        if value != expected {
            failures.append("\(client.name): \(what) is \(value), and not \(expected)")
        }
    }

    /// Sequence numbers or UIDs of what the key finds.
    private func found(_ client: ModelClient, _ key: ModelKey, _ isUID: Bool) -> [UInt32] {
        let names = client.messages.enumerated().map { index, message in
            key.matches(message, index + 1) ? isUID ? message.uid : UInt32(index + 1) : nil
        }
        return names.compactMap { $0 }
    }

    private func ids(_ client: ModelClient, _ names: [UInt32], _ isUID: Bool) -> Set<Int> {
        let named = client.messages.enumerated().filter { index, message in
            names.contains(isUID ? message.uid ?? 0 : UInt32(index + 1))
        }
        return Set(named.map(\.element.id))
    }

    // MARK: Results that are kept

    private func probeContexts(_ client: ModelClient) async {
        for context in client.contexts where !context.isLost {
            let expected = client.messages.enumerated().filter { index, message in
                context.key.matches(message, index + 1)
            }
            expect(
                client,
                context.members.sorted(),
                expected.compactMap { context.name(of: $0.element) }.sorted(),
                "the result of \(context.tag), \(context.key.text),"
            )
        }
    }

    private func probeSaved(_ client: ModelClient) async {
        guard let saved = client.saved else { return }
        let left = client.messages.filter { saved.contains($0.id) }
        let all = ModelKey(text: "$") { message, _ in saved.contains(message.id) }
        client.search(ModelClient.Search(isUID: true, key: all, options: ["ALL"]))
        await client.finish()
        expect(client, client.answer?.all ?? [], left.compactMap(\.uid), "$")
        client.send("UID FETCH $ (UID)", .free)
        await client.finish()
        expect(client, client.fetched, Set(left.map(\.id)), "UID FETCH $")
        guard !client.modes.namesByUID else { return }
        client.send("FETCH $ (UID)", .fixed)
        await client.finish()
        expect(client, client.fetched, Set(left.map(\.id)), "FETCH $")
    }

    // MARK: SEARCH and SORT

    private func probeSearch(_ client: ModelClient) async {
        let isUID = client.modes.namesByUID || chance(50)
        let isNumbered = !client.modes.contains(.uidOnly)
        let key = anyKey(client, count: isNumbered ? client.messages.count : 0)
        let names = found(client, key, isUID)
        guard chance(80) else {
            client.search(ModelClient.Search(isUID: isUID, key: key))
            await client.finish()
            return expect(client, client.answer?.all ?? [], names, key.text)
        }
        var options = ["MIN", "MAX", "COUNT", "SAVE"].filter { _ in chance(40) }
        let range = anyRange(names.count)
        let isPartial = chance(40)
        if isPartial {
            options.append("PARTIAL \(range.text)")
        } else if options.isEmpty || chance(50) {
            options.append("ALL")
        }
        options.shuffle(using: &random)
        client.search(ModelClient.Search(isUID: isUID, key: key, options: options))
        await client.finish()
        let isSaving = options.contains("SAVE")
        let text = "\(options) \(key.text)"
        let answer = client.answer ?? SearchAnswer("* ESEARCH")
        let part = Array(names[range.indices])
        if let answer {
            expect(client, answer.min, options.contains("MIN") ? names.first : nil, "MIN \(text)")
            expect(client, answer.max, options.contains("MAX") ? names.last : nil, "MAX \(text)")
            let count = options.contains("COUNT") ? names.count : nil
            expect(client, answer.count, count, "COUNT \(text)")
            if options.contains("ALL") { expect(client, answer.all ?? [], names, "ALL \(text)") }
            if isPartial { expect(client, answer.partial, part, "PARTIAL \(text)") }
        }
        guard isSaving else { return }
        var saved = isPartial ? part : []
        if options.contains("MIN") { saved += names.prefix(1) }
        if options.contains("MAX") { saved += names.suffix(1) }
        // RFC 9394 §3.2, table 1
        let isOfSome = isPartial || options.contains("MIN") || options.contains("MAX")
        if !isOfSome || options.contains("ALL") || options.contains("COUNT") { saved = names }
        client.saved = ids(client, saved, isUID)
        await probeSaved(client)
    }

    /// As PARTIAL names it, and the places that it means among so many.             RFC 9394 §3.1
    private func anyRange(_ count: Int) -> (text: String, indices: Range<Int>) {
        let first = Int.random(in: 1...6, using: &random)
        let last = Int.random(in: 1...6, using: &random)
        let low = min(min(first, last) - 1, count)
        let high = min(max(first, last), count)
        if chance(50) { return ("\(first):\(last)", low..<high) }
        return ("-\(first):-\(last)", (count - high)..<(count - low))
    }

    private func probeSort(_ client: ModelClient) async {
        let isUID = client.modes.namesByUID || chance(50)
        let key = anyKey(client, count: client.modes.contains(.uidOnly) ? 0 : client.messages.count)
        let orders = ["SUBJECT", "REVERSE SUBJECT", "SIZE SUBJECT", "REVERSE SIZE"]
        let order = orders.randomElement(using: &random) ?? "SUBJECT"
        var places = client.messages.indices.filter { key.matches(client.messages[$0], $0 + 1) }
        func compare(_ left: Int, _ right: Int) -> Bool {
            let (left, right) = (client.messages[left], client.messages[right])
            let sizes = (left.size ?? 0, right.size ?? 0)
            let subjects = (
                (left.subject ?? "").uppercased(), (right.subject ?? "").uppercased()
            )
            switch order {
            case "SUBJECT": return subjects.0 < subjects.1
            case "REVERSE SUBJECT": return subjects.0 > subjects.1
            case "REVERSE SIZE": return sizes.0 > sizes.1
            default: return sizes.0 == sizes.1 ? subjects.0 < subjects.1 : sizes.0 < sizes.1
            }
        }
        places.sort { compare($0, $1) || !compare($1, $0) && $0 < $1 }
        let expected = places.compactMap { isUID ? client.messages[$0].uid : UInt32($0 + 1) }
        let options = chance(50) ? ["ALL"] : nil
        client.search(
            ModelClient.Search(isUID: isUID, key: key, options: options),
            sort: "(\(order)) UTF-8"
        )
        await client.finish()
        expect(client, client.answer?.all ?? [], expected, "SORT (\(order)) \(key.text)")
    }

    // MARK: FETCH and STORE

    private func probePartial(_ client: ModelClient) async {
        let range = anyRange(client.messages.count)
        client.send("UID FETCH 1:* (UID) (PARTIAL \(range.text))", .free)
        await client.finish()
        let expected = Set(client.messages[range.indices].map(\.id))
        expect(client, client.fetched, expected, "UID FETCH PARTIAL \(range.text)")
    }

    private func anyModseq(_ client: ModelClient) -> UInt64 {
        let modseqs = client.messages.compactMap(\.modseq) + [client.believedModseq, 1]
        return modseqs.randomElement(using: &random) ?? 1
    }

    private func probeChangedSince(_ client: ModelClient) async {
        let isVanished = client.modes.contains(.quickResync)
        let modseq = chance(50) ? anyModseq(client) : client.vanishedSince.values.min() ?? 1
        client.earlier = []
        client.send(
            "UID FETCH 1:4294967295 (UID) (CHANGEDSINCE \(modseq)\(isVanished ? " VANISHED" : ""))",
            .free
        )
        await client.finish()
        let expected = client.messages.filter { $0.modseq.map { $0 > modseq } ?? true }
        expect(client, client.fetched, Set(expected.map(\.id)), "CHANGEDSINCE \(modseq)")
        guard isVanished else { return }
        // Each went after the client believed that.
        let gone = Set(client.vanishedSince.filter { $0.value >= modseq }.keys)
        expect(client, gone.subtracting(client.earlier), [], "what VANISHED since \(modseq) lacks")
    }

    /// The others do not know of it yet when it ends.                             RFC 7162 §3.1.3
    func probeUnchangedSince(_ client: ModelClient) async {
        guard client.modes.hasModseqs, let uid = client.uids.randomElement(using: &random) else {
            return
        }
        let modseq = anyModseq(client)
        let meant = client.messages.filter { (uid...(uid + 5)).contains($0.uid ?? 0) }
        let expected = meant.filter { $0.modseq.map { $0 > modseq } ?? true }.compactMap(\.uid)
        let sign = ["+", "-", ""].randomElement(using: &random) ?? ""
        client.send(
            "UID STORE \(uid):\(uid + 5) (UNCHANGEDSINCE \(modseq)) \(sign)FLAGS (\\Flagged)",
            .free
        )
        await client.finish()
        let told = client.lastTagged.split(separator: "[MODIFIED ").last?.split(separator: "]")
        let isTold = client.lastTagged.contains("[MODIFIED ")
        let modified = isTold ? told?.first.map(SearchAnswer.numbers) ?? [] : []
        let what = "MODIFIED of UNCHANGEDSINCE \(modseq)"
        if sign.isEmpty {
            expect(client, modified.sorted(), expected, what)
        } else {
            // Not where other flags than this one have changed, as far as the server knows.
            expect(client, Set(modified).subtracting(expected), [], "too much in \(what)")
        }
        for message in meant {
            guard let uid = message.uid, let now = client.messages.first(where: { $0.uid == uid })
            else { continue }
            let flags =
                if modified.contains(uid) { message.flags } else {
                    Self.changed(message.flags ?? [], sign)
                }
            expect(client, now.flags, flags, "UID \(uid)")
        }
    }

    private static func changed(_ flags: Set<String>, _ sign: String) -> Set<String> {
        switch sign {
        case "+": flags.union(["\\Flagged"])
        case "-": flags.subtracting(["\\Flagged"])
        default: ["\\Flagged"]
        }
    }

    /// NOTIFY tells of the mailbox that is not selected when it happens: it may be on its way still.
    func checkStatus(_ client: ModelClient) async throws {
        guard client.modes.hasNotify else { return }
        let deadline = Instant.after(seconds: 5)
        for mailbox in Self.mailboxes where mailbox != client.mailbox {
            let files = try filesOnDisk(mailbox)
            let truth = ModelClient.Status(
                messages: files.count,
                unseen: files.count { !$0.contains("\\Seen") }
            )
            while let told = client.statuses[mailbox], told != truth {
                guard Instant.now < deadline else {
                    client.send("STATUS \(mailbox) (MESSAGES UNSEEN)", .free)
                    await client.finish()
                    let asked = client.statuses[mailbox] ?? told
                    failures.append(
                        "\(client.name): \(mailbox) is \(told), and not \(truth); asked: \(asked)"
                    )
                    break
                }
                await EventLoop.sleep(milliseconds: 10)
                client.readAll()
            }
        }
    }
}
