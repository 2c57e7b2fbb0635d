import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// Changes of thousands, during which no events of renames and removals come.
    @Suite("Quiet changes")
    struct QuietTests {
        let scratch: Scratch

        init() throws { scratch = try Scratch() }

        /// Checked by hand: without the look in `endQuiet` neither is ever seen.
        @Test("what others do meanwhile is seen afterwards, and events come again") func others()
            async throws
        {
            try scratch.fill(3_000)
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                let crew = Crew()
                crew.add {
                    let all = inbox.table.uids
                    let outcomes = try await inbox.store(all, .add(.flagged), source: 1)
                    #expect(outcomes == Array(repeating: .changed, count: 3_000))
                }
                while inbox.flags(2)?.contains(.flagged) != true { await EventLoop.yield() }
                #expect(inbox.quietChanges == 1)
                #expect(inbox.flags(3_000) == [])
                try scratch.rename("cur/1000000001.M1P1.host:2,F", "cur/1000000001.M1P1.host:2,FS")
                try scratch.remove("cur/1000000002.M1P1.host:2,F")
                try await crew.wait()
                await eventually { inbox.flags(1) == [.flagged, .seen] && inbox.flags(2) == nil }
                #expect(inbox.table.count == 2_999)
                try scratch.rename("cur/1000000003.M1P1.host:2,F", "cur/1000000003.M1P1.host:2,")
                await eventually { inbox.flags(3) == [] }
                viewer.close()
                _ = store
            }
        }

        @Test("of an expunge as well") func expunge() async throws {
            try scratch.fill(3_000)
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                let crew = Crew()
                crew.add {
                    let most = Array(inbox.table.uids.dropFirst(2))
                    let result = try await inbox.expunge(most, source: 1, by: viewer)
                    #expect(result.gone == most && result.failure == nil)
                }
                while inbox.table.row(of: 3) != nil { await EventLoop.yield() }
                #expect(inbox.quietChanges == 1)
                try scratch.rename("cur/1000000001.M1P1.host:2,", "cur/1000000001.M1P1.host:2,S")
                try scratch.remove("cur/1000000002.M1P1.host:2,")
                try await crew.wait()
                await eventually { inbox.flags(1) == .seen && inbox.table.count == 1 }
                #expect(scratch.names("cur") == ["1000000001.M1P1.host:2,S"])
                viewer.close()
                _ = store
            }
        }

        @Test("from so many changes on, and only where most of the mailbox changes") func limits()
            async throws
        {
            let (count, factor) = (Limits.quietChangesMin, Limits.quietTableFactor)
            try scratch.fill(count * factor)
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                #expect(!inbox.beginQuiet(count - 1))
                #expect(inbox.beginQuiet(count))
                await inbox.endQuiet()
                try scratch.deliver("cur/9.one-more:2,")
                await eventually { inbox.table.count == count * factor + 1 }
                #expect(!inbox.beginQuiet(count))
                #expect(inbox.beginQuiet(count + 1))
                await inbox.endQuiet()
                // Somebody else wants the events.
                let inotify = try #require(inbox.context.inotify)
                let other = try inotify.add(inbox.disk.cur) { _ in }
                #expect(!inbox.beginQuiet(count + 1))
                inotify.remove(other)
                #expect(inbox.isSettled)
                _ = store
            }
        }

        @Test("what differs from the table is found") func holds() async throws {
            try scratch.fill(3)
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let table = inbox.table
                #expect(try inbox.disk.holds(table))
                try scratch.rename("cur/1000000001.M1P1.host:2,", "cur/1000000001.M1P1.host:2,S")
                #expect(try !inbox.disk.holds(table))
                try scratch.rename("cur/1000000001.M1P1.host:2,S", "cur/1000000001.M1P1.host:2,")
                #expect(try inbox.disk.holds(table))
                try scratch.write("cur/9.another:2,")
                #expect(try !inbox.disk.holds(table))
                try scratch.remove("cur/9.another:2,")
                try scratch.rename("cur/1000000003.M1P1.host:2,", "tmp/x")
                #expect(try !inbox.disk.holds(table))
                _ = store
            }
        }
    }

    @Suite("Limits of changes")
    struct ChangeLimitTests {
        let scratch: Scratch

        init() throws { scratch = try Scratch() }

        @Test("a message is held in memory up to its limit", arguments: [0, 1])
        func held(_ more: Int) async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let staged = try await inbox.stage()
                let text = [UInt8](repeating: 0x61, count: Limits.heldMessageBytesMax)
                try await inbox.write(text, to: staged)
                #expect(!staged.hasFile)
                if more > 0 {
                    try await inbox.write([0x61], to: staged)
                    #expect(staged.hasFile)
                }
                try await inbox.finish(staged, date: nil)
                let uids = try await inbox.admit([
                    StagedAdmission(staged, flags: [], keywords: [])
                ])
                let content = try await inbox.read(uids[0])
                #expect(content.bytes.count == text.count + more)
                _ = store
            }
        }

        /// Each batch syncs the target's list once.
        @Test("copies come in batches", arguments: [(0, 1), (1, 2)])
        func batches(_ more: Int, _ batches: Int) async throws {
            let count = Limits.copyBatchMax + more
            try scratch.fill(count)
            for name in [".Other", ".Other/cur", ".Other/new", ".Other/tmp"] {
                try FileManager.default.createDirectory(
                    atPath: "\(scratch.path)/\(name)",
                    withIntermediateDirectories: false
                )
            }
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox(JobPool(threads: 0))
                let path = try #require(MailboxPath(storageName: [UInt8]("Other")))
                let target = try await store.open(path)
                let faults = Faults()
                let copies = try await Faults.$current.withValue(faults) {
                    try await inbox.copy(inbox.table.uids, to: target)
                }
                #expect(copies.count == count)
                #expect(faults.calls.count { $0 == "fdatasync" } == batches)
            }
        }
    }
}
