import Foundation
import Posix
import Testing

@testable import IMAPSession

//  Five sessions and another program at work on two mailboxes
//
//  Each client knows another part of the protocol: plain, CONDSTORE, QRESYNC, UIDONLY, rev2, NOTIFY. Commands
//  are chosen at random, from a seed, and run at the same time; connections are cut, the process ends and
//  comes back, and the index is removed, damaged or restored. What clients are told must be consistent at
//  every line, and at each halt all clients must believe what is on disk: those too that came back and
//  asked for what they had missed alone. What a client believes then tells what it must be answered.
//
//  A run is a list of steps, each with a seed of its own. Of a run that fails, steps are taken out as long
//  as it fails.
//
//  `ModelRun` does the steps, `ModelClient` has the views, `ModelKey` is a search, `ModelIndex` what happens
//  to the index.

@Suite("two mailboxes under many hands", .serialized)
struct ModelTests {
    /// `MARTLET_SEEDS=100-200` for more.
    static let seeds: [UInt64] = {
        let text = ProcessInfo.processInfo.environment["MARTLET_SEEDS"] ?? ""
        let bounds = text.split(separator: "-").compactMap { UInt64($0) }
        guard bounds.count == 2, bounds[0] <= bounds[1] else { return [1, 2, 3, 4, 5, 6] }
        return Array(bounds[0]...bounds[1])
    }()

    @Test("views agree with the disk", arguments: seeds)
    func views(_ seed: UInt64) async throws {
        var generator = SeededGenerator(state: seed)
        let plan = (0..<140).map { _ in generator.next() }
        var failures = try await Self.run(seed, plan)
        guard !failures.isEmpty else { return }
        let shrunk = try await Self.shrink(seed, plan, &failures)
        Issue.record(
            "seed \(seed), \(shrunk.count) of \(plan.count) steps:\n\(failures.joined(separator: "\n"))"
        )
    }

    private static func run(_ seed: UInt64, _ plan: [UInt64]) async throws -> [String] {
        try await EventLoop.test {
            let run = try await ModelRun(seed: seed)
            try await run.run(plan)
            return run.failures
        }
    }

    /// Whether it does not take an accident of timing.
    private static func failsAgain(_ seed: UInt64, _ plan: [UInt64]) async throws -> Bool {
        for _ in 0..<4 where try await !run(seed, plan).isEmpty { return true }
        return false
    }

    /// The steps that are left when taking out a further run of them makes it pass.
    private static func shrink(
        _ seed: UInt64,
        _ plan: [UInt64],
        _ failures: inout [String]
    ) async throws -> [UInt64] {
        let deadline = Instant.after(seconds: 90)
        guard try await failsAgain(seed, plan) else { return plan }
        var plan = plan
        var count = plan.count / 2
        while count > 0, .now < deadline {
            var start = 0
            while start < plan.count, .now < deadline {
                var less = plan
                less.removeSubrange(start..<min(start + count, plan.count))
                let result = try await run(seed, less)
                if result.isEmpty {
                    start += count
                } else {
                    plan = less
                    failures = result
                }
            }
            count /= 2
        }
        return plan
    }
}

/// splitmix64: the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
