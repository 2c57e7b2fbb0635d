import Bytes
import Testing

@Suite("Modified UTF-7 (RFC 3501 §5.1.3)")
struct ModifiedUTF7Tests {
    @Test(
        "round trip",
        arguments: [
            ("", ""), ("INBOX", "INBOX"), ("a b", "a b"), ("R&D", "R&-D"), ("&&", "&-&-"),
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"), ("é", "&AOk-"), ("éé", "&AOkA6Q-"),
            ("ééé", "&AOkA6QDp-"), ("é&", "&AOk-&-"), ("é-", "&AOk--"), ("😀", "&2D3eAA-"),
            ("\u{7F}", "&AH8-"), ("\u{9}", "&AAk-"), ("\u{10FFFF}", "&2,,f,w-"),
        ]
    )
    func roundTrip(_ name: String, _ encoded: String) {
        #expect(ModifiedUTF7.encode(Array(name.utf8))?.text == encoded)
        #expect(ModifiedUTF7.decode(Array(encoded.utf8))?.text == name)
    }

    @Test(
        "decoding refuses what encoding does not produce",
        arguments: [
            "&", "a&", "&AOk", "&AOk-&AOk-", "&AGE-", "&AOkAYQ-", "&AOl-", "&AOkA-", "&A-",
            "&2D0-", "&3gA-", "&2D3YPQ-", "&2D0A6Q-", "&AOk=-", "&A/k-", "&AOk-é", "é", "a\u{7F}",
            "a\tb", "&ACY-", "&AOkA-x",
        ]
    )
    func refuses(_ name: String) {
        #expect(ModifiedUTF7.decode(Array(name.utf8)) == nil)
    }

    @Test("encoding refuses what is not UTF-8")
    func refusesBytes() {
        #expect(ModifiedUTF7.encode([0xFF]) == nil)
        #expect(ModifiedUTF7.encode([0x61, 0xC3]) == nil)
    }

    @Test("whatever decodes encodes to itself")
    func canonical() {
        var random = SystemRandomNumberGenerator()
        let alphabet = Array("&&&-AOkDpw2,3eg/x=".utf8)
        for _ in 0..<20_000 {
            let name = (0..<Int.random(in: 0...9, using: &random)).map { _ in
                alphabet[Int.random(in: alphabet.indices, using: &random)]
            }
            guard let decoded = ModifiedUTF7.decode(name) else { continue }
            #expect(ModifiedUTF7.encode(decoded) == name)
        }
    }
}

@Suite("UTF-8 (RFC 3629)")
struct UTF8TextTests {
    @Test("agrees with the standard library on every sequence of two bytes and a tail")
    func agrees() {
        for first in 0...255 {
            for second in 0...255 {
                for tail: [UInt8] in [[], [0x80], [0x80, 0x80], [0xBF, 0xBF], [0x41, 0x80]] {
                    let bytes = [UInt8(first), UInt8(second)] + tail
                    let expected = String(validating: bytes, as: UTF8.self) != nil
                    #expect(UTF8Text.isValid(bytes.span) == expected)
                }
            }
        }
    }
}
