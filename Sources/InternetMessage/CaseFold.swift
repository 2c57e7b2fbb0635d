import Bytes

//  Comparing as i;unicode-casemap does (RFC 5051)
//
//  Each scalar is titlecased and then fully decomposed, so that case, accents written as one or as
//  two scalars, ligatures and full-width letters make no difference. ASCII letters end in lower
//  case here, all of them: the RFC's own steps leave `ﬁ` and the `ž` of `ǆ` in lower case, where
//  `FI` and `DŽ` do not find them. What it finds is found here too. Where texts are put in order
//  (`folded`), letters are upper case as in the RFC.
//
//  The table is text, because a Swift array literal of its size takes the compiler minutes:
//  `1e9b>1e60.307` maps one scalar to two; `430>410*20` maps 0x20 scalars from 430 on; with `+`
//  at the end every second one. Read once, into pages of 256 scalars, 130 kB in all.

/// Folds text for comparison.
package struct CaseFold: Sendable {
    package static let shared = CaseFold()

    /// Per 256 scalars the start of their page in `values`; 0 is the page that changes nothing.
    private var pages: [UInt16]
    /// Per scalar 0 for itself, a scalar, or `severalBase` and an index into `several`.
    private var values: [UInt32]
    /// A count, then as many scalars.
    private var several: [UInt32] = []
    private static let severalBase: UInt32 = 0x11_0000

    private init() {
        pages = Array(repeating: 0, count: 0x11_0000 / 256)
        values = Array(repeating: 0, count: 256)
        let text = [UInt8](Self.table)
        let span = text.span
        var cursor = ByteCursor(span)
        while !cursor.isAtEnd {
            let source = Self.hexadecimal(&cursor)
            guard cursor.accept(UInt8(ascii: ">")) else { break }
            var targets = [Self.hexadecimal(&cursor)]
            while cursor.accept(UInt8(ascii: ".")) { targets.append(Self.hexadecimal(&cursor)) }
            let count = cursor.accept(UInt8(ascii: "*")) ? Self.hexadecimal(&cursor) : 1
            let stride: UInt32 = cursor.accept(UInt8(ascii: "+")) ? 2 : 1
            if targets.count == 1 {
                for step in 0..<count {
                    set(source + step * stride, to: targets[0] + step * stride)
                }
            } else {
                set(source, to: Self.severalBase + UInt32(several.count))
                several.append(UInt32(targets.count))
                several += targets
            }
            while cursor.accept(.space) {}
        }
    }

    private static func hexadecimal(_ cursor: inout ByteCursor) -> UInt32 {
        var value: UInt32 = 0
        while let digit = cursor.peek?.hexValue {
            value = value << 4 | UInt32(digit)
            cursor.offset += 1
        }
        return value
    }

    private mutating func set(_ scalar: UInt32, to value: UInt32) {
        let page = Int(scalar >> 8)
        if pages[page] == 0 {
            pages[page] = UInt16(values.count / 256)
            values += Array(repeating: 0, count: 256)
        }
        values[Int(pages[page]) * 256 + Int(scalar & 255)] = value
    }

    /// Appends the folded form of UTF-8 text, in UTF-8. Bytes that are no UTF-8 stay.
    package func append(_ text: Span<UInt8>, in range: Range<Int>, to output: inout [UInt8]) {
        var index = range.lowerBound
        let end = range.upperBound
        while index < end {
            let byte = text[index]
            if byte < 0x80 {
                output.append(byte.lowercased)
                index &+= 1
                continue
            }
            guard let (scalar, count) = text.scalar(at: index, end: end) else {
                output.append(byte)
                index &+= 1
                continue
            }
            append(scalar, to: &output)
            index &+= count
        }
    }

    private func append(_ scalar: UInt32, to output: inout [UInt8]) {
        let value = values[Int(pages[Int(scalar >> 8)]) &* 256 &+ Int(scalar & 255)]
        if value == 0 {
            if scalar &- 0xAC00 < 11_172 {
                appendSyllable(scalar, to: &output)
            } else {
                output.append(scalar: scalar)
            }
        } else if value < Self.severalBase {
            output.append(scalar: value)
        } else {
            let start = Int(value - Self.severalBase)
            for index in (start + 1)..<(start + 1 + Int(several[start])) {
                output.append(scalar: several[index])
            }
        }
    }

    /// The letters of a Hangul syllable.                             The Unicode Standard §3.12
    private func appendSyllable(_ scalar: UInt32, to output: inout [UInt8]) {
        let index = scalar - 0xAC00
        output.append(scalar: 0x1100 + index / 588)
        output.append(scalar: 0x1161 + index % 588 / 28)
        if index % 28 > 0 { output.append(scalar: 0x11A7 + index % 28) }
    }
}

extension Span where Element == UInt8 {
    /// The scalar whose UTF-8 begins at the offset, and its length; nil if that is no UTF-8.
    func scalar(at offset: Int, end: Int) -> (scalar: UInt32, count: Int)? {
        let first = self[offset]
        let count: Int
        var scalar: UInt32
        let least: UInt32
        switch first {
        case 0..<0x80: return (UInt32(first), 1)
        case 0xC2...0xDF: (count, scalar, least) = (2, UInt32(first & 0x1F), 0x80)
        case 0xE0...0xEF: (count, scalar, least) = (3, UInt32(first & 0x0F), 0x800)
        case 0xF0...0xF4: (count, scalar, least) = (4, UInt32(first & 0x07), 0x1_0000)
        default: return nil
        }
        guard end &- offset >= count else { return nil }
        for step in 1..<count {
            let byte = self[offset &+ step]
            guard byte & 0xC0 == 0x80 else { return nil }
            scalar = scalar << 6 | UInt32(byte & 0x3F)
        }
        guard scalar >= least, scalar < 0x11_0000, !(0xD800...0xDFFF).contains(scalar) else {
            return nil
        }
        return (scalar, count)
    }
}

extension Array where Element == UInt8 {
    /// Appends the UTF-8 of a scalar.
    mutating func append(scalar: UInt32) {
        if scalar < 0x80 {
            append(UInt8(truncatingIfNeeded: scalar))
            return
        }
        if scalar < 0x800 {
            append(0xC0 | UInt8(truncatingIfNeeded: scalar >> 6))
        } else {
            if scalar < 0x1_0000 {
                append(0xE0 | UInt8(truncatingIfNeeded: scalar >> 12))
            } else {
                append(0xF0 | UInt8(truncatingIfNeeded: scalar >> 18))
                append(0x80 | UInt8(truncatingIfNeeded: scalar >> 12) & 0x3F)
            }
            append(0x80 | UInt8(truncatingIfNeeded: scalar >> 6) & 0x3F)
        }
        append(0x80 | UInt8(truncatingIfNeeded: scalar) & 0x3F)
    }
}
