import Bytes

//  What SEARCH, SORT and THREAD compare, one kind of it for many messages in a row
//
//  A column holds one cell a message: a text or numbers, as bytes. It follows from the messages'
//  headers alone. On disk it lies in blocks of up to 1,024 UIDs, numbers little endian:
//
//      version      4 bytes
//      column       4 bytes
//      count        4 bytes, and 4 that are 0
//      UIDs         4 bytes each, ascending
//      ends         4 bytes each: where the message's cell ends among the cells
//      cells        one after the other
//
//  A block may lack messages, and may have some that are gone. Nothing here trusts the bytes: a block is
//  looked over when it is opened, and what does not fit is no block.

/// What is kept of each message. The numbers are on disk.
package enum MessageColumn: UInt8, CaseIterable, Sendable {
    /// The Date field: seconds since 1970 in 8 bytes, the day as the sender wrote it in 4; empty
    /// where there is none.
    case sent = 1
    // Folded values of all fields of the name, each with `ColumnCells.textEnd` behind it.
    case fromText
    case toText
    case ccText
    case bccText
    case subjectText
    // Folded texts to sort by.
    case subjectKey
    case fromKey
    case toKey
    case ccKey
    case displayFromKey
    case displayToKey
    /// 8 bytes each: 1 for a reply or forwarded message by its subject, the hash of the Message-ID or
    /// 0, and the hashes of what it refers to, from the oldest on.
    case references

    /// The column that answers for a field, by its name in lower case.
    package init?(searching name: [UInt8]) {
        switch name {
        case [UInt8]("from"): self = .fromText
        case [UInt8]("to"): self = .toText
        case [UInt8]("cc"): self = .ccText
        case [UInt8]("bcc"): self = .bccText
        case [UInt8]("subject"): self = .subjectText
        default: return nil
        }
    }

    fileprivate var isText: Bool {
        (Self.fromText.rawValue...Self.subjectText.rawValue) ~= rawValue
    }
}

/// Cells of one column, one after the other.
package struct ColumnCells: Sendable {
    /// Where each ends.
    package private(set) var ends: [Int] = []
    package private(set) var bytes: [UInt8] = []

    /// Stands behind each text in a cell of several, and in no UTF-8.
    static let textEnd: UInt8 = 0xFF

    package init() {}

    package var count: Int { ends.count }

    package func range(_ index: Int) -> Range<Int> {
        (index == 0 ? 0 : ends[index - 1])..<ends[index]
    }

    package mutating func reserve(_ count: Int, bytes byteCount: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(byteCount)
    }

    package mutating func removeAll() {
        ends.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    // MARK: Making

    mutating func put(_ text: Span<UInt8>) { bytes.append(copying: text) }
    mutating func put(byte: UInt8) { bytes.append(byte) }
    mutating func put(_ number: UInt64, _ count: Int = 8) {
        for index in 0..<count {
            bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(8 * index)))
        }
    }
    /// Has something appended to the open cell.
    mutating func put(with body: (inout [UInt8]) -> Void) { body(&bytes) }

    /// Ends the cell that was put together.
    package mutating func close() { ends.append(bytes.count) }

    package mutating func append(_ index: Int, of other: ColumnCells) {
        let cells = other.bytes
        bytes.append(copying: cells.span.extracting(other.range(index)))
        close()
    }

    package mutating func append(contentsOf other: ColumnCells) {
        let start = bytes.count
        let cells = other.bytes
        bytes.append(copying: cells.span)
        ends.reserveCapacity(ends.count + other.count)
        for end in other.ends { ends.append(start + end) }
    }

    // MARK: Reading

    /// Calls `body` with each cell in which the text occurs, ascending.
    package func search(_ needle: SearchText, _ body: (Int) -> Void) {
        if needle.isEmpty {
            for index in ends.indices where !range(index).isEmpty { body(index) }
            return
        }
        let (text, wanted) = (bytes, needle.folded)
        let span = text.span
        var index = 0
        var offset = 0
        while let hit = span.offset(ofLowercased: wanted.span, in: offset..<span.count) {
            while ends[index] <= hit { index += 1 }
            body(index)
            offset = ends[index]
            index += 1
        }
    }

    /// The sent date; nil where there is none.
    package func sentTime(_ index: Int) -> Int64? {
        let cell = range(index)
        guard cell.count == 12 else { return nil }
        return Int64(bitPattern: word(cell.lowerBound))
    }

    /// The day of the sent date as the sender wrote it.
    package func sentDay(_ index: Int) -> Int? {
        let cell = range(index)
        guard cell.count == 12 else { return nil }
        var day: UInt32 = 0
        for byte in 0..<4 { day |= UInt32(bytes[cell.lowerBound + 8 + byte]) << UInt32(8 * byte) }
        return Int(Int32(bitPattern: day))
    }

    /// Eight bytes as a number.
    package func word(_ offset: Int) -> UInt64 {
        let cells = bytes
        return cells.span.word(at: offset)
    }
}

extension SearchText {
    /// Whether a cell of several texts can be searched for it: it cannot reach from one into the next.
    package var fitsColumns: Bool { !folded.contains(ColumnCells.textEnd) }
}

/// A column of up to 1,024 UIDs in a row, as it lies on the disk.
package struct ColumnBlock: Sendable {
    package private(set) var uids: [UInt32] = []
    package private(set) var cells = ColumnCells()

    private static let version: UInt32 = 1
    private static let headBytes = 16

    /// Nil where the bytes are no such block.
    ///
    /// - Parameter range: the UIDs that may be in it.
    package init?(_ record: Span<UInt8>, _ column: MessageColumn, _ range: ClosedRange<UInt32>) {
        guard record.count >= Self.headBytes,
            record.word(at: 0) == UInt64(Self.version) | UInt64(column.rawValue) << 32
        else { return nil }
        let number = record.word(at: 8)
        guard number <= UInt64(range.upperBound - range.lowerBound) + 1,
            record.count - Self.headBytes >= 8 * Int(number)
        else { return nil }
        let count = Int(number)
        uids = Self.numbers(record, at: Self.headBytes, count)
        let ends = Self.numbers(record, at: Self.headBytes + 4 * count, count)
        let body = record.extracting((Self.headBytes + 8 * count)..<record.count)
        var last: UInt32?
        var start = 0
        for index in 0..<count {
            let uid = uids[index]
            guard range.contains(uid), last.map({ $0 < uid }) ?? true else { return nil }
            last = uid
            let end = Int(ends[index])
            guard end >= start, end <= body.count else { return nil }
            switch column {
            case .sent: guard end == start || end == start + 12 else { return nil }
            case .references: guard end >= start + 16, (end - start) % 8 == 0 else { return nil }
            default: break
            }
            if column.isText, end > start, body[end - 1] != ColumnCells.textEnd { return nil }
            start = end
        }
        guard start == body.count else { return nil }
        cells = ColumnCells(ends, body)
    }

    private static func numbers(_ record: Span<UInt8>, at start: Int, _ count: Int) -> [UInt32] {
        var numbers: [UInt32] = []
        numbers.reserveCapacity(count)
        var offset = start
        while numbers.count + 2 <= count {
            let pair = record.word(at: offset)
            numbers.append(UInt32(truncatingIfNeeded: pair))
            numbers.append(UInt32(truncatingIfNeeded: pair >> 32))
            offset += 8
        }
        if numbers.count < count {
            var number: UInt32 = 0
            for byte in 0..<4 { number |= UInt32(record[offset + byte]) << UInt32(8 * byte) }
            numbers.append(number)
        }
        return numbers
    }

    /// Two blocks as one, without the UIDs that are not in `live`; where both have one, the first's
    /// counts. All ascend.
    package init(_ first: ColumnBlock?, _ second: ColumnBlock, live: [UInt32]) {
        var (a, b) = (0, 0)
        for uid in live {
            while let first, a < first.uids.count, first.uids[a] < uid { a += 1 }
            while b < second.uids.count, second.uids[b] < uid { b += 1 }
            if let first, a < first.uids.count, first.uids[a] == uid {
                append(uid, a, of: first.cells)
            } else if b < second.uids.count, second.uids[b] == uid {
                append(uid, b, of: second.cells)
            }
        }
    }

    package init() {}

    /// Appends a message; UIDs ascend. A cell that is too long is left out: it must not make a
    /// thousand others costly.
    package mutating func append(_ uid: UInt32, _ index: Int, of other: ColumnCells) {
        guard other.range(index).count <= Limits.columnCellBytesMax else { return }
        uids.append(uid)
        cells.append(index, of: other)
    }

    package func record(_ column: MessageColumn) -> [UInt8] {
        var record = ColumnCells()
        record.reserve(0, bytes: Self.headBytes + 8 * uids.count + cells.bytes.count)
        record.put(UInt64(Self.version) | UInt64(column.rawValue) << 32)
        record.put(UInt64(uids.count))
        for uid in uids { record.put(UInt64(uid), 4) }
        for end in cells.ends { record.put(UInt64(end), 4) }
        let bytes = cells.bytes
        record.put(bytes.span)
        return record.bytes
    }
}

extension ColumnCells {
    fileprivate init(_ ends: [UInt32], _ body: Span<UInt8>) {
        self.ends = ends.map { Int($0) }
        bytes.append(copying: body)
    }
}

/// Makes cells of messages. Keeps its room; used by one job at a time.
package final class ColumnMaker {
    private let columns: [MessageColumn]
    private let seed: UInt64
    private let searcher = MessageSearcher()
    private let decoder = HeaderDecoder()
    private var fields: [(name: Field, value: Range<Int>)] = []
    /// In the order of the columns.
    package private(set) var cells: [ColumnCells]

    private enum Field {
        case date, subject, from, to, cc, bcc, messageID, inReplyTo, references
    }

    /// - Parameter seed: of the hashes in `references`. Those of one seed can be compared.
    package init(_ columns: [MessageColumn], seed: UInt64) {
        self.columns = columns
        self.seed = seed
        cells = Array(repeating: ColumnCells(), count: columns.count)
    }

    /// Appends the cells of a message, of which the header is there at least.
    package func add(_ message: Span<UInt8>) {
        find(message)
        for (index, column) in columns.enumerated() {
            append(column, message, to: &cells[index])
            cells[index].close()
        }
    }

    /// Whether a header as a detail record keeps it gives the same cells as the message: in its CRLF
    /// form a NUL has become 0x80.
    package static func canUse(_ header: Span<UInt8>) -> Bool {
        header.offset(of: 0x80, in: 0..<header.count) == nil
    }

    /// Appends the cells that another maker has made of a message, counted from 0.
    package func take(_ message: Int, of other: ColumnMaker) {
        for index in cells.indices { cells[index].append(message, of: other.cells[index]) }
    }

    /// Appends empty cells, for a message that is not there.
    package func addNothing() {
        for index in cells.indices { cells[index].close() }
    }

    /// Finds the fields that columns are made of, in one pass: the lines of others are passed over.
    private func find(_ message: Span<UInt8>) {
        fields.removeAll(keepingCapacity: true)
        var line = 0
        while line < message.count, HeaderBlock.emptyLine(in: message, at: line) == nil {
            switch message[line].lowercased {
            case UInt8(ascii: "d"), UInt8(ascii: "s"), UInt8(ascii: "f"), UInt8(ascii: "t"),
                UInt8(ascii: "c"), UInt8(ascii: "b"), UInt8(ascii: "m"), UInt8(ascii: "i"),
                UInt8(ascii: "r"):
                guard let field = HeaderField(in: message, at: line, end: message.count) else {
                    return
                }
                line = field.lines.upperBound
                if let name = Self.name(field, message) { fields.append((name, field.value)) }
            default:
                guard let feed = message.offset(of: .lf, in: line..<message.count) else { return }
                line = feed + 1
            }
        }
    }

    private static func name(_ field: HeaderField, _ message: Span<UInt8>) -> Field? {
        switch field.name.count {
        case 2:
            if field.isNamed("to", in: message) { return .to }
            if field.isNamed("cc", in: message) { return .cc }
        case 3: if field.isNamed("bcc", in: message) { return .bcc }
        case 4:
            if field.isNamed("from", in: message) { return .from }
            if field.isNamed("date", in: message) { return .date }
        case 7: if field.isNamed("subject", in: message) { return .subject }
        case 10:
            if field.isNamed("message-id", in: message) { return .messageID }
            if field.isNamed("references", in: message) { return .references }
        case 11: if field.isNamed("in-reply-to", in: message) { return .inReplyTo }
        default: break
        }
        return nil
    }

    private func first(_ name: Field) -> Range<Int>? {
        for field in fields where field.name == name { return field.value }
        return nil
    }

    private func append(
        _ column: MessageColumn,
        _ message: Span<UInt8>,
        to cells: inout ColumnCells
    ) {
        switch column {
        case .sent:
            guard let date = first(.date).flatMap({ MessageDate(message, in: $0) }) else { return }
            cells.put(UInt64(bitPattern: Int64(date.seconds)))
            cells.put(UInt64(UInt32(bitPattern: Int32(clamping: date.day))), 4)
        case .fromText: appendTexts(.from, message, to: &cells)
        case .toText: appendTexts(.to, message, to: &cells)
        case .ccText: appendTexts(.cc, message, to: &cells)
        case .bccText: appendTexts(.bcc, message, to: &cells)
        case .subjectText: appendTexts(.subject, message, to: &cells)
        case .subjectKey:
            guard let subject = first(.subject) else { return }
            let base = BaseSubject(message, subject: subject, decoder: decoder)
            appendKey(base.text, to: &cells)
        case .fromKey: appendKey(address(.from, message).mailbox, to: &cells)
        case .toKey: appendKey(address(.to, message).mailbox, to: &cells)
        case .ccKey: appendKey(address(.cc, message).mailbox, to: &cells)
        case .displayFromKey: appendKey(address(.from, message).display, to: &cells)
        case .displayToKey: appendKey(address(.to, message).display, to: &cells)
        case .references: appendReferences(message, to: &cells)
        }
    }

    private func appendTexts(
        _ name: Field,
        _ message: Span<UInt8>,
        to cells: inout ColumnCells
    ) {
        for field in fields where field.name == name {
            cells.put { searcher.appendFolded(field.value, of: message, to: &$0) }
            cells.put(byte: ColumnCells.textEnd)
        }
    }

    private func appendKey(_ text: [UInt8], to cells: inout ColumnCells) {
        let folded = CaseFold.shared.folded(text)
        cells.put(folded.span)
    }

    private func address(_ name: Field, _ message: Span<UInt8>) -> AddressSortKey {
        AddressSortKey(message, field: first(name), decoder: decoder)
    }

    private func appendReferences(_ message: Span<UInt8>, to cells: inout ColumnCells) {
        let isReply = first(.subject).map {
            BaseSubject(message, subject: $0, decoder: decoder).isReply
        }
        cells.put(isReply == true ? 1 : 0)
        let id = first(.messageID).flatMap { MessageIDs.parse(message, in: $0).first }
        cells.put(id.map(hash) ?? 0)
        var references = first(.references).map { MessageIDs.parse(message, in: $0) } ?? []
        if references.isEmpty, let field = first(.inReplyTo) {
            references = Array(MessageIDs.parse(message, in: field).prefix(1))
        }
        for id in references { cells.put(hash(id)) }
    }

    /// Never 0.
    private func hash(_ id: [UInt8]) -> UInt64 { max(id.span.hash(seed: seed), 1) }
}
