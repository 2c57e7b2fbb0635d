import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// Somebody else holds `dovecot-uidlist.lock`.
    @Suite("A lock that is held")
    struct LockTests {
        let scratch: Scratch
        private static let lock = "dovecot-uidlist.lock"

        init() throws {
            scratch = try Scratch()
            try scratch.fill(3)
        }

        @Test("others are answered meanwhile, and the holder's leaving lets it go on at once")
        func released() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                try scratch.write(Self.lock, "1:elsewhere")
                var stored = false
                Task {
                    _ = try await inbox.store([1], .add(.seen), source: 1)
                    stored = true
                }
                try await store.create(.named("Other"))
                let other = try await store.open(.named("Other"))
                #expect(try await other.append() == 1)
                #expect(try await inbox.read(1).bytes.text.hasPrefix("Subject"))
                try scratch.deliver("new/9.a")
                await eventually { inbox.announcedCount == 4 }
                // Long enough for the pauses between tries to be long.
                await EventLoop.sleep(milliseconds: 1_500)
                #expect(!stored && inbox.table.count == 3)
                let start = Instant.now
                try scratch.remove(Self.lock)
                await eventually { stored }
                // The pause between tries would be a second.
                #expect(Instant.now.milliseconds(since: start) < 500)
                await eventually { inbox.table.uids == [1, 2, 3, 4] }
                _ = store
            }
        }

        @Test("a dead process's lock is overridden") func stale() async throws {
            try await EventLoop.test { [scratch] in
                // Our own number, as after a restart in a container; and old enough to be whole.
                try scratch.write(Self.lock, "\(ownProcessID):host")
                try scratch.root.setModified(
                    [UInt8](Self.lock.utf8),
                    WallTime(seconds: WallTime.now.seconds - 10)
                )
                let (store, inbox) = try await scratch.inbox()
                #expect(inbox.table.count == 3)
                #expect(!scratch.exists(Self.lock))
                _ = store
            }
        }

        @Test("a lock that cannot be made: what has UIDs is served, without a write")
        func readOnly()
            async throws
        {
            try await EventLoop.test { [scratch] in
                try scratch.write("new/9.a")
                let pool = JobPool(threads: 0)
                let store = try scratch.store(pool)
                // The first call of opening that makes a file is the lock.
                let all = Faults()
                _ = try await Faults.$current.withValue(all) { try await store.open(.inbox) }
                let lists = try #require(all.calls.firstIndex(of: "write"))
                let again = try Scratch()
                try again.fill(3)
                try again.write("new/9.a")
                let readOnly = try again.store(pool)
                let inbox = try await Faults.$current.withValue(
                    Faults(failing: lists - 1, with: EROFS)
                ) { try await readOnly.open(.inbox) }
                #expect(inbox.table.uids == [1, 2, 3])
                #expect(try await inbox.read(3).bytes.text.hasPrefix("Subject"))
                #expect(again.listed.count == 3)
                _ = store
            }
        }

        /// Checked by hand: a scan that serves what was asked for while it ran makes one of two.
        @Test("a scan asked for while one runs is made after it") func need() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox(JobPool(threads: 0))
                try scratch.write(Self.lock, "1:elsewhere")
                let calls = Faults()
                Faults.$current.withValue(calls) { inbox.wantScan() }
                await EventLoop.sleep(milliseconds: 30)
                inbox.wantScan()
                try scratch.remove(Self.lock)
                try await inbox.settle()
                // new/ and cur/, twice.
                #expect(calls.calls.count { $0 == "getdents" } == 4)
                _ = store
            }
        }

        /// Two stores are as two processes: nothing but the lock keeps them apart.
        ///
        /// Checked by hand: without O_EXCL in `tryAcquire` an append fails or two messages have one UID.
        @Test("two processes on one Maildir give each message one UID") func twoProcesses()
            async throws
        {
            try await EventLoop.test { [scratch] in
                let one = try scratch.store(JobPool(threads: 2))
                let two = try MailStore(
                    StoreSettings(
                        root: Array(scratch.path.utf8),
                        processID: 1,
                        host: [UInt8]("host")
                    ),
                    pool: JobPool(threads: 2)
                )
                let first = try await one.open(.inbox)
                let second = try await two.open(.inbox)
                let viewer = Viewer(first)
                var given: [[UInt32]] = [[], []]
                let crew = Crew()
                for (index, mailbox) in [first, second].enumerated() {
                    crew.add {
                        for number in 0..<30 {
                            given[index].append(
                                try await mailbox.append("from \(index) \(number)\n")
                            )
                        }
                    }
                }
                crew.add {
                    for number in 0..<30 {
                        try scratch.deliver("new/\(number).delivered")
                        await EventLoop.sleep(milliseconds: 3)
                    }
                }
                try await crew.wait()
                await eventually { first.table.count == 93 && second.table.count == 93 }
                try await first.settle()
                try await second.settle()
                #expect(first.table.uids == second.table.uids)
                let uids = given[0] + given[1]
                #expect(Set(uids).count == 60)
                let listed = scratch.listed
                for (index, list) in given.enumerated() {
                    for (number, uid) in list.enumerated() {
                        let text = "from \(index) \(number)\n"
                        #expect(try await first.read(uid).bytes.text == text)
                        #expect(try await second.read(uid).bytes.text == text)
                        let row = try #require(first.table.row(of: uid))
                        #expect(listed[uid] == first.table.base(row).text)
                    }
                }
                #expect(listed.count == 93 && Set(listed.values).count == 93)
                _ = viewer
            }
        }
    }
}
