import Bytes
import InternetMessage
import Testing

private func preview(_ message: [UInt8]) -> String {
    let structure = MessageStructure.parse(message.span)
    let text = Preview.text(of: structure, in: message.span, converter: CharsetConverter())
    return String(decoding: text, as: UTF8.self)
}

@Suite("PREVIEW")
struct PreviewTests {
    @Test(
        "of the corpus",
        arguments: [
            ("plain-lf", "Tomorrow at noon? Ann"), ("alternative", "Gr\u{fc}\u{df}e aus K\u{f6}ln"),
            ("attachment", "See attached."), ("nested-rfc822", "first"), ("only-header", ""),
            ("utf-16-body", "grün"), ("base64-body", "ПриветПривет!"),
            ("mailing-list", "> quoted -- Ann -- --not a boundary"),
        ]
    )
    func corpus(_ name: String, _ expected: String) throws {
        #expect(preview(try Corpus.message("\(name).eml")) == expected)
    }

    @Test(
        "of HTML without its markup",
        arguments: [
            ("<p>Hello&nbsp;<b>world</b></p>", "Hello world"),
            ("a &lt;b&gt; &#233;&#xE9;", "a <b> éé"),
            ("<style>p { color: red }</style><p>x", "x"), ("<!-- > --> y", "y"),
            ("<script>if (a<b) c()</script>z", "z"),
            ("a & b &unknown; &", "a & b &unknown; &"), ("<unclosed", ""),
            ("&#99999999999;", "&#99999999999;"), ("", ""),
        ]
    )
    func html(_ text: String, _ expected: String) {
        #expect(
            preview(Array("Content-Type: text/html; charset=utf-8\n\n\(text)".utf8)) == expected
        )
    }

    @Test("quotes are left out where there is more")
    func quotes() {
        #expect(preview(Array("\n> old\nnew\n-- \nsignature\n".utf8)) == "new")
    }

    @Test("has as many characters as the limit allows", arguments: [-1, 0, 1])
    func limit(_ extra: Int) {
        let count = Limits.previewCharactersMax + extra
        let text = String(repeating: "é", count: count)
        let expected = String(text.prefix(Limits.previewCharactersMax))
        #expect(
            preview(Array("Content-Type: text/plain; charset=utf-8\n\n\(text)".utf8)) == expected
        )
    }

    @Test("looks at so much of a part and no more", arguments: [0, 1])
    func source(_ extra: Int) {
        let blank = [UInt8](repeating: .space, count: Limits.previewSourceBytesMax - 1 + extra)
        let message = Array("\n".utf8) + blank + Array("x".utf8)
        #expect(preview(message) == (extra == 0 ? "x" : ""))
    }

    @Test("each message of the corpus, mutated, gives UTF-8", arguments: Corpus.names)
    func mutations(_ name: String) throws {
        let original = try Corpus.message(name)
        var generator = SeededGenerator(seed: UInt64(name.utf8.count))
        for _ in 0..<40 {
            var message = original
            for _ in 0..<8 where !message.isEmpty {
                message[Int.random(in: 0..<message.count, using: &generator)] =
                    UInt8.random(in: 0...255, using: &generator)
            }
            let text = preview(message)
            #expect(!text.unicodeScalars.contains { $0.value < 0x20 })
            #expect(text.unicodeScalars.count <= Limits.previewCharactersMax)
        }
    }
}
