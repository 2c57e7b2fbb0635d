/// Bytes to send or to write, appended piece by piece.
///
/// A plain value around an array: it can be handed to another thread, kept, or emptied and used
/// again without giving its storage back.
public struct ByteBuffer: Sendable {
    public var bytes: [UInt8]

    @inlinable public init() { bytes = [] }
    @inlinable public init(_ bytes: [UInt8]) { self.bytes = bytes }
    @inlinable public init(capacity: Int) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    @inlinable public var count: Int { bytes.count }
    @inlinable public var isEmpty: Bool { bytes.isEmpty }

    @inlinable public mutating func append(_ byte: UInt8) { bytes.append(byte) }

    @inlinable public mutating func append(_ text: StaticString) {
        unsafe bytes.append(
            contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
        )
    }

    @inlinable public mutating func append(_ other: [UInt8]) { bytes.append(contentsOf: other) }
    @inlinable public mutating func append(_ other: ArraySlice<UInt8>) {
        bytes.append(contentsOf: other)
    }

    @inlinable public mutating func append(_ other: Span<UInt8>) {
        unsafe other.withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
    }

    /// For diagnostics and configuration text; the wire uses bytes.
    public mutating func append(string: String) { bytes.append(contentsOf: string.utf8) }

    /// The number in decimal, without leading zeros.
    @inlinable public mutating func append<Number: FixedWidthInteger>(decimal number: Number) {
        if number < 0 { append(UInt8(ascii: "-")) }
        var rest = UInt64(number.magnitude)
        if rest < 10 {
            append(0x30 &+ UInt8(truncatingIfNeeded: rest))
            return
        }
        var digits = InlineArray<20, UInt8>(repeating: 0)
        var start = 20
        while rest > 0 {
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            start -= 1
            digits[start] = 0x30 &+ UInt8(truncatingIfNeeded: digit)
            rest = quotient
        }
        append(digits.span.extracting(start..<20))
    }

    /// A line that is two numbers between three texts, the second number and the text before it left out
    /// where there is none: one look for room, for what is written a hundred thousand times in a row.
    @inlinable public mutating func append(
        _ head: Span<UInt8>,
        _ first: UInt32,
        _ middle: Span<UInt8>,
        _ second: UInt32?,
        _ tail: Span<UInt8>
    ) {
        let capacity = head.count + middle.count + tail.count + 20
        bytes.append(addingCapacity: capacity) { room in
            unsafe room.withUnsafeMutableBufferPointer { buffer, count in
                guard var end = buffer.baseAddress else { return }
                let start = unsafe end
                unsafe end.write(head)
                unsafe end.write(decimal: first)
                if let second {
                    unsafe end.write(middle)
                    unsafe end.write(decimal: second)
                }
                unsafe end.write(tail)
                count = unsafe end - start
            }
        }
    }

    /// The number in decimal with at least `width` digits, filled up with zeros.
    @inlinable public mutating func append<Number: FixedWidthInteger>(
        decimal number: Number,
        width: Int
    ) {
        var threshold: UInt64 = 10
        for _ in 1..<max(width, 2) {
            if UInt64(number.magnitude) < threshold { append(UInt8(ascii: "0")) }
            threshold &*= 10
        }
        append(decimal: number)
    }

    /// The bytes as lower-case hexadecimal.
    @inlinable public mutating func append(hex data: [UInt8]) {
        for byte in data {
            append(hexDigit(byte >> 4))
            append(hexDigit(byte & 15))
        }
    }

    /// Empties the buffer, keeping its storage.
    @inlinable public mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

    /// The bytes so far; the buffer is empty afterwards.
    @inlinable public mutating func take() -> [UInt8] {
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        return taken
    }
}

extension [UInt8] {
    @inlinable public mutating func append(copying other: Span<UInt8>) {
        unsafe other.withUnsafeBufferPointer { unsafe append(contentsOf: $0) }
    }
}

/// The lower-case hexadecimal digit of a value below 16.
@inlinable public func hexDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? 0x30 &+ value : 0x57 &+ value
}

extension UnsafeMutablePointer<UInt8> {
    /// Writes the bytes and goes behind them.
    @inlinable @inline(__always) mutating func write(_ text: Span<UInt8>) {
        unsafe text.withUnsafeBufferPointer { text in
            guard let start = text.baseAddress else { return }
            unsafe update(from: start, count: text.count)
        }
        unsafe self += text.count
    }

    /// Writes the number without leading zeros, at most ten digits, and goes behind it.
    @inlinable @inline(__always) mutating func write(decimal number: UInt32) {
        var count = 1
        var threshold: UInt64 = 10
        while UInt64(number) >= threshold {
            count += 1
            threshold &*= 10
        }
        var rest = number
        var place = count
        while place > 0 {
            let quotient = rest / 10
            place -= 1
            unsafe self[place] = 0x30 &+ UInt8(truncatingIfNeeded: rest &- quotient &* 10)
            rest = quotient
        }
        unsafe self += count
    }
}
