import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// What STATUS is told of mailboxes that nobody has open, and what opening one looks at.
    @Suite("closed mailboxes")
    struct ClosedMailboxTests {
        private static let path = MailboxPath([Array("Work".utf8)])

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

        private static func make(_ scratch: Scratch, _ name: String) throws {
            for sub in ["", "/cur", "/new", "/tmp"] {
                try FileManager.default.createDirectory(
                    atPath: "\(scratch.path)/\(name)\(sub)",
                    withIntermediateDirectories: false
                )
            }
        }

        /// A mailbox with messages, and its summary in the index.
        @EventLoop
        private static func prepare(_ scratch: Scratch) async throws {
            try make(scratch, ".Work")
            try scratch.write(".Work/cur/1000000001.a:2,S")
            try scratch.write(".Work/cur/1000000002.b:2,")
            try scratch.write(".Work/cur/1000000003.c:2,ST")
            try scratch.write(".Work/new/1000000004.d")
            let store = try store(scratch)
            let work = try await store.open(path)
            await EventLoop.sleep(milliseconds: 50)
            #expect(await work.saveSummary(isLast: true))
            #expect(work.hasSavedStamps)
            await store.shutDown()
        }

        private static func removeCache(_ scratch: Scratch) {
            try? FileManager.default.removeItem(atPath: scratch.path + "-cache")
        }

        @Test("are told of as they are opened") func told() async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                let store = try Self.store(scratch)
                // Nobody knows where it is.
                #expect(await store.statuses(of: [Self.path]).isEmpty)
                _ = try await store.tree()
                let found = await store.statuses(of: [Self.path, .inbox])
                let status = try #require(found[Self.path])
                #expect(found.count == 1 && store.isAtRest(Self.path))
                #expect(status.messages == 4 && status.unseen == 2 && status.deleted == 1)
                #expect(status.recent == 1 && status.uidNext == 5)
                let work = try await store.open(Self.path)
                #expect(status.uidValidity == work.uidValidity && status.guid == work.guid)
                #expect(status.highestModseq == work.highestModseq)
                // Who has it open knows better.
                #expect(await store.statuses(of: [Self.path]).isEmpty)
                await store.shutDown()
            }
        }

        @Test(
            "are not told of once others have changed them",
            arguments: ["flag", "delivery", "list", "keywords", "rights", "replaced", "era"]
        )
        func changed(by change: String) async throws {
            let scratch = try Scratch()
            defer { Self.removeCache(scratch) }
            try await EventLoop.test {
                try await Self.prepare(scratch)
                let store = try Self.store(scratch)
                _ = try await store.tree()
                #expect(await store.statuses(of: [Self.path]).count == 1)
                switch change {
                case "flag":
                    try scratch.rename(
                        ".Work/cur/1000000002.b:2,",
                        ".Work/cur/1000000002.b:2,S"
                    )
                case "delivery": try scratch.write(".Work/new/1000000005.e")
                case "list":
                    let list = try #require(scratch.read(".Work/dovecot-uidlist"))
                    try scratch.write(".Work/dovecot-uidlist", list + "5 :1000000005.e\n")
                case "keywords": try scratch.write(".Work/dovecot-keywords", "0 $Later\n")
                case "rights": try scratch.write(".Work/dovecot-acl", "owner lr\n")
                case "replaced":
                    try scratch.rename(".Work", ".Old")
                    try Self.make(scratch, ".Work")
                default: store.context.index?.beginEra(isRestored: false)
                }
                #expect(await store.statuses(of: [Self.path]).isEmpty)
                await store.shutDown()
            }
        }

        @Test("are opened without a look at all others", .enabled(if: geteuid() != 0))
        func opened() async throws {
            let scratch = try Scratch()
            try await EventLoop.test {
                try Self.make(scratch, ".Work")
                let store = try scratch.store()
                _ = try await store.tree()
                // The first UIDVALIDITY is looked for among all names.
                _ = try await store.open(.inbox)
                // From now on its names cannot be listed.
                chmod(scratch.path, 0o300)
                defer { chmod(scratch.path, 0o700) }
                _ = try await store.open(Self.path)
                await #expect(throws: StoreError.self) { try await store.tree() }
                store.close()
            }
        }

        @Test("are found where they are now") func moved() async throws {
            let scratch = try Scratch()
            try await EventLoop.test {
                try Self.make(scratch, ".Work")
                try scratch.write(".Work/cur/1000000001.a:2,")
                let store = try scratch.store()
                _ = try await store.tree()
                try scratch.rename(".Work", ".Old")
                await #expect(throws: StoreError.noSuchMailbox) {
                    try await store.open(Self.path)
                }
                let old = MailboxPath([Array("Old".utf8)])
                #expect(try await store.open(old).table.count == 1)
                try Self.make(scratch, ".Work")
                #expect(try await store.open(Self.path).table.count == 0)
                store.close()
            }
        }
    }
}
