import Bytes
import Glibc
import InternetMessage
import Testing

/// The structure as a client gets it, and the checker's verdict.
private func check(_ message: [UInt8]) {
    let bytes = message.span
    let structure = MessageStructure.parse(bytes)
    for utf8 in [false, true] {
        for extended in [false, true] {
            var buffer = ByteBuffer()
            BodyStructure.write(structure, of: bytes, extended: extended, utf8: utf8, to: &buffer)
            if let fault = WireChecker.fault(in: buffer.bytes) {
                Issue.record("BODYSTRUCTURE: \(fault)\n\(message.text)\n\(buffer.bytes.text)")
            }
        }
        var buffer = ByteBuffer()
        let end = HeaderBlock.end(in: bytes)
        Envelope.write(bytes, header: 0..<end, utf8: utf8, to: &buffer)
        if let fault = WireChecker.fault(in: buffer.bytes) {
            Issue.record("ENVELOPE: \(fault)\n\(message.text)\n\(buffer.bytes.text)")
        }
    }
    #expect(structure.octets == MessageText.crlfSize(of: bytes))
    // Ranges nest, and the sizes are those of the bytes.
    for part in structure.parts {
        let header = part.header.bounds
        let body = part.body.bounds
        #expect(header.upperBound <= body.lowerBound || body.isEmpty)
        #expect(body.upperBound <= bytes.count)
        #expect(part.bodyOctets == MessageText.crlfSize(of: bytes, in: body))
        #expect(part.bodyLines == bytes.lineFeeds(in: body).all)
    }
}

@Suite("hostile messages")
struct HostileTests {
    @Test("each message of the corpus", arguments: Corpus.names)
    func corpus(_ name: String) throws {
        check(try Corpus.message(name))
    }

    @Test("random changes to the corpus never trap and stay legal", arguments: Corpus.names)
    func mutations(_ name: String) throws {
        let original = try Corpus.message(name)
        var generator = SeededGenerator(seed: UInt64(name.utf8.count) &* 77)
        let pieces: [[UInt8]] = [
            "\n", "\r", "\r\n\r\n", "--", "\"", "\\", "(", ")", "<", ">", ":", ";", ",", "@", "\0",
            "\nContent-Type: multipart/mixed; boundary=a\n\n--a\n", "\n--a--\n", "=", "*0*=", "{3}",
            "\nContent-Type: message/rfc822\n\n", "\u{e9}", "\u{ff}", " ", "\nTo: a:b;c\n", "%",
            "'",
        ].map { Array($0.utf8) }
        for _ in 0..<150 {
            var message = original
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let at = Int.random(in: 0...message.count, using: &generator)
                switch Int.random(in: 0..<4, using: &generator) {
                case 0:
                    message.insert(
                        contentsOf: pieces.randomElement(using: &generator) ?? [],
                        at: at
                    )
                case 1 where at < message.count:
                    message[at] = UInt8.random(in: 0...255, using: &generator)
                case 2:
                    let end = min(message.count, at + Int.random(in: 0...40, using: &generator))
                    message.removeSubrange(at..<end)
                default:
                    let end = min(message.count, at + Int.random(in: 0...80, using: &generator))
                    let copy = Array(message[at..<end])
                    message.insert(
                        contentsOf: copy,
                        at: Int.random(in: 0...message.count, using: &generator)
                    )
                }
            }
            check(message)
        }
    }

    @Test("cut off anywhere", arguments: ["nested-rfc822.eml", "rfc2231.eml", "addresses.eml"])
    func truncated(_ name: String) throws {
        let message = try Corpus.message(name)
        for count in 0..<message.count { check(Array(message[..<count])) }
    }

    @Test(
        "a depth at the limit is looked into, one more is not",
        arguments: [
            (Limits.partDepthMax, false), (Limits.partDepthMax + 1, true), (10_000, true),
        ]
    )
    func depth(_ depth: Int, isCut: Bool) {
        var text = ""
        for level in 0..<depth {
            text += "Content-Type: multipart/mixed; boundary=l\(level).\n\n--l\(level).\n"
        }
        text += "\ninnermost\n"
        let message = Array(text.utf8)
        let structure = MessageStructure.parse(message.span)
        #expect(structure.parts.contains { $0.kind == .opaque } == isCut)
        #expect(structure.parts.count == min(depth, Limits.partDepthMax) + 1)
        check(message)
    }

    @Test("messages within messages, 10,000 deep")
    func messageDepth() {
        let message = Array(
            (String(repeating: "Content-Type: message/rfc822\n\n", count: 10_000) + "\nx\n").utf8
        )
        #expect(MessageStructure.parse(message.span).parts.count == Limits.partDepthMax + 1)
        check(message)
    }

    @Test(
        "the last part that fits holds the rest",
        arguments: [Limits.partCountMax - 1, Limits.partCountMax, 50_000]
    )
    func partCount(_ children: Int) {
        var text = "Content-Type: multipart/mixed; boundary=b\n\n"
        for _ in 0..<children { text += "--b\n\nx\n" }
        text += "--b--\nepilogue"
        let message = Array(text.utf8)
        let structure = MessageStructure.parse(message.span)
        #expect(structure.parts.count == min(children + 1, Limits.partCountMax))
        let last = structure.parts[structure.parts.count - 1]
        // The limit's own part is opaque, whether more would follow or not.
        #expect((last.kind == .opaque) == (children + 1 >= Limits.partCountMax))
        #expect((last.body.bounds.upperBound == message.count) == (last.kind == .opaque))
        check(message)
    }

    @Test("a boundary at the limit and one byte more", arguments: [0, 1])
    func boundaryBytes(_ extra: Int) {
        let boundary = String(repeating: "b", count: Limits.boundaryBytesMax + extra)
        let cut = String(repeating: "b", count: Limits.boundaryBytesMax)
        let head = "Content-Type: multipart/mixed; boundary=\"\(boundary)\"\n\n"
        let whole = Array("\(head)--\(boundary)\n\nx\n".utf8)
        #expect(MessageStructure.parse(whole.span).parts.count == 2)
        // Cut, it matches as a prefix does.
        let prefix = Array("\(head)--\(cut)\n\nx\n--\(cut)\n\ny\n".utf8)
        #expect(MessageStructure.parse(prefix.span).parts.count == 3)
        let short = Array("\(head)--\(cut.dropLast())\n\nx\n--\(cut.dropLast())\n\ny\n".utf8)
        #expect(MessageStructure.parse(short.span).parts[1].header.count == 0)
    }

    /// CPU time of this thread, so that what runs beside it does not count.
    private func cpuTime(of work: () -> Void) -> Double {
        func now() -> Double {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        }
        let start = now()
        work()
        return now() - start
    }

    /// Whether four times the input takes about four times the time, not sixteen.
    private func isLinear(_ make: (Int) -> [UInt8], count: Int) -> Bool {
        func time(_ count: Int) -> Double {
            let message = make(count)
            return (0..<3).map { _ in cpuTime { check(message) } }.min() ?? 0
        }
        let small = time(count)
        let large = time(count * 4)
        return large < small * 10 || large < 0.1
    }

    @Test("100,000 sections of a parameter")
    func sections() {
        func make(_ count: Int) -> [UInt8] {
            var text = "Content-Type: text/plain"
            for section in (0..<count).reversed() { text += ";\n n*\(section)*=%41" }
            return Array((text + "\n\nx").utf8)
        }
        #expect(isLinear(make, count: 25_000))
    }

    @Test("500,000 addresses")
    func addresses() {
        let message = Array(
            ("To: " + String(repeating: "a@b,\n ", count: 500_000) + "\n\n").utf8
        )
        var buffer = ByteBuffer()
        let end = HeaderBlock.end(in: message.span)
        Envelope.write(message.span, header: 0..<end, utf8: false, to: &buffer)
        #expect(WireChecker.fault(in: buffer.bytes) == nil)
    }

    @Test(
        "one construct over and over is linear",
        arguments: [
            "(", ")", "\"", "\"\\", "<", "<@", "<@,", "@", ":", ";", "a:b;", ",", "a ", "a.", "=?",
            "=?a?q?", "<a@b ", "(a)", "[", "\\", "a@b ", "a@", "<a:", "\n ", "\r", " ",
        ]
    )
    func repeated(_ text: String) {
        func make(_ count: Int) -> [UInt8] {
            let run = String(repeating: text, count: count)
            return Array(
                "From: \(run)\nSubject: \(run)\nContent-Type: text/plain; \(run)\n"
                    .appending("Content-Disposition: \(run)\nContent-Language: \(run)\n\n\(run)")
                    .utf8
            )
        }
        #expect(isLinear(make, count: 4_000))
    }

    @Test("a line of dashes after each boundary prefix is linear")
    func boundaryPrefixes() {
        func make(_ count: Int) -> [UInt8] {
            let head = "Content-Type: multipart/mixed; boundary=aaaaaaaaaa\n\n"
            return Array((head + String(repeating: "--aaaaaaaaa\n", count: count)).utf8)
        }
        #expect(isLinear(make, count: 20_000))
    }

    @Test("a header of 100 MB, and one of a million fields")
    func hugeHeader() {
        let start = Array("Subject: x\nX-Long:".utf8)
        let end = Array("\n\nbody\n".utf8)
        var message = [UInt8](repeating: UInt8(ascii: "x"), count: 100_000_000)
        message.replaceSubrange(0..<start.count, with: start)
        message.replaceSubrange((message.count - end.count)..., with: end)
        #expect(bodyStructure(message).contains(" 6 1 "))
        #expect(envelope(message).hasPrefix("(NIL \"x\""))

        let fields = Array(String(repeating: "X-Field: y\n", count: 1_000_000).utf8)
        #expect(HeaderBlock.end(in: fields.span) == fields.count)
        let set = HeaderFieldSet([Array("x-other".utf8)])
        var buffer = ByteBuffer()
        set.append(from: fields.span, header: 0..<fields.count, excluding: false, to: &buffer)
        #expect(buffer.bytes.isEmpty)
    }
}
