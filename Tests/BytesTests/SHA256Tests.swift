import Bytes
import Testing

@Suite("SHA-256")
struct SHA256Tests {
    private func hash(_ bytes: [UInt8], piece: Int = .max) -> String {
        var hash = SHA256()
        var start = 0
        while start < bytes.count {
            let end = start + min(piece, bytes.count - start)
            hash.update(bytes.span.extracting(start..<end))
            start = end
        }
        var text = ByteBuffer()
        text.append(hex: hash.finish())
        return text.bytes.text
    }

    @Test(
        "the examples of FIPS 180",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ]
    )
    func examples(_ text: String, _ expected: String) {
        #expect(hash(Array(text.utf8)) == expected)
    }

    @Test("a million letters, in pieces of any size", arguments: [1_000_000, 1, 63, 64, 65, 4_099])
    func pieces(_ piece: Int) {
        let text = [UInt8](repeating: UInt8(ascii: "a"), count: piece == 1 ? 1_000 : 1_000_000)
        #expect(
            hash(text, piece: piece)
                == (piece == 1
                    ? "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"
                    : "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        )
    }
}
