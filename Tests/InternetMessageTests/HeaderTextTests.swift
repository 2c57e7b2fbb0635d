import Bytes
import InternetMessage
import Testing

private func decoded(_ value: [UInt8]) -> String {
    String(decoding: HeaderDecoder().text(value.span, in: 0..<value.count), as: UTF8.self)
}

@Suite("encoded words")
struct HeaderTextTests {
    @Test(
        "are decoded",
        arguments: [
            ("plain", "plain"), ("", ""),
            ("=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Gr\u{fc}\u{df}e"),
            ("=?UTF-8?b?R3LDvMOfZQ==?=", "Gr\u{fc}\u{df}e"),
            ("=?iso-8859-1?q?caf=E9_noir?=", "caf\u{e9} noir"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
            ("=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("=?gb2312?B?1tDOxA==?=", "中文"),
            // Blanks between two go, others stay.
            ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"), ("=?utf-8?q?a?=\r\n =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?= b =?utf-8?q?c?= d", "a b c d"),
            ("=?utf-8?q?a?= =?koi8-r?q?b?=", "ab"), ("x =?utf-8?q?a?=", "x a"),
            // A character split between two.
            ("=?utf-8?Q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?=", "Gr\u{fc}\u{df}e"),
            ("=?utf-8?B?w?= =?utf-8?B?7w=?=", "\u{fffd}"),
            // In places where they may not be.
            ("\"=?utf-8?q?=C3=A9?=\"", "\"\u{e9}\""), ("a=?utf-8?q?=C3=A9?=b", "a\u{e9}b"),
            ("=?utf-8?q?a b?=", "a b"),
            // What is none stays.
            ("=?utf-8?X?no?=", "=?utf-8?X?no?="), ("=?nonsense?q?x?=", "=?nonsense?q?x?="),
            ("=?utf-8?q?unclosed", "=?utf-8?q?unclosed"), ("=?", "=?"), ("a=b", "a=b"),
            ("=?utf-8?q?=C3?=", "\u{fffd}"), ("=??q?x?=", "=??q?x?="),
            ("=?utf-8?q?=?=", "="), ("=?utf-8?q??=", ""),
        ]
    )
    func words(_ value: String, _ expected: String) {
        #expect(decoded(Array(value.utf8)) == expected)
    }

    @Test("raw 8-bit text is UTF-8, or else ISO-8859-1")
    func raw() {
        #expect(decoded(Array("caf\u{e9}".utf8)) == "caf\u{e9}")
        #expect(decoded([0x63, 0xE9]) == "c\u{e9}")
    }

    @Test("a word at the limit is one, longer is not", arguments: [0, 1])
    func limit(_ extra: Int) {
        let frame = "=?utf-8?q??=".utf8.count
        let text = String(repeating: "x", count: Limits.encodedWordBytesMax - frame + extra)
        let word = "=?utf-8?q?\(text)?="
        #expect(decoded(Array(word.utf8)) == (extra == 0 ? text : word))
    }
}

@Suite("charsets")
struct CharsetTests {
    private func convert(_ bytes: [UInt8], _ name: String) -> String? {
        guard let charset = Charset(Array(name.utf8)) else { return nil }
        var output: [UInt8] = []
        guard CharsetConverter().append(bytes.span, in: charset, to: &output) else { return nil }
        return String(decoding: output, as: UTF8.self)
    }

    @Test("convert to UTF-8, in any spelling of their name")
    func names() {
        #expect(convert([0xE9], "ISO-8859-1") == "\u{e9}")
        #expect(convert([0xE9], "latin1") == "\u{e9}")
        #expect(convert([0xA4], "iso-8859-15") == "€")
        #expect(convert([0x80], "Windows-1252") == "€")
        #expect(convert([0x80], "cp1252") == "€")
        #expect(convert([0xF0], "x-koi8-r") == nil || convert([0xF0], "koi8-r") == "П")
        #expect(convert([0x93, 0xFA], "Shift_JIS") == "日")
        #expect(convert([0xE4, 0], "utf-16le") == "ä")
        #expect(convert(Array("+AOQ-".utf8), "utf-7") == "ä")
        #expect(convert([0xC3, 0xA4], "utf8") == "ä")
    }

    @Test("broken text keeps what is not broken")
    func broken() {
        #expect(convert([0x61, 0xFF, 0x62], "utf-8") == "a\u{fffd}b")
        #expect(convert([0x61, 0xC3], "utf-8") == "a\u{fffd}")
        #expect(convert([0x61, 0xE9, 0x62], "us-ascii") == "a\u{e9}b")
        #expect(convert([0x61, 0x81], "shift_jis") == "a\u{fffd}")
        #expect(convert([0x61, 0xFF, 0xFF, 0x62], "euc-jp") == "a\u{fffd}\u{fffd}b")
        #expect(convert([0x00, 0xD8, 0x61, 0x00], "utf-16le")?.hasSuffix("a") == true)
    }

    @Test("long text passes through iconv whole")
    func long() {
        let text = [UInt8](repeating: 0xC1, count: 100_000)
        #expect(convert(text, "koi8-r") == String(repeating: "а", count: 100_000))
    }

    @Test(
        "names that are not on the list reach nothing",
        arguments: [
            "iso-2022-cn-ext", "../../etc/passwd", "utf-8//TRANSLIT", "koi8-r\0", "cp", "cp12345",
            "iso-8859-x", "nonsense", String(repeating: "x", count: Limits.charsetNameBytesMax + 1),
        ]
    )
    func unknown(_ name: String) {
        #expect(convert([0x61], name) == nil)
    }
}
