import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  A search program evaluated for many messages at once
//
//  Each key gives a byte for each message: 0 for no, 1 for not known, 2 for yes. So AND is the smaller
//  one, OR the larger one, and NOT what is left to 2.

/// What is in memory of messages, in columns; those that are not asked for are empty.
struct SearchRows: Sendable {
    struct Needs: OptionSet, Sendable {
        let rawValue: UInt8
        static let flags = Needs(rawValue: 1)
        static let recent = Needs(rawValue: 2)
        static let dates = Needs(rawValue: 4)
        static let saveDates = Needs(rawValue: 8)
        static let sizes = Needs(rawValue: 16)
        static let modseqs = Needs(rawValue: 32)
    }

    /// Sequence numbers less one.
    private(set) var indexes: [Int] = []
    private(set) var uids: [UInt32] = []
    fileprivate var flags: [UInt32] = []
    /// Keyword indexes beyond the letters, by UID.
    fileprivate var beyond: [UInt32: [Int]] = [:]
    fileprivate var recent: Set<UInt32> = []
    /// `.min` where not looked up yet.
    private(set) var dates: [Int64] = []
    /// `.min` where not known.
    fileprivate var saveDates: [Int64] = []
    /// -1 where not known.
    private(set) var sizes: [Int64] = []
    fileprivate var modseqs: [UInt64] = []

    var count: Int { indexes.count }

    /// Takes rows of messages out of the mailbox, those that are still there. The columns of the
    /// table are held meanwhile, and not across an await.
    ///
    /// - Parameter wanted: indexes in the view, ascending.
    @EventLoop
    init(_ wanted: some Collection<Int>, _ view: SelectedMailbox, _ needs: Needs) {
        guard let first = wanted.first else { return }
        let all = view.uids
        let table = view.mailbox.table
        let known = table.uids
        if needs.contains(.flags) { beyond = table.beyond }
        if needs.contains(.recent) { recent = view.recent }
        let room = wanted.count
        indexes.reserveCapacity(room)
        uids.reserveCapacity(room)
        var rows: [Int] = []
        rows.reserveCapacity(room)
        var row = table.firstRow(from: all[first])
        for index in wanted {
            let uid = all[index]
            while row < known.count, known[row] < uid { row += 1 }
            guard row < known.count, known[row] == uid else { continue }
            indexes.append(index)
            uids.append(uid)
            rows.append(row)
        }
        if needs.contains(.flags) { flags = rows.map { table.flags($0).rawValue } }
        if needs.contains(.dates) { dates = rows.map { table.dates[$0] } }
        if needs.contains(.sizes) { sizes = rows.map { table.sizes[$0] } }
        if needs.contains(.modseqs) { modseqs = rows.map { table.modseqs[$0] } }
        if needs.contains(.saveDates) {
            saveDates = rows.map { SaveDate.seconds(inName: table.base($0)) ?? .min }
        }
    }
}

extension SearchProgram {
    static let no: UInt8 = 0
    static let unknown: UInt8 = 1
    static let yes: UInt8 = 2

    /// An answer for each row.
    ///
    /// - Parameter columns: of these rows, where they were looked up.
    func evaluate(_ rows: SearchRows, _ columns: ColumnRows?) -> [UInt8] {
        Self.evaluate(root, rows, columns)
    }

    private static func evaluate(
        _ node: Node,
        _ rows: SearchRows,
        _ columns: ColumnRows?
    ) -> [UInt8] {
        switch node {
        case .constant(let value): return all(value ? yes : no, rows)
        case .and(let nodes):
            var result = all(yes, rows)
            for node in nodes {
                let other = evaluate(node, rows, columns)
                for index in result.indices { result[index] = min(result[index], other[index]) }
            }
            return result
        case .or(let nodes):
            var result = all(no, rows)
            for node in nodes {
                let other = evaluate(node, rows, columns)
                for index in result.indices { result[index] = max(result[index], other[index]) }
            }
            return result
        case .not(let node):
            var result = evaluate(node, rows, columns)
            for index in result.indices { result[index] = yes - result[index] }
            return result
        case .sequence(let ranges):
            return rows.indexes.map { answer(contains(ranges, UInt32($0 + 1))) }
        case .uid(let ranges): return rows.uids.map { answer(contains(ranges, $0)) }
        case .flag(let flag, let isSet):
            let bits = flag.rawValue
            return rows.flags.map { answer(($0 & bits == bits) == isSet) }
        case .keyword(let index, let isSet):
            if index < Maildir.Limits.keywordLetterCount {
                let bits = FlagLetters.Known.keyword(index).rawValue
                return rows.flags.map { answer(($0 & bits == bits) == isSet) }
            }
            return rows.uids.map {
                answer((rows.beyond[$0]?.contains(index) ?? false) == isSet)
            }
        case .recent(let isRecent):
            return rows.uids.map { answer(rows.recent.contains($0) == isRecent) }
        case .date(let comparison, let day):
            return rows.dates.map { $0 == .min ? unknown : compare(comparison, $0, day) }
        case .saveDate(let comparison, let day):
            return zip(rows.saveDates, rows.dates).map { saved, date in
                let date = saved == .min ? date : saved
                return date == .min ? unknown : compare(comparison, date, day)
            }
        case .isOlder(let time, let isOlder):
            return rows.dates.map { $0 == .min ? unknown : answer(($0 <= time) == isOlder) }
        case .modseq(let modseq): return rows.modseqs.map { answer($0 >= modseq) }
        case .larger(let size):
            return rows.sizes.map { $0 < 0 ? unknown : answer($0 > size) }
        case .smaller(let size):
            return rows.sizes.map { $0 < 0 ? unknown : answer($0 < size) }
        case .sentDate(let comparison, let day):
            guard let columns else { return all(unknown, rows) }
            return sentDates(comparison, day, rows, columns)
        case .field(_, let text, let column):
            guard let columns, let column else { return all(unknown, rows) }
            var result = all(no, rows)
            columns[column].search(text) { result[$0] = yes }
            for offset in columns.missing { result[offset] = unknown }
            return result
        case .body, .text, .emailID, .threadID: return all(unknown, rows)
        }
    }

    private static func sentDates(
        _ comparison: DateComparison,
        _ day: Int,
        _ rows: SearchRows,
        _ columns: ColumnRows
    ) -> [UInt8] {
        let sent = columns[.sent]
        var result = all(unknown, rows)
        for index in result.indices where columns.isThere[index] {
            if let sentDay = sent.sentDay(index) {
                result[index] = answer(compare(comparison, sentDay, day))
            } else if let date = columns.dates[index] {
                result[index] = compare(comparison, date, day)
            } else if rows.dates[index] != .min {
                result[index] = compare(comparison, rows.dates[index], day)
            }
        }
        return result
    }

    private static func all(_ value: UInt8, _ rows: SearchRows) -> [UInt8] {
        Array(repeating: value, count: rows.count)
    }

    private static func answer(_ value: Bool) -> UInt8 { value ? yes : no }

    private static func compare(_ comparison: DateComparison, _ date: Int64, _ day: Int) -> UInt8 {
        answer(compare(comparison, Self.day(of: date), day))
    }
}
