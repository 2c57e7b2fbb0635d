import Bytes
import InternetMessage
import Testing

/// The CRLF form, byte by byte: what the fast ways must equal.
private func plainCRLF(_ bytes: [UInt8]) -> [UInt8] {
    var output: [UInt8] = []
    for (index, byte) in bytes.enumerated() {
        if byte == .lf, index == 0 || bytes[index - 1] != .cr { output.append(.cr) }
        output.append(byte == 0 ? 0x80 : byte)
    }
    return output
}

@Suite("CRLF form")
struct MessageTextTests {
    private func randomText(_ generator: inout SeededGenerator) -> [UInt8] {
        let count = Int.random(in: 0...300, using: &generator)
        // Some nearly all line ends, some nearly none.
        let rarity = [3, 8, 100].randomElement(using: &generator) ?? 3
        return (0..<count).map { _ in
            switch Int.random(in: 0..<rarity, using: &generator) {
            case 0: .lf
            case 1: .cr
            case 2 where rarity > 3: 0
            default: UInt8.random(in: 1...255, using: &generator)
            }
        }
    }

    @Test("size and bytes are those of a byte-by-byte conversion")
    func equalsPlain() {
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<2_000 {
            let text = randomText(&generator)
            let expected = plainCRLF(text)
            #expect(MessageText.crlfSize(of: text.span) == expected.count)
            #expect(
                MessageText.isWireReady(text.span, in: 0..<text.count) == (expected == text)
            )
            var buffer = ByteBuffer()
            let written = MessageText.appendCRLF(
                of: text.span,
                in: 0..<text.count,
                to: &buffer
            )
            #expect(buffer.bytes == expected)
            #expect(written == expected.count)
        }
    }

    @Test("any part of it is that part of the whole, also piece by piece")
    func parts() {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<2_000 {
            let text = randomText(&generator)
            let expected = plainCRLF(text)
            let from = Int.random(in: 0...(expected.count + 3), using: &generator)
            let count = Int.random(in: 0...100, using: &generator)
            var buffer = ByteBuffer()
            MessageText.appendCRLF(
                of: text.span,
                in: 0..<text.count,
                to: &buffer,
                from: from,
                count: count
            )
            #expect(buffer.bytes == Array(expected.dropFirst(from).prefix(count)))

            var pieces = ByteBuffer()
            var position = CRLFPosition(at: 0)
            while true {
                let piece = Int.random(in: 1...9, using: &generator)
                let written = position.append(piece, of: text.span, end: text.count, to: &pieces)
                #expect(position.octet == pieces.count)
                if written < piece { break }
            }
            #expect(pieces.bytes == expected)
        }
    }

    @Test("skipping in steps is skipping at once, over many blocks")
    func skipping() {
        var generator = SeededGenerator(seed: 3)
        var text: [UInt8] = []
        while text.count < 300_000 { text += randomText(&generator) }
        let expected = plainCRLF(text)
        for _ in 0..<50 {
            var position = CRLFPosition(at: 0)
            var target = 0
            for _ in 0..<5 {
                target += Int.random(in: 0...(expected.count / 4), using: &generator)
                position.skip(to: target, of: text.span, end: text.count)
                #expect(position.octet == min(target, expected.count))
            }
            var buffer = ByteBuffer()
            _ = position.append(70, of: text.span, end: text.count, to: &buffer)
            #expect(buffer.bytes == Array(expected.dropFirst(target).prefix(70)))
        }
    }

    @Test("a range begins anew; NUL stays for BINARY")
    func ranges() {
        let text = Array("a\nb\0\r\nc".utf8)
        var buffer = ByteBuffer()
        MessageText.appendCRLF(of: text.span, in: 1..<6, to: &buffer, keepsNUL: true)
        #expect(buffer.bytes == Array("\r\nb\0\r\n".utf8))
        buffer.removeAll()
        MessageText.appendCRLF(of: text.span, in: 2..<4, to: &buffer)
        #expect(buffer.bytes == [UInt8(ascii: "b"), 0x80])
    }
}
