import Bytes
import Testing

@testable import InternetMessage

@Suite("columns")
struct MessageColumnsTests {
    private static let all = MessageColumn.allCases
    private static let range: ClosedRange<UInt32> = 1_024...2_047

    private static func cells(_ messages: [[UInt8]], seed: UInt64 = 5) -> [ColumnCells] {
        let maker = ColumnMaker(all, seed: seed)
        for message in messages { maker.add(message.span) }
        return maker.cells
    }

    private static func cell(_ cells: ColumnCells, _ index: Int) -> [UInt8] {
        Array(cells.bytes[cells.range(index)])
    }

    /// The cells of one message, as text, by column.
    private static func texts(_ message: String) -> [MessageColumn: String] {
        let cells = cells([Array(message.utf8)])
        var texts: [MessageColumn: String] = [:]
        for (index, column) in all.enumerated() {
            texts[column] = String(decoding: cell(cells[index], 0), as: UTF8.self)
        }
        return texts
    }

    @Test("hold what is compared")
    func content() {
        let texts = Self.texts(
            """
            From: =?utf-8?q?J=C3=BCrgen?= <JvB@Example.org>
            from: second@example.org
            To: group: a@b, c@d;
            Cc: "Q, R" <qr@x>
            Subject: Re: [list] Hello
             there
            Date: Mon, 2 Mar 2026 01:30:00 +0200

            From: body@example.org
            """
        )
        let end = "\u{FFFD}"
        #expect(
            texts[.fromText]
                == "ju\u{308}rgen <jvb@example.org>\(end) second@example.org\(end)"
        )
        #expect(texts[.fromKey] == "JVB")
        #expect(texts[.displayFromKey] == "JU\u{308}RGEN")
        #expect(texts[.toKey] == "GROUP")
        #expect(texts[.ccKey] == "QR")
        #expect(texts[.bccText] == "")
        #expect(texts[.subjectKey] == "HELLO THERE")
        let cells = Self.cells([Array("Date: Mon, 2 Mar 2026 01:30:00 +0200\n\n".utf8)])
        #expect(cells[0].sentTime(0) == 1_772_407_800)
        #expect(cells[0].sentDay(0) == 20_514)
    }

    @Test("are the same from the header that a record keeps", arguments: Corpus.names)
    func sameFromRecord(_ name: String) throws {
        let message = try Corpus.message(name)
        let bytes = DetailRecord.make(message.span, [], size: nil)
        guard let record = DetailRecord(bytes.span) else {
            Issue.record("no record")
            return
        }
        let header = record.header.array
        let hasNUL = message[..<HeaderBlock.end(in: message.span)].contains(0)
        let isUsable = ColumnMaker.canUse(header.span)
        #expect(!hasNUL || !isUsable)
        guard isUsable else { return }
        let direct = Self.cells([message])
        let kept = Self.cells([header])
        for (index, column) in Self.all.enumerated() {
            #expect(Self.cell(direct[index], 0) == Self.cell(kept[index], 0), "\(column)")
        }
    }

    @Test("find what a search of the messages finds")
    func sameSearch() throws {
        let messages = try Corpus.names.map { try Corpus.message($0) }
        let cells = Self.cells(messages)
        let searcher = MessageSearcher()
        for field in ["from", "to", "cc", "bcc", "subject"] {
            let name = Array(field.utf8)
            let column = try #require(MessageColumn(searching: name))
            let place = try #require(Self.all.firstIndex(of: column))
            for text in ["", " ", "a", "e", "example", "ü", "日", "re:", "<", "=?", "org>"] {
                let needle = SearchText(Array(text.utf8))
                var found: [Int] = []
                cells[place].search(needle) { found.append($0) }
                let direct = messages.indices.filter { index in
                    let message = messages[index]
                    return searcher.fieldContains(
                        needle,
                        name: name,
                        in: message.span,
                        header: 0..<HeaderBlock.end(in: message.span)
                    )
                }
                #expect(found == direct, "\(field) \(text)")
            }
        }
    }

    @Test("do not join the texts of one message")
    func apart() {
        let message = Array("Subject: one\nSubject: two\n\n".utf8)
        let cells = Self.cells([message, message])
        let place = Self.all.firstIndex(of: .subjectText) ?? 0
        for text in ["onetwo", "one\ntwo", "twoone", "e t"] {
            cells[place].search(SearchText(Array(text.utf8))) { _ in
                Issue.record("found \(text)")
            }
        }
        #expect(SearchText([0x61]).fitsColumns)
        #expect(!SearchText([0x61, 0xFF]).fitsColumns)
    }

    @Test("refer by hashes of the seed")
    func references() {
        let first = Array("Message-ID: <a@b>\nSubject: x\n\n".utf8)
        let reply = Array("In-Reply-To: <a@b>\nSubject: Re: x\n\n".utf8)
        let place = Self.all.firstIndex(of: .references) ?? 0
        let cells = Self.cells([first, reply])[place]
        #expect(cells.range(0).count == 16 && cells.range(1).count == 24)
        #expect(cells.word(0) == 0 && cells.word(16) == 1)
        #expect(cells.word(8) != 0 && cells.word(24) == 0)
        #expect(cells.word(8) == cells.word(32))
        #expect(Self.cells([first], seed: 6)[place].word(8) != cells.word(8))
    }

    // MARK: Blocks

    private static func block(_ column: MessageColumn, _ uids: [UInt32]) throws -> ColumnBlock {
        let messages = try Corpus.names.map { try Corpus.message($0) }
        let cells = cells(messages)[all.firstIndex(of: column) ?? 0]
        var block = ColumnBlock()
        for (index, uid) in uids.enumerated() {
            block.append(uid, index % messages.count, of: cells)
        }
        return block
    }

    @Test("come back from a block", arguments: MessageColumn.allCases)
    func comesBack(_ column: MessageColumn) throws {
        for count in [0, 1, 2, 7, 40] {
            let uids = (0..<UInt32(count)).map { 1_024 + 3 * $0 }
            let block = try Self.block(column, uids)
            let record = block.record(column)
            guard let opened = ColumnBlock(record.span, column, Self.range) else {
                Issue.record("no block of \(count)")
                continue
            }
            #expect(opened.uids == block.uids)
            #expect(opened.cells.bytes == block.cells.bytes)
            #expect(opened.cells.ends == block.cells.ends)
        }
    }

    private static func isBlock(
        _ bytes: [UInt8],
        _ column: MessageColumn,
        _ range: ClosedRange<UInt32>
    ) -> Bool {
        ColumnBlock(bytes.span, column, range) != nil
    }

    @Test("of another column, version, or place are none")
    func foreign() throws {
        let record = try Self.block(.subjectKey, [1_024, 2_047]).record(.subjectKey)
        #expect(Self.isBlock(record, .subjectKey, Self.range))
        #expect(!Self.isBlock(record, .fromKey, Self.range))
        #expect(!Self.isBlock(record, .subjectKey, 1_025...2_048))
        #expect(!Self.isBlock(record, .subjectKey, 1_023...2_046))
        for count in record.indices {
            #expect(!Self.isBlock(Array(record[..<count]), .subjectKey, Self.range))
        }
        #expect(!Self.isBlock((record + [0]), .subjectKey, Self.range))
        var other = record
        other[0] += 1
        #expect(!Self.isBlock(other, .subjectKey, Self.range))
        let unordered = try Self.block(.subjectKey, [1_025, 1_024]).record(.subjectKey)
        #expect(!Self.isBlock(unordered, .subjectKey, Self.range))
    }

    @Test("of hostile bytes are none, or give something", arguments: MessageColumn.allCases)
    func hostile(_ column: MessageColumn) throws {
        var random = SeededGenerator(seed: UInt64(column.rawValue))
        let good = try Self.block(column, [1_024, 1_030, 1_500, 2_047]).record(column)
        let needle = SearchText(Array("e".utf8))
        var openedCount = 0
        for _ in 0..<3_000 {
            var bytes = good
            for _ in 0...Int.random(in: 0..<4, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(
                    in: 0...255,
                    using: &random
                )
            }
            if Bool.random(using: &random) {
                bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
            }
            guard let block = ColumnBlock(bytes.span, column, Self.range) else { continue }
            openedCount += 1
            var found: [Int] = []
            block.cells.search(needle) { found.append($0) }
            #expect(found == found.sorted())
            for index in block.uids.indices {
                _ = block.cells.sentDay(index)
                _ = block.cells.sentTime(index)
            }
            if column == .references {
                for end in block.cells.ends { _ = block.cells.word(end - 8) }
            }
        }
        #expect(openedCount > 0)
    }

    @Test("are completed, and lose what is gone")
    func merged() throws {
        let first = try Self.block(.subjectKey, [1_024, 1_026, 1_030])
        var second = ColumnBlock()
        let cells = try Self.block(.fromKey, [1, 2, 3]).cells
        second.append(1_025, 0, of: cells)
        second.append(1_026, 1, of: cells)
        second.append(1_031, 2, of: cells)
        let both = ColumnBlock(first, second, live: [1_025, 1_026, 1_030, 1_031, 1_040])
        #expect(both.uids == [1_025, 1_026, 1_030, 1_031])
        #expect(Self.cell(both.cells, 0) == Self.cell(cells, 0))
        #expect(Self.cell(both.cells, 1) == Self.cell(first.cells, 1))
        #expect(ColumnBlock(nil, second, live: [1_031]).uids == [1_031])
    }

    @Test("leave out what is too long")
    func limit() {
        let longest = Limits.columnCellBytesMax
        for (count, isKept) in [(longest, true), (longest + 1, false)] {
            let subject = [UInt8](repeating: 0x61, count: count)
            let message = [UInt8]("Subject: ".utf8) + subject + [0x0A, 0x0A]
            let place = Self.all.firstIndex(of: .subjectKey) ?? 0
            var block = ColumnBlock()
            block.append(1_024, 0, of: Self.cells([message])[place])
            #expect(block.uids.isEmpty != isKept)
        }
    }
}
