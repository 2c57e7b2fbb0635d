package import Bytes

/// A Content-Transfer-Encoding and how to undo it.                          RFC 2045 §6
package enum TransferEncoding: Sendable, Equatable {
    /// 7bit, 8bit and binary: nothing to undo.
    case identity
    case quotedPrintable
    case base64

    /// Nil for an encoding that is not known: `[UNKNOWN-CTE]` of RFC 3516 §4.3.
    package init?(_ name: Span<UInt8>) {
        let all = 0..<name.count
        if name.equalsIgnoringCase("7bit", in: all) || name.equalsIgnoringCase("8bit", in: all)
            || name.equalsIgnoringCase("binary", in: all)
        {
            self = .identity
        } else if name.equalsIgnoringCase("quoted-printable", in: all) {
            self = .quotedPrintable
        } else if name.equalsIgnoringCase("base64", in: all) {
            self = .base64
        } else {
            return nil
        }
    }

    /// Appends the decoded bytes of the range.
    ///
    /// Lenient, as mail is: what does not belong to base64 is skipped, a `=` that says nothing
    /// stays. With `crlf`, line ends of text (not of base64) become CRLF, as the client sees them
    /// everywhere else.
    package func decode(
        _ bytes: Span<UInt8>,
        in range: Range<Int>,
        crlf: Bool,
        to buffer: inout ByteBuffer
    ) {
        var decoder = TransferDecoder(self, crlf: crlf)
        decoder.decode(bytes, in: range, to: &buffer)
        decoder.finish(to: &buffer)
    }
}

/// Undoes a transfer encoding piece by piece.
package struct TransferDecoder {
    private let encoding: TransferEncoding
    private let crlf: Bool
    /// Base64 digits that make no whole group yet.
    private var group: UInt32 = 0
    private var count = 0

    package init(_ encoding: TransferEncoding, crlf: Bool) {
        self.encoding = encoding
        self.crlf = crlf
    }

    /// Where a piece of at most so many bytes should end: behind a line, if one ends in it.
    package static func pieceEnd(of bytes: Span<UInt8>, in range: Range<Int>, max: Int) -> Int {
        guard range.count > max else { return range.upperBound }
        let limit = range.lowerBound + max
        var end = limit
        while end > range.lowerBound, bytes[end - 1] != .lf { end -= 1 }
        guard end == range.lowerBound else { return end }
        // One long line: not within `=C3`.
        for back in 1...2 where max > 2 && bytes[limit - back] == UInt8(ascii: "=") {
            return limit - back
        }
        return limit
    }

    package mutating func decode(
        _ bytes: Span<UInt8>,
        in range: Range<Int>,
        to buffer: inout ByteBuffer
    ) {
        switch encoding {
        case .identity:
            if crlf {
                MessageText.appendCRLF(of: bytes, in: range, to: &buffer, keepsNUL: true)
            } else {
                buffer.append(bytes.extracting(range))
            }
        case .quotedPrintable:
            Self.decodeQuotedPrintable(bytes, in: range, crlf: crlf, to: &buffer)
        case .base64:
            decodeBase64(bytes, in: range, to: &buffer)
        }
    }

    package mutating func finish(to buffer: inout ByteBuffer) {
        buffer.bytes.append(addingCapacity: 2) { Self.finish(group, count, to: &$0) }
        group = 0
        count = 0
    }

    /// RFC 2045 §6.7. Blanks at the end of a line go: transport put them there.
    private static func decodeQuotedPrintable(
        _ bytes: Span<UInt8>,
        in range: Range<Int>,
        crlf: Bool,
        to buffer: inout ByteBuffer
    ) {
        buffer.bytes.reserveMore(range.count)
        let equals = UInt8(ascii: "=")
        var line = range.lowerBound
        while line < range.upperBound {
            let feed = bytes.offset(of: .lf, in: line..<range.upperBound)
            let next = feed.map { $0 &+ 1 } ?? range.upperBound
            var end = feed ?? range.upperBound
            let hasCR = end > line && bytes[end &- 1] == .cr
            if hasCR { end &-= 1 }
            while end > line, bytes[end &- 1].isBlank { end &-= 1 }
            let isSoft = end > line && bytes[end &- 1] == equals
            if isSoft { end &-= 1 }
            var index = line
            while let escape = bytes.offset(of: equals, in: index..<end) {
                buffer.append(bytes.extracting(index..<escape))
                if end &- escape > 2, let high = bytes[escape &+ 1].hexValue,
                    let low = bytes[escape &+ 2].hexValue
                {
                    buffer.append(high << 4 | low)
                    index = escape &+ 3
                } else {
                    buffer.append(equals)
                    index = escape &+ 1
                }
            }
            buffer.append(bytes.extracting(index..<end))
            if !isSoft, feed != nil {
                if crlf || hasCR { buffer.append(.cr) }
                buffer.append(.lf)
            }
            line = next
        }
    }

    /// The value of each base64 digit; 0x40 for `=`, 0x80 for any other byte.
    private static let base64Values: [UInt8] = (0...255).map { (byte: Int) -> UInt8 in
        if byte == 0x3D { return 0x40 }
        return Base64.value(of: UInt8(byte)) ?? 0x80
    }

    /// RFC 2045 §6.8. Padding ends a run; what follows is a run of its own (some senders join
    /// encoded pieces). Digits left over at the end of a run give what whole bytes they hold.
    private mutating func decodeBase64(
        _ bytes: Span<UInt8>,
        in range: Range<Int>,
        to buffer: inout ByteBuffer
    ) {
        let values = Self.base64Values
        let table = values.span
        var group = self.group
        var count = self.count
        buffer.bytes.append(addingCapacity: range.count / 4 * 3 + 6) { output in
            var index = range.lowerBound
            while index < range.upperBound {
                // Four digits in a row are nearly always what follows.
                if count == 0, index &+ 4 <= range.upperBound {
                    let first = table[Int(bytes[index])]
                    let second = table[Int(bytes[index &+ 1])]
                    let third = table[Int(bytes[index &+ 2])]
                    let fourth = table[Int(bytes[index &+ 3])]
                    if (first | second | third | fourth) < 0x40 {
                        output.append(first << 2 | second >> 4)
                        output.append(second << 4 | third >> 2)
                        output.append(third << 6 | fourth)
                        index &+= 4
                        continue
                    }
                }
                let value = table[Int(bytes[index])]
                index &+= 1
                if value < 0x40 {
                    group = group << 6 | UInt32(value)
                    count &+= 1
                    guard count == 4 else { continue }
                    output.append(UInt8(truncatingIfNeeded: group >> 16))
                    output.append(UInt8(truncatingIfNeeded: group >> 8))
                    output.append(UInt8(truncatingIfNeeded: group))
                } else if value == 0x80 {
                    continue
                } else {
                    Self.finish(group, count, to: &output)
                }
                group = 0
                count = 0
            }
        }
        self.group = group
        self.count = count
    }

    private static func finish(
        _ group: UInt32,
        _ count: Int,
        to output: inout OutputSpan<UInt8>
    ) {
        if count == 2 {
            output.append(UInt8(truncatingIfNeeded: group >> 4))
        } else if count == 3 {
            output.append(UInt8(truncatingIfNeeded: group >> 10))
            output.append(UInt8(truncatingIfNeeded: group >> 2))
        }
    }
}

extension Array where Element == UInt8 {
    /// Makes room for so many more bytes, growing by halves at least: `reserveCapacity` alone
    /// grows to exactly what is asked, which makes many small appends quadratic.
    mutating func reserveMore(_ extra: Int) {
        let needed = count &+ extra
        guard needed > capacity else { return }
        reserveCapacity(Swift.max(needed, capacity &+ capacity / 2))
    }
}
