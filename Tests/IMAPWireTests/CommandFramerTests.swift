import Bytes
import Testing

@testable import IMAPWire

/// What came out of a framer, with the bytes instead of their count.
enum Framed: Equatable {
    case command([UInt8])
    case literal(LiteralHeader, [UInt8])
    case refused(CommandFramer.Refusal, tag: [UInt8]?)
    case streamed([UInt8])
}

/// Feeds `input` in pieces of `step`, and does with each literal what `decide` says.
struct FramerRun {
    enum Decision { case buffer, stream, refuse }

    var framer: CommandFramer
    var step: Int
    var decide: (LiteralHeader, [UInt8]) -> Decision = { _, _ in .buffer }
    /// Where a continuation was due; such a client sends no literal before it.
    var continuations = 0

    mutating func run(_ input: [UInt8]) -> [Framed] {
        var framed: [Framed] = []
        var pending: [UInt8] = []
        var streaming = 0
        var streamed: [UInt8] = []
        var rest = input[...]
        while true {
            if streaming > 0 {
                let count = min(streaming, pending.count)
                streamed += pending[..<count]
                pending.removeFirst(count)
                streaming -= count
                if streaming == 0 {
                    framed.append(.streamed(streamed))
                    streamed = []
                }
            }
            let event = streaming > 0 ? .needsMore : framer.next(pending.span)
            switch event {
            case .needsMore:
                guard !rest.isEmpty else { return framed }
                pending += rest.prefix(step)
                rest = rest.dropFirst(step)
            case .command(let count):
                framed.append(.command(Array(pending[..<count])))
                pending.removeFirst(count)
            case .literal(let header, let count):
                let piece = Array(pending[..<count])
                switch decide(header, piece) {
                case .buffer:
                    if let refusal = framer.bufferLiteral() {
                        framed.append(.refused(refusal, tag: Grammar.tag(of: piece.span)))
                        pending.removeFirst(count)
                    } else if header.isSynchronizing {
                        continuations += 1
                    }
                case .stream:
                    framed.append(.literal(header, piece))
                    framer.streamLiteral()
                    pending.removeFirst(count)
                    streaming = header.count
                    if streaming == 0 { framed.append(.streamed([])) }
                case .refuse:
                    framer.refuseLiteral()
                    framed.append(.literal(header, piece))
                    pending.removeFirst(count)
                }
            case .refused(let refusal, let count):
                framed.append(.refused(refusal, tag: Grammar.tag(of: pending.span)))
                pending.removeFirst(count)
            case .discard(let count):
                #expect(count > 0 || !pending.isEmpty)
                pending.removeFirst(count)
            }
        }
    }
}

@Suite("CommandFramer")
struct CommandFramerTests {
    static let small = FramingLimits(
        lineBytesMax: 40,
        literalBytesMax: 20,
        literalCountMax: 2,
        commandBytesMax: 60
    )

    func frame(
        _ input: [UInt8],
        limits: FramingLimits = .afterLogin,
        step: Int = .max,
        decide: @escaping (LiteralHeader, [UInt8]) -> FramerRun.Decision = { _, _ in .buffer }
    ) -> [Framed] {
        var run = FramerRun(framer: CommandFramer(limits: limits), step: step, decide: decide)
        return run.run(input)
    }

    @Test(
        "finds commands",
        arguments: [
            ("a NOOP\r\n", ["a NOOP\r\n"]),
            ("a NOOP\nb NOOP\r\n", ["a NOOP\n", "b NOOP\r\n"]),
            ("\r\n\n", ["\r\n", "\n"]),
            ("a NOOP", []),
            ("a X {3}\r\nabc\r\n", ["a X {3}\r\nabc\r\n"]),
            ("a X {3+}\r\nabc def\r\nb\r\n", ["a X {3+}\r\nabc def\r\n", "b\r\n"]),
            ("a X ~{3+}\nabc\n", ["a X ~{3+}\nabc\n"]),
            ("a X {0}\r\n\r\nb\r\n", ["a X {0}\r\n\r\n", "b\r\n"]),
            ("a {5}\r\n{3}\r\n {2}\r\nxy\r\n", ["a {5}\r\n{3}\r\n {2}\r\nxy\r\n"]),
            // The octets of a literal are not looked at.
            ("a {8}\r\nx {99}\r\n\r\n", ["a {8}\r\nx {99}\r\n\r\n"]),
            // Not literals.
            ("a \"abc {5}\"\r\nb\r\n", ["a \"abc {5}\"\r\n", "b\r\n"]),
            ("a {}\r\n", ["a {}\r\n"]), ("a {+}\r\n", ["a {+}\r\n"]),
            ("a {1x}\r\n", ["a {1x}\r\n"]), ("a {5} \r\n", ["a {5} \r\n"]),
            ("a {-5}\r\n", ["a {-5}\r\n"]), ("}\r\n", ["}\r\n"]), ("1}\r\n", ["1}\r\n"]),
            ("+}\r\n", ["+}\r\n"]),
        ]
    )
    func finds(_ input: String, _ commands: [String]) {
        let expected = commands.map { Framed.command(Array($0.utf8)) }
        for step in [1, 2, 3, 7, .max] {
            #expect(frame(Array(input.utf8), step: step) == expected)
        }
    }

    @Test("an unterminated quote before {n} is taken for a literal")
    func unterminatedQuote() {
        let input = bytes("a SEARCH \"foo {5}\r\nhello\r\n")
        #expect(frame(input) == [.command(input)])
    }

    @Test("says once that a continuation is due")
    func continuation() {
        var run = FramerRun(framer: CommandFramer(limits: .afterLogin), step: 1)
        #expect(run.run(bytes("a {3}\r\nabc {2+}\r\nxy\r\n")).count == 1)
        #expect(run.continuations == 1)
    }

    @Test(
        "the literal of a message is streamed, and the rest framed as a piece",
        arguments: [1, 4, 99]
    )
    func streams(step: Int) {
        let input = bytes("a APPEND x {3}\r\nabc (\\Seen) {2+}\r\nde\r\nb NOOP\r\n")
        let framed = frame(input, step: step) { _, _ in .stream }
        #expect(
            framed == [
                .literal(
                    LiteralHeader(count: 3, isSynchronizing: true, isBinary: false),
                    bytes("a APPEND x {3}\r\n")
                ),
                .streamed(bytes("abc")),
                .literal(
                    LiteralHeader(count: 2, isSynchronizing: false, isBinary: false),
                    bytes(" (\\Seen) {2+}\r\n")
                ),
                .streamed(bytes("de")),
                .command(bytes("\r\n")),
                .command(bytes("b NOOP\r\n")),
            ]
        )
    }

    @Test("a refused synchronizing literal ends the command", arguments: [1, 99])
    func refusesSynchronizing(step: Int) {
        let framed = frame(bytes("a X {3}\r\nb NOOP\r\n"), step: step) { _, _ in .refuse }
        #expect(framed.last == .command(bytes("b NOOP\r\n")))
        #expect(framed.count == 2)
    }

    @Test("a refused literal that comes anyway is discarded", arguments: [1, 2, 5, 99])
    func refusesNonSynchronizing(step: Int) {
        let input = bytes("a X {5+}\r\n{9}\r\n y {4+}\r\n\r\n\r\n z\r\nb NOOP\r\n")
        let framed = frame(input, step: step) { _, _ in .refuse }
        #expect(framed.count == 2)
        #expect(framed.last == .command(bytes("b NOOP\r\n")))
    }

    @Test("a line at the limit and one byte above", arguments: [1, 3, 99])
    func lineLimit(step: Int) {
        let fits = bytes("a ") + Array(repeating: 0x78, count: 36) + bytes("\r\n")
        let after = bytes("b NOOP\r\n")
        #expect(fits.count == Self.small.lineBytesMax)
        #expect(
            frame(fits + after, limits: Self.small, step: step) == [
                .command(fits), .command(after),
            ]
        )
        let above = bytes("a ") + Array(repeating: 0x78, count: 37) + bytes("\r\n")
        #expect(
            frame(above + after, limits: Self.small, step: step) == [
                .refused(.lineTooLong, tag: bytes("a")), .command(after),
            ]
        )
    }

    @Test("a line too long that ends in a literal", arguments: [1, 3, 99])
    func longLineWithLiteral(step: Int) {
        let long = bytes("a ") + Array(repeating: 0x78, count: 100)
        let after = bytes("b NOOP\r\n")
        for end in [" {4+}\r\n\r\n\r\n rest\r\n", " {4}\r\n", "{4+}\n\n\n\n\n\n", "\r\n"] {
            #expect(
                frame(long + bytes(end) + after, limits: Self.small, step: step) == [
                    .refused(.lineTooLong, tag: bytes("a")), .command(after),
                ]
            )
        }
    }

    @Test("octets of a literal are no part of a header behind them")
    func headerAcrossLiteral() {
        let input = bytes("a xxxx {3+}\r\nxx{" + String(repeating: "1", count: 27) + "+}\r\n")
        let after = bytes("b NOOP\r\n")
        #expect(
            frame(input + after, limits: Self.small) == [
                .refused(.lineTooLong, tag: bytes("a")), .command(after),
            ]
        )
    }

    @Test("the line limit counts what is outside the literals")
    func lineLimitAcrossLiterals() {
        let first = bytes("a X {15+}\r\n") + Array(repeating: 0x79, count: 15)
        let fits = first + Array(repeating: 0x78, count: 27) + bytes("\r\n")
        #expect(frame(fits, limits: Self.small) == [.command(fits)])
        let above = first + Array(repeating: 0x78, count: 28) + bytes("\r\n")
        #expect(
            frame(above, limits: Self.small) == [.refused(.lineTooLong, tag: bytes("a"))]
        )
    }

    @Test("a literal at the limit and one byte above", arguments: [1, 99])
    func literalLimit(step: Int) {
        func input(_ count: Int) -> [UInt8] {
            bytes("a {\(count)+}\r\n") + Array(repeating: 0x0A, count: count) + bytes("\r\n")
        }
        #expect(frame(input(20), limits: Self.small, step: step) == [.command(input(20))])
        let after = bytes("b NOOP\r\n")
        #expect(
            frame(input(21) + after, limits: Self.small, step: step) == [
                .refused(.literalTooBig, tag: bytes("a")), .command(after),
            ]
        )
    }

    @Test("literals in a command at the limit and one above")
    func literalCountLimit() {
        let fits = bytes("a {1+}\r\nx{1+}\r\nx\r\n")
        #expect(frame(fits, limits: Self.small) == [.command(fits)])
        #expect(
            frame(bytes("a {1+}\r\nx{1+}\r\nx{1+}\r\nx\r\n"), limits: Self.small) == [
                .refused(.tooManyLiterals, tag: bytes("a"))
            ]
        )
        // Streamed ones do not count: MULTIAPPEND has as many messages as it likes.
        let many = bytes("a {1+}\r\nx") + bytes(String(repeating: " {1+}\r\nx", count: 5))
        let framed = frame(many + bytes("\r\n"), limits: Self.small) { _, _ in .stream }
        #expect(framed.last == .command(bytes("\r\n")))
    }

    @Test("a command at the limit and one byte above", arguments: [1, 99])
    func commandLimit(step: Int) {
        func input(_ count: Int) -> [UInt8] {
            let literal = Array(repeating: 0x0A as UInt8, count: 20)
            return bytes("a {20+}\r\n") + literal + bytes("{20+}\r\n") + literal
                + Array(repeating: 0x78, count: count - 58) + bytes("\r\n")
        }
        #expect(input(60).count == Self.small.commandBytesMax)
        #expect(frame(input(60), limits: Self.small, step: step) == [.command(input(60))])
        let after = bytes("b NOOP\r\n")
        #expect(
            frame(input(61) + after, limits: Self.small, step: step) == [
                .refused(.commandTooLong, tag: bytes("a")), .command(after),
            ]
        )
        // A literal that cannot fit is refused when it is announced.
        let literal = bytes("a {20+}\r\n") + Array(repeating: 0x0A, count: 20)
        let spaces = Array(repeating: 0x20 as UInt8, count: 20)
        let over = literal + spaces + bytes("{20+}\r\n") + spaces + bytes("\r\n")
        #expect(
            frame(over + after, limits: Self.small, step: step) == [
                .refused(.commandTooLong, tag: bytes("a")), .command(after),
            ]
        )
    }

    @Test("a count that no integer holds is refused, and its octets never end")
    func hugeLiteral() {
        let input = bytes("a {99999999999999999999+}\r\nb NOOP\r\nc NOOP\r\n")
        #expect(
            frame(input, limits: Self.small) == [.refused(.literalTooBig, tag: bytes("a"))]
        )
    }

    @Test("no refusal of a limit shifts where the next command begins")
    func neverLosesItsPlace() {
        var random = SeededRandom(seed: 7)
        let after = bytes("zz NOOP\r\n")
        for _ in 0..<3_000 {
            var input = bytes("a X")
            for _ in 0..<Int.random(in: 0...5, using: &random) {
                input += Array(repeating: 0x78, count: Int.random(in: 0...30, using: &random))
                let count = Int.random(in: 0...30, using: &random)
                input += bytes(" {\(count)+}\r\n")
                input += (0..<count).map { _ in
                    [0x0A, 0x0D, 0x7B, 0x31, 0x7D, 0x2B].randomElement(using: &random)!
                }
            }
            input += bytes("\r\n")
            let whole = frame(input + after, limits: Self.small)
            #expect(whole.last == .command(after))
            #expect(whole.count == 2)
            #expect(frame(input + after, limits: Self.small, step: 1) == whole)
        }
    }

    @Test("real limits take a UID SEARCH line of 40 KB")
    func longSearch() throws {
        let line = "a UID SEARCH UID " + (1...7_000).map { String($0 * 2) }.joined(separator: ",")
        let input = bytes(line + "\r\n")
        #expect(input.count > 34_000)
        #expect(frame(input, step: 1_000) == [.command(input)])
        #expect(frame(input, limits: .beforeLogin, step: 1_000).count == 1)
        guard case .search(let command) = try parse(bytes: input).body,
            case .uid(let set) = command.key
        else {
            Issue.record("not a search by UID")
            return
        }
        #expect(set.ranges.count == 7_000)
    }
}

@Suite("LineFramer")
struct LineFramerTests {
    func expectEvent(
        _ framer: inout LineFramer,
        _ input: [UInt8],
        _ expected: LineFramer.Event
    ) {
        let event = framer.next(input.span)
        #expect(event == expected)
    }

    @Test(
        "finds lines",
        arguments: [
            ("DONE\r\n", 4, 6), ("DONE\n", 4, 5), ("\r\n", 0, 2), ("a\rb\r\n", 3, 5),
        ]
    )
    func finds(_ text: String, _ textCount: Int, _ count: Int) {
        let input = bytes(text)
        var whole = LineFramer(lineBytesMax: 100)
        expectEvent(&whole, input, .line(textCount: textCount, count: count))
        var byByte = LineFramer(lineBytesMax: 100)
        for end in 0..<input.count {
            let part = Array(input[..<end])
            expectEvent(&byByte, part, .needsMore)
        }
        expectEvent(&byByte, input, .line(textCount: textCount, count: count))
    }

    @Test("at the limit and one byte above")
    func limit() {
        let fits = bytes("xxx\n")
        var framer = LineFramer(lineBytesMax: 4)
        expectEvent(&framer, fits, .line(textCount: 3, count: 4))
        let above = bytes("xxxx\n")
        var other = LineFramer(lineBytesMax: 4)
        expectEvent(&other, above, .tooLong)
    }
}
