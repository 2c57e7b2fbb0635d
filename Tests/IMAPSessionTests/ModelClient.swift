import Foundation
import MailStore
import Posix

@testable import IMAPSession

/// A client that believes what it is told: it keeps a view of the mailbox that it has selected from
/// untagged responses alone, over several connections where it knows how to come back, and notes
/// whatever a server must not say.
@EventLoop
final class ModelClient {
    /// What it enables.
    struct Modes: OptionSet {
        let rawValue: Int
        static let rev2 = Modes(rawValue: 1)
        static let condStore = Modes(rawValue: 2)
        static let quickResync = Modes(rawValue: 4)
        static let uidOnly = Modes(rawValue: 8)
        /// NOTIFY for both mailboxes, with SELECTED; with SELECTED-DELAYED.       RFC 5465 §6.1
        static let notify = Modes(rawValue: 16)
        static let notifyDelayed = Modes(rawValue: 32)

        var hasModseqs: Bool { !isDisjoint(with: [.condStore, .quickResync]) }
        var hasVanished: Bool { !isDisjoint(with: [.quickResync, .uidOnly]) }

        var hasNotify: Bool { !isDisjoint(with: [.notify, .notifyDelayed]) }
        /// Where a sequence number may be another message's before the server reads it.
        var namesByUID: Bool { !isDisjoint(with: [.uidOnly, .notify]) }

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
        /// As told at a halt: they never change.
        var subject: String?
        var size: Int?
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
    var stream = MemoryStream()
    var session: Session?
    var running: Task<Void, Never>?
    var messages: [Message] = []
    var violations: [String] = []
    var believedModseq: UInt64 = 0
    var uidValidity = ""
    /// Selected, or to be selected next.
    var mailbox = "INBOX"
    /// Kept from the selection before, by mailbox; none when it is taken over.
    var caches: [String: Cache] = [:]
    /// Until the mailbox of before is CLOSED, what comes is still about that.
    var isLeaving = false
    /// What `$` stands for, by `Message.id`; nil where the client cannot know.
    var saved: Set<Int>? = []
    /// The search that runs, and the answer of the last one.
    var search: Search?
    var answer: SearchAnswer?
    var contexts: [Context] = []
    /// The tag that CANCELUPDATE names.
    var cancelling: String?
    /// What the last STATUS of a mailbox said, until that is selected.
    var statuses: [String: Status] = [:]
    /// What vanished, with the HIGHESTMODSEQ that the client believed before.
    var vanishedSince: [UInt32: UInt64] = [:]
    var earlier: Set<UInt32> = []
    var fetchedInSelect: [(number: Int, line: ResponseLine)] = []
    var existsInSelect = 0
    var idCount = 0
    var tagCount = 0
    var tag = ""
    var kind: Kind?
    var command = ""
    var lastTagged = ""
    var silent: Silent?
    var fetchedMeanwhile: Set<Int> = []
    /// Of the command, with flags or without.
    var fetched: Set<Int> = []
    /// Of FETCH responses since the last tagged one, and the code that counts more.
    var seenModseq: UInt64 = 0
    var toldModseq: UInt64?
    var history: [String] = []

    init(_ name: String, _ modes: Modes) {
        self.name = name
        self.modes = modes
    }

    var isBusy: Bool { kind != nil }
    var isConnected: Bool { running != nil }
    var isSelected: Bool { session?.selected != nil }
    var uids: [UInt32] { messages.compactMap(\.uid) }
    var cache: Cache? {
        get { caches[mailbox] }
        set { caches[mailbox] = newValue }
    }

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
        statuses = [:]
        await select(random.next())
        await notify(random.next())
    }

    /// The connection is cut. What the client has been told up to the last tagged answer, it keeps.
    func disconnect() async {
        guard let running else { return }
        readAll()
        note("\(name): disconnected")
        unselected()
        kind = nil
        silent = nil
        search = nil
        cancelling = nil
        isLeaving = false
        seenModseq = 0
        toldModseq = nil
        stream.end()
        await running.value
        self.running = nil
        session = nil
    }

    func keep() {
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
        saved = []
        contexts = []
        vanishedSince = [:]
    }

    /// Selects the mailbox of before, or another.
    func select(_ seed: UInt64, _ name: String? = nil) async {
        var random = SeededGenerator(state: seed)
        readAll()
        isLeaving = isSelected
        unselected()
        let isChanged = name != nil && name != mailbox
        if let name, isChanged {
            // What happened in it that the client had not been told is not told as STATUS.
            statuses = [:]
            mailbox = name
        }
        earlier = []
        fetchedInSelect = []
        existsInSelect = 0
        if modes.contains(.quickResync), let cache, !cache.messages.isEmpty {
            send("SELECT \(mailbox) (QRESYNC (\(resync(cache, &random))))", .select)
            await finish()
            self.cache = nil
        } else if modes.contains(.condStore) || modes.contains(.quickResync) {
            send("SELECT \(mailbox) (CONDSTORE)", .select)
            await finish()
            if let cache { await catchUp(cache) }
            cache = nil
        } else {
            send("SELECT \(mailbox)", .select)
            await finish()
        }
        await learn()
        if isConnected, isChanged, Bool.random(using: &random) { await notify(random.next()) }
    }

    func resync(_ cache: Cache, _ random: inout SeededGenerator) -> String {
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
    func takeResync(_ cache: Cache) {
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
    func catchUp(_ cache: Cache) async {
        if messages.isEmpty { return }
        if modes.namesByUID {
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
    func learn() async {
        guard isSelected else { return }
        if modes.namesByUID, !modes.contains(.uidOnly) {
            if messages.contains(where: { $0.flags == nil }) {
                send("UID FETCH 1:* (UID FLAGS)", .free)
            }
            return await finish()
        }
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
        fetched = []
        answer = nil
        if kind == .select { unselected() }
        note("\(name)> \(tag) \(text)")
        stream.send(Array("\(tag) \(text)\r\n".utf8))
    }

    func close() {
        send("CLOSE", .select)
        // What NOTIFY tells before the server has read it.
        isLeaving = modes.hasNotify
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

    func note(_ line: String) {
        history.append(line)
        if history.count > 400 { history.removeFirst(200) }
    }

    var recentHistory: String { history.suffix(80).joined(separator: "\n") }

    func violation(_ text: String) {
        violations.append("\(name): \(text), during \(kind == nil ? "nothing" : command)")
    }
}
