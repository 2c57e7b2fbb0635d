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
    /// What is known of a message beside its record.
    struct Known: Sendable {
        var size: Int?
        /// INTERNALDATE.
        var date: Int64?
    }

    /// Folded texts, one for each criterion that compares text, in their order.
    var texts: [[UInt8]] = []
}

/// The criteria of a SORT: what to take from a message, and how to compare.   RFC 5256 §3, RFC 5957
struct SortProgram: Sendable {
    private let criteria: [SortCommand.Criterion]

    init(_ criteria: [SortCommand.Criterion]) { self.criteria = criteria }

    /// Whether RFC822.SIZE is compared.
    var needsSize: Bool { criteria.contains { $0.key == .size } }

    /// A pure function of the message, for jobs; nil where more of it has to be known.
    func facts(
        _ index: Int,
        _ record: borrowing DetailRecord,
        _ known: SortFacts.Known
    ) -> SortFacts? {
        var facts = SortFacts(index: index)
        for criterion in criteria {
            switch criterion.key {
            case .relevancy: break
            case .arrival:
                guard let date = known.date else { return nil }
                facts.arrival = date
            case .date:
                guard let date = record.sentTime ?? known.date else { return nil }
                facts.date = date
            case .size:
                guard let size = known.size ?? record.size else { return nil }
                facts.size = size
            case .subject: facts.texts.append(record.key(.subject))
            case .from: facts.texts.append(record.key(.from))
            case .to: facts.texts.append(record.key(.to))
            case .cc: facts.texts.append(record.key(.cc))
            case .displayFrom: facts.texts.append(record.key(.displayFrom))
            case .displayTo: facts.texts.append(record.key(.displayTo))
            }
        }
        return facts
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
    /// What threading takes from a message; nil where its date has to be looked up.
    init?(
        number: UInt32,
        _ record: borrowing DetailRecord,
        _ known: SortFacts.Known,
        needsReceived: Bool
    ) {
        guard let date = record.sentTime ?? known.date, !needsReceived || known.date != nil
        else { return nil }
        let (messageID, references) = record.threadIDs
        self.init(
            number: number,
            date: date,
            received: known.date ?? date,
            subject: record.key(.subject),
            isReply: record.isReply,
            messageID: messageID,
            references: references
        )
    }
}
