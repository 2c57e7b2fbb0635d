import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  A SEARCH key, prepared once and evaluated for each message
//
//  In two rounds: from what is in memory the answer is true, false, or not known; only for a message
//  where it is not known its file is read, in a job. So `UNSEEN SUBJECT x` reads unseen mail only.

/// What is in memory of one message.
struct MessageFacts: Sendable {
    var sequence: UInt32
    var uid: UInt32
    var flags: FlagLetters.Known
    var beyond: [Int]
    var isRecent: Bool
    /// Nil where not looked up yet.
    var date: Int64?
    var size: Int64?
    var modseq: UInt64
    /// Nil where not known, or not needed.
    var saveDate: Int64?
}

struct SearchProgram: Sendable {
    private let root: Node
    /// Whether some key needs dates, which are looked up together before the first round.
    let needsDates: Bool
    /// Whether some key needs save dates.
    let needsSaveDates: Bool

    private indirect enum Node: Sendable {
        case constant(Bool)
        case and([Node])
        case or([Node])
        case not(Node)
        case sequence([ClosedRange<UInt32>])
        case uid([ClosedRange<UInt32>])
        case flag(FlagLetters.Known, Bool)
        case keyword(Int, Bool)
        case recent(Bool)
        case date(DateComparison, Int)
        case saveDate(DateComparison, Int)
        /// Whether the internal date lies at or before the time (RFC 5032 §3), or above it.
        case isOlder(Int64, Bool)
        case sentDate(DateComparison, Int)
        case field([UInt8], SearchText)
        case body(SearchText)
        case text(SearchText)
        case modseq(UInt64)
        case larger(Int64)
        case smaller(Int64)
        case emailID([UInt8])
        case threadID([UInt8])
    }

    /// - Parameters:
    ///   - count: of messages, which `*` means among sequence numbers.
    ///   - lastUID: which `*` means among UIDs.
    ///   - saved: the UIDs that `$` means, ascending.
    ///   - isStrict: whether a sequence number that is not there is BAD; else it is nothing.
    init(
        _ key: SearchKey,
        charset name: [UInt8]?,
        keywords: Keywords,
        count: Int,
        lastUID: UInt32,
        saved: [UInt32],
        isStrict: Bool = true
    ) throws(CommandFailure) {
        var compiler = Compiler(
            keywords: keywords,
            count: UInt32(count),
            lastUID: lastUID,
            saved: saved,
            isStrict: isStrict
        )
        if let name {
            guard let charset = Charset(name), compiler.converter.has(charset) else {
                throw .refused(
                    .badCharset([[UInt8]("US-ASCII"), [UInt8]("UTF-8")]),
                    "Charset is not known"
                )
            }
            compiler.charset = charset
        }
        root = try compiler.compile(key)
        needsDates = compiler.needsDates
        needsSaveDates = compiler.needsSaveDates
    }

    private struct Compiler {
        let keywords: Keywords
        let count: UInt32
        let lastUID: UInt32
        let saved: [UInt32]
        let isStrict: Bool
        var charset: Charset?
        var needsDates = false
        var needsSaveDates = false
        let converter = CharsetConverter()

        mutating func compile(_ key: SearchKey) throws(CommandFailure) -> Node {
            switch key {
            case .all: return .constant(true)
            case .and(let keys): return .and(try compile(keys))
            case .or(let keys): return .or(try compile(keys))
            case .not(let key): return .not(try compile(key))
            case .fuzzy(let key): return try compile(key)
            case .sequence(let set):
                guard let ranges = set.resolved(largest: count) else {
                    return .uid(RangeBuilder(saved).ranges)
                }
                if isStrict {
                    if count == 0, set.namesLargest { throw .bad("The mailbox is empty") }
                    guard set.largestNumber <= count else { throw .bad("No such message") }
                }
                return .sequence(ranges)
            case .uid(let set):
                return .uid(set.resolved(largest: lastUID) ?? RangeBuilder(saved).ranges)
            case .flag(.system(let flag), let isSet): return .flag(Self.letter(flag), isSet)
            case .flag(.keyword(let name), let isSet):
                let index = keywords.index(of: name)
                guard name.equalsIgnoringCase(Mailbox.forwarded) else {
                    return index.map { .keyword($0, isSet) } ?? .constant(!isSet)
                }
                // It is told for `P`, and for a letter of this name that Dovecot gave.
                guard let index else { return .flag(.passed, isSet) }
                let either = Node.or([.flag(.passed, true), .keyword(index, true)])
                return isSet ? either : .not(either)
            case .recent(let isRecent): return .recent(isRecent)
            case .internalDate(let comparison, let day):
                needsDates = true
                return .date(comparison, day.dayNumber)
            case .sentDate(let comparison, let day): return .sentDate(comparison, day.dayNumber)
            case .from(let text): return .field([UInt8]("from"), try prepare(text))
            case .to(let text): return .field([UInt8]("to"), try prepare(text))
            case .cc(let text): return .field([UInt8]("cc"), try prepare(text))
            case .bcc(let text): return .field([UInt8]("bcc"), try prepare(text))
            case .subject(let text): return .field([UInt8]("subject"), try prepare(text))
            case .header(let name, let value):
                return .field(name.lowercased, try prepare(value))
            case .body(let text): return .body(try prepare(text))
            case .text(let text): return .text(try prepare(text))
            case .larger(let size): return .larger(Int64(clamping: size))
            case .smaller(let size): return .smaller(Int64(clamping: size))
            case .older(let seconds):
                needsDates = true
                return .isOlder(WallTime.now.seconds - Int64(seconds), true)
            case .younger(let seconds):
                needsDates = true
                return .isOlder(WallTime.now.seconds - Int64(seconds), false)
            case .saveDate(let comparison, let day):
                needsDates = true
                needsSaveDates = true
                return .saveDate(comparison, day.dayNumber)
            case .saveDateSupported: return .constant(true)
            case .emailID(let id): return .emailID(id)
            case .threadID(let id): return .threadID(id)
            case .modSeq(let modseq): return .modseq(modseq.value)
            case .uidAfter, .uidBefore:
                throw .bad("Search key is not offered by this server")
            }
        }

        private mutating func compile(_ keys: [SearchKey]) throws(CommandFailure) -> [Node] {
            var nodes: [Node] = []
            for key in keys { nodes.append(try compile(key)) }
            return nodes
        }

        private func prepare(_ text: [UInt8]) throws(CommandFailure) -> SearchText {
            guard let charset else { return SearchText(text) }
            // ASCII is ASCII, but where escapes or pairs of octets make something else of it.
            if charset.extendsASCII, text.allSatisfy({ $0 < 0x80 }) { return SearchText(text) }
            guard let converted = converter.convertWhole(text.span, in: charset) else {
                throw .bad("Text is not in the charset")
            }
            return SearchText(converted)
        }

        private static func letter(_ flag: SystemFlag) -> FlagLetters.Known {
            switch flag {
            case .answered: .replied
            case .flagged: .flagged
            case .deleted: .trashed
            case .seen: .seen
            case .draft: .draft
            }
        }
    }

    // MARK: From memory

    /// Nil where the message's file has to be read.
    func evaluate(_ facts: MessageFacts) -> Bool? { Self.evaluate(root, facts, nil) }

    /// What a worker needs to look into messages. Used by one job at a time.
    final class Reader: @unchecked Sendable {
        let searcher = MessageSearcher()
    }

    /// Reads all that is needed from the content.
    func evaluate(_ facts: MessageFacts, _ content: MessageContent, _ reader: Reader) -> Bool {
        var facts = facts
        facts.date = content.date.seconds
        facts.size = Int64(MessageText.crlfSize(of: content.bytes.span))
        return Self.evaluate(root, facts, (content, reader)) ?? false
    }

    private static func evaluate(
        _ node: Node,
        _ facts: MessageFacts,
        _ content: (MessageContent, Reader)?
    ) -> Bool? {
        switch node {
        case .constant(let value): return value
        case .and(let nodes):
            var isKnown = true
            for node in nodes {
                switch evaluate(node, facts, content) {
                case false?: return false
                case nil: isKnown = false
                case true?: break
                }
            }
            return isKnown ? true : nil
        case .or(let nodes):
            var isKnown = true
            for node in nodes {
                switch evaluate(node, facts, content) {
                case true?: return true
                case nil: isKnown = false
                case false?: break
                }
            }
            return isKnown ? false : nil
        case .not(let node): return evaluate(node, facts, content).map { !$0 }
        case .sequence(let ranges): return contains(ranges, facts.sequence)
        case .uid(let ranges): return contains(ranges, facts.uid)
        case .flag(let flag, let isSet): return facts.flags.contains(flag) == isSet
        case .keyword(let index, let isSet):
            let has =
                index < Maildir.Limits.keywordLetterCount
                ? facts.flags.contains(.keyword(index)) : facts.beyond.contains(index)
            return has == isSet
        case .recent(let isRecent): return facts.isRecent == isRecent
        case .date(let comparison, let day):
            guard let date = facts.date else { return nil }
            return compare(
                comparison,
                InternalDate(unixSeconds: date).localDate.dayNumber,
                day
            )
        case .saveDate(let comparison, let day):
            guard let date = facts.saveDate ?? facts.date else { return nil }
            return compare(
                comparison,
                InternalDate(unixSeconds: date).localDate.dayNumber,
                day
            )
        case .emailID(let id):
            guard let content else { return nil }
            let date = content.0.date.seconds
            return MessageIdentity.emailID(of: content.0.bytes.span, date: date) == id
        case .threadID(let id):
            guard let content else { return nil }
            return MessageIdentity.threadID(of: content.0.bytes.span) == id
        case .isOlder(let time, let isOlder): return facts.date.map { ($0 <= time) == isOlder }
        case .modseq(let modseq): return facts.modseq >= modseq
        case .larger(let size): return facts.size.map { $0 > size }
        case .smaller(let size): return facts.size.map { $0 < size }
        case .sentDate(let comparison, let day):
            guard let content else { return nil }
            let date = sentDay(content.0.bytes.span) ?? Self.day(of: facts.date ?? 0)
            return compare(comparison, date, day)
        case .field(let name, let text):
            guard let content else { return nil }
            let span = content.0.bytes.span
            return content.1.searcher.fieldContains(
                text,
                name: name,
                in: span,
                header: 0..<HeaderBlock.end(in: span)
            )
        case .body(let text):
            guard let content else { return nil }
            let span = content.0.bytes.span
            return content.1.searcher.bodyContains(
                text,
                in: span,
                structure: MessageStructure.parse(span)
            )
        case .text(let text):
            guard let content else { return nil }
            let span = content.0.bytes.span
            return content.1.searcher.messageContains(
                text,
                in: span,
                structure: MessageStructure.parse(span)
            )
        }
    }

    private static func day(of date: Int64) -> Int {
        InternalDate(unixSeconds: date).localDate.dayNumber
    }

    /// The day of the Date field as the sender wrote it, whatever the zone.
    private static func sentDay(_ span: Span<UInt8>) -> Int? {
        let fields = EnvelopeFields(in: span, header: 0..<HeaderBlock.end(in: span))
        return fields.date.flatMap { MessageDate(span, in: $0)?.day }
    }

    private static func compare(_ comparison: DateComparison, _ date: Int, _ day: Int) -> Bool {
        switch comparison {
        case .before: date < day
        case .on: date == day
        case .since: date >= day
        }
    }

    /// Binary search in ascending ranges.
    private static func contains(_ ranges: [ClosedRange<UInt32>], _ number: UInt32) -> Bool {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < number { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(number)
    }
}
