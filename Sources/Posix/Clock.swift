import Glibc

/// A point of the monotonic clock, in nanoseconds. For waiting and measuring; never a date.
package struct Instant: Comparable, Hashable, Sendable {
    package var nanoseconds: UInt64

    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    package static var now: Instant {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    package static func after(seconds: Int) -> Instant { now.adding(milliseconds: seconds * 1_000) }
    package static func after(milliseconds: Int) -> Instant {
        now.adding(milliseconds: milliseconds)
    }

    package func adding(milliseconds: Int) -> Instant {
        Instant(nanoseconds: nanoseconds &+ UInt64(max(milliseconds, 0)) &* 1_000_000)
    }

    package static func < (left: Instant, right: Instant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }

    /// Whole milliseconds from `earlier` to this, zero where it lies before.
    package func milliseconds(since earlier: Instant) -> Int {
        guard nanoseconds > earlier.nanoseconds else { return 0 }
        return Int((nanoseconds - earlier.nanoseconds) / 1_000_000)
    }
}

/// A date: time since 1970-01-01 00:00 UTC.
package struct WallTime: Comparable, Hashable, Sendable {
    package var seconds: Int64
    package var nanoseconds: Int32

    package init(seconds: Int64, nanoseconds: Int32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    package static var now: WallTime {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: Int64(time.tv_sec), nanoseconds: Int32(time.tv_nsec))
    }

    /// Since 1970, saturating at the ends.
    package var microseconds: Int64 {
        let (product, overflowed) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return overflowed ? .max : product &+ Int64(nanoseconds / 1_000)
    }

    package static func < (left: WallTime, right: WallTime) -> Bool {
        (left.seconds, left.nanoseconds) < (right.seconds, right.nanoseconds)
    }
}
