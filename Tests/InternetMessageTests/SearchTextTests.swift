import Bytes
import InternetMessage
import Testing

private func body(_ needle: String, _ message: [UInt8]) -> Bool {
    MessageSearcher().bodyContains(
        SearchText(Array(needle.utf8)),
        in: message.span,
        structure: MessageStructure.parse(message.span)
    )
}

private func whole(_ needle: String, _ message: [UInt8]) -> Bool {
    MessageSearcher().messageContains(
        SearchText(Array(needle.utf8)),
        in: message.span,
        structure: MessageStructure.parse(message.span)
    )
}

private func field(_ needle: String, _ name: String, _ message: String) -> Bool {
    let bytes = Array(message.utf8)
    return MessageSearcher().fieldContains(
        SearchText(Array(needle.utf8)),
        name: Array(name.utf8),
        in: bytes.span,
        header: 0..<HeaderBlock.end(in: bytes.span)
    )
}

@Suite("SEARCH")
struct SearchTextTests {
    static let table: [(String, String, Bool)] = [
        ("plain-lf", "NOON", true), ("plain-lf", "noon?\nAnn", true), ("plain-lf", "lunch", false),
        ("plain-lf", "", true), ("plain-lf", "noom", false), ("plain-crlf", "ann", true),
        // Quoted-printable over a soft line end, base64.
        ("alternative", "grüße aus köln", true), ("alternative", "GRÜSSE", false),
        ("alternative", "<B>GRÜẞE", false), ("alternative", "<B>GRÜßE</b>", true),
        ("alternative", "R3LDvMOf", false), ("alternative", "=C3=BC", false),
        // Neither preamble nor epilogue.
        ("alternative", "preamble", false), ("alternative", "epilogue", false),
        // An attachment by its name, not by what it holds.
        ("attachment", "a b.pdf", true), ("attachment", "hello world", false),
        // Headers and bodies of messages within.
        ("nested-rfc822", "inner subject", true), ("nested-rfc822", "INNER TEXT", true),
        ("nested-rfc822", "fwd", false),
        ("base64-body", "привет", true), ("base64-body", "ПРИВЕТ", true),
        ("utf-16-body", "GRÜN", true), ("utf-16-body", "grun", false), ("utf-16-body", "gr", true),
    ]

    @Test("BODY", arguments: table)
    func bodies(_ name: String, _ needle: String, _ expected: Bool) throws {
        #expect(body(needle, try Corpus.message("\(name).eml")) == expected)
    }

    @Test(
        "TEXT is header and body",
        arguments: [
            ("plain-lf", "lunch", true), ("plain-lf", "noon", true), ("plain-lf", "dinner", false),
            ("encoded-words", "grüße and café", true), ("encoded-words", "GRÜßE AND CAFE", true),
            ("folded-everything", "folded  subject", true),
            ("folded-everything", "\"Quoted, Name\"", true),
            ("eight-bit-header", "jörg", true), ("eight-bit-header", "rené", true),
            ("mailing-list", "subject: re: [list]", true), ("nested-rfc822", "inner text", true),
        ]
    )
    func texts(_ name: String, _ needle: String, _ expected: Bool) throws {
        #expect(whole(needle, try Corpus.message("\(name).eml")) == expected)
    }

    @Test("a field, decoded; the empty text asks whether it is there")
    func fields() {
        let message = "Subject: =?utf-8?q?=C3=9Cber?=\n all\nTo: x\nTo: y\nX-Empty:\n\nCc: z\n"
        #expect(field("über all", "subject", message))
        #expect(field("U\u{308}BER", "subject", message))
        #expect(field("y", "to", message))
        #expect(!field("all", "to", message))
        #expect(!field("z", "cc", message))
        #expect(field("", "x-empty", message))
        #expect(!field("", "cc", message))
        #expect(!field("x", "x-empty", message))
    }

    @Test(
        "compares as i;unicode-casemap",
        arguments: [
            ("É", "e\u{301}"), ("ﬁne", "FINE"), ("Ａ", "a"), ("ς", "Σ"), ("ǆ", "Ǆ"),
            ("가", "\u{1100}\u{1161}"),
            ("각", "\u{1100}\u{1161}\u{11a8}"), ("²", "2"), ("½", "1\u{2044}2"), ("K", "k"),
            ("Ж", "ж"),
            ("Ⅷ", "viii"), ("İ", "i\u{307}"), ("𝔄", "a"), ("ⓩ", "Z"),
        ]
    )
    func casemap(_ one: String, _ other: String) {
        #expect(
            CaseFold.shared.folded(Array(one.utf8)) == CaseFold.shared.folded(Array(other.utf8))
        )
    }

    @Test("does not take for equal", arguments: [("ß", "ss"), ("a", "b"), ("é", "è"), ("日", "本")])
    func different(_ one: String, _ other: String) {
        #expect(
            CaseFold.shared.folded(Array(one.utf8)) != CaseFold.shared.folded(Array(other.utf8))
        )
    }

    @Test("finds what lies across two pieces of a long body")
    func pieces() {
        for encoding in ["8bit", "base64", "quoted-printable"] {
            for shift in [-30, -9, -3, -2, -1, 0, 1] {
                let head =
                    "Content-Type: text/plain; charset=utf-8\n"
                    + "Content-Transfer-Encoding: \(encoding)\n\n"
                let raw = Limits.searchPieceBytesMax + shift
                let before = encoding == "base64" ? raw / 4 * 3 : raw
                var text = [UInt8](repeating: UInt8(ascii: "x"), count: max(0, before))
                text += Array("Grüße".utf8)
                text += [UInt8](repeating: UInt8(ascii: "y"), count: 1_000)
                let encoded: [UInt8] =
                    switch encoding {
                    case "base64": Base64.encode(text)
                    case "quoted-printable":
                        text.flatMap { byte -> [UInt8] in
                            guard byte >= 0x80 else { return [byte] }
                            return [UInt8(ascii: "=")]
                                + Array(String(byte, radix: 16, uppercase: true).utf8)
                        }
                    default: text
                    }
                let message = Array(head.utf8) + encoded
                #expect(body("GRÜßEY", message), "\(encoding) \(shift)")
                #expect(!body("grüßez", message))
            }
        }
    }

    @Test("the vector search is the plain one")
    func vectorSearch() {
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<3_000 {
            let text = (0..<Int.random(in: 0...150, using: &generator)).map { _ in
                Array("aAbB".utf8)[Int.random(in: 0..<4, using: &generator)]
            }
            let needle = (0..<Int.random(in: 1...9, using: &generator)).map { _ in
                Array("ab".utf8)[Int.random(in: 0..<2, using: &generator)]
            }
            let lowered = text.lowercased
            let expected =
                text.count < needle.count
                ? nil
                : (0...(text.count - needle.count)).first {
                    Array(lowered[$0..<($0 + needle.count)]) == needle
                }
            #expect(text.span.offset(ofLowercased: needle.span, in: 0..<text.count) == expected)
        }
    }

    @Test("random messages never trap", arguments: Corpus.names)
    func mutations(_ name: String) throws {
        let original = try Corpus.message(name)
        var generator = SeededGenerator(seed: UInt64(name.utf8.count))
        for _ in 0..<60 {
            var message = original
            for _ in 0..<8 where !message.isEmpty {
                let at = Int.random(in: 0..<message.count, using: &generator)
                message[at] = UInt8.random(in: 0...255, using: &generator)
            }
            _ = whole("größer", message)
            #expect(whole("", message))
        }
    }
}
