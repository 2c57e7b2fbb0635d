import Posix

//  Modseqs: a clock that never goes back
//
//  Each change in any mailbox of the user gets max(last + 1, now in µs). None is ever above the
//  ceiling, which `martlet-state` holds, and no client is told one before that ceiling is on the disk
//  (`isDurable`; of those that were given before, `isDurable(_:)`). What comes after a crash starts above it, so that it does not matter what the time
//  of day does, nor whether the cache with the modseqs of messages is still there.
//
//  A ceiling is a day ahead. Where the time has left it behind (a process that was idle for longer, a
//  date set forward, a disk that takes nothing), the clock counts on by one: 86 billion changes.

/// The clock of one store.
package struct ModseqClock: Sendable, Equatable {
    /// The newest that was given.
    package private(set) var last: UInt64
    /// Nothing above it is given.
    package private(set) var ceiling: UInt64
    /// None up to here is given again, whatever happens.
    private var durableCeiling: UInt64

    /// A day in microseconds.
    static let reserve: UInt64 = 86_400_000_000

    /// What no clock of ours reaches: far below 2^63, as RFC 7162 §7 wants it, so that a damaged file
    /// cannot bring it near.
    static let limit: UInt64 = 1 << 62

    /// - Parameter durableCeiling: what `martlet-state` says already, before this ceiling is written.
    init(last: UInt64, ceiling: UInt64, durableCeiling: UInt64 = 0) {
        self.last = last
        self.ceiling = ceiling
        self.durableCeiling = durableCeiling
    }

    /// Above all given before, and close to the time in microseconds where that has not gone back.
    mutating func next(now: WallTime = .now) -> UInt64 {
        let now = UInt64(max(now.microseconds, 0))
        last = now > last && now <= ceiling ? now : last + 1
        return last
    }

    /// Whether what was given, and what will be, may be told.
    package var isDurable: Bool { max(last, ceiling) <= durableCeiling }

    /// Whether this one may be told.
    func isDurable(_ modseq: UInt64) -> Bool { modseq <= durableCeiling }

    /// Whether it is time to reserve more.
    func isLow(now: WallTime = .now) -> Bool {
        let now = min(UInt64(max(now.microseconds, 0)), Self.limit)
        return max(last, now) + Self.reserve / 2 > ceiling
    }

    /// The file holds this ceiling now.
    mutating func noteDurable(_ ceiling: UInt64) {
        durableCeiling = max(durableCeiling, ceiling)
        self.ceiling = max(self.ceiling, ceiling)
    }

    /// What comes is above this: a cache knows of newer modseqs than the Maildir, which was restored.
    mutating func raise(above modseq: UInt64) {
        last = max(last, min(modseq, Self.limit))
        ceiling = max(ceiling, last + Self.reserve)
    }
}
