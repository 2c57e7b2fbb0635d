/// A read position in a borrowed run of bytes.
///
/// Public and inlinable, unlike the rest of the package: a `package` call per byte costs about
/// 2 ns because Swift 6.3 does not inline it across modules.
public struct ByteCursor: ~Escapable {
    public let span: Span<UInt8>
    public var offset: Int

    @inlinable
    @_lifetime(copy span)
    public init(_ span: Span<UInt8>, at offset: Int = 0) {
        self.span = span
        self.offset = offset
    }

    @inlinable public var isAtEnd: Bool { offset >= span.count }
    @inlinable public var remainingCount: Int { span.count - offset }

    /// The byte at the position, or nil at the end. Does not consume.
    @inlinable public var peek: UInt8? { offset < span.count ? span[offset] : nil }

    /// The byte `distance` after the position, or nil past the end. Does not consume.
    @inlinable public func peek(at distance: Int) -> UInt8? {
        let index = offset + distance
        return index < span.count ? span[index] : nil
    }

    /// Consumes and returns the next byte, or nil at the end.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func next() -> UInt8? {
        guard offset < span.count else { return nil }
        defer { offset += 1 }
        return span[offset]
    }

    /// Consumes the byte if it is next.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func accept(_ byte: UInt8) -> Bool {
        guard offset < span.count, span[offset] == byte else { return false }
        offset += 1
        return true
    }

    /// Consumes the text if it is next, in any case of its ASCII letters; nothing otherwise.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func acceptIgnoringCase(_ text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard remainingCount >= count else { return false }
        for index in 0..<count
        where span[offset + index].lowercased != (unsafe text.utf8Start[index]).lowercased {
            return false
        }
        offset += count
        return true
    }

    /// Consumes bytes while they satisfy the condition; returns their range in `span`.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func take(while condition: (UInt8) -> Bool) -> Range<Int> {
        let start = offset
        while offset < span.count, condition(span[offset]) { offset += 1 }
        return start..<offset
    }

    /// Consumes `1*DIGIT` as a number of at most `max`. Consumes nothing and returns nil where
    /// there is no digit or the number is larger.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func decimal(max: UInt64 = .max) -> UInt64? {
        var index = offset
        var value: UInt64 = 0
        while index < span.count, span[index].isDigit {
            let (product, overflowed) = value.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(UInt64(span[index] &- 0x30))
            guard !overflowed, !carried, sum <= max else { return nil }
            value = sum
            index += 1
        }
        guard index > offset else { return nil }
        offset = index
        return value
    }

    /// An owned copy of a range of `span`.
    @inlinable public func bytes(_ range: Range<Int>) -> [UInt8] {
        span.extracting(range).array
    }
}

extension Span where Element == UInt8 {
    /// An owned copy.
    @inlinable public var array: [UInt8] {
        unsafe withUnsafeBufferPointer { unsafe Array($0) }
    }

    /// The offset of the first such byte at or after `start`, or nil.
    @inlinable public func firstIndex(of byte: UInt8, from start: Int = 0) -> Int? {
        var index = start
        // Eight at a time: a byte of the difference is zero where the byte is found, and only the
        // lowest such one counts, which no borrow from below can have made.
        let pattern = 0x0101_0101_0101_0101 &* UInt64(byte)
        while index + 8 <= count {
            let difference = word(at: index) ^ pattern
            let found = (difference &- 0x0101_0101_0101_0101) & ~difference & 0x8080_8080_8080_8080
            if found != 0 { return index + found.trailingZeroBitCount / 8 }
            index += 8
        }
        while index < count {
            if self[index] == byte { return index }
            index += 1
        }
        return nil
    }
}
