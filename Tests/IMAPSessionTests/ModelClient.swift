import Foundation
import MailStore
import Posix

@testable import IMAPSession

/// A client that believes what it is told: it keeps a view of one mailbox from untagged responses
/// alone, over several connections where it knows how to come back, and notes whatever a server must
/// not say.
@EventLoop
final class ModelClient {
    /// What it enables.
    struct Modes: OptionSet {
        let rawValue: Int
        static let rev2 = Modes(rawValue: 1)
        static let condStore = Modes(rawValue: 2)
        static let quickResync = Modes(rawValue: 4)
        static let uidOnly = Modes(rawValue: 8)

        var hasModseqs: Bool { !isDisjoint(with: [.condStore, .quickResync]) }
        var hasVanished: Bool { !isDisjoint(with: [.quickResync, .uidOnly]) }

        var capabilities: [String] {
            var names: [String] = []
            if contains(.rev2) { names.append("IMAP4rev2") }
            if contains(.quickResync) { names.append("QRESYNC") }
            if contains(.condStore) { names.append("CONDSTORE") }
            if contains(.uidOnly) { names.append("UIDONLY") }
            return names
        }
    }

    struct Message: Equatable {
        /// Tells it from others while its UID is not known.
        let id: Int
        var uid: UInt32?
        /// Without \Recent. Nil where the client cannot know.
        var flags: Set<String>?
        var modseq: UInt64?
        /// Whether MODSEQ came without flags: these are older.
        var isStale = false
        var isRecent = false
    }

    enum Kind {
        /// Sequence numbers must hold while it runs.
        case fixed
        case free
        case select
        case idle
    }

    /// What STORE with .SILENT does to messages, by `Message.id`.
    struct Silent {
        var ids: [Int]
        var change: (Set<String>) -> Set<String>
    }

    /// What a disconnected client keeps.                                      RFC 7162 §6
    struct Cache {
        var uidValidity = ""
        var highestModseq: UInt64 = 0
        /// All of the first messages of the mailbox, with UIDs.
        var messages: [Message] = []
    }

    let name: String
    let modes: Modes
    private(set) var stream = MemoryStream()
    private(set) var session: Session?
    private var running: Task<Void, Never>?
    private(set) var messages: [Message] = []
    private(set) var violations: [String] = []
    private(set) var believedModseq: UInt64 = 0
    private var uidValidity = ""
    /// Kept from the connection before; nil when it is taken over.
    private var cache: Cache?
    private var earlier: Set<UInt32> = []
    private var fetchedInSelect: [(number: Int, line: ResponseLine)] = []
    private var existsInSelect = 0
    private var idCount = 0
    private var tagCount = 0
    private var tag = ""
    private(set) var kind: Kind?
    private var command = ""
    private(set) var lastTagged = ""
    private var silent: Silent?
    private var fetchedMeanwhile: Set<Int> = []
    /// Of FETCH responses since the last tagged one, and the code that counts more.
    private var seenModseq: UInt64 = 0
    private var toldModseq: UInt64?
    private var history: [String] = []

    init(_ name: String, _ modes: Modes) {
        self.name = name
        self.modes = modes
    }

    var isBusy: Bool { kind != nil }
    var isConnected: Bool { running != nil }
    var isSelected: Bool { session?.selected != nil }
    var uids: [UInt32] { messages.compactMap(\.uid) }

    // MARK: Connections

    /// Logs in, enables what it knows and selects the mailbox, with what it has kept of it.
    func connect(_ store: MailStore, _ seed: UInt64) async {
        var random = SeededGenerator(state: seed)
        stream = MemoryStream()
        let session = Session(stream, store, SessionIdentity(id: name, user: "ann"))
        self.session = session
        running = Task { await session.run(tag: nil, leftover: []) }
        note("\(name): connected")
        if !modes.isEmpty {
            send(
                "ENABLE " + modes.capabilities.shuffled(using: &random).joined(separator: " "),
                .free
            )
            await finish()
        }
        await select(random.next())
    }

    /// The connection is cut. What the client has been told up to the last tagged answer, it keeps.
    func disconnect() async {
        guard let running else { return }
        readAll()
        note("\(name): disconnected")
        keep()
        kind = nil
        silent = nil
        messages = []
        seenModseq = 0
        toldModseq = nil
        stream.end()
        await running.value
        self.running = nil
        session = nil
    }

    private func keep() {
        guard modes.hasModseqs, cache == nil, !messages.isEmpty else { return }
        let known = messages.prefix { $0.uid != nil }
        // A message between others that it has not asked for yet: what is behind is asked for again.
        cache = Cache(
            uidValidity: uidValidity,
            highestModseq: believedModseq,
            messages: Array(known)
        )
    }

    /// CLOSE or another end of the selected state.
    func unselected() {
        keep()
        messages = []
    }

    func select(_ seed: UInt64) async {
        var random = SeededGenerator(state: seed)
        earlier = []
        fetchedInSelect = []
        existsInSelect = 0
        if modes.contains(.quickResync), let cache, !cache.messages.isEmpty {
            send("SELECT INBOX (QRESYNC (\(resync(cache, &random))))", .select)
            await finish()
            self.cache = nil
        } else if modes.contains(.condStore) || modes.contains(.quickResync) {
            send("SELECT INBOX (CONDSTORE)", .select)
            await finish()
            if let cache { await catchUp(cache) }
            cache = nil
        } else {
            send("SELECT INBOX", .select)
            await finish()
        }
        await learn()
    }

    private func resync(_ cache: Cache, _ random: inout SeededGenerator) -> String {
        var text = "\(cache.uidValidity) \(cache.highestModseq)"
        let uids = cache.messages.compactMap(\.uid)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: text += " 1:\(uids.last ?? 1)"
        case 1: text += " " + uids.map(String.init).joined(separator: ",")
        case 2: text += " 1:4294967295"
        default: break
        }
        if !modes.contains(.uidOnly), Bool.random(using: &random) {
            let numbers = (1...uids.count).filter { _ in Int.random(in: 0..<3, using: &random) == 0
            }
            if !numbers.isEmpty {
                let known = numbers.map { "\(uids[$0 - 1])" }.joined(separator: ",")
                text += " (\(numbers.map(String.init).joined(separator: ",")) \(known))"
            }
        }
        return text
    }

    /// What SELECT (QRESYNC) told, put together.
    private func takeResync(_ cache: Cache) {
        let kept = cache.messages.filter { !earlier.contains($0.uid ?? 0) }
        guard kept.count <= existsInSelect else {
            return violation(
                "\(existsInSelect) messages, and \(kept.compactMap(\.uid)) did not vanish"
            )
        }
        messages = kept
        for index in messages.indices { messages[index].isRecent = false }
        while messages.count < existsInSelect { messages.append(newMessage()) }
        for (number, line) in fetchedInSelect { fetch(number, line) }
    }

    /// The way of a client that knows CONDSTORE alone.
    private func catchUp(_ cache: Cache) async {
        if messages.isEmpty { return }
        if modes.contains(.uidOnly) {
            send("UID FETCH 1:* (UID)", .free)
        } else {
            send("FETCH 1:* (UID)", .fixed)
        }
        await finish()
        var known: [UInt32: Message] = [:]
        for message in cache.messages { if let uid = message.uid { known[uid] = message } }
        for index in messages.indices where messages[index].flags == nil {
            guard let uid = messages[index].uid, let old = known[uid] else { continue }
            messages[index].flags = old.flags
            messages[index].modseq = old.modseq
            messages[index].isStale = old.isStale
        }
        if messages.isEmpty { return }
        send("UID FETCH 1:* (FLAGS) (CHANGEDSINCE \(cache.highestModseq))", .free)
        await finish()
    }

    /// Asks for what it does not know.
    private func learn() async {
        guard isSelected else { return }
        var numbers: [String] = []
        for (index, message) in messages.enumerated() where message.flags == nil {
            if !modes.contains(.uidOnly) {
                numbers.append("\(index + 1)")
            } else if let uid = message.uid {
                numbers.append("\(uid)")
            }
        }
        if modes.contains(.uidOnly) {
            if messages.contains(where: { $0.uid == nil }) {
                numbers.append("\((uids.max() ?? 0) + 1):*")
            }
            if !numbers.isEmpty {
                send("UID FETCH \(numbers.joined(separator: ",")) (UID FLAGS)", .free)
            }
        } else if !numbers.isEmpty {
            send("FETCH \(numbers.joined(separator: ",")) (UID FLAGS)", .fixed)
        }
        await finish()
    }

    // MARK: Commands

    func send(_ text: String, _ kind: Kind, silent: Silent? = nil) {
        tagCount += 1
        tag = "\(name.lowercased())\(tagCount)"
        self.kind = kind
        command = text
        self.silent = silent
        fetchedMeanwhile = []
        if kind == .select {
            keep()
            messages = []
        }
        note("\(name)> \(tag) \(text)")
        stream.send(Array("\(tag) \(text)\r\n".utf8))
    }

    func done() {
        note("\(name)> DONE")
        stream.send(Array("DONE\r\n".utf8))
    }

    /// Reads until the command is over.
    func finish() async {
        let deadline = Instant.after(seconds: 60)
        while isBusy {
            readAll()
            guard isBusy else { return }
            if await !stream.waitForOutput(until: deadline) {
                readAll()
                guard isBusy else { return }
                violation("no answer to \(command)")
                kind = nil
            }
        }
    }

    /// Takes what has come.
    func readAll() {
        guard isConnected else { return }
        var count = 0
        while let line = ResponseLine(stream.pending, count: &count) {
            _ = stream.take(count)
            note("\(name)< \(String(decoding: line.texts.joined(), as: UTF8.self))")
            take(line)
        }
    }

    private func note(_ line: String) {
        history.append(line)
        if history.count > 400 { history.removeFirst(200) }
    }

    var recentHistory: String { history.suffix(80).joined(separator: "\n") }

    private func violation(_ text: String) {
        violations.append("\(name): \(text), during \(kind == nil ? "nothing" : command)")
    }

    // MARK: Responses

    private func take(_ line: ResponseLine) {
        let text = String(decoding: line.texts[0], as: UTF8.self)
        let words = text.split(separator: " ", maxSplits: 3).map(String.init)
        if words[0] == "+" { return }
        takeCode(text)
        if words[0] == tag, kind != nil { return tagged(text) }
        guard words[0] == "*", words.count > 1 else { return violation("unknown: \(text)") }
        if kind == nil { violation("without a command: \(text)") }
        switch words[1] {
        case "VANISHED": return vanished(text)
        default: break
        }
        guard let number = Int(words[1]), words.count > 2 else { return }
        switch words[2] {
        case "EXISTS": exists(number)
        case "EXPUNGE": expunge(number)
        case "FETCH":
            if modes.contains(.uidOnly) { violation("FETCH in UIDONLY: \(text)") }
            if kind == .select {
                fetchedInSelect.append((number, line))
            } else {
                fetch(number, line)
            }
        case "UIDFETCH":
            if !modes.contains(.uidOnly) { violation("UIDFETCH without UIDONLY: \(text)") }
            uidFetch(UInt32(number), line)
        case "RECENT": if modes.contains(.rev2) { violation("RECENT in rev2") }
        default: break
        }
    }

    private func takeCode(_ text: String) {
        if let match = text.firstMatch(of: #/^\S+ OK \[HIGHESTMODSEQ ([0-9]+)\]/#) {
            let value = UInt64(match.1) ?? 0
            if !modes.hasModseqs, kind != .select { violation("HIGHESTMODSEQ, not asked for") }
            if kind == .select, let cache, value < cache.highestModseq {
                violation("HIGHESTMODSEQ \(value) went back from \(cache.highestModseq)")
            }
            toldModseq = value
        } else if let match = text.firstMatch(of: #/^\S+ OK \[UIDVALIDITY ([0-9]+)\]/#) {
            uidValidity = String(match.1)
        } else if text.contains("[NOMODSEQ]") {
            violation("NOMODSEQ")
        }
    }

    private func newMessage(_ uid: UInt32? = nil) -> Message {
        idCount += 1
        return Message(id: idCount, uid: uid)
    }

    private func exists(_ number: Int) {
        if kind == .select { existsInSelect = number }
        if number < messages.count { violation("EXISTS shrinks to \(number)") }
        while messages.count < number { messages.append(newMessage()) }
    }

    private func expunge(_ number: Int) {
        if modes.hasVanished { violation("EXPUNGE after QRESYNC or UIDONLY") }
        if kind == .fixed { violation("EXPUNGE while numbers are in use") }
        guard number >= 1, number <= messages.count else {
            return violation("EXPUNGE \(number) of \(messages.count)")
        }
        messages.remove(at: number - 1)
    }

    private func vanished(_ text: String) {
        let isEarlier = text.hasPrefix("* VANISHED (EARLIER) ")
        let set = text.split(separator: " ").last ?? ""
        for range in set.split(separator: ",") {
            let ends = range.split(separator: ":").compactMap { UInt32($0) }
            guard let first = ends.first, let last = ends.last, first > 0, first <= last else {
                return violation("odd set: \(text)")
            }
            if isEarlier {
                guard last - first < 1_000_000 else { return violation("too much: \(text)") }
                earlier.formUnion(first...last)
                continue
            }
            if !modes.hasVanished { violation("VANISHED, not asked for") }
            if kind == .fixed { violation("VANISHED while numbers are in use") }
            for uid in first...last {
                guard let index = index(of: uid) else {
                    violation("VANISHED \(uid), which it was not told of: \(messages.map(\.uid))")
                    continue
                }
                messages.remove(at: index)
            }
        }
        if isEarlier, kind != .select {
            let visible = messages.compactMap(\.uid).filter { earlier.contains($0) }
            if !visible.isEmpty { violation("EARLIER of what it numbers: \(visible)") }
            earlier = []
        }
    }

    /// Where a UID is; a message whose UID was not known yet may be it.
    private func index(of uid: UInt32) -> Int? {
        if let index = messages.firstIndex(where: { $0.uid == uid }) { return index }
        var low: UInt32 = 0
        for index in messages.indices {
            if let known = messages[index].uid {
                low = known
                continue
            }
            let next = messages[index...].first { $0.uid != nil }?.uid ?? .max
            if modes.contains(.uidOnly) || low < uid && uid < next { return index }
        }
        return nil
    }

    private func uidFetch(_ uid: UInt32, _ line: ResponseLine) {
        if let index = messages.firstIndex(where: { $0.uid == uid }) {
            return fetch(index + 1, line)
        }
        if kind == .select {
            // Told before the messages are put together.
            return fetchedInSelect.append((Int(uid), line))
        }
        guard let index = messages.firstIndex(where: { $0.uid == nil }) else {
            return violation("UIDFETCH of \(uid), which it was not told of")
        }
        // Without sequence numbers the order is that of the UIDs.
        messages[index].uid = uid
        let message = messages.remove(at: index)
        let place = messages.firstIndex { $0.uid == nil || $0.uid ?? 0 > uid } ?? messages.count
        messages.insert(message, at: place)
        fetch(place + 1, line)
    }

    private func fetch(_ number: Int, _ line: ResponseLine) {
        guard number >= 1, number <= messages.count else {
            return violation("FETCH \(number) of \(messages.count)")
        }
        let text = String(decoding: line.texts.joined(), as: UTF8.self)
        let index = number - 1
        if let match = text.firstMatch(of: #/[( ]UID ([0-9]+)/#), let uid = UInt32(match.1) {
            if let known = messages[index].uid, known != uid {
                violation("message \(number) was UID \(known), is \(uid)")
            }
            messages[index].uid = uid
        }
        var modseq: UInt64?
        if let match = text.firstMatch(of: #/MODSEQ \(([0-9]+)\)/#) { modseq = UInt64(match.1) }
        let oldModseq = messages[index].modseq
        if let modseq {
            if !modes.hasModseqs { violation("MODSEQ, not asked for: \(text)") }
            if modseq == 0 || modseq < oldModseq ?? 0 {
                violation("MODSEQ went back from \(oldModseq ?? 0): \(text)")
            }
            seenModseq = max(seenModseq, modseq)
            messages[index].modseq = modseq
            if modseq != oldModseq { messages[index].isStale = true }
        }
        guard let match = text.firstMatch(of: #/FLAGS \(([^)]*)\)/#) else { return }
        if modes.hasModseqs, modseq == nil { violation("FLAGS without MODSEQ: \(text)") }
        var flags = Set(match.1.split(separator: " ").map(String.init))
        messages[index].isRecent = flags.remove("\\Recent") != nil
        if modes.contains(.rev2), messages[index].isRecent { violation("\\Recent in rev2") }
        // A message that is gone, and told as such later, has the flags that it went with.
        if let modseq, modseq == oldModseq, !messages[index].isStale,
            let old = messages[index].flags, old != flags,
            flags != ["\\Deleted"]
        {
            violation("other flags with the same MODSEQ, were \(old): \(text)")
        }
        messages[index].flags = flags
        messages[index].isStale = false
        fetchedMeanwhile.insert(messages[index].id)
    }

    private func tagged(_ text: String) {
        lastTagged = text
        let isOK = text.hasPrefix("\(tag) OK")
        if text.hasPrefix("\(tag) BAD") { violation("BAD: \(text)") }
        if text.hasPrefix("\(tag) NO"), !text.contains("EXPUNGEISSUED"),
            !text.contains("[MODIFIED ")
        {
            violation(text)
        }
        if kind == .select, isOK {
            if let cache, modes.contains(.quickResync), command.contains("QRESYNC") {
                if modes.contains(.uidOnly) { takeUIDOnly(cache) } else { takeResync(cache) }
            }
        }
        if let silent {
            let ids = Set(silent.ids)
            for index in messages.indices where ids.contains(messages[index].id) {
                let isKnown = isOK && !text.contains("[MODIFIED ")
                if fetchedMeanwhile.contains(messages[index].id) {
                    // Told with its flags: of before or after the change, and with its MODSEQ. A later
                    // MODSEQ without flags is that of the change.
                    if !modes.hasModseqs {
                        messages[index].flags = nil
                    } else if messages[index].isStale {
                        messages[index].flags =
                            isKnown ? messages[index].flags.map(silent.change) : nil
                        messages[index].isStale = false
                    }
                } else {
                    messages[index].flags =
                        isKnown ? messages[index].flags.map(silent.change) : nil
                    messages[index].isStale = false
                }
            }
        }
        // RFC 7162 §6
        if let toldModseq {
            believedModseq = toldModseq
        } else {
            believedModseq = max(believedModseq, seenModseq)
        }
        toldModseq = nil
        seenModseq = 0
        silent = nil
        kind = nil
    }

    private func takeUIDOnly(_ cache: Cache) {
        let lines = fetchedInSelect
        fetchedInSelect = []
        takeResync(cache)
        kind = .free
        for (uid, line) in lines { uidFetch(UInt32(uid), line) }
    }
}
