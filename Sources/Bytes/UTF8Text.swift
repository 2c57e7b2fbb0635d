/// UTF-8 of RFC 3629: what is well formed, and nothing else.
public enum UTF8Text {
    /// Whether the bytes are UTF-8 without overlong forms, surrogates or anything above U+10FFFF.
    public static func isValid(_ text: Span<UInt8>) -> Bool {
        var index = 0
        while index < text.count {
            if text[index] < 0x80 {
                index += 1
                continue
            }
            guard let (_, length) = scalar(text, at: index) else { return false }
            index += length
        }
        return true
    }

    /// The scalar that begins at `index` and the count of its bytes, or nil where none does.
    public static func scalar(_ text: Span<UInt8>, at index: Int) -> (value: UInt32, length: Int)? {
        guard index < text.count else { return nil }
        let first = text[index]
        let length: Int
        var value: UInt32
        let smallest: UInt32
        switch first {
        case 0..<0x80: return (UInt32(first), 1)
        case 0xC2...0xDF: (length, value, smallest) = (2, UInt32(first & 0x1F), 0x80)
        case 0xE0...0xEF: (length, value, smallest) = (3, UInt32(first & 0x0F), 0x800)
        case 0xF0...0xF4: (length, value, smallest) = (4, UInt32(first & 0x07), 0x10000)
        default: return nil
        }
        guard text.count - index >= length else { return nil }
        for distance in 1..<length {
            let byte = text[index + distance]
            guard byte & 0xC0 == 0x80 else { return nil }
            value = value << 6 | UInt32(byte & 0x3F)
        }
        guard value >= smallest, value <= 0x10FFFF, !(0xD800...0xDFFF).contains(value) else {
            return nil
        }
        return (value, length)
    }

    /// Appends a scalar that is neither a surrogate nor above U+10FFFF.
    public static func append(_ scalar: UInt32, to output: inout [UInt8]) {
        func tail(_ shift: UInt32) -> UInt8 { UInt8(scalar >> shift & 0x3F) | 0x80 }
        switch scalar {
        case 0..<0x80: output.append(UInt8(scalar))
        case 0x80..<0x800:
            output.append(UInt8(scalar >> 6) | 0xC0)
            output.append(tail(0))
        case 0x800..<0x10000:
            output.append(UInt8(scalar >> 12) | 0xE0)
            output.append(tail(6))
            output.append(tail(0))
        default:
            output.append(UInt8(scalar >> 18 & 0x07) | 0xF0)
            output.append(tail(12))
            output.append(tail(6))
            output.append(tail(0))
        }
    }
}
