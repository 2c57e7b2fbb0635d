import Foundation
import Posix

@testable import IMAPSession

/// A client that believes what it is told: it keeps a view of one mailbox from untagged responses
/// alone, and notes whatever a server must not say.
@EventLoop
final class ModelClient {
    struct Message: Equatable {
        var uid: UInt32?
        /// Without \Recent. Nil where the client cannot know.
        var flags: Set<String>?
        var isRecent = false
    }

    enum Kind {
        /// Sequence numbers must hold while it runs.
        case fixed
        case free
        case select
        case idle
    }

    let name: String
    let stream = MemoryStream()
    let session: Session
    private(set) var messages: [Message] = []
    private(set) var violations: [String] = []
    private var tagCount = 0
    private var tag = ""
    private(set) var kind: Kind?
    private var command = ""
    private(set) var lastTagged = ""
    /// What a silent STORE changes, once it is OK.
    private var silent: (indexes: [Int], change: (Set<String>) -> Set<String>)?
    private var fetchedMeanwhile: Set<Int> = []
    private var history: [String] = []

    init(_ name: String, _ session: (MemoryStream) -> Session) {
        self.name = name
        self.session = session(stream)
        let running = self.session
        Task { await running.run(tag: nil, leftover: []) }
    }

    var isBusy: Bool { kind != nil }

    func send(
        _ text: String,
        _ kind: Kind,
        silent: (indexes: [Int], change: (Set<String>) -> Set<String>)? = nil
    ) {
        tagCount += 1
        tag = "\(name.lowercased())\(tagCount)"
        self.kind = kind
        command = text
        self.silent = silent
        fetchedMeanwhile = []
        if kind == .select { messages = [] }
        note("\(name)> \(tag) \(text)")
        stream.send(Array("\(tag) \(text)\r\n".utf8))
    }

    func done() {
        note("\(name)> DONE")
        stream.send(Array("DONE\r\n".utf8))
    }

    /// Reads until the command is over.
    func finish() async {
        let deadline = Instant.after(seconds: 30)
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

    var recentHistory: String { history.suffix(60).joined(separator: "\n") }

    private func violation(_ text: String) {
        violations.append("\(name): \(text), during \(kind == nil ? "nothing" : command)")
    }

    private func take(_ line: ResponseLine) {
        let text = String(decoding: line.texts[0], as: UTF8.self)
        let words = text.split(separator: " ", maxSplits: 3).map(String.init)
        if words[0] == "+" { return }
        if words[0] == tag, kind != nil { return tagged(text) }
        guard words[0] == "*", words.count > 1 else { return violation("unknown: \(text)") }
        if kind == nil { violation("without a command: \(text)") }
        guard let number = Int(words[1]), words.count > 2 else { return }
        switch words[2] {
        case "EXISTS": exists(number)
        case "EXPUNGE": expunge(number)
        case "FETCH": fetch(number, line)
        default: break
        }
    }

    private func exists(_ number: Int) {
        if number < messages.count { violation("EXISTS shrinks to \(number)") }
        while messages.count < number { messages.append(Message()) }
    }

    private func expunge(_ number: Int) {
        if kind == .fixed { violation("EXPUNGE while numbers are in use") }
        guard number >= 1, number <= messages.count else {
            return violation("EXPUNGE \(number) of \(messages.count)")
        }
        messages.remove(at: number - 1)
        // What a silent STORE is about cannot be told any more.
        if silent != nil {
            silent = nil
            for index in messages.indices { messages[index].flags = nil }
        }
    }

    private func fetch(_ number: Int, _ line: ResponseLine) {
        guard number >= 1, number <= messages.count else {
            return violation("FETCH \(number) of \(messages.count)")
        }
        let text = String(decoding: line.texts.joined(), as: UTF8.self)
        if let match = text.firstMatch(of: #/UID ([0-9]+)/#), let uid = UInt32(match.1) {
            let known = messages[number - 1].uid
            if let known, known != uid {
                violation("message \(number) was UID \(known), is \(uid)")
            }
            messages[number - 1].uid = uid
        }
        if let match = text.firstMatch(of: #/FLAGS \(([^)]*)\)/#) {
            var flags = Set(match.1.split(separator: " ").map(String.init))
            messages[number - 1].isRecent = flags.remove("\\Recent") != nil
            messages[number - 1].flags = flags
            fetchedMeanwhile.insert(number - 1)
        }
    }

    private func tagged(_ text: String) {
        lastTagged = text
        let isOK = text.hasPrefix("\(tag) OK")
        if text.hasPrefix("\(tag) BAD") { violation("BAD: \(text)") }
        if text.hasPrefix("\(tag) NO"), !text.contains("EXPUNGEISSUED") { violation(text) }
        if let silent {
            for index in silent.indexes where index < messages.count {
                let isKnown = isOK && !fetchedMeanwhile.contains(index)
                messages[index].flags = isKnown ? messages[index].flags.map(silent.change) : nil
            }
        }
        silent = nil
        kind = nil
    }
}
