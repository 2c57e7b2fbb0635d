import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// Lists and directories that are changed, replaced or removed under a live mailbox.
    @Suite("Replaced under a session")
    struct ReplacementTests {
        let scratch: Scratch

        init() throws {
            scratch = try Scratch()
            try scratch.fill(3)
        }

        private func addMailbox(_ name: String) throws {
            for sub in ["", "/cur", "/new", "/tmp"] {
                try FileManager.default.createDirectory(
                    atPath: "\(scratch.path)/.\(name)\(sub)",
                    withIntermediateDirectories: false
                )
            }
        }

        @Test("a uidlist that is removed comes back as it was") func removedList() async throws {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                _ = try await inbox.expunge([2], source: 1)
                try scratch.remove("dovecot-uidlist")
                #expect(try await inbox.append() == 4)
                #expect(!inbox.isGone && inbox.uidValidity == 7)
                #expect(Array(scratch.listed.keys.sorted()) == [1, 3, 4])
                #expect(scratch.read("dovecot-uidlist")?.hasPrefix("3 V7 N") == true)
                let again = try scratch.store()
                #expect(try await again.open(.inbox).table.uids == [1, 3, 4])
                _ = store
            }
        }

        @Test("a uidlist that is damaged costs no message its UID") func damagedList() async throws
        {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                try scratch.write(
                    "dovecot-uidlist",
                    "3 V\nrubbish\n2 :1000000002.M1P1.host\n9 :9.dovecot\n"
                )
                try scratch.write("cur/9.dovecot:2,")
                let uid = try await inbox.append()
                #expect(uid > 9)
                #expect(inbox.uidValidity == 7 && !inbox.isGone)
                #expect(inbox.table.uids == [1, 2, 3, 9, uid])
                #expect(scratch.listed[1] == "1000000001.M1P1.host")
                #expect(scratch.listed[9] == "9.dovecot")
                _ = store
            }
        }

        @Test("another UIDVALIDITY: sessions leave, and the list stays as its writer made it")
        func otherValidity() async throws {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                let list = (1...3).map { "\($0 + 10) :\(1_000_000_000 + $0).M1P1.host\n" }
                let file = "3 V8 N14 G\(Scratch.guid)\n" + list.joined()
                try scratch.write("fresh", file)
                try scratch.rename("fresh", "dovecot-uidlist")
                try scratch.deliver("new/9.a")
                await eventually { inbox.isGone }
                await #expect(throws: StoreError.noSuchMailbox) { try await inbox.append() }
                viewer.close()
                let again = try await store.open(.inbox)
                #expect(again !== inbox)
                #expect(again.uidValidity == 8)
                #expect(again.table.uids == [11, 12, 13, 14])
                // The new one's watches live.
                try scratch.deliver("new/10.a")
                await eventually { again.table.uids == [11, 12, 13, 14, 15] }
            }
        }

        /// Dovecot gives UIDs at the same time: what it gave stays, and comes before ours.
        @Test("records that another program wrote meanwhile") func foreignRecords() async throws {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                inbox.unwatch()
                // Two messages that Dovecot has seen first; we have an event of neither.
                try scratch.deliver("cur/1.dovecot:2,S")
                try scratch.deliver("new/2.dovecot")
                let handle = try FileHandle(
                    forWritingTo: URL(fileURLWithPath: scratch.path + "/dovecot-uidlist")
                )
                try handle.seekToEnd()
                try handle.write(contentsOf: Data("4 :1.dovecot\n5 :2.dovecot\n".utf8))
                try handle.close()
                #expect(try await inbox.append() == 6)
                #expect(inbox.table.uids == [1, 2, 3, 4, 5, 6])
                #expect(scratch.listed[4] == "1.dovecot" && scratch.listed[5] == "2.dovecot")
                #expect(inbox.flags(4) == .seen)
                _ = store
            }
        }

        @Test("a mailbox that is deleted: who waits is answered, who comes finds none")
        func deleted() async throws {
            try await EventLoop.test {
                try addMailbox("Box")
                let store = try scratch.store()
                let box = try await store.open(.named("Box"))
                let viewer = Viewer(box)
                try scratch.write(".Box/dovecot-uidlist.lock", "1:elsewhere")
                try scratch.deliver(".Box/new/9.a")
                await eventually { box.announcedCount == 1 }
                var outcome: String?
                Task {
                    do throws(StoreError) {
                        _ = try await box.append()
                        outcome = "appended"
                    } catch {
                        outcome = "\(error)"
                    }
                }
                await EventLoop.sleep(milliseconds: 30)
                try await store.delete(.named("Box"))
                #expect(box.isGone)
                #expect(viewer.callCount > 0)
                await #expect(throws: StoreError.noSuchMailbox) { try await box.settle() }
                await eventually { outcome == "noSuchMailbox" }
                await #expect(throws: StoreError.noSuchMailbox) {
                    try await store.open(.named("Box"))
                }
                try await store.create(.named("Box"))
                let again = try await store.open(.named("Box"))
                #expect(again.table.isEmpty && again.uidValidity != box.uidValidity)
                #expect(again.uidValidity > box.uidValidity)
            }
        }

        @Test("renamed by another program, and opened under the new name by a second session")
        func renamed() async throws {
            try await EventLoop.test {
                try addMailbox("Old")
                let store = try scratch.store()
                let old = try await store.open(.named("Old"))
                #expect(try await old.append("one\n") == 1)
                let viewer = Viewer(old)
                try scratch.rename(".Old", ".New")
                let new = try await store.open(.named("New"))
                #expect(new !== old && new.table.uids == [1])
                // Both live on one directory; each is told.
                try scratch.deliver(".New/new/9.a")
                await eventually { old.table.count == 2 && new.table.count == 2 }
                await #expect(throws: StoreError.noSuchMailbox) {
                    try await store.open(.named("Old"))
                }
                #expect(old.isGone)
                viewer.close()
                try scratch.deliver(".New/new/10.a")
                await eventually { new.table.count == 3 }
                #expect(Set(new.table.uids) == [1, 2, 3])
            }
        }

        @Test("replaced by another directory of the same name") func replaced() async throws {
            try await EventLoop.test {
                try addMailbox("Box")
                let store = try scratch.store()
                let box = try await store.open(.named("Box"))
                try scratch.rename(".Box", "elsewhere")
                try addMailbox("Box")
                try scratch.deliver(".Box/cur/9.a:2,S")
                let again = try await store.open(.named("Box"))
                #expect(again !== box && box.isGone)
                #expect(again.table.count == 1)
                // A restore may put back `cur` alone.
                try scratch.rename(".Box/cur", ".Box/old")
                try FileManager.default.createDirectory(
                    atPath: scratch.path + "/.Box/cur",
                    withIntermediateDirectories: false
                )
                again.unwatch()
                let third = try await store.open(.named("Box"))
                #expect(third !== again && third.table.isEmpty)
            }
        }

        @Test("cur/ is removed: sessions leave, and it is made again") func withoutCur()
            async throws
        {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                try scratch.remove("cur")
                await eventually { inbox.isGone }
                viewer.close()
                let again = try await store.open(.inbox)
                #expect(again.table.isEmpty)
                #expect(try await again.append() >= 4)
                #expect(again.uidValidity == 7)
            }
        }

        @Test("the queue of events overflowed: a scan finds it all") func overflow() async throws {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                // The loop does not come to read while this goes on.
                try scratch.write("tmp/seed")
                let limit = FileManager.default
                    .contents(atPath: "/proc/sys/fs/inotify/max_queued_events")
                    .flatMap { Int(String(decoding: $0, as: UTF8.self).dropLast()) }
                let count = min(limit ?? 16_384, 100_000) + 1_000
                for number in 0..<count { try scratch.link("tmp/seed", "new/\(number).a") }
                try await inbox.settle()
                #expect(inbox.table.count == count + 3)
                #expect(Set(scratch.listed.values).count == count + 3)
                _ = store
            }
        }

        @Test("without inotify, deliveries and flags are seen by looking") func polling()
            async throws
        {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                inbox.unwatch()
                inbox.pollByTime("test")
                #expect(inbox.isPolled)
                try scratch.deliver("new/9.a")
                await eventually { inbox.table.uids == [1, 2, 3, 4] }
                try scratch.rename("cur/1000000002.M1P1.host:2,", "cur/1000000002.M1P1.host:2,S")
                await eventually { inbox.flags(2) == .seen }
                // A command that opens it sees at once what is there.
                try scratch.deliver("new/10.a")
                _ = try await store.open(.inbox)
                #expect(inbox.table.count == 5)
                viewer.close()
            }
        }

        @Test("a store that is let go leaves no descriptor") func letGo() async throws {
            try await EventLoop.test {
                func open() -> Int { scratch.openFiles() }
                do {
                    let (store, inbox) = try await scratch.inbox()
                    let viewer = Viewer(inbox)
                    try scratch.deliver("new/9.a")
                    await eventually { inbox.table.count == 4 }
                    #expect(open() > 0)
                    viewer.close()
                    _ = store
                }
                await eventually { open() == 0 }
            }
        }

        @Test("mailboxes that nobody uses are let go; one that is used stays") func idle()
            async throws
        {
            try await EventLoop.test {
                let store = try scratch.store()
                for number in 0..<(Limits.idleMailboxesMax + 10) { try addMailbox("Box\(number)") }
                let used = try await store.open(.named("Box0"))
                let viewer = Viewer(used)
                weak let first = try await store.open(.named("Box1"))
                for number in 2..<(Limits.idleMailboxesMax + 10) {
                    _ = try await store.open(.named("Box\(number)"))
                }
                await eventually { first == nil }
                try scratch.deliver(".Box0/new/1.a")
                await eventually { used.table.count == 1 }
                #expect(try await store.open(.named("Box0")) === used)
                // One that was let go is opened again, and its watches live.
                let again = try await store.open(.named("Box1"))
                try scratch.deliver(".Box1/new/1.a")
                await eventually { again.table.count == 1 }
                viewer.close()
            }
        }
    }
}
