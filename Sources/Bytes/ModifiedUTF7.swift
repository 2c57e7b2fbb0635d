/// Modified UTF-7 of RFC 3501 §5.1.3: how mailbox names are written in ASCII.
///
/// One name has one spelling: decoding accepts exactly what encoding produces, so that a folder
/// can never appear, or be made, twice under two spellings.
public enum ModifiedUTF7 {
    static let alphabet = [UInt8](
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"
    )

    static func value(of digit: UInt8) -> UInt32? {
        digit == UInt8(ascii: ",")
            ? 63
            : digit == UInt8(ascii: "/")
                ? nil : Base64.value(of: digit).map(UInt32.init)
    }

    /// The name in UTF-8, or nil where `name` is not canonical: bytes outside printable ASCII,
    /// an `&` that does not end in `-`, printable ASCII inside a shift, two shifts in a row,
    /// bits left over, or half a surrogate pair.
    public static func decode(_ name: [UInt8]) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(name.count)
        var index = 0
        var shiftEnd = -1
        while index < name.count {
            let byte = name[index]
            guard (0x20...0x7E).contains(byte) else { return nil }
            index += 1
            guard byte == UInt8(ascii: "&") else {
                output.append(byte)
                continue
            }
            guard index < name.count else { return nil }
            if name[index] == UInt8(ascii: "-") {
                output.append(UInt8(ascii: "&"))
                index += 1
                continue
            }
            // `&AOQ-&APY-` must be one shift.
            guard shiftEnd != index - 1 else { return nil }
            guard decodeShift(name, &index, into: &output) else { return nil }
            shiftEnd = index
        }
        return output
    }

    /// From after `&` to after `-`: UTF-16 in base64.
    private static func decodeShift(
        _ name: [UInt8],
        _ index: inout Int,
        into output: inout [UInt8]
    ) -> Bool {
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        var high: UInt32?
        while index < name.count, name[index] != UInt8(ascii: "-") {
            guard let digit = value(of: name[index]) else { return false }
            index += 1
            bits = bits << 6 | digit
            bitCount += 6
            guard bitCount >= 16 else { continue }
            bitCount -= 16
            let unit = bits >> bitCount & 0xFFFF
            bits &= 1 << bitCount - 1
            switch unit {
            case 0xD800..<0xDC00:
                guard high == nil else { return false }
                high = unit
            case 0xDC00..<0xE000:
                guard let first = high else { return false }
                UTF8Text.append(
                    0x10000 + (first - 0xD800) << 10 + (unit - 0xDC00),
                    to: &output
                )
                high = nil
            case 0x20...0x7E: return false
            default:
                guard high == nil else { return false }
                UTF8Text.append(unit, to: &output)
            }
        }
        guard index < name.count, high == nil, bits == 0, bitCount < 6 else { return false }
        index += 1
        return true
    }

    /// The canonical spelling, or nil where `name` is not UTF-8.
    public static func encode(_ name: [UInt8]) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(name.count)
        let text = name.span
        var bits: UInt32 = 0
        var bitCount: UInt32 = 0
        var isShifted = false
        func put(_ unit: UInt32) {
            bits = bits << 16 | unit
            bitCount += 16
            while bitCount >= 6 {
                bitCount -= 6
                output.append(alphabet[Int(bits >> bitCount & 63)])
            }
            bits &= 1 << bitCount - 1
        }
        func unshift() {
            if bitCount > 0 { output.append(alphabet[Int(bits << (6 - bitCount) & 63)]) }
            output.append(UInt8(ascii: "-"))
            bits = 0
            bitCount = 0
            isShifted = false
        }
        var index = 0
        while index < text.count {
            guard let (scalar, length) = UTF8Text.scalar(text, at: index) else { return nil }
            index += length
            if (0x20...0x7E).contains(scalar) {
                if isShifted { unshift() }
                output.append(UInt8(scalar))
                if scalar == 0x26 { output.append(UInt8(ascii: "-")) }
                continue
            }
            if !isShifted {
                output.append(UInt8(ascii: "&"))
                isShifted = true
            }
            if scalar < 0x10000 {
                put(scalar)
            } else {
                put(0xD800 + (scalar - 0x10000) >> 10)
                put(0xDC00 + (scalar - 0x10000) & 0x3FF)
            }
        }
        if isShifted { unshift() }
        return output
    }
}
