import Bytes
import InternetMessage

//  Putting many messages in order
//
//  Numbers are sorted digit by digit, texts by their first eight bytes as a number, then those that are
//  equal by the next eight. All of it keeps the order of equals, so that several criteria are sorted
//  one after the other, the last one first.

/// Items and the key of each, which are moved together.
struct KeySort {
    private(set) var items: [UInt32]
    private var keys: [UInt64]
    private var otherItems: [UInt32] = []
    private var otherKeys: [UInt64] = []

    /// Shorter stretches are sorted by insertion.
    private static let insertionMax = 40

    init(_ items: [UInt32]) {
        self.items = items
        keys = Array(repeating: 0, count: items.count)
    }

    /// The numbers from 0 on.
    static func places(_ count: Int) -> [UInt32] { (0..<UInt32(count)).map { $0 } }

    /// Sorts by numbers, keeping the order of equals.
    mutating func sort(isReverse: Bool = false, _ number: (UInt32) -> Int64) {
        let flip: UInt64 = isReverse ? .max : 0
        for index in items.indices {
            let ordered = UInt64(bitPattern: number(items[index])) ^ 1 << 63
            keys[index] = ordered ^ flip
        }
        sortKeys(items.indices)
    }

    /// Sorts by the bytes of each item's cell, keeping the order of equals.
    mutating func sort(isReverse: Bool = false, _ cells: ColumnCells) {
        var open = [(range: items.indices, depth: 0)]
        while let (range, depth) = open.popLast() {
            take(range, of: cells, depth, isReverse)
            sortKeys(range)
            var start = range.lowerBound
            while start < range.upperBound {
                var end = start + 1
                while end < range.upperBound, keys[end] == keys[start] { end += 1 }
                if end - start > 1 {
                    let rest = settleEnds(start..<end, of: cells, depth, isReverse)
                    if rest.count > 1 { open.append((rest, depth + 8)) }
                }
                start = end
            }
        }
    }

    /// The next eight bytes of each text as its key; beyond its end are zeros.
    private mutating func take(
        _ range: Range<Int>,
        of cells: ColumnCells,
        _ depth: Int,
        _ isReverse: Bool
    ) {
        let bytes = cells.bytes
        let span = bytes.span
        let flip: UInt64 = isReverse ? .max : 0
        for index in range {
            let cell = cells.range(Int(items[index]))
            let start = cell.lowerBound + depth
            let count = cell.upperBound - start
            var key: UInt64 = 0
            if count > 0, start + 8 <= span.count {
                key = span.word(at: start).byteSwapped
                if count < 8 { key &= UInt64.max << UInt64(64 - 8 * count) }
            } else {
                for offset in 0..<max(count, 0) {
                    key |= UInt64(span[start + offset]) << UInt64(56 - 8 * offset)
                }
            }
            keys[index] = key ^ flip
        }
    }

    /// Of texts whose eight bytes are the same, those that end within them are in order by their
    /// length, before the longer ones. Returns the longer ones, where they differ at all.
    private mutating func settleEnds(
        _ range: Range<Int>,
        of cells: ColumnCells,
        _ depth: Int,
        _ isReverse: Bool
    ) -> Range<Int> {
        func rest(_ item: UInt32) -> Int { min(cells.range(Int(item)).count - depth, 9) }
        let first = rest(items[range.lowerBound])
        var (isOne, isEqual) = (true, true)
        let bytes = cells.bytes
        let span = bytes.span
        let text = span.extracting(cells.range(Int(items[range.lowerBound])))
        for index in range.dropFirst() {
            if rest(items[index]) != first {
                isOne = false
                break
            }
            if isEqual, first > 8 {
                isEqual = span.extracting(cells.range(Int(items[index]))).equals(text)
            }
        }
        // Many messages have one subject.
        if isOne { return isEqual ? range.lowerBound..<range.lowerBound : range }
        let key = keys[range.lowerBound]
        for index in range {
            let count = UInt64(rest(items[index]))
            keys[index] = isReverse ? 9 - count : count
        }
        sortKeys(range)
        var longer = range.upperBound..<range.upperBound
        for index in range where rest(items[index]) == 9 {
            longer = min(longer.lowerBound, index)..<(index + 1)
        }
        for index in range { keys[index] = key }
        return longer
    }

    /// Stable, by the keys.
    private mutating func sortKeys(_ range: Range<Int>) {
        if range.count <= Self.insertionMax { return insert(range) }
        var all: UInt64 = 0
        var common: UInt64 = .max
        for index in range {
            all |= keys[index]
            common &= keys[index]
        }
        let varying = all & ~common
        if varying == 0 { return }
        if otherKeys.count < keys.count {
            otherKeys = keys
            otherItems = items
        }
        for shift in stride(from: UInt64(0), to: 64, by: 8) where varying >> shift & 255 != 0 {
            distribute(range, shift)
        }
    }

    private mutating func distribute(_ range: Range<Int>, _ shift: UInt64) {
        var starts = InlineArray<256, Int>(repeating: 0)
        for index in range { starts[Int(keys[index] >> shift & 255)] += 1 }
        var next = range.lowerBound
        for digit in 0..<256 {
            let count = starts[digit]
            starts[digit] = next
            next += count
        }
        for index in range {
            let digit = Int(keys[index] >> shift & 255)
            let place = starts[digit]
            starts[digit] = place + 1
            otherKeys[place] = keys[index]
            otherItems[place] = items[index]
        }
        for index in range {
            keys[index] = otherKeys[index]
            items[index] = otherItems[index]
        }
    }

    private mutating func insert(_ range: Range<Int>) {
        for index in range.dropFirst() {
            let (key, item) = (keys[index], items[index])
            var place = index
            while place > range.lowerBound, keys[place - 1] > key {
                keys[place] = keys[place - 1]
                items[place] = items[place - 1]
                place -= 1
            }
            keys[place] = key
            items[place] = item
        }
    }
}
