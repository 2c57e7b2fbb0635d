package import Bytes

extension ByteBuffer {
    //  sequence-set = (seq-number / seq-range) ["," sequence-set]            RFC 9051 §9
    //
    //  There is no empty set on the wire: nothing is written for one. Whoever writes a response leaves
    //  out what the set would stand in.
    package mutating func append(set ranges: [ClosedRange<UInt32>]) {
        for (index, range) in ranges.enumerated() {
            if index > 0 { append(UInt8(ascii: ",")) }
            append(range)
        }
    }

    private mutating func append(_ range: ClosedRange<UInt32>) {
        append(decimal: range.lowerBound)
        guard range.upperBound > range.lowerBound else { return }
        append(UInt8(ascii: ":"))
        append(decimal: range.upperBound)
    }
}

/// Ascending numbers joined into ranges: what `COPYUID`, `VANISHED` and `ALL` are written from.
package struct RangeBuilder: Sendable {
    package private(set) var ranges: [ClosedRange<UInt32>] = []

    package init() {}

    package init(_ numbers: [UInt32]) { self.init(numbers[...]) }

    package init(_ numbers: ArraySlice<UInt32>) {
        for number in numbers { add(number) }
    }

    /// Joins the number to the last range if it is the one behind it. The order is kept, so
    /// that the two sides of COPYUID pair up.
    package mutating func add(_ number: UInt32) {
        if let last = ranges.last, last.upperBound != .max, number == last.upperBound + 1 {
            ranges[ranges.count - 1] = last.lowerBound...number
        } else {
            ranges.append(number...number)
        }
    }
}
