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

    @Test("a line of numbers and texts", arguments: [0, 9, 10, 99_999, 100_000, UInt32.max])
    func line(_ number: UInt32) {
        var buffer = ByteBuffer([1])
        let (head, middle, tail, empty): ([UInt8], [UInt8], [UInt8], [UInt8]) = (
            [2, 3], [4], [5], []
        )
        buffer.append(head.span, number, middle.span, number / 3, tail.span)
        buffer.append(empty.span, 7, middle.span, nil, empty.span)
        let (first, second) = (Array("\(number)".utf8), Array("\(number / 3)".utf8))
        #expect(buffer.bytes == [1, 2, 3] + first + [4] + second + [5, UInt8(ascii: "7")])
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
