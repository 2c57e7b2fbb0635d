import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

/// Reading on the loop: only what cannot wait.
@Suite("Reading without waiting")
struct CachedReadingTests {
    /// How many bytes a reader gets of the only message, and whether it would have to wait.
    @EventLoop
    private func read(_ mailbox: Mailbox, isCachedOnly: Bool) -> (bytes: Int?, wouldWait: Bool) {
        let reader = MessageReader()
        reader.isCachedOnly = isCachedOnly
        let names = mailbox.names(of: mailbox.table.uids[...])
        var bytes: Int?
        _ = reader.read(names.entries[0], of: names, .whole, hasHeader: { _ in true }) { span, _ in
            bytes = span.count
        }
        return (bytes, reader.wouldWait)
    }

    @Test("a message at the limit is read on the loop, one above it is not") func limit()
        async throws
    {
        for size in [Limits.loopMessageBytesMax, Limits.loopMessageBytesMax + 1] {
            let scratch = try Scratch()
            try scratch.deliver("cur/1.a:2,S", String(repeating: "y", count: size))
            try await EventLoop.test { [scratch] in
                let (store, mailbox) = try await scratch.inbox()
                #expect(read(mailbox, isCachedOnly: false).bytes == size)
                let cached = read(mailbox, isCachedOnly: true)
                // A filesystem that cannot say what is in memory is never read on the loop.
                #expect(cached.bytes == (cached.wouldWait ? nil : size))
                if size > Limits.loopMessageBytesMax { #expect(cached.wouldWait) }
                store.close()
            }
        }
    }

    @Test("what is not in the page cache is not waited for") func notCached() throws {
        let path = "/var/tmp/martlet-cached-\(UUID().uuidString)"
        let bytes = [UInt8](repeating: 1, count: 20_000)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        defer { unlink(path) }
        let directory = try Directory(path: Array("/var/tmp".utf8))
        let name = [UInt8](path.dropFirst("/var/tmp/".count).utf8) + [0]
        var room = [UInt8](repeating: 0, count: bytes.count)
        let file = try directory.openFollowingLinks(terminated: name.span, O_RDONLY)
        try file.syncData()
        posix_fadvise(file.raw, 0, 0, POSIX_FADV_DONTNEED)
        do throws(SystemError) {
            _ = try file.read(at: 0, into: &room, 0..<bytes.count, mayWait: false)
            Issue.record("it was read")
        } catch {
            #expect(error.code == EAGAIN)
        }
        // It does not stay so: who may wait reads it, and then it is there.
        #expect(try file.read(at: 0, into: &room, 0..<bytes.count) == bytes.count)
        #expect(try file.read(at: 0, into: &room, 0..<bytes.count, mayWait: false) == bytes.count)
        #expect(room == bytes)
        _ = try directory.openFollowingLinks(terminated: name.span, O_RDONLY, mayWait: false)
    }
}
