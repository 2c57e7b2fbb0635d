import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// Two sessions on one mailbox: `left` and `right`, in the order in which they act.
    @Suite("Races")
    struct RaceTests {
        let scratch: Scratch

        init() throws {
            scratch = try Scratch()
            try scratch.fill(5)
        }

        /// Both have seen the same flags; both changes stick.
        ///
        /// Checked by hand: with the changes worked out before the turnstile is entered, the keywords
        /// without a letter lose one of two.
        @Test("flag changes are deltas, beyond the 26 letters too") func deltas() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let names = (0..<30).map { "key\($0)" }
                _ = try await inbox.store([2], .add([], names), source: 1)
                async let left = inbox.store([1], .add(.seen, ["key27"]), source: 1)
                async let right = inbox.store(
                    [1],
                    .add(.draft, ["key28"]),
                    source: 2
                )
                async let leftAgain = inbox.store([1], .add(.flagged, ["key1"]), source: 1)
                #expect(try await left == [.changed])
                #expect(try await right == [.changed])
                #expect(try await leftAgain == [.changed])
                let flags: FlagLetters.Known = [.seen, .draft, .flagged, .keyword(1)]
                #expect(inbox.flags(1) == flags)
                #expect(inbox.table.beyond[1] == [27, 28])
                let again = try scratch.store()
                let reopened = try await again.open(.inbox)
                #expect(reopened.flags(1) == flags)
                #expect(reopened.table.beyond[1] == [27, 28])
                _ = store
            }
        }

        @Test("the messages that one expunges, the other reads until it is told") func ghosts()
            async throws
        {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let left = Viewer(inbox)
                let right = Viewer(inbox)
                let result = try await inbox.expunge([2, 3], source: 1, by: left)
                left.catchUp()
                #expect(result.gone == [2, 3])
                #expect(inbox.table.uids == [1, 4, 5])
                #expect(right.uids == [1, 2, 3, 4, 5])
                let content = try await inbox.read(2)
                #expect(content.bytes.text.hasPrefix("Subject"))
                #expect(scratch.names("tmp").count == 2)
                // A store says so and changes the rest.
                let outcomes = try await inbox.store(
                    [1, 2],
                    .add(.seen),
                    source: 2
                )
                #expect(outcomes == [.changed, .gone])
                right.catchUp()
                await eventually { scratch.names("tmp").isEmpty }
                await #expect(throws: StoreError.messageGone) { try await inbox.read(2) }
                _ = store
            }
        }

        @Test("both expunge the same messages") func expunges() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let left = Viewer(inbox)
                let right = Viewer(inbox)
                async let leftGone = inbox.expunge([1, 2, 3], source: 1, by: left)
                async let rightGone = inbox.expunge(
                    [2, 3, 4],
                    source: 2,
                    by: right
                )
                let (first, second) = (try await leftGone, try await rightGone)
                #expect(first.failure == nil && second.failure == nil)
                #expect((first.gone + second.gone).sorted() == [1, 2, 3, 4])
                #expect(inbox.table.uids == [5])
                left.close()
                right.close()
                await eventually { scratch.names("tmp").isEmpty }
                _ = store
            }
        }

        @Test("copies, appends and deliveries together: each has its UID, none is lost")
        func admissions()
            async throws
        {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                var uids: Set<UInt32> = []
                let crew = Crew()
                for _ in 0..<10 {
                    crew.add { uids.insert(try await inbox.append()) }
                    crew.add { uids.formUnion(try await inbox.copy([1, 2], to: inbox)) }
                }
                crew.add {
                    for number in 0..<10 {
                        try scratch.deliver("new/\(number).delivered")
                        await EventLoop.yield()
                    }
                }
                try await crew.wait()
                #expect(uids.count == 30)
                await eventually { inbox.table.count == 45 && inbox.isSettled }
                #expect(scratch.listed.count == 45)
                // \Recent goes to one session only.
                #expect(inbox.claimRecent().count == 40)
                #expect(inbox.claimRecent().isEmpty)
                _ = (store, viewer)
            }
        }

        /// Two waiters woke each other for ever, and no other task got its turn to speak of.
        @Test("many wait for UIDs at once") func settling() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                try scratch.write("dovecot-uidlist.lock", "1:elsewhere")
                try scratch.deliver("new/9.a")
                await eventually { inbox.announcedCount == 6 }
                var settled = 0
                for _ in 0..<3 {
                    Task {
                        try await inbox.settle()
                        settled += 1
                    }
                }
                // A spin takes all of the loop's time.
                let before = loopTime()
                await EventLoop.sleep(milliseconds: 1_000)
                #expect(loopTime() - before < 600_000_000)
                #expect(settled == 0)
                try scratch.remove("dovecot-uidlist.lock")
                await eventually { settled == 3 }
                #expect(inbox.table.count == 6)
                _ = store
            }
        }

        @Test("an open that is asked for twice opens once") func opening() async throws {
            try await EventLoop.test { [scratch] in
                let store = try scratch.store()
                async let left = store.open(.inbox)
                async let right = store.open(.inbox)
                #expect(try await left === (try await right))
                let again = try await store.open(.inbox)
                #expect(try await left === again)
            }
        }

        @Test("special uses set at once all stay") func uses() async throws {
            try await EventLoop.test { [scratch] in
                let store = try scratch.store()
                let crew = Crew()
                for number in 0..<8 {
                    crew.add {
                        try await store.setUse(.named("Box\(number)"), [UInt8]("\\Archive"))
                    }
                }
                try await crew.wait()
                #expect(try await store.storedUses().count == 8)
                let other = try scratch.store()
                #expect(try await other.storedUses().count == 8)
            }
        }
    }
}

/// Nanoseconds of processor time that the loop's thread has used.
@EventLoop
private func loopTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
