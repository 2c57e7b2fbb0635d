import Testing

@testable import IMAPLogin

@Suite("cutting input into commands")
struct CommandReaderTests {
    private func steps(_ pieces: [String], limit: Int = 20) -> [CommandReader.Step] {
        var reader = CommandReader()
        var steps: [CommandReader.Step] = []
        for piece in pieces {
            reader.append(Array(piece.utf8))
            while steps.count < limit {
                let step = reader.next()
                if step == .needsInput { break }
                steps.append(step)
                if step == .tooLong || step == .wantsContinuation { break }
            }
        }
        return steps
    }

    private func command(_ text: String) -> CommandReader.Step { .command(Array(text.utf8)) }

    @Test("lines end in CRLF or LF, several may come at once")
    func lines() {
        #expect(
            steps(["a NOOP\r\nb NOOP\n\r\nc"])
                == [command("a NOOP"), command("b NOOP"), command("")]
        )
    }

    @Test("a line may come byte by byte")
    func bytewise() {
        let text = "a LOGIN {3+}\r\nann {2+}\r\npw\r\nb NOOP\r\n"
        #expect(
            steps(text.map(String.init))
                == [command("a LOGIN {3+}\r\nann {2+}\r\npw"), command("b NOOP")]
        )
    }

    @Test("a client that waits is told to go on, one that does not is not")
    func continuation() {
        #expect(
            steps(["a LOGIN {3}\r\n", "ann {2}\r\n", "pw\r\n"])
                == [
                    .wantsContinuation, .wantsContinuation, command("a LOGIN {3}\r\nann {2}\r\npw"),
                ]
        )
        #expect(
            steps(["a LOGIN {3}\r\nann {2+}\r\npw\r\n"])
                == [command("a LOGIN {3}\r\nann {2+}\r\npw")]
        )
    }

    @Test("a literal's bytes are no lines, and may be any")
    func literalBytes() {
        #expect(
            steps(["a LOGIN {4+}\r\n\r\n\r\n x\r\n"]) == [command("a LOGIN {4+}\r\n\r\n\r\n x")]
        )
        #expect(steps(["a ID {0+}\r\n\r\n"]) == [command("a ID {0+}\r\n")])
    }

    @Test(
        "what only looks like a literal",
        arguments: ["a {}", "a {+}", "a {x}", "a 3}", "a {3}x", "}", "{", "a {-1}", "a {3 }"]
    )
    func noLiteral(_ line: String) {
        #expect(steps([line + "\r\n"]) == [command(line)])
    }

    @Test("lines: the limit and one more")
    func lineLimit() {
        let line = String(repeating: "x", count: LoginLimits.lineBytesMax)
        #expect(steps([line + "\n"]) == [command(line)])
        #expect(steps([line + "x\n"]) == [.tooLong])
        #expect(steps([line + "x"]) == [.tooLong])
    }

    @Test("literals: the limit and one more, with and without waiting")
    func literalLimit() {
        let limit = LoginLimits.literalBytesMax
        let body = String(repeating: "x", count: limit)
        #expect(
            steps(["a {\(limit)+}\r\n\(body)\r\n"]) == [command("a {\(limit)+}\r\n\(body)")]
        )
        #expect(steps(["a {\(limit + 1)+}\r\n"]) == [.tooLong])
        #expect(
            steps(["a {\(limit + 1)}\r\nb NOOP\r\n"])
                == [
                    .literalRefused(command: Array("a {\(limit + 1)}".utf8)), command("b NOOP"),
                ]
        )
    }

    @Test("numbers that overflow are too large, not a trap")
    func overflow() {
        for digits in ["18446744073709551616", String(repeating: "9", count: 4_000)] {
            #expect(steps(["a {\(digits)+}\r\n"]) == [.tooLong])
        }
    }

    @Test("everything held for a command: the limit and one more")
    func heldLimit() {
        let literal = LoginLimits.literalBytesMax
        let body = String(repeating: "x", count: literal)
        var text = "a"
        for _ in 0..<3 { text += " {\(literal)+}\r\n\(body)" }
        let rest = LoginLimits.heldBytesMax - text.utf8.count - 2
        let filler = String(repeating: "y", count: rest)
        #expect(steps([text + filler + "\r\n"]) == [command(text + filler)])
        #expect(steps([text + filler + "yyy"]) == [.tooLong])
        let fourth = text + " {\(literal)+}\r\n"
        #expect(steps([fourth]) == [.tooLong])
    }
}
