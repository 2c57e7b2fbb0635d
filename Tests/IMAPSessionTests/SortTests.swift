import Bytes
import IMAPWire
import Testing

@testable import IMAPSession
@testable import InternetMessage
@testable import MailStore

/// Orders and threads against slow ones that follow the words of the RFC.
@Suite("sort and thread")
struct SortTests {
    private static func cells(_ texts: [[UInt8]]) -> ColumnCells {
        var cells = ColumnCells()
        for text in texts {
            cells.put(text.span)
            cells.close()
        }
        return cells
    }

    @Test("texts come in the order of their bytes", arguments: 1...30)
    func texts(_ seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let count = Int.random(in: 0..<600, using: &random)
        let alphabet = Int.random(in: 1...4, using: &random)
        let stem = Int.random(in: 0...24, using: &random)
        let texts = (0..<count).map { _ -> [UInt8] in
            let length = Int.random(in: 0...20, using: &random)
            let rest = (0..<length).map { _ in UInt8.random(in: 0..<UInt8(alphabet), using: &random)
            }
            return [UInt8](repeating: 0, count: Bool.random(using: &random) ? stem : 0) + rest
        }
        for isReverse in [false, true] {
            let start = KeySort.places(count).shuffled(using: &random)
            var order = KeySort(start)
            order.sort(isReverse: isReverse, Self.cells(texts))
            let expected = start.enumerated().sorted { left, right in
                let (a, b) = (texts[Int(left.element)], texts[Int(right.element)])
                if a == b { return left.offset < right.offset }
                return a.lexicographicallyPrecedes(b) != isReverse
            }
            #expect(order.items == expected.map(\.element))
        }
    }

    @Test("numbers come in their order", arguments: 1...10)
    func numbers(_ seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let widest: Int64 = [3, 1_000, .max].randomElement(using: &random) ?? 3
        let numbers = (0..<Int.random(in: 0..<2_000, using: &random)).map { _ in
            Int64.random(in: -widest...widest, using: &random)
        }
        for isReverse in [false, true] {
            var order = KeySort(KeySort.places(numbers.count))
            order.sort(isReverse: isReverse) { numbers[Int($0)] }
            let expected = numbers.indices.sorted {
                if numbers[$0] == numbers[$1] { return $0 < $1 }
                return (numbers[$0] < numbers[$1]) != isReverse
            }
            #expect(order.items.map { Int($0) } == expected)
        }
    }

    // MARK: THREAD

    /// Replies, forwards, lost and repeated Message-IDs, references in any order and to anything.
    private static func message(_ index: Int, _ random: inout SeededGenerator) -> String {
        var text = ""
        let span = 40
        func id(_ random: inout SeededGenerator) -> String {
            "<\(Int.random(in: 0..<span, using: &random))@x>"
        }
        if Int.random(in: 0..<10, using: &random) > 0 {
            let own = Int.random(in: 0..<8, using: &random) > 0
            text += "Message-ID: \(own ? "<\(index)@x>" : id(&random))\n"
        }
        let count = Int.random(in: 0..<5, using: &random)
        if count > 0 {
            let ids = (0..<count).map { _ in id(&random) }
            text += "References: \(ids.joined(separator: " "))\n"
        } else if Bool.random(using: &random) {
            text += "In-Reply-To: \(id(&random))\n"
        }
        let subjects = ["a", "Re: a", "b", "Fwd: b", "", "Re: ", "c", "[l] c", "Re: [l] c"]
        text += "Subject: \(subjects.randomElement(using: &random) ?? "a")\n"
        if Int.random(in: 0..<6, using: &random) > 0 {
            let day = Int.random(in: 1...20, using: &random)
            text += "Date: \(day) Mar 2026 10:00:00 +0000\n"
        }
        return text + "\n"
    }

    private static func model(_ message: [UInt8], _ number: UInt32, _ date: Int64) -> ModelMessage {
        let span = message.span
        let fields = EnvelopeFields(in: span, header: 0..<message.count)
        let base = BaseSubject(span, subject: fields.subject ?? 0..<0, decoder: HeaderDecoder())
        var references = fields.references.map { MessageIDs.parse(span, in: $0) } ?? []
        if references.isEmpty, let field = fields.inReplyTo {
            references = Array(MessageIDs.parse(span, in: field).prefix(1))
        }
        let sent = fields.date.flatMap { MessageDate(span, in: $0) }
        return ModelMessage(
            number: number,
            date: sent.map { Int64($0.seconds) } ?? date,
            received: date,
            subject: CaseFold.shared.folded(base.text),
            isReply: base.isReply,
            messageID: fields.messageID.flatMap { MessageIDs.parse(span, in: $0).first },
            references: references
        )
    }

    @Test("threads are those of the model", arguments: 1...150)
    func threads(_ seed: UInt64) {
        var random = SeededGenerator(state: seed)
        let count = Int.random(in: 0...60, using: &random)
        let messages = (0..<count).map { Array(Self.message($0, &random).utf8) }
        let dates = (0..<count).map { _ in Int64.random(in: 1...50, using: &random) }
        let numbers = (0..<UInt32(count)).map { 2 * $0 + 1 }
        let models = (0..<count).map { Self.model(messages[$0], numbers[$0], dates[$0]) }
        for algorithm in [ThreadCommand.Algorithm.orderedSubject, .references, .refs] {
            let columns = ThreadMessages.columns(for: algorithm)
            let maker = ColumnMaker(columns, seed: seed)
            for message in messages { maker.add(message.span) }
            var found = ColumnRows.Found(columns)
            found.cells = maker.cells
            found.isThere = Array(repeating: true, count: count)
            found.dates = dates
            var rows = ColumnRows(columns, of: numbers, in: nil)
            rows.complete(with: found)
            let sorting = SortMessages(
                indexes: Array(0..<count),
                rows: rows,
                dates: dates,
                sizes: []
            )
            var answer = ByteBuffer()
            ThreadForest(algorithm, ThreadMessages(sorting, numbers, seed: 3)).write(to: &answer)
            var expected = ByteBuffer()
            switch algorithm {
            case .orderedSubject: ModelForest(orderedSubject: models).write(to: &expected)
            case .references: ModelForest(references: models).write(to: &expected)
            default: ModelForest(refs: models).write(to: &expected)
            }
            let (got, wanted) = (
                String(decoding: answer.bytes, as: UTF8.self),
                String(decoding: expected.bytes, as: UTF8.self)
            )
            #expect(got == wanted, "\(algorithm)")
        }
    }

    /// A chain as long as the mailbox, told from its end: every message refers to the one before.
    @Test("a chain of 20,000 replies takes no square of it")
    func longChain() {
        let maker = ColumnMaker([.sent, .subjectKey, .references], seed: 1)
        let count = 20_000
        for index in 0..<count {
            let number = index % 2 == 0 ? index : count - index
            let text = "Message-ID: <\(number)@x>\nReferences: <\(number - 1)@x>\nSubject: s\n\n"
            maker.add(Array(text.utf8).span)
        }
        var found = ColumnRows.Found([.sent, .subjectKey, .references])
        found.cells = maker.cells
        found.isThere = Array(repeating: true, count: count)
        found.dates = Array(repeating: 5, count: count)
        let numbers = (1...UInt32(count)).map { $0 }
        var rows = ColumnRows([.sent, .subjectKey, .references], of: numbers, in: nil)
        rows.complete(with: found)
        let sorting = SortMessages(
            indexes: Array(0..<count),
            rows: rows,
            dates: found.dates,
            sizes: []
        )
        var answer = ByteBuffer()
        ThreadForest(.references, ThreadMessages(sorting, numbers, seed: 3)).write(to: &answer)
        #expect(answer.count > count)
    }
}
