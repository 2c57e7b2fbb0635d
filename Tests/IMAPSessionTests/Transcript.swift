import Foundation
import IMAPWire

//  A conversation as a file                                                  Tests/Transcripts
//
//      # what is shown, and which section of which RFC says so
//      # run: no-pipelined because …
//      settings separator=/ prefix=INBOX.
//      mailbox INBOX
//        message plain-lf.eml flags=S date=1700000000 in=new
//        message
//        | Subject: inline
//        |
//        | The body; lines end in LF on disk.
//      file dovecot-keywords
//      | 0 $Label1
//      sessions A B both selected INBOX
//
//      A> a1 FETCH 1 BODY[TEXT]
//      A< * 1 FETCH (BODY[TEXT] {}
//      | The body; lines end in LF on disk.
//      A<... )
//      A< a1 OK *
//
//  `{}` is the size of the block that follows. A block's lines end in CRLF (in a message or file: LF),
//  but for one that ends in a backslash, which has no end. `\x80` is an octet, everywhere.
//
//  Each transcript is run in rev1 and, with ENABLE IMAP4rev2 in front, in rev2. What differs always in the
//  same way is not written down (`RevisionRules`); what else differs is marked with the revision it
//  is for, `A1>`, `A1<`, `A2>`, `A2<`. `# run: no-rev2` leaves rev2 out; with `# run: no-rev1` all is in
//  rev2, and written down as it is.
//
//  External actions, as another program does them: `deliver`, `flags INBOX m1 S`,
//  `rename INBOX m1 cur/1700000001.m1.host:2,Sz`, `remove INBOX m1`, `file PATH` with a block,
//  `mailbox NAME`, `remove-mailbox NAME`, `move-mailbox OLD NEW`, `remove-file PATH`. `disk INBOX/cur
//  …` asserts the names there, in order; `check <a> < <b>` compares numbers that were bound; `closed
//  A` asserts that the server has ended the connection; from `compress A` on its connection is
//  compressed, as COMPRESS has been answered OK. `stall A` is a client that does not read, until
//  `resume A`; `hang-up A` one that closes its end. `pause` lets a command begin, and wait for what
//  keeps it waiting.

struct Transcript {
    /// What `message` and `deliver` say of a message.
    struct MessageSpec {
        var file: String?
        var content: [UInt8]?
        var flags: String?
        var date: Int?
        var isNew = false
        var name: String?
        var isGzip = false
        var count = 1
    }

    struct MailboxSpec {
        var name: String
        var messages: [MessageSpec] = []
        /// Its messages have no UIDs before a session comes.
        var isUnlisted = false
    }

    enum Action {
        case deliver(String, MessageSpec)
        case flags(String, String, String)
        case rename(String, String, String)
        case remove(String, String)
        case file(String, [UInt8])
        case removeFile(String)
        case makeMailbox(String)
        case removeMailbox(String)
        case moveMailbox(String, String)
    }

    enum Kind {
        /// Pieces: the first line, literal, rest, literal …
        case send(String, texts: [[UInt8]], literals: [[UInt8]?])
        case expect(String, ResponsePattern)
        case unordered([(String, ResponsePattern)])
        case action(Action)
        case disk(String, [[UInt8]])
        case check([UInt8], [UInt8])
        case closed(String)
        case compress(String)
        case stall(String, Bool)
        case hangUp(String)
        case pause
    }

    struct Step {
        var kind: Kind
        /// Lines of the file, from 0.
        var lines: Range<Int>
        /// Nil for both.
        var revision: Revision?
    }

    var name: String
    var lines: [String]
    var separator: UInt8 = UInt8(ascii: ".")
    /// Nil for `auto`.
    var prefix: [UInt8]? = []
    var isFirstLogin = false
    var mailboxes: [MailboxSpec] = []
    var files: [(path: String, content: [UInt8])] = []
    var sessions: [String] = []
    var selects: (mailbox: String, isReadOnly: Bool)?
    var steps: [Step] = []
    var optOuts: Set<String> = []

    struct Malformed: Error, CustomStringConvertible {
        var description: String
    }

    /// Sessions that are given, without an action in between: it can be pipelined.
    var isPlain: Bool {
        guard sessions.count == 1 else { return false }
        return !steps.contains {
            switch $0.kind {
            case .action, .closed, .compress, .stall, .hangUp, .pause: true
            default: false
            }
        }
    }

    // MARK: Parsing

    init(name: String, text: String) throws {
        self.name = name
        lines = text.components(separatedBy: "\n")
        if lines.last == "" { lines.removeLast() }
        var reader = Reader(lines: lines)
        while let line = reader.next() {
            do { try parse(line, &reader) } catch let error as Malformed {
                throw Malformed(description: "\(name):\(reader.index): \(error.description)")
            }
        }
        guard !sessions.isEmpty else { throw Malformed(description: "\(name): no sessions") }
    }

    private struct Reader {
        let lines: [String]
        var index = 0

        mutating func next() -> String? {
            guard index < lines.count else { return nil }
            index += 1
            return lines[index - 1]
        }

        var peek: String? { index < lines.count ? lines[index] : nil }

        /// The block at this place, if there is one.
        mutating func block(lineEnd: String) -> [UInt8]? {
            var content: [UInt8]?
            while let line = peek?.trimmingPrefix(while: { $0 == " " }), line.first == "|" {
                index += 1
                var text = line.dropFirst()
                if text.first == " " { text = text.dropFirst() }
                if text.last == "\\" {
                    content = (content ?? []) + Transcript.unescaped(String(text.dropLast()))
                } else {
                    content = (content ?? []) + Transcript.unescaped(text + lineEnd)
                }
            }
            return content
        }
    }

    private mutating func parse(_ line: String, _ reader: inout Reader) throws {
        let start = reader.index - 1
        let trimmed = line.trimmingCharacters(in: .whitespaces)
        if trimmed.hasPrefix("# run:") {
            for word in trimmed.split(separator: " ") where word.hasPrefix("no-") {
                optOuts.insert(String(word.dropFirst(3)))
            }
        }
        if trimmed.isEmpty || trimmed.hasPrefix("#") { return }
        if let first = Self.exchange(line) {
            let kind = try exchange(first, &reader)
            steps.append(
                Step(kind: kind, lines: start..<reader.index, revision: first.revision)
            )
            return
        }
        let words = trimmed.split(separator: " ").map(String.init)
        let hasBegun = !sessions.isEmpty
        func step(_ kind: Kind, _ reader: Reader) {
            steps.append(Step(kind: kind, lines: start..<reader.index))
        }
        switch words[0] {
        case "settings": try settings(words.dropFirst())
        case "mailbox" where !hasBegun:
            mailboxes.append(MailboxSpec(name: words[1]))
            mailboxes[mailboxes.count - 1].isUnlisted = words.contains("unlisted")
        case "mailbox": step(.action(.makeMailbox(words[1])), reader)
        case "message":
            guard !mailboxes.isEmpty, !hasBegun else { throw Malformed(description: "no mailbox") }
            let spec = try Self.message(words.dropFirst(), &reader)
            mailboxes[mailboxes.count - 1].messages.append(spec)
        case "file":
            let content = reader.block(lineEnd: "\n") ?? []
            if hasBegun {
                step(.action(.file(words[1], content)), reader)
            } else {
                files.append((words[1], content))
            }
        case "sessions": try sessions(words.dropFirst())
        case "deliver":
            let spec = try Self.message(words.dropFirst(2), &reader)
            step(.action(.deliver(words[1], spec)), reader)
        case "flags":
            let letters = words.count > 3 ? words[3] : ""
            step(.action(.flags(words[1], words[2], letters)), reader)
        case "rename": step(.action(.rename(words[1], words[2], words[3])), reader)
        case "remove": step(.action(.remove(words[1], words[2])), reader)
        case "remove-file": step(.action(.removeFile(words[1])), reader)
        case "remove-mailbox": step(.action(.removeMailbox(words[1])), reader)
        case "move-mailbox": step(.action(.moveMailbox(words[1], words[2])), reader)
        case "disk":
            step(.disk(words[1], words.dropFirst(2).map { Self.unescaped($0) }), reader)
        case "check":
            guard words.count == 4, words[2] == "<" else { throw Malformed(description: "check") }
            step(.check(Array(words[1].utf8), Array(words[3].utf8)), reader)
        case "stall", "resume": step(.stall(words[1], words[0] == "stall"), reader)
        case "hang-up": step(.hangUp(words[1]), reader)
        case "compress": step(.compress(words[1]), reader)
        case "closed": step(.closed(words[1]), reader)
        case "pause": step(.pause, reader)
        case "unordered": try unordered(start, &reader)
        default: throw Malformed(description: "what is \(words[0])?")
        }
    }

    private struct Exchange {
        var session: String
        var revision: Revision?
        var mark: String
        var rest: String
    }

    /// `A> rest`, `A< rest`, `A<... rest`, `A2< rest`.
    private static func exchange(_ line: String) -> Exchange? {
        guard let first = line.first, first.isUppercase, first.isASCII else { return nil }
        var tail = line.dropFirst()
        var revision: Revision?
        if tail.first == "1" || tail.first == "2" {
            revision = tail.removeFirst() == "1" ? .rev1 : .rev2
        }
        for mark in [">...", "<...", ">", "<"] where tail.hasPrefix(mark) {
            var rest = tail.dropFirst(mark.count)
            if rest.first == " " { rest = rest.dropFirst() }
            return Exchange(
                session: String(first),
                revision: revision,
                mark: mark,
                rest: String(rest)
            )
        }
        return nil
    }

    private mutating func exchange(
        _ first: Exchange,
        _ reader: inout Reader
    ) throws -> Kind {
        let (session, mark, rest) = (first.session, first.mark, first.rest)
        guard sessions.contains(session) else { throw Malformed(description: "no such session") }
        guard mark == ">" || mark == "<" else { throw Malformed(description: "no literal before") }
        var texts = [Self.unescaped(rest)]
        var literals: [[UInt8]?] = []
        while true {
            let block = reader.block(lineEnd: "\r\n")
            let isOpen = texts[texts.count - 1].last == UInt8(ascii: "}")
            let next = reader.peek.flatMap(Self.exchange)
            let goesOn =
                next?.session == session && next?.mark == mark + "..."
                && next?.revision == first.revision
            guard block != nil || (goesOn && isOpen) else { break }
            literals.append(block)
            guard goesOn, let next else {
                texts.append([])
                break
            }
            texts.append(Self.unescaped(next.rest))
            _ = reader.next()
        }
        if mark == ">" { return .send(session, texts: texts, literals: literals) }
        return .expect(session, ResponsePattern(texts: texts, literals: literals))
    }

    private mutating func unordered(_ start: Int, _ reader: inout Reader) throws {
        var patterns: [(String, ResponsePattern)] = []
        while let line = reader.next(), line.trimmingCharacters(in: .whitespaces) != "end" {
            guard let first = Self.exchange(line), first.revision == nil,
                case .expect(_, let pattern) = try exchange(first, &reader)
            else { throw Malformed(description: "unordered holds expectations for both revisions") }
            patterns.append((first.session, pattern))
        }
        steps.append(Step(kind: .unordered(patterns), lines: start..<reader.index))
    }

    private mutating func settings(_ words: ArraySlice<String>) throws {
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? Array(parts[1].utf8) : []
            switch parts[0] {
            case "separator": separator = value[0]
            case "prefix": prefix = value == Array("auto".utf8) ? nil : value
            case "first-login": isFirstLogin = true
            default: throw Malformed(description: "no setting \(word)")
            }
        }
    }

    private mutating func sessions(_ words: ArraySlice<String>) throws {
        var words = words
        while let word = words.first, word.count == 1 {
            sessions.append(word)
            words = words.dropFirst()
        }
        if words.first == "both" || words.first == "all" { words = words.dropFirst() }
        guard !words.isEmpty else { return }
        guard words.count == 2, let mailbox = words.last else {
            throw Malformed(description: "sessions A B selected INBOX")
        }
        selects = (mailbox, words.first == "examined")
    }

    private static func message(
        _ words: ArraySlice<String>,
        _ reader: inout Reader
    ) throws -> MessageSpec {
        var spec = MessageSpec()
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? String(parts[1]) : ""
            switch parts[0] {
            case "flags": spec.flags = value
            case "date": spec.date = Int(value)
            case "in": spec.isNew = value == "new"
            case "name": spec.name = value
            case "gzip": spec.isGzip = true
            case "count": spec.count = Int(value) ?? 1
            default:
                guard word.hasSuffix(".eml") else {
                    throw Malformed(description: "what is \(word)?")
                }
                spec.file = word
            }
        }
        spec.content = reader.block(lineEnd: "\n")
        return spec
    }

    // MARK: Escapes

    /// `\xNN` is an octet.
    static func unescaped(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        var output: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "\\"), index + 3 < bytes.count,
                bytes[index + 1] == UInt8(ascii: "x"),
                let octet = UInt8(
                    String(decoding: bytes[(index + 2)...(index + 3)], as: UTF8.self),
                    radix: 16
                )
            {
                output.append(octet)
                index += 4
            } else {
                output.append(bytes[index])
                index += 1
            }
        }
        return output
    }

    /// Control characters, and bytes that are not UTF-8, as `\xNN`.
    static func escaped(_ bytes: some Collection<UInt8>) -> String {
        let text = String(decoding: bytes, as: UTF8.self)
        let isText = text.utf8.elementsEqual(bytes)
        var output = ""
        if isText {
            for scalar in text.unicodeScalars {
                if scalar.value < 0x20 || scalar.value == 0x7F {
                    output += String(format: "\\x%02X", scalar.value)
                } else {
                    output.unicodeScalars.append(scalar)
                }
            }
            return output
        }
        for byte in bytes {
            if byte < 0x20 || byte >= 0x7F {
                output += String(format: "\\x%02X", byte)
            } else {
                output.unicodeScalars.append(Unicode.Scalar(byte))
            }
        }
        return output
    }
}
