import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

extension AllTests {
    @Suite("Quota")
    struct QuotaTests {
        /// What the file says, and what a count of the directories says.
        @EventLoop
        private static func expectRight(_ scratch: Scratch, _ messages: Int64) throws {
            let content = try #require(scratch.read("maildirsize"))
            let said = QuotaFile(Array(content.utf8)).used
            let limits = content.prefix { $0 != "\n" }
            try scratch.write("maildirsize", "\(limits)\n")
            let counted = try Quota().current(root: scratch.root)?.used
            try scratch.write("maildirsize", content)
            #expect(said == counted)
            #expect(said.messages == messages)
        }

        @Test("is right after append, copy, expunge, delete, with and without sizes in names")
        func kept() async throws {
            try await EventLoop.test {
                let scratch = try Scratch()
                for number in 1...5 {
                    try scratch.write("cur/\(number).a:2,", "message \(number)\n")
                }
                try scratch.write("maildirsize", "1000000S,1000C\n50 5\n")
                let (store, inbox) = try await scratch.inbox()
                try await store.create(MailboxPath([[UInt8]("Work")]))
                let work = try await store.open(MailboxPath([[UInt8]("Work")]))
                _ = try await inbox.append("new\r\n")
                try Self.expectRight(scratch, 6)
                _ = try await inbox.copy(inbox.table.uids, to: work)
                try Self.expectRight(scratch, 12)
                _ = try await inbox.expunge([1, 2, 3], source: 1)
                try Self.expectRight(scratch, 9)
                // A sibling numbers it: the file is kept aside, and counts no more.
                let viewer = Viewer(inbox)
                _ = try await inbox.expunge([4], source: 1)
                try Self.expectRight(scratch, 8)
                _ = viewer
                // What another program removed is that program's to tell.
                try scratch.remove("cur/5.a:2,")
                _ = try await inbox.expunge([5], source: 1)
                #expect(scratch.read("maildirsize")?.hasSuffix("-10 -1\n") == true)
                try await store.delete(MailboxPath([[UInt8]("Work")]))
                #expect(scratch.read("maildirsize")?.contains(" -6\n") == true)
                store.close()
            }
        }

        private static let dovecotSettings = """
            mail_plugins = quota imap_quota
            protocol imap {
              mail_plugins = quota imap_quota
            }
            plugin {
              quota = maildir:User quota
              quota_rule = *:storage=1M:messages=60
            }
            """

        private static func theirs(_ dovecot: DovecotSession, _ scratch: Scratch) throws -> String {
            let lines = try dovecot.command("GETQUOTAROOT INBOX")
            chmod(scratch.path + "/maildirsize", 0o666)
            return lines.first { $0.hasPrefix("* QUOTA ") } ?? "\(lines)"
        }

        @EventLoop
        private static func ours(_ store: MailStore) async -> String {
            guard let quota = await store.quota() else { return "none" }
            let kibibytes = (quota.used.bytes + 1_023) / 1_024
            let limit = (quota.limits.bytes ?? 0) / 1_024
            return "* QUOTA \"User quota\" (STORAGE \(kibibytes) \(limit) "
                + "MESSAGE \(quota.used.messages) \(quota.limits.messages ?? 0))"
        }

        @Test("beside Dovecot both keep one file", .enabled(if: DovecotSession.isInstalled))
        func dovecot() async throws {
            try await EventLoop.test {
                let scratch = try Scratch()
                try scratch.fill(20)
                let dovecot = try DovecotSession(scratch, settings: Self.dovecotSettings)
                defer { dovecot.end(scratch) }
                try dovecot.command("SELECT INBOX")
                #expect(try Self.theirs(dovecot, scratch).contains("MESSAGE 20 60"))
                let (store, inbox) = try await scratch.inbox()
                func expectSame() async throws {
                    let ours = await Self.ours(store)
                    let theirs = try Self.theirs(dovecot, scratch)
                    #expect(ours == theirs)
                }
                try await expectSame()
                for round in 0..<10 {
                    _ = try await inbox.append("ours \(round)\r\n")
                    try dovecot.command("APPEND INBOX {7+}\r\ndove \(round % 10)")
                    try await expectSame()
                }
                _ = try await inbox.expunge([1, 2, 3], source: 1)
                try dovecot.command("UID STORE 5:8 +FLAGS.SILENT (\\Deleted)")
                try dovecot.command("EXPUNGE")
                try await expectSame()
                #expect(try Self.theirs(dovecot, scratch).contains("MESSAGE 33 60"))
                // Neither had to count anew.
                let lines = scratch.read("maildirsize")?.split(separator: "\n") ?? []
                #expect(lines.count > 20)
                try await inbox.settle()
                _ = try await inbox.copy(Array(inbox.table.uids.prefix(27)), to: inbox)
                #expect(try Self.theirs(dovecot, scratch).contains("MESSAGE 60 60"))
                await #expect(throws: StoreError.overQuota) { try await store.checkRoom(bytes: 10) }
                let last = try #require(inbox.table.uids.last)
                await #expect(throws: StoreError.overQuota) {
                    try await inbox.checkRoom(toCopy: [last])
                }
                try await expectSame()
                store.close()
            }
        }
    }
}
