/// Base64 of RFC 4648 §4.
public enum Base64 {
    @usableFromInline static let alphabet = [UInt8](
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    )

    /// The value of a digit of the alphabet, or nil.
    @inlinable public static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case 0x41...0x5A: digit &- 0x41
        case 0x61...0x7A: digit &- 0x61 &+ 26
        case 0x30...0x39: digit &- 0x30 &+ 52
        case 0x2B: 62
        case 0x2F: 63
        default: nil
        }
    }

    public static func encode(_ data: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity((data.count + 2) / 3 * 4)
        var index = 0
        while index < data.count {
            let left = data.count - index
            let first = data[index]
            let second = left > 1 ? data[index + 1] : 0
            let third = left > 2 ? data[index + 2] : 0
            output.append(alphabet[Int(first >> 2)])
            output.append(alphabet[Int((first & 3) << 4 | second >> 4)])
            output.append(left > 1 ? alphabet[Int((second & 15) << 2 | third >> 6)] : 0x3D)
            output.append(left > 2 ? alphabet[Int(third & 63)] : 0x3D)
            index += 3
        }
        return output
    }

    /// Decodes strictly: whole groups of four, padding only at the end, no other bytes, and no
    /// stray bits in the last digit. Returns nil otherwise. For credentials, where leniency
    /// would give one secret several spellings; MIME bodies have a decoder of their own.
    public static func decode(_ text: [UInt8]) -> [UInt8]? {
        guard text.count % 4 == 0 else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(text.count / 4 * 3)
        var index = 0
        while index < text.count {
            let isLast = index + 4 == text.count
            guard let first = value(of: text[index]), let second = value(of: text[index + 1])
            else { return nil }
            output.append(first << 2 | second >> 4)
            if isLast, text[index + 2] == 0x3D {
                guard text[index + 3] == 0x3D, second & 15 == 0 else { return nil }
                return output
            }
            guard let third = value(of: text[index + 2]) else { return nil }
            output.append(second << 4 | third >> 2)
            if isLast, text[index + 3] == 0x3D {
                guard third & 3 == 0 else { return nil }
                return output
            }
            guard let fourth = value(of: text[index + 3]) else { return nil }
            output.append(third << 6 | fourth)
            index += 4
        }
        return output
    }
}
