import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  NOTIFY where the kernel's queue of events overflows, and where more annotations change than are kept

@Suite("notify overflow", .serialized)
struct NotifyOverflowTests {
    typealias Bench = SessionTests.Bench

    /// Makes so many events that the kernel drops what follows; what is in the directory stays.
    private func overflow(_ directory: String) throws {
        let limit = FileManager.default
            .contents(atPath: "/proc/sys/fs/inotify/max_queued_events")
            .flatMap { Int(String(decoding: $0, as: UTF8.self).dropLast()) }
        let path = directory + "/1.a.b"
        for _ in 0..<(min(limit ?? 16_384, 200_000) / 3 + 100) {
            // IN_CREATE, IN_CLOSE_WRITE, IN_DELETE: no two in a row are equal.
            let file = open(path, O_CREAT | O_WRONLY, 0o600)
            guard file >= 0 else { throw POSIXError(.EIO) }
            close(file)
            unlink(path)
        }
    }

    @Test("after an overflow all is told: messages, flags, names, subscriptions")
    func rescan() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 2)
            for name in ["Busy", "Lists", "Old", "Quiet"] { try bench.maildir.make(name) }
            try bench.maildir.add(Transcript.MessageSpec(count: 2), to: "Lists")
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let set =
                "NOTIFY SET STATUS (selected (MessageNew MessageExpunge FlagChange))"
                + " (personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))"
            try await bench.ask(client, "a2 \(set)")
            // The loop does not come to read while this goes on.
            try overflow(bench.maildir.path("Busy") + "/new")
            try bench.maildir.perform(.deliver("INBOX", Transcript.MessageSpec()))
            try bench.maildir.perform(.flags("INBOX", "m1", "F"))
            try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec()))
            try bench.maildir.perform(.flags("Lists", "m3", "S"))
            try bench.maildir.perform(.makeMailbox("New"))
            try bench.maildir.perform(.moveMailbox("Old", "Older"))
            try bench.maildir.perform(.file("subscriptions", Array("V\t2\n\nLists\n".utf8)))
            var expected: Set<String> = [
                "* 3 EXISTS", "* 1 FETCH (UID 1 FLAGS (\\Flagged))",
                "* LIST (\\HasNoChildren) \".\" \"New\"",
                "* LIST (\\HasNoChildren) \".\" \"Older\" (\"OLDNAME\" (\"Old\"))",
                "* LIST (\\HasNoChildren \\Subscribed) \".\" \"Lists\"",
                "* STATUS \"Lists\" (MESSAGES 3 UIDNEXT 4 UNSEEN 2)",
            ]
            var lines: [String] = []
            while !expected.isEmpty, let line = await client.response(within: 20_000) {
                var text = String(decoding: line.texts[0], as: UTF8.self)
                lines.append(text)
                if let start = text.range(of: " UIDVALIDITY "),
                    let end = text[start.upperBound...].firstIndex(of: " ")
                {
                    text.removeSubrange(start.lowerBound..<end)
                }
                expected.remove(text)
            }
            #expect(expected.isEmpty, "\(lines)")
            // What did not change is not told of.
            #expect(!lines.contains { $0.contains("Quiet") || $0.contains("Busy") }, "\(lines)")
            #expect(try await bench.ask(client, "a3 NOOP") == ["a3 OK Done"])
            bench.store.close()
        }
    }

    @Test("as many changed annotations as the limit are kept, and no more")
    func annotations() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            let (notified, enabled, other) = (bench.client(), bench.client(), bench.client())
            for client in [notified, enabled] {
                client.session.annotationChangeCountMax = 3
                try await bench.ask(client, "a1 ENABLE METADATA")
            }
            let set = "NOTIFY SET (personal (MailboxMetadataChange))"
            func change(_ names: ClosedRange<Int>, _ value: String) -> String {
                let entries = names.map { "/private/\($0) \"\(value)\"" }
                return "SETMETADATA INBOX (\(entries.joined(separator: " ")))"
            }
            func names(_ names: ClosedRange<Int>) -> String {
                "* METADATA \"INBOX\" " + names.map { "/private/\($0)" }.joined(separator: " ")
            }
            try await bench.ask(other, "o1 \(change(1...3, "x"))")
            #expect(try await bench.ask(notified, "a2 NOOP") == [names(1...3), "a2 OK Done"])
            #expect(try await bench.ask(enabled, "a2 NOOP") == [names(1...3), "a2 OK Done"])
            try await bench.ask(notified, "a3 \(set)")
            try await bench.ask(other, "o2 \(change(1...4, "y"))")
            // Who asked by NOTIFY is told that it is not told; the other's session ends.
            let line = await notified.response(within: 20_000)
            #expect(
                line.map { String(decoding: $0.texts[0], as: UTF8.self) }?
                    .hasPrefix("* OK [NOTIFICATIONOVERFLOW] ") == true
            )
            #expect(try await bench.ask(notified, "a4 NOOP") == ["a4 OK Done"])
            #expect(try await bench.ask(enabled, "a3 NOOP") == ["a3 OK Done"])
            let bye = await enabled.response(within: 20_000)
            #expect(
                bye?.texts[0] == Array("* BYE [UNAVAILABLE] Too many annotations changed".utf8)
            )
            bench.store.close()
        }
    }
}
