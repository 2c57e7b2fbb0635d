package import Posix

/// How long to wait for somebody else's lock, and when to take it for dead: Dovecot's rules, as a
/// function of what was observed and of the clocks.
///
/// - A process of this host that runs is waited for, however long it takes, up to the time-out.
/// - A lock whose process is gone from this host is overridden, if it is older than two seconds: a
///   younger one may not have its content yet.
/// - Any other lock is overridden when neither it nor the protected file has changed for the stale
///   time. At first sight the files' own times tell how long that has been.
package struct DotLockPatience: Sendable {
    private let staleAfterSeconds: Int
    private let timeoutSeconds: Int
    private let started: Instant
    private var last: DotLock.Observation?
    private var lastChange: Instant
    private var delayMilliseconds = 20

    /// For `dovecot-uidlist`: stale after 120 s, waited for a little longer than that.
    package static func uidList(now: Instant) -> DotLockPatience {
        DotLockPatience(staleAfterSeconds: 120, timeoutSeconds: 122, now: now)
    }

    /// For `subscriptions`.
    package static func subscriptions(now: Instant) -> DotLockPatience {
        DotLockPatience(staleAfterSeconds: 30, timeoutSeconds: 120, now: now)
    }

    package init(staleAfterSeconds: Int, timeoutSeconds: Int, now: Instant) {
        self.staleAfterSeconds = staleAfterSeconds
        self.timeoutSeconds = timeoutSeconds
        started = now
        lastChange = now
    }

    package enum Verdict: Equatable, Sendable {
        /// Try again after this time, or when the lock file goes.
        case wait(milliseconds: Int)
        /// `DotLock.override`, then try again after `pauseAfterOverride`.
        case override
        case timedOut
    }

    /// In milliseconds.
    package static let pauseAfterOverride = 150

    /// Below this age a lock's content may still be missing.
    private static let contentAgeSecondsMin: Int64 = 2

    /// What to do about a lock that is held.
    package mutating func judge(
        _ observation: DotLock.Observation,
        now: Instant,
        date: WallTime
    ) -> Verdict {
        noteChange(observation, now, date)
        switch observation.holder {
        case .gone
        where Self.seconds(from: observation.lock.modified, to: date) > Self.contentAgeSecondsMin:
            return .override
        case .unknown, .gone:
            if now.milliseconds(since: lastChange) >= staleAfterSeconds * 1_000 { return .override }
        case .running: break
        }
        guard now.milliseconds(since: started) < timeoutSeconds * 1_000 else { return .timedOut }
        // Half as long again each time, up to a second; the time-out is not overslept.
        delayMilliseconds = min(delayMilliseconds * 3 / 2, 1_000)
        return .wait(milliseconds: delayMilliseconds)
    }

    /// A file's time can be any number.
    private static func seconds(from earlier: WallTime, to later: WallTime) -> Int64 {
        let (seconds, overflowed) = later.seconds.subtractingReportingOverflow(earlier.seconds)
        return overflowed ? 0 : seconds
    }

    private mutating func noteChange(
        _ observation: DotLock.Observation,
        _ now: Instant,
        _ date: WallTime
    ) {
        if let last {
            if last.lock != observation.lock || last.protected != observation.protected {
                lastChange = now
            }
        } else {
            var newest = max(observation.lock.changed, observation.lock.modified)
            if let protected = observation.protected {
                newest = max(newest, protected.changed, protected.modified)
            }
            // A time in the future, from another host's clock, counts as now.
            let age = min(max(Self.seconds(from: newest, to: date), 0), Int64(staleAfterSeconds))
            let nanoseconds = UInt64(age) * 1_000_000_000
            lastChange = Instant(
                nanoseconds: now.nanoseconds > nanoseconds ? now.nanoseconds - nanoseconds : 0
            )
        }
        last = observation
    }
}
