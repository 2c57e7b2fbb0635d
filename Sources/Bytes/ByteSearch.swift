import Glibc

/// Searching and counting over long runs of bytes, 32 at a time.
///
/// Message files of hundreds of megabytes are scanned for line ends, boundaries and words; byte
/// by byte that costs 20 times as much.
public typealias ByteVector = SIMD32<UInt8>

extension Span where Element == UInt8 {
    /// The 32 bytes from `offset`, which must all be there.
    @inlinable @inline(__always)
    public func vector(at offset: Int) -> ByteVector {
        precondition(offset >= 0 && offset <= count &- 32, "vector past the end")
        return unsafe bytes.unsafeLoadUnaligned(
            fromUncheckedByteOffset: offset,
            as: ByteVector.self
        )
    }

    /// The offset of the first such byte in the range, or nil.
    public func offset(of byte: UInt8, in range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        guard !range.isEmpty else { return nil }
        return unsafe withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress,
                let found = unsafe memchr(base + range.lowerBound, CInt(byte), range.count)
            else { return nil }
            return unsafe UnsafeRawPointer(found) - UnsafeRawPointer(base)
        }
    }

    /// How many LFs are in the range, and how many of them do not follow a CR. What stands before
    /// the range is not looked at.
    public func lineFeeds(in range: Range<Int>) -> (all: Int, bare: Int) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        guard !range.isEmpty else { return (0, 0) }
        var index = range.lowerBound
        var all = self[index] == .lf ? 1 : 0
        var bare = all
        index &+= 1
        let feed = ByteVector(repeating: .lf)
        let carriage = ByteVector(repeating: .cr)
        while index &+ 32 <= range.upperBound {
            // A lane counts to 255 before it is emptied into the total.
            var allLanes = ByteVector()
            var bareLanes = ByteVector()
            let stop = Swift.min(range.upperBound &- 31, index &+ 255 &* 32)
            while index < stop {
                let feeds = vector(at: index) .== feed
                let others = vector(at: index &- 1) .!= carriage
                allLanes &-= feeds.bits
                bareLanes &-= (feeds .& others).bits
                index &+= 32
            }
            all &+= allLanes.sum
            bare &+= bareLanes.sum
        }
        while index < range.upperBound {
            if self[index] == .lf {
                all &+= 1
                if self[index &- 1] != .cr { bare &+= 1 }
            }
            index &+= 1
        }
        return (all, bare)
    }

    /// The offset of the first LF in the range that does not follow a CR of the range, or nil.
    public func bareLineFeed(in range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        guard !range.isEmpty else { return nil }
        var index = range.lowerBound
        if self[index] == .lf { return index }
        index += 1
        let feed = ByteVector(repeating: .lf)
        let carriage = ByteVector(repeating: .cr)
        while index &+ 32 <= range.upperBound {
            let hits = (vector(at: index) .== feed) .& (vector(at: index &- 1) .!= carriage)
            if let lane = hits.firstLane { return index &+ lane }
            index &+= 32
        }
        while index < range.upperBound {
            if self[index] == .lf, self[index &- 1] != .cr { return index }
            index &+= 1
        }
        return nil
    }

    /// Whether every byte of the range is below 0x80.
    public func isASCII(in range: Range<Int>) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        var index = range.lowerBound
        while index &+ 128 <= range.upperBound {
            let all =
                vector(at: index).union | vector(at: index &+ 32).union
                | vector(at: index &+ 64).union | vector(at: index &+ 96).union
            if all & 0x8080_8080_8080_8080 != 0 { return false }
            index &+= 128
        }
        while index < range.upperBound {
            if self[index] >= 0x80 { return false }
            index &+= 1
        }
        return true
    }

    /// The offset of the first LF in the range that is followed, in the range, by `first` and
    /// `second`, or nil. For lines that begin with two known bytes.
    public func lineFeed(before first: UInt8, _ second: UInt8, in range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        var index = range.lowerBound
        let feed = ByteVector(repeating: .lf)
        let begin = ByteVector(repeating: first)
        while index &+ 34 <= range.upperBound {
            let hits = (vector(at: index) .== feed) .& (vector(at: index &+ 1) .== begin)
            guard let lane = hits.firstLane else {
                index &+= 32
                continue
            }
            // Few lines begin with the first byte alone.
            if self[index &+ lane &+ 2] == second { return index &+ lane }
            index &+= lane &+ 1
        }
        while index &+ 3 <= range.upperBound {
            if self[index] == .lf, self[index &+ 1] == first, self[index &+ 2] == second {
                return index
            }
            index &+= 1
        }
        return nil
    }

    /// The offset in the range of the first run of bytes that equals `needle` when ASCII letters
    /// of either case are taken as equal, or nil. `needle` must be in lower case already.
    public func offset(ofLowercased needle: Span<UInt8>, in range: Range<Int>) -> Int? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "range past the end")
        let length = needle.count
        guard length > 0 else { return range.lowerBound }
        guard range.count >= length else { return nil }
        let first = needle[0]
        let last = needle[length &- 1]
        let firstLower = ByteVector(repeating: first)
        let firstUpper = ByteVector(repeating: first.uppercased)
        let lastLower = ByteVector(repeating: last)
        let lastUpper = ByteVector(repeating: last.uppercased)
        var index = range.lowerBound
        let end = range.upperBound &- length &+ 1
        while index &+ 32 <= end {
            let head = vector(at: index)
            let tail = vector(at: index &+ length &- 1)
            let hits =
                ((head .== firstLower) .| (head .== firstUpper))
                .& ((tail .== lastLower) .| (tail .== lastUpper))
            if hits.bits.union != 0 {
                let bits = hits.bits
                for lane in 0..<32 where bits[lane] != 0 {
                    if matches(needle, at: index &+ lane) { return index &+ lane }
                }
            }
            index &+= 32
        }
        while index < end {
            if matches(needle, at: index) { return index }
            index &+= 1
        }
        return nil
    }

    /// Whether the lower-cased needle stands at the offset; there must be room for it.
    @inline(__always)
    private func matches(_ needle: Span<UInt8>, at offset: Int) -> Bool {
        for index in needle.indices where self[offset &+ index].lowercased != needle[index] {
            return false
        }
        return true
    }
}

extension SIMD32 where Scalar == UInt8 {
    /// The bits that are set in any lane, eight lanes side by side. (`|`, `&` and `~` of 32 lanes
    /// are compiled lane by lane.)
    fileprivate var union: UInt64 {
        @inline(__always) get {
            let words = unsafe unsafeBitCast(self, to: SIMD4<UInt64>.self)
            return words[0] | words[1] | words[2] | words[3]
        }
    }

    /// The sum of all lanes.
    fileprivate var sum: Int {
        let words = unsafe unsafeBitCast(self, to: SIMD4<UInt64>.self)
        var total: UInt64 = 0
        for index in 0..<4 {
            // Neighbours in pairs of 16 bits, whose sum of four the multiplication brings up.
            let pairs =
                (words[index] & 0x00FF_00FF_00FF_00FF)
                &+ (words[index] >> 8 & 0x00FF_00FF_00FF_00FF)
            total &+= (pairs &* 0x0001_0001_0001_0001) >> 48
        }
        return Int(total)
    }
}

extension SIMDMask where Storage == SIMD32<Int8> {
    /// All ones in the lanes that are set.
    ///
    /// `replacing(with:where:)` on 32 lanes is compiled lane by lane in Swift 6.3 (200 times
    /// slower), so counting subtracts the mask itself.
    fileprivate var bits: ByteVector {
        @inline(__always) get { unsafe unsafeBitCast(self, to: ByteVector.self) }
    }

    /// The first lane that is set, or nil.
    var firstLane: Int? {
        @inline(__always) get {
            let words = unsafe unsafeBitCast(self, to: SIMD4<UInt64>.self)
            guard words[0] | words[1] | words[2] | words[3] != 0 else { return nil }
            for word in 0..<4 where words[word] != 0 {
                return word &* 8 &+ words[word].trailingZeroBitCount / 8
            }
            return nil
        }
    }
}
