import Bytes
import Testing

@Suite("ByteBuffer")
struct ByteBufferTests {
    @Test("decimal", arguments: [0, 7, 10, 99, 100, 4_294_967_295, Int.max, -1, Int.min])
    func decimal(_ number: Int) {
        var buffer = ByteBuffer()
        buffer.append(decimal: number)
        #expect(buffer.bytes.text == String(number))
    }

    @Test("decimal with width", arguments: [(0, "00"), (7, "07"), (10, "10"), (123, "123")])
    func width(_ number: Int, _ text: String) {
        var buffer = ByteBuffer()
        buffer.append(decimal: number, width: 2)
        #expect(buffer.bytes.text == text)
    }

    @Test("decimal with width 4", arguments: [(0, "0000"), (7, "0007"), (1234, "1234")])
    func widthFour(_ number: Int, _ text: String) {
        var buffer = ByteBuffer()
        buffer.append(decimal: number, width: 4)
        #expect(buffer.bytes.text == text)
    }
}

@Suite("ByteCursor")
struct ByteCursorTests {
    func parse(_ text: String, max: UInt64 = .max) -> (UInt64?, Int) {
        let bytes = Array(text.utf8)
        var cursor = ByteCursor(bytes.span)
        return (cursor.decimal(max: max), cursor.offset)
    }

    @Test("decimal stops at the first other byte")
    func stops() {
        #expect(parse("12x") == (12, 2))
        #expect(parse("18446744073709551615") == (UInt64.max, 20))
    }

    @Test("decimal refuses overflow and what is above the limit, consuming nothing")
    func refuses() {
        #expect(parse("18446744073709551616") == (nil, 0))
        #expect(parse("11", max: 10) == (nil, 0))
        #expect(parse("") == (nil, 0))
        #expect(parse("٣") == (nil, 0))
    }
}
