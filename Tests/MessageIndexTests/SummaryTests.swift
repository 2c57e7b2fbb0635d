import Foundation
import Posix
import Testing

@testable import MessageIndex

@Suite struct SummaryTests {
    struct Row: Equatable {
        var uid: UInt32
        var flags: UInt32
        var place: UInt8
        var modseq: UInt64
        var date: UInt32
        var size: UInt32
        var name: [UInt8]
    }

    static func rows(_ uids: some Sequence<UInt32>) -> [Row] {
        uids.map {
            Row(
                uid: $0,
                flags: $0 % 64,
                place: UInt8($0 % 3),
                modseq: UInt64($0) + 1_000,
                date: $0 &+ 5,
                size: .max - $0,
                name: Array("name-\($0)".utf8)
            )
        }
    }

    static func blocks(_ rows: [Row]) -> [SummaryBlock] {
        Dictionary(grouping: rows) { SummaryBlock.number(of: $0.uid) }.sorted { $0.key < $1.key }
            .map { number, rows in
                let uids = rows.map(\.uid)
                let (modseqs, flags) = (rows.map(\.modseq), rows.map(\.flags))
                let (places, dates) = (rows.map(\.place), rows.map(\.date))
                let (sizes, names) = (rows.map(\.size), rows.flatMap(\.name))
                let counts = rows.map { UInt8($0.name.count) }
                return SummaryBlock(
                    number: number,
                    state: SummaryBlock.state(modseqs.span, uids.span, flags.span, places.span),
                    fixed: SummaryBlock.fixed(
                        uids.span,
                        dates.span,
                        sizes.span,
                        counts.span,
                        names.span
                    )
                )
            }
    }

    static func header(_ rows: [Row]) -> SummaryHeader {
        var header = SummaryHeader()
        header.uidValidity = 7
        header.uidNext = (rows.last?.uid ?? 0) + 1
        header.messageCount = UInt32(rows.count)
        header.nameBytes = UInt64(rows.reduce(0) { $0 + $1.name.count })
        header.highestModseq = 9_000_000
        header.history = [1, 2, 3]
        var stamp = FileStamp()
        stamp.inode = 44
        stamp.changedSeconds = -5
        header.stamps = [stamp, FileStamp()]
        header.irregular = [IrregularName(uid: 3, isNew: true, name: [0x61, 0x62])]
        return header
    }

    static func rows(_ summary: MailboxSummary) -> [Row] {
        var offset = 0
        return summary.uids.indices.map { row in
            defer { offset += Int(summary.nameCounts[row]) }
            return Row(
                uid: summary.uids[row],
                flags: summary.flags[row],
                place: summary.places[row],
                modseq: summary.modseqs[row],
                date: summary.dates[row],
                size: summary.sizes[row],
                name: Array(summary.names[offset..<offset + Int(summary.nameCounts[row])])
            )
        }
    }

    /// Also at the ends of what UIDs can be, and around the ends of blocks.
    static let sets: [[UInt32]] = [
        [], [1], Array(1...5_000), [1_023, 1_024, 1_025, 2_047, 2_048], [.max - 1],
        Array(stride(from: 1, to: 4_000_000, by: 40_001)),
    ]

    @Test(arguments: sets)
    func whatIsWrittenIsRead(_ uids: [UInt32]) throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        #expect(mailbox.readSummary() == nil)
        let rows = Self.rows(uids)
        var header = Self.header(rows)
        #expect(mailbox.write(Self.blocks(rows), header))
        let summary = try #require(mailbox.readSummary())
        #expect(Self.rows(summary) == rows)
        header.ages = index.ages
        #expect(summary.header == header)
        #expect(index.largestModseq() == 9_000_000)
        mailbox.removeSummary()
        #expect(mailbox.readSummary() == nil)
        #expect(index.isUsable)
    }

    @Test func anEmptyBlockIsRemoved() throws {
        let scratch = try Scratch()
        let mailbox = try scratch.index().mailbox(scratch)
        let rows = Self.rows(1...3_000)
        #expect(mailbox.write(Self.blocks(rows), Self.header(rows)))
        let left = rows.filter { SummaryBlock.number(of: $0.uid) != 1 }
        let gone = SummaryBlock(number: 1, state: [], fixed: [])
        #expect(mailbox.write([gone], Self.header(left)))
        #expect(mailbox.readSummary().map(Self.rows) == left)
    }

    /// A crash between the blocks and the header is no damage: only the summary is lost.
    @Test func aWritingThatWasCutShort() throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        mailbox.writeDetails([(1, [1])])
        #expect(mailbox.write(Self.blocks(Self.rows(1...10)), Self.header(Self.rows(1...10))))
        #expect(mailbox.write(Self.blocks(Self.rows(1...20)), nil))
        #expect(mailbox.readSummary() == nil)
        #expect(mailbox.write(Self.blocks(Self.rows(1...5)), nil))
        #expect(mailbox.readSummary() == nil)
        #expect(index.isUsable)
        #expect(mailbox.details([1]) == [1: [1]])
    }

    /// Records with a right checksum that do not fit together: the file is another program's work.
    @Test(arguments: 0..<10)
    func recordsThatDoNotFitTogether(_ number: Int) throws {
        let scratch = try Scratch()
        let index = try scratch.index()
        let mailbox = try index.mailbox(scratch)
        let rows = Self.rows(1...10)
        var blocks = Self.blocks(rows)
        let header = Self.header(rows)
        switch number {
        case 0: blocks[0].state?.append(0)
        case 1: blocks[0].fixed?.append(0)
        case 2: blocks[0].state?.removeLast()
        case 3: blocks[0].fixed?.removeLast()
        case 4: blocks[0].state?[0] = 11
        case 5: blocks[0].state?[7] = 0x80
        // A UID twice, and one of another block.
        case 6: blocks[0].state?[8 + 80] = 2
        case 7: blocks[0].state?[8 + 80 + 36 + 1] = 0x50
        // A name without bytes.
        case 8: blocks[0].fixed?[8 + 120] = 0
        default: blocks[0].fixed = []
        }
        #expect(mailbox.write(blocks, header))
        #expect(mailbox.readSummary() == nil)
        #expect(!index.isUsable)
    }

    /// Each record of a summary, cut at each length: nothing, and no trap.
    @Test func headersOfAllLengths() throws {
        let header = Self.header(Self.rows(1...3))
        for count in 0..<header.record.count {
            let cut = Array(header.record[..<count])
            #expect(throws: IndexError.inconsistent) { try SummaryHeader(cut.span) }
        }
        for count in 0..<header.extraRecord.count {
            let cut = Array(header.extraRecord[..<count])
            var read = SummaryHeader()
            #expect(throws: IndexError.inconsistent) { try read.readExtra(cut.span) }
        }
        var many = header
        many.messageCount = Limits.messagesMax
        many.nameBytes = 0
        _ = try SummaryHeader(many.record.span)
        many.messageCount += 1
        #expect(throws: IndexError.inconsistent) { try SummaryHeader(many.record.span) }
        many = header
        let name = IrregularName(uid: 1, isNew: false, name: [])
        many.irregular = Array(repeating: name, count: SummaryHeader.irregularMax)
        var read = SummaryHeader()
        try read.readExtra(many.extraRecord.span)
        many.irregular.append(name)
        #expect(throws: IndexError.inconsistent) {
            var read = SummaryHeader()
            try read.readExtra(many.extraRecord.span)
        }
    }
}
