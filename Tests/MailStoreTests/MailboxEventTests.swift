import Bytes
import CZlib
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    /// What other programs do to a live mailbox.
    @Suite("A live mailbox and other programs")
    struct MailboxEventTests {
        let scratch: Scratch

        init() throws { scratch = try Scratch() }

        @Test("a delivery is announced, gets its UID, and is moved for a writer") func delivery()
            async throws
        {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                try scratch.deliver("new/1000000001.a.host")
                await eventually { inbox.announcedCount == 1 }
                #expect(viewer.callCount > 0)
                await eventually { inbox.table.uids == [1] }
                #expect(inbox.arrivalCount == 0)
                await eventually { scratch.names("cur") == ["1000000001.a.host:2,"] }
                #expect(scratch.listed == [1: "1000000001.a.host"])
                #expect(inbox.unclaimedRecent == [1])
                _ = store
            }
        }

        @Test("what EXAMINE opened stays in new/") func examined() async throws {
            try await EventLoop.test { [scratch] in
                try scratch.deliver("new/1000000001.a.host")
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox, isWriter: false)
                try scratch.deliver("new/1000000002.a.host")
                await eventually { inbox.table.uids == [1, 2] }
                #expect(scratch.names("new").count == 2)
                #expect(inbox.name(2) == "new/1000000002.a.host")
                _ = (store, viewer)
            }
        }

        enum Delivery: String, CaseIterable {
            case rename, linkAndUnlink, linkAlone, intoCur, copied
        }

        @Test("each way of delivery", arguments: Delivery.allCases) func ways(_ way: Delivery)
            async throws
        {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                switch way {
                case .rename: try scratch.deliver("new/1.a")
                case .linkAndUnlink, .linkAlone:
                    try scratch.write("tmp/1.a")
                    try scratch.link("tmp/1.a", "new/1.a")
                    if way == .linkAndUnlink { try scratch.remove("tmp/1.a") }
                case .intoCur: try scratch.deliver("cur/1.a:2,FS")
                case .copied: try scratch.write("new/1.a")
                }
                await eventually { inbox.table.uids == [1] }
                let flags: FlagLetters.Known = way == .intoCur ? [.seen, .flagged] : []
                #expect(inbox.flags(1) == flags)
                _ = store
            }
        }

        @Test(
            "a file that cp writes slowly is announced when it is closed, whatever scans meanwhile"
        )
        func slowCopy() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let file = try scratch.root.subdirectory([UInt8]("new")).open(
                    [UInt8]("1.a"),
                    O_WRONLY | O_CREAT | O_EXCL
                )
                try file.writeAll([UInt8]("Subject: x\n"))
                await EventLoop.sleep(milliseconds: 20)
                #expect(inbox.announcedCount == 0)
                inbox.wantScan()
                try await inbox.settle()
                #expect(inbox.announcedCount == 0)
                #expect(scratch.listed.isEmpty)
                try file.writeAll([UInt8]("\nbody\n"))
                try file.close()
                await eventually { inbox.table.uids == [1] }
                #expect(try await inbox.read(1).bytes.text == "Subject: x\n\nbody\n")
                _ = store
            }
        }

        @Test("gone before it had a UID: announced, and taken back") func vanished() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                // Somebody holds the lock, so that no UID can be given.
                try scratch.write("dovecot-uidlist.lock", "1:elsewhere")
                try scratch.deliver("new/1.a")
                try scratch.deliver("new/2.a")
                await eventually { inbox.announcedCount == 2 }
                try scratch.remove("new/1.a")
                try scratch.rename("new/2.a", "cur/2.a:2,S")
                try scratch.remove("dovecot-uidlist.lock")
                await eventually { inbox.isSettled && inbox.announcedCount == 1 }
                #expect(inbox.table.uids == [1])
                #expect(inbox.name(1) == "cur/2.a:2,S")
                _ = store
            }
        }

        @Test("flags that another program changes") func foreignFlags() async throws {
            try await EventLoop.test { [scratch] in
                try scratch.fill(3)
                let (store, inbox) = try await scratch.inbox()
                let before = inbox.log.end
                try scratch.rename("cur/1000000002.M1P1.host:2,", "cur/1000000002.M1P1.host:2,RS")
                await eventually { inbox.flags(2) == [.replied, .seen] }
                let entries = try #require(inbox.log.entries(from: before))
                #expect(entries.map(\.uid) == [2])
                #expect(entries.allSatisfy { !$0.isExpunge && $0.source == 0 })
                #expect(inbox.table.uids == [1, 2, 3])
                _ = store
            }
        }

        @Test("a message that another program removes is expunged") func foreignExpunge()
            async throws
        {
            try await EventLoop.test { [scratch] in
                try scratch.fill(3)
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                let before = inbox.log.end
                try scratch.remove("cur/1000000002.M1P1.host:2,")
                await eventually { inbox.table.uids == [1, 3] }
                #expect(inbox.log.entries(from: before)?.map(\.uid) == [2])
                await #expect(throws: StoreError.messageGone) { try await inbox.read(2) }
                #expect(viewer.uids == [1, 2, 3])
                _ = store
            }
        }

        @Test("a message that came back has another UID") func returned() async throws {
            try await EventLoop.test { [scratch] in
                try scratch.fill(3)
                let (store, inbox) = try await scratch.inbox()
                try scratch.rename("cur/1000000002.M1P1.host:2,", "tmp/kept")
                await eventually { inbox.table.uids == [1, 3] }
                try scratch.rename("tmp/kept", "cur/1000000002.M1P1.host:2,")
                await eventually { inbox.table.uids == [1, 3, 4] }
                #expect(inbox.name(4) == "cur/1000000002.M1P1.host:2,")
                _ = store
            }
        }

        @Test("two messages of one name: none is lost") func duplicates() async throws {
            try await EventLoop.test { [scratch] in
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                try scratch.deliver("cur/1.a:2,", "first\n")
                await eventually { inbox.table.uids == [1] }
                try scratch.deliver("new/1.a", "second\n")
                await eventually { inbox.table.count == 2 && inbox.isSettled }
                var contents: Set<String> = []
                for uid in inbox.table.uids {
                    contents.insert(try await inbox.read(uid).bytes.text)
                }
                #expect(contents == ["first\n", "second\n"])
                _ = (store, viewer)
            }
        }

        @Test("flags are not renamed over another message") func overwriting() async throws {
            try await EventLoop.test { [scratch] in
                try scratch.deliver("cur/1.a:2,", "first\n")
                let (store, inbox) = try await scratch.inbox()
                // No loop turn in between: the event is not known when the rename is made.
                try scratch.deliver("cur/1.a:2,S", "second\n")
                _ = try await inbox.store([1], .add(.seen), source: 1)
                await eventually { inbox.table.count == 2 && inbox.isSettled }
                var contents: Set<String> = []
                for uid in inbox.table.uids {
                    contents.insert(try await inbox.read(uid).bytes.text)
                }
                #expect(contents == ["first\n", "second\n"])
                _ = store
            }
        }

        @Test("unsafe, hidden and baseless names") func oddNames() async throws {
            try await EventLoop.test { [scratch] in
                try scratch.write("cur/a\nb:2,")
                try scratch.write("cur/.hidden")
                try scratch.write("cur/:2,S", "baseless\n")
                let long = String(repeating: "l", count: 255)
                try scratch.write("new/\(long)")
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                try await inbox.claimNew()
                await eventually { inbox.table.count == 2 && inbox.isSettled }
                // Too long for `:2,` behind it: it stays in new/, and is served.
                let uid = try #require(inbox.table.uids.first { inbox.name($0) == "new/\(long)" })
                #expect(try await inbox.read(uid).bytes.text.hasPrefix("Subject"))
                let refused = try await inbox.store([uid], .add(.seen), source: 1)
                guard case .refused? = refused.first else {
                    Issue.record("\(refused)")
                    return
                }
                _ = (store, viewer)
            }
        }

        @Test("symbolic links: served, copied as content, dangling ones are no expunge")
        func links()
            async throws
        {
            try await EventLoop.test { [scratch] in
                try scratch.write("real", "linked\n")
                symlink("../real", scratch.path + "/cur/1.a:2,")
                symlink("../nowhere", scratch.path + "/cur/2.a:2,")
                let (store, inbox) = try await scratch.inbox()
                #expect(inbox.table.uids == [1, 2])
                #expect(try await inbox.read(1).bytes.text == "linked\n")
                await #expect(throws: StoreError.self) { try await inbox.read(2) }
                #expect(inbox.table.uids == [1, 2])
                let path = try MailboxPath.named("Copy")
                try await store.create(path)
                let target = try await store.open(path)
                let uids = try await inbox.copy([1], to: target)
                #expect(try await target.read(uids[0]).bytes.text == "linked\n")
            }
        }

        @Test("gzip is read as its content, broken gzip is an error") func gzip() async throws {
            try await EventLoop.test { [scratch] in
                let packed: [UInt8] = [
                    0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0xE7, 2, 0,
                    0x20,
                    0x30, 0x3A, 0x36, 6, 0, 0, 0,
                ]
                try Data(packed).write(to: URL(fileURLWithPath: scratch.path + "/cur/1.a,S=6:2,"))
                try Data(packed.dropLast(6))
                    .write(to: URL(fileURLWithPath: scratch.path + "/cur/2.a,S=6:2,"))
                let (store, inbox) = try await scratch.inbox()
                #expect(try await inbox.read(1).bytes.text == "hello\n")
                await #expect(throws: StoreError.self) { try await inbox.read(2) }
                _ = store
            }
        }

        @Test("gzip that unpacks to more than a message may be is an error") func gzipLimit() {
            // A megabyte of one byte, in 1,043 bytes; two members are one content.
            let packed: [UInt8] = Self.packed(count: 1 << 20)
            #expect(packed.count < 2_000)
            #expect(MessageFile.inflate(packed, bytesMax: 1 << 20)?.count == 1 << 20)
            #expect(MessageFile.inflate(packed, bytesMax: (1 << 20) - 1) == nil)
            #expect(MessageFile.inflate(packed + packed, bytesMax: 2 << 20)?.count == 2 << 20)
            #expect(MessageFile.inflate(packed + packed, bytesMax: (2 << 20) - 1) == nil)
        }

        private static func packed(count: Int) -> [UInt8] {
            var stream = z_stream()
            let size = Int32(MemoryLayout<z_stream>.size)
            let begun = deflateInit2_(&stream, 9, Z_DEFLATED, 31, 9, 0, ZLIB_VERSION, size)
            precondition(begun == Z_OK)
            defer { deflateEnd(&stream) }
            var input = [UInt8](repeating: 0x78, count: count)
            return input.withUnsafeMutableBufferPointer { input in
                [UInt8](unsafeUninitializedCapacity: 1 << 16) { output, written in
                    stream.next_in = input.baseAddress
                    stream.avail_in = UInt32(input.count)
                    stream.next_out = output.baseAddress
                    stream.avail_out = UInt32(output.count)
                    precondition(deflate(&stream, Z_FINISH) == Z_STREAM_END)
                    written = output.count - Int(stream.avail_out)
                }
            }
        }
    }
}

extension MailboxPath {
    static func named(_ name: String) throws -> MailboxPath {
        try #require(MailboxPath(storageName: Array(name.utf8)[...]))
    }
}
