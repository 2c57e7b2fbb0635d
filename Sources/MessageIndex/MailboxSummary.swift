import Bytes
import Glibc
package import Posix

//  The summary of a mailbox: what opening it needs, in columns
//
//  A header, a record `extra`, and two records for each 1,024 UIDs that have messages: `state` (UIDs,
//  flags, modseqs, places) is written again when a flag changes, `fixed` (dates, sizes, names) stays.
//  Columns are as they lie in memory, little-endian, so that 100,000 messages are a few hundred copies.
//
//  Where there are many blocks to write, the first ones go to the disk before the header does: what a
//  crash leaves is an older header with newer blocks. `stamps` of that header do not fit the directories
//  any more, and where the count of messages does not fit the blocks there is no summary.

/// What tells whether a file or directory is as it was; all zero for one that is not there.
package struct FileStamp: Equatable, Sendable {
    package var device: UInt64 = 0
    package var inode: UInt64 = 0
    package var size: UInt64 = 0
    /// The time that nobody can set: that of the last change of any kind.
    package var changedSeconds: Int64 = 0
    package var changedNanoseconds: UInt32 = 0

    package init() {}

    package init(_ status: FileStatus) {
        device = status.device
        inode = status.inode
        // The size of a directory tells nothing that its time does not.
        size = status.isDirectory ? 0 : UInt64(max(status.size, 0))
        changedSeconds = status.changed.seconds
        changedNanoseconds = UInt32(max(status.changed.nanoseconds, 0))
    }

    init(_ record: inout RecordReader) {
        device = record.uint64()
        inode = record.uint64()
        size = record.uint64()
        changedSeconds = record.int64()
        changedNanoseconds = record.uint32()
    }

    func write(to record: inout RecordWriter) {
        record.append(device)
        record.append(inode)
        record.append(size)
        record.append(changedSeconds)
        record.append(changedNanoseconds)
    }
}

/// A message whose file name does not follow from its row.
package struct IrregularName: Equatable, Sendable {
    package var uid: UInt32
    package var isNew: Bool
    package var name: [UInt8]

    package init(uid: UInt32, isNew: Bool, name: [UInt8]) {
        self.uid = uid
        self.isNew = isNew
        self.name = name
    }
}

/// All of a summary but the rows.
package struct SummaryHeader: Equatable, Sendable {
    /// The directories and lists that the rows were made from; empty where they had changed so short
    /// a time before that a later change might not show.
    package var stamps: [FileStamp] = []
    package var ages = IndexAges()
    package var uidValidity: UInt32 = 0
    package var uidNext: UInt32 = 1
    package var messageCount: UInt32 = 0
    package var unseenCount: UInt32 = 0
    package var deletedCount: UInt32 = 0
    /// How many files lie in `new/`.
    package var newCount: UInt32 = 0
    package var nameBytes: UInt64 = 0
    package var highestModseq: UInt64 = 0
    /// `MailboxHistory`, which means nothing here.
    package var history: [UInt8] = []
    package var irregular: [IrregularName] = []

    package init() {}

    /// Beyond it a mailbox is scanned: names that are not made by any rule are no common case.
    package static let irregularMax = 4_096
    static let stampsMax = 8

    var record: [UInt8] {
        var record = RecordWriter()
        record.append(UInt32(stamps.count))
        for stamp in stamps { stamp.write(to: &record) }
        ages.write(to: &record)
        for number in [uidValidity, uidNext, messageCount, unseenCount, deletedCount, newCount] {
            record.append(number)
        }
        record.append(nameBytes)
        record.append(highestModseq)
        return record.bytes
    }

    var extraRecord: [UInt8] {
        var record = RecordWriter()
        record.append(history)
        record.append(UInt32(irregular.count))
        for name in irregular {
            record.append(name.uid)
            record.append(UInt32(name.isNew ? 1 : 0))
            record.append(name.name)
        }
        return record.bytes
    }

    init(_ bytes: borrowing Span<UInt8>) throws(IndexError) {
        var record = RecordReader(bytes)
        let stampCount = record.uint32()
        guard stampCount <= Self.stampsMax else { throw .inconsistent }
        for _ in 0..<stampCount { stamps.append(FileStamp(&record)) }
        ages = IndexAges(&record)
        uidValidity = record.uint32()
        uidNext = record.uint32()
        messageCount = record.uint32()
        unseenCount = record.uint32()
        deletedCount = record.uint32()
        newCount = record.uint32()
        nameBytes = record.uint64()
        highestModseq = record.uint64()
        guard record.isAtEnd, messageCount <= Limits.messagesMax,
            nameBytes <= UInt64(messageCount) * UInt64(UInt8.max)
        else { throw .inconsistent }
    }

    mutating func readExtra(_ bytes: borrowing Span<UInt8>) throws(IndexError) {
        var record = RecordReader(bytes)
        history = record.data()
        let count = record.uint32()
        guard count <= Self.irregularMax else { throw .inconsistent }
        for _ in 0..<count {
            let uid = record.uint32()
            let isNew = record.uint32() != 0
            irregular.append(IrregularName(uid: uid, isNew: isNew, name: record.data()))
        }
        guard record.isAtEnd else { throw .inconsistent }
    }
}

/// The messages of up to 1,024 UIDs in a row, as their two records hold them.
package struct SummaryBlock: Sendable {
    /// UID / 1,024.
    package var number: UInt32
    /// Nil where it is on the disk as it is; empty where the block has no messages any more.
    package var state: [UInt8]?
    package var fixed: [UInt8]?

    package init(number: UInt32, state: [UInt8]?, fixed: [UInt8]?) {
        self.number = number
        self.state = state
        self.fixed = fixed
    }

    package static func number(of uid: UInt32) -> UInt32 { uid / Limits.blockUIDs }

    /// The first UID of a block that has one.
    package static func first(of number: UInt32) -> UInt32 { number &* Limits.blockUIDs }

    /// The UIDs that can be in a block.
    package static func uids(of number: UInt32) -> ClosedRange<UInt32> {
        let first = number &* Limits.blockUIDs
        return first...(first &+ (Limits.blockUIDs - 1))
    }

    /// The first UID beyond a block.
    package static func end(of number: UInt32) -> UInt64 {
        (UInt64(number) + 1) * UInt64(Limits.blockUIDs)
    }

    //  count in 8 bytes, then the columns, those of large numbers first: all lie aligned.

    package static func state(
        _ modseqs: Span<UInt64>,
        _ uids: Span<UInt32>,
        _ flags: Span<UInt32>,
        _ places: Span<UInt8>
    ) -> [UInt8] {
        var record = Columns(count: uids.count, bytes: uids.count * 17)
        record.append(modseqs)
        record.append(uids)
        record.append(flags)
        record.append(places)
        return record.bytes
    }

    /// - Parameters:
    ///   - dates: seconds since 1970, 0 for unknown.
    ///   - sizes: RFC822.SIZE, `.max` for unknown.
    ///   - names: as long in all as `nameCounts` say.
    package static func fixed(
        _ uids: Span<UInt32>,
        _ dates: Span<UInt32>,
        _ sizes: Span<UInt32>,
        _ nameCounts: Span<UInt8>,
        _ names: Span<UInt8>
    ) -> [UInt8] {
        var record = Columns(count: uids.count, bytes: uids.count * 13 + names.count)
        record.append(uids)
        record.append(dates)
        record.append(sizes)
        record.append(nameCounts)
        record.append(names)
        return record.bytes
    }

    private struct Columns {
        var bytes: [UInt8] = []

        init(count: Int, bytes room: Int) {
            bytes.reserveCapacity(8 + room)
            for index in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: UInt64(count) >> UInt64(8 * index)))
            }
        }

        mutating func append<Element: BitwiseCopyable>(_ column: Span<Element>) {
            unsafe column.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        }
    }
}

/// What the index has of a mailbox: header and rows, one row a message, ascending by UID.
package struct MailboxSummary: Sendable {
    package var header: SummaryHeader
    package private(set) var uids: [UInt32] = []
    package private(set) var flags: [UInt32] = []
    package private(set) var places: [UInt8] = []
    package private(set) var modseqs: [UInt64] = []
    package private(set) var dates: [UInt32] = []
    package private(set) var sizes: [UInt32] = []
    package private(set) var nameCounts: [UInt8] = []
    /// The names, one after the other.
    package private(set) var names: [UInt8] = []

    init(_ header: SummaryHeader) {
        self.header = header
        let count = Int(header.messageCount)
        uids.reserveCapacity(count)
        flags.reserveCapacity(count)
        places.reserveCapacity(count)
        modseqs.reserveCapacity(count)
    }

    /// Makes room for the other half.
    mutating func reserveFixed() {
        let count = Int(header.messageCount)
        dates.reserveCapacity(count)
        sizes.reserveCapacity(count)
        nameCounts.reserveCapacity(count)
        names.reserveCapacity(Int(header.nameBytes))
    }

    /// Appends the rows of a block. Its checksum was right; what is checked here is that it fits.
    mutating func append(state: borrowing Span<UInt8>, _ number: UInt32) throws(IndexError) {
        var columns = try ColumnReader(state, rowBytes: 17)
        guard uids.count + columns.count <= Int(header.messageCount) else { throw .unfinished }
        let first = uids.count
        columns.take(columns.count, to: &modseqs, state)
        columns.take(columns.count, to: &uids, state)
        columns.take(columns.count, to: &flags, state)
        columns.take(columns.count, to: &places, state)
        guard columns.offset == state.count else { throw .inconsistent }
        var last = first > 0 ? uids[first - 1] : 0
        for row in first..<uids.count {
            guard uids[row] > last, SummaryBlock.number(of: uids[row]) == number else {
                throw .inconsistent
            }
            last = uids[row]
        }
    }

    /// Appends what stays of a block's rows, the first that have nothing of it yet.
    mutating func append(fixed: borrowing Span<UInt8>) throws(IndexError) {
        var columns = try ColumnReader(fixed, rowBytes: 13)
        let first = dates.count
        guard columns.count <= uids.count - first,
            columns.matches(uids.span.extracting(first..<(first + columns.count)), fixed)
        else { throw .inconsistent }
        columns.take(columns.count, to: &dates, fixed)
        columns.take(columns.count, to: &sizes, fixed)
        columns.take(columns.count, to: &nameCounts, fixed)
        var nameBytes = 0
        for row in first..<nameCounts.count {
            guard nameCounts[row] > 0 else { throw .inconsistent }
            nameBytes += Int(nameCounts[row])
        }
        guard columns.offset + nameBytes == fixed.count else { throw .inconsistent }
        columns.take(nameBytes, to: &names, fixed)
    }

    /// What only all blocks together show.
    func checkState() throws(IndexError) {
        guard uids.count == Int(header.messageCount), uids.last ?? 0 < header.uidNext else {
            throw .unfinished
        }
    }

    func checkFixed() throws(IndexError) {
        // Both halves of a block are written together.
        guard dates.count == uids.count else { throw .inconsistent }
        guard names.count == Int(header.nameBytes) else { throw .unfinished }
    }

    private struct ColumnReader {
        let count: Int
        private(set) var offset = 8

        init(_ record: borrowing Span<UInt8>, rowBytes: Int) throws(IndexError) {
            guard record.count >= 8 else { throw .inconsistent }
            var number: UInt64 = 0
            for index in 0..<8 { number |= UInt64(record[index]) << UInt64(8 * index) }
            guard number <= UInt64(Limits.blockUIDs), record.count >= 8 + Int(number) * rowBytes
            else { throw .inconsistent }
            count = Int(number)
        }

        /// Whether the next column is this one.
        mutating func matches(_ column: Span<UInt32>, _ record: borrowing Span<UInt8>) -> Bool {
            let end = offset + column.count * MemoryLayout<UInt32>.stride
            defer { offset = end }
            return unsafe column.withUnsafeBytes { own in
                unsafe record.extracting(offset..<end).withUnsafeBytes { other in
                    guard let own = own.baseAddress, let there = other.baseAddress
                    else { return true }
                    return unsafe memcmp(own, there, other.count) == 0
                }
            }
        }

        /// The caller has checked that the record is as long.
        mutating func take<Element: BitwiseCopyable>(
            _ count: Int,
            to column: inout [Element],
            _ record: borrowing Span<UInt8>
        ) {
            let end = offset + count * MemoryLayout<Element>.stride
            unsafe record.extracting(offset..<end).withUnsafeBytes { bytes in
                unsafe column.append(contentsOf: bytes.bindMemory(to: Element.self))
            }
            offset = end
        }
    }
}
