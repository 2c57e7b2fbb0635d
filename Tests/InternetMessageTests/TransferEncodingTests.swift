import Bytes
import InternetMessage
import Testing

private func decode(_ text: String, _ encoding: String, crlf: Bool = false) -> String? {
    let name = Array(encoding.utf8)
    guard let encoding = TransferEncoding(name.span) else { return nil }
    let bytes = Array(text.utf8)
    var buffer = ByteBuffer()
    encoding.decode(bytes.span, in: 0..<bytes.count, crlf: crlf, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
}

@Suite("transfer encodings")
struct TransferEncodingTests {
    @Test(
        "base64, with what mail does to it",
        arguments: [
            ("aGVsbG8=", "hello"), ("aGVs\r\nbG8=\r\n", "hello"), ("aG Vs\n!bG8=", "hello"),
            ("aGVsbG8", "hello"), ("aGVsbG", "hell"), ("aGVsb", "hel"),
            ("YQ==YmM=ZGVm", "abcdef"), ("", ""), ("====", ""), ("A", ""),
        ]
    )
    func base64(_ text: String, _ expected: String) {
        #expect(decode(text, "BASE64") == expected)
        #expect(decode(text, "base64", crlf: true) == expected)
    }

    @Test(
        "quoted-printable",
        arguments: [
            ("Gr=C3=BC=c3=9fe", "Gr\u{fc}\u{df}e"), ("a=\nb", "ab"), ("a=\r\nb", "ab"),
            ("a = \nb", "a b"), ("a  \nb", "a\nb"), ("a\t \r\nb", "a\r\nb"), ("a=", "a"),
            ("a=X", "a=X"), ("a=4", "a=4"), ("==41", "=A"), ("a=3D=3D", "a=="), ("", ""),
            ("\n\n", "\n\n"), ("=20\n", " \n"),
        ]
    )
    func quotedPrintable(_ text: String, _ expected: String) {
        #expect(decode(text, "quoted-printable") == expected)
    }

    @Test("lines of text end in CRLF for BINARY; decoded line ends are content")
    func crlf() {
        #expect(decode("a\nb\r\n=0A", "quoted-printable", crlf: true) == "a\r\nb\r\n\n")
        #expect(decode("a\n\0", "8bit", crlf: true) == "a\r\n\0")
        #expect(decode("a\n", "7BIT") == "a\n")
        #expect(decode("YQpi", "base64", crlf: true) == "a\nb")
    }

    @Test("others are not known", arguments: ["x-uuencode", "", "base", "base644"])
    func unknown(_ name: String) {
        #expect(decode("x", name) == nil)
    }

    @Test("piece by piece is the same, wherever the pieces end")
    func pieces() {
        var generator = SeededGenerator(seed: 5)
        let letters = Array("aGVsbG8=C3=\n\r\n \tA0".utf8)
        for encoding in [TransferEncoding.base64, .quotedPrintable, .identity] {
            for _ in 0..<2_000 {
                let text = (0..<Int.random(in: 0...60, using: &generator)).map { _ in
                    letters.randomElement(using: &generator) ?? 0
                }
                let bytes = text.span
                var whole = ByteBuffer()
                encoding.decode(bytes, in: 0..<bytes.count, crlf: false, to: &whole)
                var pieces = ByteBuffer()
                var decoder = TransferDecoder(encoding, crlf: false)
                var start = 0
                while start < bytes.count {
                    let end = TransferDecoder.pieceEnd(of: bytes, in: start..<bytes.count, max: 90)
                    #expect(end > start)
                    decoder.decode(bytes, in: start..<end, to: &pieces)
                    start = end
                }
                decoder.finish(to: &pieces)
                #expect(pieces.bytes == whole.bytes)
            }
        }
    }

    @Test("a piece ends behind a line, or not within an escape")
    func pieceEnds() {
        let lines = Array("abc\ndef\nghi".utf8)
        #expect(TransferDecoder.pieceEnd(of: lines.span, in: 0..<11, max: 10) == 8)
        #expect(TransferDecoder.pieceEnd(of: lines.span, in: 0..<11, max: 11) == 11)
        let line = Array("abcdefg=C3hij".utf8)
        #expect(TransferDecoder.pieceEnd(of: line.span, in: 0..<13, max: 8) == 7)
        #expect(TransferDecoder.pieceEnd(of: line.span, in: 0..<13, max: 9) == 7)
        #expect(TransferDecoder.pieceEnd(of: line.span, in: 0..<13, max: 10) == 10)
    }
}
