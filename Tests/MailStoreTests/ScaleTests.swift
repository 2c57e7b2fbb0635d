import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// Large mailboxes. Bounds are ten times and more what was measured on two shared cores, for a
    /// debug build: they catch work that grows with the square, not work that is slow.
    @Suite("100,000 messages")
    struct ScaleTests {
        /// Runs the body while another task takes the loop every two milliseconds; returns the
        /// longest that it had to wait.
        @EventLoop
        private static func longestGap(_ body: () async throws -> Void) async rethrows -> Int {
            let heart = Heart()
            Task { await heart.beat() }
            defer { heart.isDone = true }
            try await body()
            // One more beat, which sees the last gap.
            await EventLoop.sleep(milliseconds: 5)
            return heart.longest
        }

        @EventLoop
        private final class Heart {
            var isDone = false
            private(set) var longest = 0

            func beat() async {
                var last = Instant.now
                while !isDone {
                    await EventLoop.sleep(milliseconds: 2)
                    let now = Instant.now
                    longest = max(longest, now.milliseconds(since: last))
                    last = now
                }
            }
        }

        private func time(
            _ what: String,
            within limit: Int,
            gap: Int,
            _ body: @EventLoop () async throws -> Void
        ) async rethrows {
            let start = Instant.now
            let longest = try await Self.longestGap(body)
            let total = Instant.now.milliseconds(since: start)
            print("\(what): \(total) ms, longest gap \(longest) ms")
            #expect(total < limit, "\(what) took \(total) ms")
            #expect(longest < gap, "\(what) kept the loop for \(longest) ms")
        }

        @Test("open, delivery, store and expunge of 10,000, others answered in between")
        func everything() async throws {
            let scratch = try Scratch()
            try scratch.fill(100_000)
            try await EventLoop.test {
                let store = try scratch.store()
                var opened: Mailbox?
                try await time("open", within: 60_000, gap: 2_000) {
                    opened = try await store.open(.inbox)
                }
                let inbox = try #require(opened)
                let viewer = Viewer(inbox)
                #expect(inbox.table.count == 100_000)
                try await time("delivery", within: 5_000, gap: 1_000) {
                    try scratch.deliver("new/9.a")
                    await eventually {
                        inbox.table.count == 100_001 && scratch.names("new").isEmpty
                    }
                }
                let every10th = inbox.table.uids.filter { $0 % 10 == 0 }
                try await time("store", within: 60_000, gap: 1_000) {
                    let outcomes = try await inbox.store(every10th, .add(.trashed), source: 1)
                    #expect(outcomes == Array(repeating: .changed, count: 10_000))
                }
                await time("dates", within: 20_000, gap: 1_000) {
                    await inbox.loadDates(inbox.table.uids)
                }
                try await time("expunge", within: 60_000, gap: 1_000) {
                    let result = try await inbox.expunge(every10th, source: 1, by: viewer)
                    #expect(result.gone == every10th && result.failure == nil)
                }
                #expect(inbox.table.count == 90_001)
                #expect(inbox.isSettled)
                #expect(inbox.deferredEvents.isEmpty)
                viewer.close()
                await eventually { scratch.names("tmp").isEmpty }
            }
        }

        @Test("10,000 deliveries at once") func deliveries() async throws {
            let scratch = try Scratch()
            try scratch.write("tmp/seed")
            try await EventLoop.test {
                let store = try scratch.store()
                let inbox = try await store.open(.inbox)
                let viewer = Viewer(inbox)
                try await time("10,000 deliveries", within: 60_000, gap: 2_000) {
                    for number in 0..<10_000 {
                        try scratch.link("tmp/seed", "new/\(number).a")
                        if number % 100 == 0 { await EventLoop.yield() }
                    }
                    let end = Instant.after(seconds: 50)
                    while inbox.table.count < 10_000, Instant.now < end {
                        await EventLoop.sleep(milliseconds: 10)
                    }
                }
                try await inbox.settle()
                #expect(inbox.table.count == 10_000)
                #expect(Set(scratch.listed.values).count == 10_000)
                _ = viewer
            }
        }

        @Test("100,000 messages in new/ at first login are all served, and moved bit by bit")
        func firstLogin() async throws {
            let scratch = try Scratch()
            try scratch.fill(100_000)
            try scratch.remove("dovecot-uidlist")
            // As another server left them that moves nothing.
            try scratch.rename("new", "empty")
            try scratch.rename("cur", "new")
            try scratch.rename("empty", "cur")
            try await EventLoop.test {
                let store = try scratch.store()
                var opened: Mailbox?
                try await time("first open", within: 120_000, gap: 2_000) {
                    opened = try await store.open(.inbox)
                }
                let inbox = try #require(opened)
                #expect(inbox.table.count == 100_000)
                let viewer = Viewer(inbox)
                try await time("moving", within: 120_000, gap: 2_000) {
                    try await inbox.claimNew()
                    let end = Instant.after(seconds: 100)
                    while inbox.movesDue, Instant.now < end {
                        await EventLoop.sleep(milliseconds: 10)
                    }
                }
                #expect(scratch.names("new").isEmpty)
                #expect(scratch.names("cur").count == 100_000)
                #expect(inbox.table.count == 100_000 && inbox.table.newCount == 0)
                #expect(inbox.table.uids == Array(1...100_000))
                _ = viewer
            }
        }

        @Test("removing rows in batches, and finding by name in between") func rows() {
            var table = MessageTable()
            for uid in 1...100_000 as ClosedRange<UInt32> {
                let message = FoundMessage(
                    uid: uid,
                    base: [UInt8]("\(uid).host".utf8),
                    flags: [],
                    place: .cur
                )
                table.append(message, modseq: UInt64(uid))
            }
            let start = Instant.now
            var gone = 0
            for batch in 0..<20 {
                table.remove((0..<500).map { $0 * 10 + batch * 37 })
                gone += 500
                let uid = table.uids[batch * 1_000]
                let base = table.base(batch * 1_000)
                #expect(table.row(of: base.span) == table.row(of: uid))
                #expect(table.count == 100_000 - gone)
            }
            #expect(Instant.now.milliseconds(since: start) < 10_000)
        }
    }
}
