/// The same numbers for the same seed, everywhere and for ever (SplitMix64); so a corpus is named
/// by its seed.
struct SeededRandom: Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// A number below `bound`, which is at least 1.
    mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next() >> 1) % max(bound, 1)
    }

    mutating func isOne(of percent: Int) -> Bool { below(100) < percent }

    mutating func pick<Element>(_ list: [Element]) -> Element { list[below(list.count)] }

    /// Between `low` and `high`, small ones as likely as large ones on a logarithmic scale: each
    /// doubling is as probable as any other.
    mutating func size(_ low: Int, _ high: Int) -> Int {
        var doublings = 0
        while low << (doublings + 1) <= high { doublings += 1 }
        let base = low << below(doublings)
        return min(base + below(base), high)
    }
}
