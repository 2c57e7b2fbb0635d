import Bytes
import Foundation
import Maildir
import MessageIndex
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// A mailbox that is opened from the index: in two halves, against what happens between them.
    @Suite("opened from the index")
    struct OutlineTests {
        static let count = 3_000

        /// A store with an index of the Maildir.
        @EventLoop
        private static func store(_ scratch: Scratch) throws -> MailStore {
            let cache = scratch.path + "-cache"
            try? FileManager.default.createDirectory(
                atPath: cache,
                withIntermediateDirectories: false
            )
            let store = try MailStore(
                StoreSettings(
                    root: Array(scratch.path.utf8),
                    processID: ownProcessID,
                    host: Array("host".utf8),
                    bootID: Array("test".utf8),
                    cacheDirectory: Array(cache.utf8)
                )
            )
            store.context.stampAgeMilliseconds = 20
            return store
        }

        /// INBOX with its first half: nothing has run on the loop since it was there.
        @EventLoop
        private static func outline(_ scratch: Scratch, _ store: MailStore) async throws -> Mailbox
        {
            let (root, context) = (scratch.root, store.context)
            let disk = try MailboxDisk(
                root,
                root: root,
                names: context.names,
                quota: context.quota
            )
            let inbox = Mailbox(.inbox, disk, context)
            try await inbox.settle(outlineSuffices: true)
            return inbox
        }

        private static func removeCache(_ scratch: Scratch) {
            try? FileManager.default.removeItem(atPath: scratch.path + "-cache")
        }

        /// Opens INBOX once, so that the index has it.
        @EventLoop
        private static func prepare(_ scratch: Scratch) async throws {
            try scratch.fill(count)
            let store = try store(scratch)
            let inbox = try await store.open(.inbox)
            await EventLoop.sleep(milliseconds: 50)
            #expect(await inbox.saveSummary(isLast: true))
            #expect(inbox.hasSavedStamps)
            // Between jobs a list is held by its end.
            #expect(inbox.disk.uidList.list?.isWhole == false)
            await store.shutDown()
        }

        @Test("the outline first, then the rest, without a scan") func halves() async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                var store = try Self.store(scratch)
                await store.startClock()
                var inbox = try await Self.outline(scratch, store)
                // The second half may be there before anybody looks.
                for _ in 0..<20 where !inbox.isOutline {
                    try await inbox.settle()
                    await store.shutDown()
                    store = try Self.store(scratch)
                    await store.startClock()
                    inbox = try await Self.outline(scratch, store)
                }
                #expect(inbox.isOutline)
                #expect(inbox.table.uids == Array(1...UInt32(Self.count)))
                #expect(inbox.table.unseenCount == Self.count)
                // Who needs all of it waits.
                try await inbox.settle()
                #expect(!inbox.isOutline && inbox.scansServed == 1 && inbox.watches.count == 2)
                #expect(inbox.table.base(9) == [UInt8]("1000000010.M1P1.host".utf8))
                // What comes needs neither a scan nor the list's records.
                try scratch.deliver("new/1900000000.new")
                await eventually { inbox.table.count == Self.count + 1 && inbox.isSettled }
                #expect(inbox.scansServed == 1)
                #expect(inbox.disk.uidList.list?.isWhole == false)
                #expect(scratch.listed[UInt32(Self.count) + 1] == "1900000000.new")
                await store.shutDown()
            }
        }

        @Test("who only looks leaves the index as good as it was", arguments: [false, true])
        func onlyLooked(isQuick: Bool) async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                for _ in 0..<3 {
                    let store = try Self.store(scratch)
                    let index = try #require(await store.openIndex())
                    let inbox = try await Self.outline(scratch, store)
                    try await inbox.settle()
                    #expect(inbox.hasSavedStamps && inbox.scansServed == 1)
                    #expect(index.ages.era == 2)
                    // Nobody waits for martlet-state before there is something to write.
                    #expect(store.isStateUnwritten)
                    if !isQuick { #expect(await store.allowSummaries()) }
                    inbox.unwatch()
                    await store.shutDown()
                }
            }
        }

        @Test("what changes between the two halves is seen") func between() async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                var outlines = 0
                for round in 0..<8 {
                    let store = try Self.store(scratch)
                    await store.startClock()
                    let inbox = try await Self.outline(scratch, store)
                    // A summary that was written while something happened is held against a scan.
                    if inbox.isOutline { outlines += 1 }
                    let before = inbox.table.count
                    let modseq = inbox.highestModseq
                    let name = "cur/\(1_000_000_001 + round).M1P1.host:2,"
                    try scratch.rename(name, name + "S")
                    try scratch.remove("cur/\(1_000_001_001 + round).M1P1.host:2,")
                    try scratch.deliver("cur/19000000\(10 + round).new:2,")
                    try await inbox.settle()
                    await eventually {
                        inbox.isSettled && inbox.table.uids.last == UInt32(Self.count + 1 + round)
                            && inbox.table.row(of: UInt32(1_001 + round)) == nil
                            && inbox.table.flags(round).contains(.seen)
                    }
                    #expect(inbox.table.count == before)
                    #expect(inbox.table.modseqs[round] > modseq)
                    await EventLoop.sleep(milliseconds: 50)
                    _ = await inbox.saveSummary(isLast: true)
                    inbox.unwatch()
                    await store.shutDown()
                }
                #expect(outlines > 0)
            }
        }

        @Test("where the other half cannot be read a scan brings it") func halfIsBroken()
            async throws
        {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                let store = try Self.store(scratch)
                // One block without its lasting half.
                let first = try await store.open(.inbox)
                let index = try #require(first.index)
                #expect(index.write([SummaryBlock(number: 1, state: nil, fixed: [])], nil))
                await store.shutDown()
                let next = try Self.store(scratch)
                let inbox = try await next.open(.inbox, outlineSuffices: true)
                #expect(inbox.table.count == Self.count)
                try await inbox.settle()
                #expect(!inbox.isOutline && inbox.scansServed == 2)
                #expect(inbox.table.base(9) == [UInt8]("1000000010.M1P1.host".utf8))
                #expect(inbox.table.count == Self.count)
                #expect(inbox.log.end == 0)
                await next.shutDown()
            }
        }

        @Test("a list at rest is compacted once a quarter is gone") func compaction() async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                let store = try Self.store(scratch)
                let inbox = try await store.open(.inbox)
                let gone = Array(inbox.table.uids.prefix(Self.count / 4 + 10))
                _ = try await inbox.expunge(gone, source: 1, by: nil)
                #expect(inbox.table.count == Self.count - gone.count)
                let listed = scratch.listed
                #expect(listed.count < Self.count - Self.count / 4 + 10)
                #expect(Set(inbox.table.uids).isSubset(of: Set(listed.keys)))
                #expect(inbox.disk.uidList.list?.isWhole == false)
                await store.shutDown()
            }
        }

        /// What arrays below a value have room for. (The process's own figures know of other tests.)
        private static func bytes(_ value: Any) -> Int {
            switch value {
            case let column as [UInt8]: column.capacity
            case let column as [UInt32]: column.capacity * 4
            case let column as [UInt64]: column.capacity * 8
            default: Mirror(reflecting: value).children.reduce(0) { $0 + bytes($1.value) }
            }
        }

        @Test("a message costs 64 bytes, name and hash table included") func footprint()
            async throws
        {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                let store = try Self.store(scratch)
                let inbox = try await store.open(.inbox)
                #expect(inbox.scansServed == 1)
                #expect(Self.bytes(inbox.table) < 60 * Self.count)
                #expect(Self.bytes(inbox.disk.uidList) < 8_192)
                // After a scan as well.
                inbox.wantScan()
                try await inbox.settle()
                #expect(Self.bytes(inbox.table) < 60 * Self.count)
                #expect(Self.bytes(inbox.disk.uidList) < 8_192)
                await store.shutDown()
            }
        }
    }
}
