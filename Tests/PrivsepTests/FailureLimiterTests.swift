import Testing

@testable import PAM
@testable import Posix
@testable import Privsep

private func connection(_ remote: String, isLoopback: Bool = false) -> ConnectionInfo {
    ConnectionInfo(
        session: SessionID(1),
        remote: Array(remote.utf8),
        local: [],
        isLoopback: isLoopback
    )
}
private let ann = Array("ann".utf8)
private func user(_ number: Int) -> [UInt8] { Array("user\(number)".utf8) }

@Suite("who may try how often")
struct FailureLimiterTests {
    private let start = Instant(nanoseconds: 1_000_000_000_000)

    @Test("an address: as many failures as the burst, then no more until one is forgotten")
    func address() {
        var limiter = FailureLimiter()
        let from = connection("192.0.2.7:1")
        for number in 0..<FailureLimiter.addressBurst {
            #expect(limiter.allows(user: user(number), from, now: start))
            limiter.failed(user: user(number), from, now: start)
        }
        #expect(!limiter.allows(user: user(999), from, now: start))
        // The port is not what makes a stranger; another address is another stranger.
        #expect(!limiter.allows(user: user(999), connection("192.0.2.7:2"), now: start))
        #expect(limiter.allows(user: user(999), connection("192.0.2.8:1"), now: start))
        let step = FailureLimiter.addressStepMilliseconds
        #expect(!limiter.allows(user: ann, from, now: start.adding(milliseconds: step - 1_000)))
        #expect(limiter.allows(user: ann, from, now: start.adding(milliseconds: step + 1)))
    }

    @Test("a user, over all addresses; but not from where the user logged in")
    func userBucket() {
        var limiter = FailureLimiter()
        let home = connection("192.0.2.7:1")
        limiter.succeeded(user: ann, home, now: start)
        for number in 0..<FailureLimiter.userBurst {
            let from = connection("198.51.100.\(number):1")
            #expect(limiter.allows(user: ann, from, now: start))
            limiter.failed(user: ann, from, now: start)
        }
        #expect(!limiter.allows(user: ann, connection("203.0.113.1:1"), now: start))
        #expect(limiter.allows(user: ann, home, now: start))
        #expect(limiter.allows(user: user(1), connection("203.0.113.1:1"), now: start))
    }

    @Test("good logins are free")
    func success() {
        var limiter = FailureLimiter()
        let from = connection("192.0.2.7:1")
        for _ in 0..<10_000 {
            #expect(limiter.allows(user: ann, from, now: start))
            limiter.succeeded(user: ann, from, now: start)
        }
    }

    @Test("this host itself is limited by user alone")
    func loopback() {
        var limiter = FailureLimiter()
        let from = connection("127.0.0.1:1", isLoopback: true)
        for number in 0..<1_000 { limiter.failed(user: user(number), from, now: start) }
        #expect(limiter.allows(user: ann, from, now: start))
        for _ in 0..<FailureLimiter.userBurst { limiter.failed(user: ann, from, now: start) }
        #expect(!limiter.allows(user: ann, from, now: start))
    }

    @Test(
        "addresses that count as one",
        arguments: [
            ("192.0.2.7:1", "192.0.2.7"), ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2"),
            ("[2001:db8:1:2::6]:1", "2001:db8:1:2"), ("[2001:db8::6]:1", "2001:db8"),
            ("[::1]:1", ""), ("nonsense", "nonsense"), ("", ""),
        ]
    )
    func buckets(_ remote: String, _ bucket: String) {
        #expect(FailureLimiter.bucket(of: connection(remote)) == Array(bucket.utf8))
    }

    @Test("what is remembered is bounded")
    func memory() {
        var limiter = FailureLimiter(entryCountMax: 100)
        for number in 0..<500 {
            let from = connection("10.\(number >> 16).\(number >> 8 & 255).\(number & 255):1")
            limiter.failed(user: user(number), from, now: start)
            limiter.succeeded(user: user(number), from, now: start)
        }
        #expect(limiter.entryCount == 2 * 100)
    }

    @Test("the delay grows with an address's failures, up to a bound")
    func delay() {
        var limiter = FailureLimiter()
        let from = connection("192.0.2.7:1")
        #expect(limiter.delayMilliseconds(user: ann, from, now: start) == 2_000)
        for _ in 0..<8 { limiter.failed(user: ann, from, now: start) }
        #expect(limiter.delayMilliseconds(user: ann, from, now: start) == 4_000)
        for _ in 0..<1_000 { limiter.failed(user: ann, from, now: start) }
        #expect(
            limiter.delayMilliseconds(user: ann, from, now: start)
                == FailureLimiter.delayMillisecondsMax
        )
    }
}

@Suite("names and PAM's answers")
struct LoginNameTests {
    @Test(
        "the domain is cut off",
        arguments: [
            ("ann", [], "ann"), ("ann@example.org", [], "ann"), ("a@b@example.org", [], "a@b"),
            ("ann@EXAMPLE.org", ["example.org"], "ann"),
            ("ann@other.org", ["example.org"], "ann@other.org"),
            ("@example.org", [], "@example.org"), ("ann@", [], "ann@"), ("", [], ""),
        ] as [(String, [String], String)]
    )
    func domains(_ typed: String, _ domains: [String], _ expected: String) {
        let name = LoginName.withoutDomain(
            Array(typed.utf8),
            domains: domains.map { Array($0.utf8) }
        )
        #expect(name == Array(expected.utf8))
    }

    /// The numbers of Linux-PAM's _pam_types.h.
    @Test(
        "what each return value means",
        arguments: [
            (0, .success), (7, .failed), (10, .failed), (8, .failed), (6, .failed), (11, .failed),
            (13, .expired), (12, .expired), (27, .expired), (9, .unavailable), (4, .unavailable),
            (3, .unavailable), (26, .unavailable), (1, .unavailable), (28, .unavailable),
            (19, .unavailable), (99, .unavailable),
        ] as [(CInt, PAMOutcome)]
    )
    func codes(_ code: CInt, _ expected: PAMOutcome) {
        #expect(PAMOutcome(code: code) == expected)
    }

    @Test("an account that everybody has, and one that nobody has")
    func accounts() throws {
        let root = try AccountLookup.named(Array("root".utf8))
        #expect(root.uid == 0)
        #expect(root.home == Array("/root".utf8))
        #expect(try AccountLookup.of(uid: 0).name == Array("root".utf8))
        #expect(throws: AccountError.unknown) {
            try AccountLookup.named(Array("no-such-user".utf8))
        }
    }
}
