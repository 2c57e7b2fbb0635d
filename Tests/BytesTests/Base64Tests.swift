import Bytes
import Testing

@Suite("Base64")
struct Base64Tests {
    @Test(
        "round trip (RFC 4648 §10)",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
        ]
    )
    func roundTrip(_ plain: String, _ encoded: String) {
        #expect(Base64.encode(Array(plain.utf8)) == Array(encoded.utf8))
        #expect(Base64.decode(Array(encoded.utf8)) == Array(plain.utf8))
    }

    @Test(
        "rejects what is not strict",
        arguments: ["Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "Z===", "====", "Zm9 ", "Zm9v\n", "Zm=v"]
    )
    func rejects(_ text: String) {
        #expect(Base64.decode(Array(text.utf8)) == nil)
    }
}
