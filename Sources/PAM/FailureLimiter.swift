package import Posix
package import Privsep

//  Who may try how often
//
//  Only failures count, so that any number of good logins at once is free. A failure moves the
//  time at which its address and its user are clean again forward by a step; whoever is more than
//  a burst of steps ahead is limited. Attempts are looked at when a worker is free for them, so
//  that a thousand parallel ones, all begun before the first fails, do not slip through: at most
//  the pool's number of workers does.
//
//  A user's own bucket lets an attacker who tries many addresses keep the user out. So it is wide,
//  and an address from which this user logged in lately is not held by it.

/// Counts failed logins by address and by user.
package struct FailureLimiter {
    /// Failures at once before an address is limited, and how long one counts.
    package static let addressBurst = 30
    static let addressStepMilliseconds = 6_000
    /// The same for a user, over all addresses.
    package static let userBurst = 60
    static let userStepMilliseconds = 3_000
    /// Addresses and users remembered. Each costs about 100 bytes.
    package static let entryCountMax = 20_000
    /// How long an address is known to be a user's own.
    static let knownMilliseconds = 7 * 86_400 * 1_000

    private var cleanAt: [Key: Instant] = [:]
    private var known: [Pair: Instant] = [:]
    private var sweptAt: Instant?

    private enum Key: Hashable {
        case address([UInt8])
        case user([UInt8])
    }

    private struct Pair: Hashable {
        let user: [UInt8]
        let address: [UInt8]
    }

    private let entryCountMax: Int

    package init(entryCountMax: Int = FailureLimiter.entryCountMax) {
        self.entryCountMax = entryCountMax
    }

    /// What counts as one address: all of an IPv4 address, the network of an IPv6 one (a
    /// household has 2^64 of them). Text, as in the log, without the port.
    package static func bucket(of connection: ConnectionInfo) -> [UInt8] {
        let text = connection.remoteAddress
        guard text.contains(UInt8(ascii: ":")) else { return text }
        let fields = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard let gap = fields.dropFirst().dropLast().firstIndex(where: \.isEmpty) else {
            return Array(fields.prefix(4).joined(separator: [UInt8(ascii: ":")]))
        }
        return Array(fields.prefix(min(4, gap)).joined(separator: [UInt8(ascii: ":")]))
    }

    /// Whether an attempt may be made now. A connection from this host itself (a webmail, for all
    /// of its users) is limited by user alone.
    package func allows(user: [UInt8], _ connection: ConnectionInfo, now: Instant = .now) -> Bool {
        let address = Self.bucket(of: connection)
        if !connection.isLoopback,
            debt(.address(address), now) > (Self.addressBurst - 1) * Self.addressStepMilliseconds
        {
            return false
        }
        if let until = known[Pair(user: user, address: address)], until > now { return true }
        return debt(.user(user), now) <= (Self.userBurst - 1) * Self.userStepMilliseconds
    }

    package mutating func failed(
        user: [UInt8],
        _ connection: ConnectionInfo,
        now: Instant = .now
    ) {
        let address = Self.bucket(of: connection)
        if !connection.isLoopback { add(.address(address), Self.addressStepMilliseconds, now) }
        add(.user(user), Self.userStepMilliseconds, now)
    }

    package mutating func succeeded(
        user: [UInt8],
        _ connection: ConnectionInfo,
        now: Instant = .now
    ) {
        if known.count >= entryCountMax {
            sweep(now)
            if known.count >= entryCountMax, let any = known.keys.first { known[any] = nil }
        }
        let pair = Pair(user: user, address: Self.bucket(of: connection))
        known[pair] = now.adding(milliseconds: Self.knownMilliseconds)
    }

    /// How long an answer that is not `ok` takes from the attempt's beginning: two seconds, and
    /// up to eight where failures gather.
    package func delayMilliseconds(
        user: [UInt8],
        _ connection: ConnectionInfo,
        now: Instant = .now
    ) -> Int {
        guard !connection.isLoopback else { return Self.delayMillisecondsMin }
        let steps =
            debt(.address(Self.bucket(of: connection)), now) / Self.addressStepMilliseconds
        return min(Self.delayMillisecondsMin << min(steps / 8, 8), Self.delayMillisecondsMax)
    }

    package static let delayMillisecondsMin = 2_000
    package static let delayMillisecondsMax = 8_000

    /// How much is remembered now.
    var entryCount: Int { cleanAt.count + known.count }

    private func debt(_ key: Key, _ now: Instant) -> Int {
        cleanAt[key]?.milliseconds(since: now) ?? 0
    }

    /// Forgets what is clean; not more often than each second, as it looks at all of it.
    private mutating func sweep(_ now: Instant) {
        if let sweptAt, now.milliseconds(since: sweptAt) < 1_000 { return }
        sweptAt = now
        cleanAt = cleanAt.filter { $0.value > now }
        known = known.filter { $0.value > now }
    }

    private mutating func add(_ key: Key, _ step: Int, _ now: Instant) {
        if cleanAt[key] == nil, cleanAt.count >= entryCountMax {
            sweep(now)
            // Full of live entries: the next best goes, at no cost to the attempt in hand.
            if cleanAt.count >= entryCountMax, let any = cleanAt.keys.first {
                cleanAt[any] = nil
            }
        }
        let start = max(cleanAt[key] ?? now, now)
        cleanAt[key] = start.adding(milliseconds: step)
    }
}
