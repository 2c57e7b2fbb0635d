import Bytes
import IMAPWire
import InternetMessage
import MailStore
import Posix

/// What SORT and THREAD know of messages, in columns; those that nobody asks for are empty.
struct SortMessages: Sendable {
    /// Indexes in the session's view, ascending.
    var indexes: [Int]
    var rows: ColumnRows
    /// INTERNALDATE in seconds, `.min` where it was not to be had.
    var dates: [Int64]
    /// RFC822.SIZE, -1 where it was not to be had.
    var sizes: [Int64]

    /// The sent date, or the internal date where there is none.
    func date(_ offset: Int, _ sent: ColumnCells) -> Int64 {
        sent.sentTime(offset) ?? dates[offset]
    }
}

/// The criteria of a SORT: what to take from messages, and how to compare.   RFC 5256 §3, RFC 5957
struct SortProgram: Sendable {
    private let criteria: [SortCommand.Criterion]
    let columns: [MessageColumn]

    init(_ criteria: [SortCommand.Criterion]) {
        self.criteria = criteria
        let used = Set(criteria.compactMap { $0.key.column })
        columns = MessageColumn.allCases.filter { used.contains($0) }
    }

    /// Whether RFC822.SIZE is compared.
    var needsSizes: Bool { criteria.contains { $0.key == .size } }
    /// Whether the internal date of each message is compared.
    var needsArrivals: Bool { criteria.contains { $0.key == .arrival } }

    /// The messages in order, as offsets; those of which something is not known are left out.
    func order(_ messages: SortMessages) -> [Int] {
        let sent = messages.rows[.sent]
        let isDated = columns.contains(.sent)
        var known: [UInt32] = []
        known.reserveCapacity(messages.indexes.count)
        for offset in messages.indexes.indices {
            if !columns.isEmpty, !messages.rows.isThere[offset] { continue }
            if needsArrivals, messages.dates[offset] == .min { continue }
            if isDated, messages.date(offset, sent) == .min { continue }
            if needsSizes, messages.sizes[offset] < 0 { continue }
            known.append(UInt32(offset))
        }
        var order = KeySort(known)
        for criterion in criteria.reversed() {
            let isReverse = criterion.isReverse
            switch criterion.key {
            case .relevancy: break
            case .arrival: order.sort(isReverse: isReverse) { messages.dates[Int($0)] }
            case .size: order.sort(isReverse: isReverse) { messages.sizes[Int($0)] }
            case .date: order.sort(isReverse: isReverse) { messages.date(Int($0), sent) }
            case .subject, .from, .to, .cc, .displayFrom, .displayTo:
                guard let column = criterion.key.column else { break }
                order.sort(isReverse: isReverse, messages.rows[column])
            }
        }
        return order.items.map { Int($0) }
    }
}

extension SortCommand.Key {
    /// Where what it compares is kept.
    fileprivate var column: MessageColumn? {
        switch self {
        case .relevancy, .arrival, .size: nil
        case .date: .sent
        case .subject: .subjectKey
        case .from: .fromKey
        case .to: .toKey
        case .cc: .ccKey
        case .displayFrom: .displayFromKey
        case .displayTo: .displayToKey
        }
    }
}
