import Bytes
import InternetMessage
import Testing

@Suite("detail records")
struct DetailRecordTests {
    private static func made(
        _ message: [UInt8],
        _ depth: DetailRecord.Depth = [.wholeHeader, .structure]
    ) -> [UInt8] {
        let span = message.span
        return DetailRecord.make(span, depth, size: MessageText.crlfSize(of: span))
    }

    private static func isRecord(_ bytes: [UInt8]) -> Bool {
        if DetailRecord(bytes.span) != nil { return true }
        return false
    }

    @Test("hold what the message gives", arguments: Corpus.names)
    func sameAsMessage(_ name: String) throws {
        let message = try Corpus.message(name)
        let bytes = Self.made(message)
        guard let record = DetailRecord(bytes.span) else {
            Issue.record("no record")
            return
        }
        let size = record.size
        #expect(size == MessageText.crlfSize(of: message.span))
        for utf8 in [false, true] {
            var written = ByteBuffer()
            record.appendEnvelope(utf8: utf8, to: &written)
            let text = String(decoding: written.bytes, as: UTF8.self)
            #expect(text == envelope(message, utf8: utf8))
            let structure = String(decoding: record.structure(utf8: utf8).array, as: UTF8.self)
            #expect(structure == bodyStructure(message, utf8: utf8))
            var body = ByteBuffer()
            record.appendBody(utf8: utf8, to: &body)
            let short = bodyStructure(message, extended: false, utf8: utf8)
            #expect(String(decoding: body.bytes, as: UTF8.self) == short)
        }
        let end = HeaderBlock.end(in: message.span)
        for names in [["subject", "from", "date"], ["received", "content-type"], ["nothing"]] {
            let fields = HeaderFieldSet(names.map { Array($0.utf8) })
            var direct = ByteBuffer()
            fields.append(from: message.span, header: 0..<end, excluding: false, to: &direct)
            var kept = ByteBuffer()
            let header = record.header
            fields.append(from: header, header: 0..<header.count, excluding: false, to: &kept)
            let answers = record.headerHasEnd && (names != ["nothing"] || record.headerIsWhole)
            if answers { #expect(kept.bytes == direct.bytes) }
        }
        if record.headerIsWhole {
            var direct = ByteBuffer()
            MessageText.appendCRLF(of: message.span, in: 0..<end, to: &direct)
            let header = record.header.array
            #expect(header == direct.bytes)
        }
    }

    @Test("find what a search of the message finds", arguments: Corpus.names)
    func sameSearch(_ name: String) throws {
        let message = try Corpus.message(name)
        let bytes = Self.made(message, [])
        guard let record = DetailRecord(bytes.span) else {
            Issue.record("no record")
            return
        }
        let searcher = MessageSearcher()
        let end = HeaderBlock.end(in: message.span)
        let hasNUL = message[..<end].contains(0)
        for field in ["from", "to", "cc", "bcc", "subject", "message-id", "received"] {
            for text in ["", " ", "a", "e", "example", "ü", "日", "re:", "<", "=?"] {
                let needle = SearchText(Array(text.utf8))
                let name = Array(field.utf8)
                let direct = searcher.fieldContains(
                    needle,
                    name: name,
                    in: message.span,
                    header: 0..<end
                )
                let found = record.fieldContains(needle, name: name, searcher)
                // Where a NUL stands in the header the record does not know.
                if !hasNUL { #expect(found != nil) }
                if let found { #expect(found == direct, "\(field) \(text)") }
            }
        }
    }

    @Test("of the header alone tell the envelope all the same", arguments: Corpus.names)
    func shallow(_ name: String) throws {
        let message = try Corpus.message(name)
        let bytes = Self.made(message, [])
        guard let record = DetailRecord(bytes.span) else {
            Issue.record("no record")
            return
        }
        let depth = record.depth
        #expect(depth == [])
        for utf8 in [false, true] {
            var written = ByteBuffer()
            record.appendEnvelope(utf8: utf8, to: &written)
            let text = String(decoding: written.bytes, as: UTF8.self)
            #expect(text == envelope(message, utf8: utf8))
        }
        let span = message.span
        let end = HeaderBlock.end(in: span)
        let fields = EnvelopeFields(in: span, header: 0..<end)
        let date = fields.date.flatMap { MessageDate(span, in: $0) }
        let day = record.sentDay
        #expect(day == date?.day)
    }

    @Test("are none where a byte is gone, too many, or of another version")
    func broken() throws {
        let bytes = Self.made(Array("Subject: x\n\ny\n".utf8))
        #expect(Self.isRecord(bytes))
        for count in bytes.indices { #expect(!Self.isRecord(Array(bytes[..<count]))) }
        #expect(!Self.isRecord(bytes + [0]))
        var other = bytes
        other[0] += 1
        #expect(!Self.isRecord(other))
    }

    /// Whatever the bytes are, looking into them ends.
    @Test("of hostile bytes are none, or give something")
    func hostile() throws {
        var state: UInt64 = 7
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let searcher = MessageSearcher()
        for name in ["nested-rfc822.eml", "encoded-words.eml", "mailing-list.eml"] {
            let good = Self.made(try Corpus.message(name))
            for _ in 0..<2_000 {
                var bytes = good
                for _ in 0...next(4) {
                    bytes[next(next(2) == 0 ? 120 : bytes.count)] = UInt8(next(256))
                }
                guard let record = DetailRecord(bytes.span) else { continue }
                var output = ByteBuffer()
                record.appendBody(utf8: true, to: &output)
                record.appendBody(utf8: false, to: &output)
                record.appendEnvelope(utf8: true, to: &output)
                _ = (record.sentDay, record.size)
                _ = record.fieldContains(
                    SearchText([0x61]),
                    name: Array("from".utf8),
                    searcher
                )
            }
        }
    }

    @Test("keep a long header's known fields alone")
    func longHeader() throws {
        func message(_ count: Int) -> [UInt8] {
            let start = "Subject: x\nX-Report: "
            let filler = String(repeating: "r", count: count - start.utf8.count - 2)
            return Array((start + filler + "\n\ny\n").utf8)
        }
        let whole = Self.made(message(Limits.keptHeaderBytesMax))
        let isWhole = DetailRecord(whole.span)?.headerIsWhole
        #expect(isWhole == true)
        let cut = Self.made(message(Limits.keptHeaderBytesMax + 1))
        guard let record = DetailRecord(cut.span) else {
            Issue.record("no record")
            return
        }
        let (isKept, header) = (record.headerIsWhole, record.header.array)
        #expect(!isKept)
        #expect(header == Array("Subject: x\r\n\r\n".utf8))
        let keeps = record.keeps(Array("x-report".utf8).span)
        #expect(!keeps)
    }
}
