import Bytes
import IMAPWire
import InternetMessage
import MailStore
import Posix

/// What SORT compares of one message; only what the criteria ask for is filled in.
struct SortFacts: Sendable {
    /// Index in the session's view: the last criterion of all.
    var index: Int
    var arrival: Int64 = 0
    var date: Int64 = 0
    var size = 0
    /// Folded texts, one for each criterion that compares text, in their order.
    var texts: [[UInt8]] = []
}

/// The criteria of a SORT: what to take from a message, and how to compare.   RFC 5256 §3, RFC 5957
struct SortProgram: Sendable {
    private let criteria: [SortCommand.Criterion]

    init(_ criteria: [SortCommand.Criterion]) { self.criteria = criteria }

    /// A pure function of the message, for jobs.
    func facts(_ index: Int, _ content: MessageContent) -> SortFacts {
        let span = content.bytes.span
        let fields = EnvelopeFields(in: span, header: 0..<HeaderBlock.end(in: span))
        let decoder = HeaderDecoder()
        var facts = SortFacts(index: index)
        facts.arrival = content.date.seconds
        facts.date =
            fields.date.flatMap { MessageDate(span, in: $0) }.map { Int64($0.seconds) }
            ?? content.date.seconds
        for criterion in criteria {
            switch criterion.key {
            case .arrival, .date, .relevancy: break
            case .size: facts.size = MessageText.crlfSize(of: span)
            case .subject:
                let subject = fields.subject.map {
                    BaseSubject(span, subject: $0, decoder: decoder).text
                }
                facts.texts.append(CaseFold.shared.folded(subject ?? []))
            case .from: facts.texts.append(Self.address(fields.from, span, decoder, false))
            case .to: facts.texts.append(Self.address(fields.to.first, span, decoder, false))
            case .cc: facts.texts.append(Self.address(fields.cc.first, span, decoder, false))
            case .displayFrom: facts.texts.append(Self.address(fields.from, span, decoder, true))
            case .displayTo: facts.texts.append(Self.address(fields.to.first, span, decoder, true))
            }
        }
        return facts
    }

    private static func address(
        _ field: Range<Int>?,
        _ span: Span<UInt8>,
        _ decoder: HeaderDecoder,
        _ wantsDisplay: Bool
    ) -> [UInt8] {
        let key = AddressSortKey(span, field: field, decoder: decoder)
        return CaseFold.shared.folded(wantsDisplay ? key.display : key.mailbox)
    }

    func precedes(_ left: SortFacts, _ right: SortFacts) -> Bool {
        var text = 0
        for criterion in criteria {
            var order = 0
            switch criterion.key {
            case .arrival: order = compare(left.arrival, right.arrival)
            case .date: order = compare(left.date, right.date)
            case .size: order = compare(left.size, right.size)
            case .relevancy: break
            case .subject, .from, .to, .cc, .displayFrom, .displayTo:
                if left.texts[text] != right.texts[text] {
                    order = left.texts[text].lexicographicallyPrecedes(right.texts[text]) ? -1 : 1
                }
                text += 1
            }
            if order != 0 { return criterion.isReverse ? order > 0 : order < 0 }
        }
        return left.index < right.index
    }

    private func compare<Value: Comparable>(_ left: Value, _ right: Value) -> Int {
        left == right ? 0 : left < right ? -1 : 1
    }
}

extension ThreadMessage {
    /// What threading takes from a message; a pure function, for jobs.
    init(number: UInt32, _ content: MessageContent) {
        let span = content.bytes.span
        let fields = EnvelopeFields(in: span, header: 0..<HeaderBlock.end(in: span))
        let subject = fields.subject.map {
            BaseSubject(span, subject: $0, decoder: HeaderDecoder())
        }
        let date = fields.date.flatMap { MessageDate(span, in: $0) }.map { Int64($0.seconds) }
        var references = fields.references.map { MessageIDs.parse(span, in: $0) } ?? []
        if references.isEmpty, let field = fields.inReplyTo {
            references = Array(MessageIDs.parse(span, in: field).prefix(1))
        }
        self.init(
            number: number,
            date: date ?? content.date.seconds,
            received: content.date.seconds,
            subject: CaseFold.shared.folded(subject?.text ?? []),
            isReply: subject?.isReply ?? false,
            messageID: fields.messageID.flatMap { MessageIDs.parse(span, in: $0).first },
            references: references
        )
    }
}
