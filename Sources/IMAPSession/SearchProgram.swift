import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  A SEARCH key, prepared once and evaluated for each message
//
//  In three rounds: from what is in memory the answer is true, false, or not known; where it is not
//  known, columns of the header are asked for those messages; and where that is not enough, their files
//  are read, in jobs. So `UNSEEN SUBJECT x` looks at unseen mail only. The first two rounds evaluate
//  the key for many messages at once (SearchProgram+Rows.swift).

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

extension MessageFacts {
    /// With what the message's record tells.
    fileprivate func with(_ record: borrowing DetailRecord) -> MessageFacts {
        var facts = self
        if facts.size == nil, let size = record.size { facts.size = Int64(size) }
        return facts
    }
}

struct SearchProgram: Sendable {
    let root: Node
    /// Whether some key needs dates, which are looked up together before the first round.
    let needsDates: Bool
    /// Whether some key needs save dates.
    let needsSaveDates: Bool
    /// What else of the messages in memory is asked for.
    let needs: SearchRows.Needs
    /// The columns that are asked for.
    let columns: [MessageColumn]
    /// Whether some key needs more than the header.
    private let needsBody: Bool
    private let needsSize: Bool

    indirect enum Node: Sendable {
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
        /// With the column that answers for it.
        case field([UInt8], SearchText, MessageColumn?)
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
        needs = compiler.needs
        columns = MessageColumn.allCases.filter { compiler.columns.contains($0) }
        needsDates = compiler.needsDates
        needsSaveDates = compiler.needsSaveDates
        needsBody = compiler.needsBody
        needsSize = compiler.needsSize
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
        var needsBody = false
        var needsSize = false
        var needs: SearchRows.Needs = []
        var columns: Set<MessageColumn> = []
        let converter = CharsetConverter()

        mutating func compile(_ key: SearchKey) throws(CommandFailure) -> Node {
            switch key {
            case .all: return .constant(true)
            case .and(let keys): return .and(try compile(keys))
            case .or(let keys): return .or(try compile(keys))
            case .not(let key): return .not(try compile(key))
            case .fuzzy(let key): return try compile(key)
            case .sequence(let set):
                if isStrict {
                    if count == 0, set.namesLargest { throw .bad("The mailbox is empty") }
                    guard set.largestNumber <= count else { throw .bad("No such message") }
                }
                let named = Node.sequence(set.resolved(largest: count))
                guard set.namesSaved else { return named }
                let saved = Node.uid(RangeBuilder(saved).ranges)
                return set.ranges.isEmpty ? saved : .or([named, saved])
            case .uid(let set): return .uid(set.resolved(largest: lastUID, saved: saved))
            case .flag(.system(let flag), let isSet):
                needs.insert(.flags)
                return .flag(Self.letter(flag), isSet)
            case .flag(.keyword(let name), let isSet):
                needs.insert(.flags)
                let index = keywords.index(of: name)
                guard name.equalsIgnoringCase(Mailbox.forwarded) else {
                    return index.map { .keyword($0, isSet) } ?? .constant(!isSet)
                }
                // It is told for `P`, and for a letter of this name that Dovecot gave.
                guard let index else { return .flag(.passed, isSet) }
                let either = Node.or([.flag(.passed, true), .keyword(index, true)])
                return isSet ? either : .not(either)
            case .recent(let isRecent):
                needs.insert(.recent)
                return .recent(isRecent)
            case .internalDate(let comparison, let day):
                needsDates = true
                needs.insert(.dates)
                return .date(comparison, day.dayNumber)
            case .sentDate(let comparison, let day):
                // Where there is no Date field it is the internal date.
                needs.insert(.dates)
                columns.insert(.sent)
                return .sentDate(comparison, day.dayNumber)
            case .from(let text): return try field([UInt8]("from"), text)
            case .to(let text): return try field([UInt8]("to"), text)
            case .cc(let text): return try field([UInt8]("cc"), text)
            case .bcc(let text): return try field([UInt8]("bcc"), text)
            case .subject(let text): return try field([UInt8]("subject"), text)
            case .header(let name, let value):
                return try field(name.lowercased, value)
            case .body(let text):
                needsBody = true
                return .body(try prepare(text))
            case .text(let text):
                needsBody = true
                return .text(try prepare(text))
            case .larger(let size):
                needsSize = true
                needs.insert(.sizes)
                return .larger(Int64(clamping: size))
            case .smaller(let size):
                needsSize = true
                needs.insert(.sizes)
                return .smaller(Int64(clamping: size))
            case .older(let seconds):
                needsDates = true
                needs.insert(.dates)
                return .isOlder(WallTime.now.seconds - Int64(seconds), true)
            case .younger(let seconds):
                needsDates = true
                needs.insert(.dates)
                return .isOlder(WallTime.now.seconds - Int64(seconds), false)
            case .saveDate(let comparison, let day):
                needsDates = true
                needsSaveDates = true
                needs.formUnion([.dates, .saveDates])
                return .saveDate(comparison, day.dayNumber)
            case .saveDateSupported: return .constant(true)
            case .emailID(let id):
                needsBody = true
                return .emailID(id)
            case .threadID(let id): return .threadID(id)
            case .modSeq(let modseq):
                needs.insert(.modseqs)
                return .modseq(modseq.value)
            case .uidAfter, .uidBefore:
                throw .bad("Search key is not offered by this server")
            }
        }

        private mutating func field(
            _ name: [UInt8],
            _ value: [UInt8]
        ) throws(CommandFailure) -> Node {
            let text = try prepare(value)
            let column = text.fitsColumns ? MessageColumn(searching: name) : nil
            if let column { columns.insert(column) }
            return .field(name, text, column)
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

    // MARK: From messages

    /// What a worker needs to look into messages. Used by one job at a time.
    final class Reader: @unchecked Sendable {
        let searcher = MessageSearcher()
    }

    /// What has to be known of the messages that are looked into.
    var look: (extent: MessageExtent, makes: DetailJob.Records) {
        if needsBody { return (.whole, .none) }
        return (needsSize ? .whole : .header, .ofHeader)
    }

    /// Whether the record is enough to tell.
    func answers(_ facts: MessageFacts, _ record: borrowing DetailRecord, _ reader: Reader) -> Bool
    {
        if needsBody { return false }
        return Self.evaluate(root, facts.with(record), copy record, nil, reader) != nil
    }

    /// Nil where the message was not found.
    func evaluate(
        _ facts: MessageFacts,
        _ message: borrowing DetailJob.Message,
        _ reader: Reader
    ) -> Bool? {
        var facts = facts
        if let record = message.record { facts = facts.with(record) }
        if let content = message.content {
            facts.date = content.date
            facts.size = content.size.map { Int64($0) } ?? facts.size
        } else if message.record == nil {
            return nil
        }
        return Self.evaluate(root, facts, message.record, message.content, reader)
    }

    /// Reads all that is needed from the content.
    func evaluate(_ facts: MessageFacts, _ content: MessageContent, _ reader: Reader) -> Bool {
        let bytes = content.bytes
        let span = bytes.span
        let memory = MessageInMemory(
            span,
            size: MessageText.crlfSize(of: span),
            date: content.date.seconds,
            isWhole: true
        )
        return evaluate(facts, DetailJob.Message(record: nil, content: memory), reader) ?? false
    }

    private static func evaluate(
        _ node: Node,
        _ facts: MessageFacts,
        _ record: DetailRecord?,
        _ content: MessageInMemory?,
        _ reader: Reader?
    ) -> Bool? {
        switch node {
        case .constant(let value): return value
        case .and(let nodes):
            var isKnown = true
            for node in nodes {
                switch evaluate(node, facts, record, content, reader) {
                case false?: return false
                case nil: isKnown = false
                case true?: break
                }
            }
            return isKnown ? true : nil
        case .or(let nodes):
            var isKnown = true
            for node in nodes {
                switch evaluate(node, facts, record, content, reader) {
                case true?: return true
                case nil: isKnown = false
                case false?: break
                }
            }
            return isKnown ? false : nil
        case .not(let node): return evaluate(node, facts, record, content, reader).map { !$0 }
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
            guard let content, content.isWhole else { return nil }
            return MessageIdentity.emailID(of: content.bytes, date: content.date) == id
        case .threadID(let id):
            guard let content else { return nil }
            return MessageIdentity.threadID(of: content.bytes) == id
        case .isOlder(let time, let isOlder): return facts.date.map { ($0 <= time) == isOlder }
        case .modseq(let modseq): return facts.modseq >= modseq
        case .larger(let size): return facts.size.map { $0 > size }
        case .smaller(let size): return facts.size.map { $0 < size }
        case .sentDate(let comparison, let day):
            if let record {
                guard let sent = record.sentDay ?? facts.date.map(Self.day) else { return nil }
                return compare(comparison, sent, day)
            }
            guard let content else { return nil }
            let date = sentDay(content.bytes) ?? Self.day(of: facts.date ?? 0)
            return compare(comparison, date, day)
        case .field(let name, let text, _):
            guard let reader else { return nil }
            if let record, let found = record.fieldContains(text, name: name, reader.searcher) {
                return found
            }
            guard let content else { return nil }
            return reader.searcher.fieldContains(
                text,
                name: name,
                in: content.bytes,
                header: 0..<HeaderBlock.end(in: content.bytes)
            )
        case .body(let text):
            guard let content, let reader else { return nil }
            return reader.searcher.bodyContains(
                text,
                in: content.bytes,
                structure: MessageStructure.parse(content.bytes)
            )
        case .text(let text):
            guard let content, let reader else { return nil }
            return reader.searcher.messageContains(
                text,
                in: content.bytes,
                structure: MessageStructure.parse(content.bytes)
            )
        }
    }

    static func day(of date: Int64) -> Int {
        InternalDate(unixSeconds: date).localDate.dayNumber
    }

    /// The day of the Date field as the sender wrote it, whatever the zone.
    private static func sentDay(_ span: Span<UInt8>) -> Int? {
        let fields = EnvelopeFields(in: span, header: 0..<HeaderBlock.end(in: span))
        return fields.date.flatMap { MessageDate(span, in: $0)?.day }
    }

    static func compare(_ comparison: DateComparison, _ date: Int, _ day: Int) -> Bool {
        switch comparison {
        case .before: date < day
        case .on: date == day
        case .since: date >= day
        }
    }

    /// Binary search in ascending ranges.
    static func contains(_ ranges: [ClosedRange<UInt32>], _ number: UInt32) -> Bool {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < number { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].contains(number)
    }
}
