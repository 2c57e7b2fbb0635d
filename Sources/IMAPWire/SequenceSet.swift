/// Whether the numbers of a command are positions or permanent names.
package enum NumberKind: Hashable, Sendable {
    case sequenceNumber
    case uid
}

/// One end of a range: a number, or `*`, the largest in use.
package enum SetBound: Hashable, Sendable {
    case number(UInt32)
    case largest

    package func value(largest: UInt32) -> UInt32 {
        switch self {
        case .number(let number): number
        case .largest: largest
        }
    }
}

/// A range as the client wrote it: the ends may come in either order.
///
/// Eight bytes, as a line of 1 MiB may hold a hundred thousand of them.
package struct SetRange: Hashable, Sendable {
    /// 0 stands for `*`, which no number of the grammar can be.
    private let firstRaw: UInt32
    private let lastRaw: UInt32

    package init(first: SetBound, last: SetBound) {
        firstRaw = first.value(largest: 0)
        lastRaw = last.value(largest: 0)
    }

    package init(_ number: UInt32) {
        firstRaw = number
        lastRaw = number
    }

    package var first: SetBound { firstRaw == 0 ? .largest : .number(firstRaw) }
    package var last: SetBound { lastRaw == 0 ? .largest : .number(lastRaw) }

    /// Whether an end is `*`.
    package var namesLargest: Bool { firstRaw == 0 || lastRaw == 0 }

    /// The range with `*` replaced and its ends in order.
    package func resolved(largest: UInt32) -> ClosedRange<UInt32> {
        let first = firstRaw == 0 ? largest : firstRaw
        let last = lastRaw == 0 ? largest : lastRaw
        return min(first, last)...max(first, last)
    }
}

/// The messages a command names.                                             RFC 9051 §9
package struct SequenceSet: Hashable, Sendable {
    package var ranges: [SetRange]
    /// Whether it names `$`, the result of the last SEARCH with RETURN (SAVE).
    ///                                                                       RFC 5182 §2.1
    package var namesSaved: Bool

    package init(_ ranges: [SetRange], namesSaved: Bool = false) {
        self.ranges = ranges
        self.namesSaved = namesSaved
    }

    /// `$` alone.
    package static let saved = SequenceSet([], namesSaved: true)

    /// Whether it names `*`. In an empty mailbox that is BAD as a sequence number.
    package var namesLargest: Bool { ranges.contains(where: \.namesLargest) }

    /// The largest number written out, or 0 if there is none.
    package var largestNumber: UInt32 {
        ranges.reduce(0) { max($0, $1.resolved(largest: 0).upperBound) }
    }

    /// The set in ascending order, overlapping and adjacent ranges joined, `*` replaced by
    /// `largest` and `$` by numbers that only the session knows.
    package func resolved(
        largest: UInt32,
        saved: @autoclosure () -> [UInt32] = []
    ) -> [ClosedRange<UInt32>] {
        var sorted = ranges.map { $0.resolved(largest: largest) }
        if namesSaved { sorted += RangeBuilder(saved()).ranges }
        if !zip(sorted, sorted.dropFirst()).allSatisfy({ $0.lowerBound <= $1.lowerBound }) {
            sorted.sort { $0.lowerBound < $1.lowerBound }
        }
        var joined: [ClosedRange<UInt32>] = []
        for range in sorted {
            if let last = joined.last,
                range.lowerBound <= last.upperBound &+ 1
                    || last.upperBound == .max
            {
                joined[joined.count - 1] =
                    last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        return joined
    }
}
