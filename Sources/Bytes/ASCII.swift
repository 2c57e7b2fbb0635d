/// Byte classes of ASCII. Whatever Unicode says, digits and letters on the wire are these.
extension UInt8 {
    @inlinable public static var cr: UInt8 { 0x0D }
    @inlinable public static var lf: UInt8 { 0x0A }
    @inlinable public static var tab: UInt8 { 0x09 }
    @inlinable public static var space: UInt8 { 0x20 }
    @inlinable public static var quote: UInt8 { 0x22 }
    @inlinable public static var backslash: UInt8 { 0x5C }

    @inlinable public var isDigit: Bool { self &- 0x30 < 10 }
    @inlinable public var isUppercase: Bool { self &- 0x41 < 26 }
    @inlinable public var isLowercase: Bool { self &- 0x61 < 26 }
    @inlinable public var isLetter: Bool { (self | 0x20) &- 0x61 < 26 }
    /// CTL of RFC 5234: 0x00–0x1F and DEL.
    @inlinable public var isControl: Bool { self < 0x20 || self == 0x7F }

    /// `A`–`Z` as `a`–`z`, anything else unchanged.
    @inlinable public var lowercased: UInt8 { isUppercase ? self | 0x20 : self }
    /// `a`–`z` as `A`–`Z`, anything else unchanged.
    @inlinable public var uppercased: UInt8 { isLowercase ? self & 0xDF : self }

    /// The value of a hexadecimal digit in either case, or nil.
    @inlinable public var hexValue: UInt8? {
        switch self {
        case 0x30...0x39: self &- 0x30
        case 0x41...0x46: self &- 0x37
        case 0x61...0x66: self &- 0x57
        default: nil
        }
    }
}

extension Span where Element == UInt8 {
    /// Whether both hold the same bytes, taking ASCII letters of either case as equal.
    @inlinable public func equalsIgnoringCase(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        for index in indices where self[index].lowercased != other[index].lowercased {
            return false
        }
        return true
    }

    /// Whether both hold the same bytes.
    @inlinable public func equals(_ other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        var index = 0
        while index + 8 <= count {
            if word(at: index) != other.word(at: index) { return false }
            index += 8
        }
        while index < count {
            if self[index] != other[index] { return false }
            index += 1
        }
        return true
    }
}

extension Array where Element == UInt8 {
    /// The UTF-8 of a string literal; for names and fixed text.
    @inlinable public init(_ text: StaticString) {
        self = unsafe Array(
            UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        )
    }

    /// The bytes with `A`–`Z` turned into `a`–`z`.
    @inlinable public var lowercased: [UInt8] { map(\.lowercased) }
    /// The bytes with `a`–`z` turned into `A`–`Z`.
    @inlinable public var uppercased: [UInt8] { map(\.uppercased) }

    @inlinable public func equalsIgnoringCase(_ other: [UInt8]) -> Bool {
        span.equalsIgnoringCase(other.span)
    }

    @inlinable public func equalsIgnoringCase(_ other: StaticString) -> Bool {
        guard count == other.utf8CodeUnitCount else { return false }
        for index in indices
        where self[index].lowercased != (unsafe other.utf8Start[index]).lowercased {
            return false
        }
        return true
    }

    /// For logs and diagnostics only: broken UTF-8 is shown as replacement characters.
    public var text: String { String(decoding: self, as: UTF8.self) }
}

extension ArraySlice where Element == UInt8 {
    /// For logs and diagnostics only: broken UTF-8 is shown as replacement characters.
    public var text: String { String(decoding: self, as: UTF8.self) }
}
