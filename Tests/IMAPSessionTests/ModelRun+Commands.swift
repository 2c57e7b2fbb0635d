import Posix

@testable import IMAPSession

extension ModelRun {
    func command(_ client: ModelClient) {
        let uids = client.uids
        let uid = uids.randomElement(using: &random) ?? 1
        let isEmpty = client.messages.isEmpty
        let target = anyMailbox()
        switch Int.random(in: 0..<(isEmpty ? 4 : 24), using: &random) {
        case 0: client.send("NOOP", .free)
        case 1: client.send("APPEND \(target) (\\Seen) \(newMessage())", .free)
        case 2: client.send("IDLE", .idle)
        case 3: client.send("EXPUNGE", .free)
        case 4: storing(client, uid)
        case 5: client.send("UID FETCH \(uid):* (FLAGS)", .free)
        case 6: client.send("UID MOVE \(uid) \(target)", .free)
        case 7: client.send("UID EXPUNGE \(uid):*", .free)
        case 8: client.send("UID COPY \(uid) \(target)", .free)
        case 9: client.close()
        case 12 where !uids.isEmpty:
            client.send("UID REPLACE \(uid) \(target) (\\Draft) \(newMessage())", .free)
        case 13, 14: search(client)
        case 15: savedCommand(client, target)
        case 16:
            let first = Int.random(in: 1...4, using: &random)
            let range = chance(50) ? "\(first):\(first + 2)" : "-\(first):-\(first + 2)"
            client.send("UID FETCH 1:* (FLAGS) (PARTIAL \(range))", .free)
        case 10 where client.modes.hasModseqs: modseqCommand(client, uid)
        case 11 where client.modes.hasModseqs: modseqCommand(client, uid)
        default:
            if client.modes.namesByUID {
                uidCommand(client, uid)
            } else {
                numberCommand(client)
            }
        }
    }

    /// A literal with all around it.
    func newMessage() -> String {
        let subject = ["a", "Alpha", "beta", "m"].randomElement(using: &random) ?? "a"
        let text = "Subject: \(subject)\r\n\r\nx\r\n"
        return "{\(text.utf8.count)+}\r\n\(text)"
    }

    /// Whose result is kept: as `$`, and kept up to date.
    func search(_ client: ModelClient) {
        if client.contexts.count > 2 { return client.cancelUpdate() }
        let isUID = client.modes.namesByUID || chance(50)
        let isUpdating = chance(50)
        // Numbers in a key are frozen by UPDATE.
        let key = anyKey(client, count: isUpdating || isUID ? 0 : client.messages.count)
        var options = ["ALL"]
        if isUpdating { options.append("UPDATE") }
        if chance(50) { options.append("SAVE") }
        if chance(30) { options += ["MIN", "MAX", "COUNT"] }
        options.shuffle(using: &random)
        client.search(ModelClient.Search(isUID: isUID, key: key, options: options))
    }

    func anyKey(_ client: ModelClient, count: Int) -> ModelKey {
        let modseqs = client.modes.hasModseqs ? client.messages.compactMap(\.modseq) : []
        let bounds = ModelKey.Bounds(uids: client.uids, modseqs: modseqs, count: count)
        return ModelKey.random(bounds, &random)
    }

    /// Of the messages that were found last.                                      RFC 5182 §2.1
    func savedCommand(_ client: ModelClient, _ target: String) {
        switch Int.random(in: 0..<5, using: &random) {
        case 0: client.send("UID COPY $ \(target)", .free)
        case 1: client.send("UID MOVE $ \(target)", .free)
        case 2: client.send("UID STORE $ +FLAGS (\\Deleted)", .free)
        case 3: client.send("UID EXPUNGE $", .free)
        default: client.send("UID FETCH $ (FLAGS)", .free)
        }
    }

    /// Of messages named by their numbers.
    func numberCommand(_ client: ModelClient) {
        let count = client.messages.count
        let first = Int.random(in: 1...max(count, 1), using: &random)
        let target = anyMailbox()
        let last = min(first + Int.random(in: 0...3, using: &random), max(count, 1))
        let set = first == last ? "\(first)" : "\(first):\(last)"
        let ids = client.messages[(first - 1)..<last].map(\.id)
        switch Int.random(in: 0..<11, using: &random) {
        case 8: client.send("REPLACE \(first) \(target) (\\Seen) \(newMessage())", .free)
        case 9: client.send("FETCH $ (UID)", .fixed)
        case 0, 1, 2: store(client, "STORE \(set)", ids, .fixed)
        case 3: client.send("FETCH \(set) (UID BODY[TEXT])", .fixed)
        case 4: client.send("STORE \(set) +FLAGS (\\Deleted)", .fixed)
        case 5: client.send("COPY \(first) \(target)", .free)
        case 6:
            let key = anyKey(client, count: client.messages.count)
            client.search(ModelClient.Search(isUID: false, key: key))
        case 7: client.send("MOVE \(set) \(target)", .free)
        default: client.send("FETCH \(first) BODY.PEEK[TEXT]<1.2>", .fixed)
        }
    }

    func uidCommand(_ client: ModelClient, _ uid: UInt32) {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: client.send("UID FETCH \(uid):\(uid + 3) (BODY[TEXT])", .free)
        case 1: client.send("UID STORE \(uid):\(uid + 2) +FLAGS (\\Deleted)", .free)
        case 2: client.search(ModelClient.Search(isUID: true, key: anyKey(client, count: 0)))
        default: client.send("UID FETCH \(uid) (UID BODY.PEEK[TEXT]<1.2>)", .free)
        }
    }

    func modseqCommand(_ client: ModelClient, _ uid: UInt32) {
        let modseqs = client.messages.compactMap(\.modseq) + [client.believedModseq, 0, 1]
        let modseq = modseqs.randomElement(using: &random) ?? 1
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            let key = ModelKey(text: "MODSEQ \(modseq)") { message, _ in
                message.modseq ?? 0 >= modseq
            }
            client.search(ModelClient.Search(isUID: true, key: key))
        case 1:
            let isVanished = client.modes.contains(.quickResync) && chance(50)
            client.send(
                "UID FETCH 1:* (UID) (CHANGEDSINCE \(modseq)\(isVanished ? " VANISHED" : ""))",
                .free
            )
        default:
            let range = uid...(uid + UInt32.random(in: 0...3, using: &random))
            let ids = Self.ids(client, range)
            let set = "\(range.lowerBound):\(range.upperBound) (UNCHANGEDSINCE \(modseq))"
            store(client, "UID STORE \(set)", ids, .free)
        }
    }

    func storing(_ client: ModelClient, _ uid: UInt32) {
        let range = uid...(uid + 2)
        // A message that it has not asked for yet may be meant too.
        let isKnown = client.messages.allSatisfy { $0.uid != nil }
        let ids = isKnown ? Self.ids(client, range) : nil
        store(client, "UID STORE \(uid):\(uid + 2)", ids, .free)
    }

    /// The messages that a set means; nil where one may be meant that NOTIFY tells of only then.
    private static func ids(_ client: ModelClient, _ range: ClosedRange<UInt32>) -> [Int]? {
        if client.modes.hasNotify, range.upperBound > client.uids.max() ?? 0 { return nil }
        return client.messages.filter { range.contains($0.uid ?? 0) }.map(\.id)
    }

    func store(
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
}
