import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  Response codes for what a transcript cannot bring about: locks, broken directories, large numbers

@Suite("response codes", .serialized)
struct ResponseCodeTests {
    typealias Bench = SessionTests.Bench

    @Test("INUSE: another program holds the lock and does not give it back")
    func inUse() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            let client = bench.client()
            bench.store.aclLockSeconds = 1
            let lock = bench.maildir.root + "/dovecot-acl.lock"
            try bench.maildir.write(Array("1:other".utf8), to: lock)
            let held = try await bench.ask(client, "a1 SETACL INBOX ann lrs")
            // Before it, progress may be told, where the machine is slow.
            #expect(held.last == "a1 NO [INUSE] Mailbox is locked by another program")
            unlink(lock)
            #expect(
                try await bench.ask(client, "a2 SETACL INBOX ann lrs").last?.hasPrefix("a2 OK")
                    == true
            )
            bench.store.close()
        }
    }

    @Test("UNAVAILABLE: the mailbox cannot be used, and no detail of it is told")
    func unavailable() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try bench.maildir.make("Broken")
            let list = bench.maildir.path("Broken") + "/dovecot-uidlist"
            try FileManager.default.createDirectory(
                atPath: list,
                withIntermediateDirectories: false
            )
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let refusal = " NO [UNAVAILABLE] Mailbox cannot be accessed now, see the server's log"
            #expect(try await bench.ask(client, "a2 STATUS Broken (MESSAGES)") == ["a2" + refusal])
            #expect(try await bench.ask(client, "a3 COPY 1 Broken") == ["a3" + refusal])
            // RFC 9051 §6.3.2: no mailbox is selected then.
            #expect(try await bench.ask(client, "a4 SELECT Broken").last == "a4" + refusal)
            let fetched = try await bench.ask(client, "a5 FETCH 1 FLAGS")
            #expect(fetched == ["a5 BAD [CLIENTBUG] No mailbox is selected"])
            bench.store.close()
        }
    }

    @Test("NOMODSEQ: mod-sequences that would not last are not told")
    func noModseq() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try FileManager.default.createDirectory(
                atPath: bench.maildir.root + "/martlet-state",
                withIntermediateDirectories: false
            )
            let client = bench.client()
            let lines = try await bench.ask(client, "a1 SELECT INBOX (CONDSTORE)")
            #expect(lines.contains("* OK [NOMODSEQ] Mod-sequences cannot be kept now"))
            #expect(!lines.contains { $0.contains("HIGHESTMODSEQ") })
            #expect(lines.last?.hasPrefix("a1 OK [READ-WRITE]") == true)
            // RFC 7162 §3.1.2.2
            let fetched = try await bench.ask(client, "a2 FETCH 1 (MODSEQ)")
            #expect(fetched == ["a2 BAD Mod-sequences cannot be kept now"])
            let status = try await bench.ask(client, "a3 STATUS INBOX (HIGHESTMODSEQ)")
            #expect(status == ["* STATUS \"INBOX\" (HIGHESTMODSEQ 0)", "a3 OK Status done"])
            bench.store.close()
        }
    }

    @Test("METADATA TOOMANY and MAXSIZE: at the limit and above")
    func annotations() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            let client = bench.client()
            func set(_ tag: String, _ name: String, _ count: Int) async throws -> String? {
                let value = String(repeating: "x", count: count)
                let command = "\(tag) SETMETADATA INBOX (/private/\(name) {\(count)+}\r\n\(value))"
                return try await bench.ask(client, command).last
            }
            #expect(try await set("a1", "long", 65_536) == "a1 OK Annotations set")
            #expect(
                try await set("a2", "long", 65_537)
                    == "a2 NO [METADATA MAXSIZE 65536] Annotation is too large"
            )
            for number in 2...256 { _ = try await set("b\(number)", "n\(number)", 1) }
            #expect(try await set("a3", "n256", 2) == "a3 OK Annotations set")
            #expect(
                try await set("a4", "n257", 1)
                    == "a4 NO [METADATA TOOMANY] Too many annotations"
            )
            bench.store.close()
        }
    }

    @Test("VANISHED has as many ranges as the limit in a line, and no more")
    func vanished() async throws {
        try await EventLoop.test {
            let limit = Limits.vanishedRangesMax
            let bench = try await Bench(messages: 2 * limit + 3, body: 1)
            let (client, other) = (bench.client(), bench.client())
            for each in [client, other] {
                try await bench.ask(each, "a1 ENABLE QRESYNC")
                try await bench.ask(each, "a2 SELECT INBOX")
            }
            func odd(_ count: Int) -> String {
                (0..<count).map { String(2 * $0 + 1) }.joined(separator: ",")
            }
            func ranges(_ lines: [String], _ prefix: String) -> [Int] {
                lines.filter { $0.hasPrefix(prefix) }.map { $0.split(separator: ",").count }
            }
            try await bench.ask(other, "b1 UID STORE \(odd(limit)) +FLAGS.SILENT (\\Deleted)")
            try await bench.ask(other, "b2 EXPUNGE")
            let first = try await bench.ask(client, "a3 NOOP")
            #expect(ranges(first, "* VANISHED ") == [limit])
            let one = 2 * limit + 1
            try await bench.ask(client, "a4 UID STORE \(one) +FLAGS.SILENT (\\Deleted)")
            try await bench.ask(client, "a5 EXPUNGE")
            let since = "1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)"
            let both = try await bench.ask(client, "a6 UID FETCH \(since)")
            #expect(ranges(both, "* VANISHED (EARLIER) ") == [limit, 1])
            let upTo = "1:\(one - 1) (FLAGS) (CHANGEDSINCE 1 VANISHED)"
            let earlier = try await bench.ask(client, "a7 UID FETCH \(upTo)")
            #expect(ranges(earlier, "* VANISHED (EARLIER) ") == [limit])
            bench.store.close()
        }
    }
}
