import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  What a transcript cannot say: clients that do not read, that vanish, that send too much

@Suite("session", .serialized)
struct SessionTests {
    /// A store on a Maildir with some messages, and sessions on it.
    @EventLoop
    final class Bench {
        let maildir: TestMaildir
        let store: MailStore

        init(messages: Int = 0, body: Int = 10) async throws {
            maildir = try TestMaildir()
            let content = "Subject: x\n\n" + String(repeating: "0123456789abcde\n", count: body)
            let spec = Transcript.MessageSpec(content: Array(content.utf8), count: messages)
            try maildir.add(spec, to: "INBOX")
            store = try await MailStore.forTest(maildir.root)
        }

        func client() -> TranscriptRun.Client {
            let client = TranscriptRun.Client(MemoryStream(), store)
            client.start(tag: nil)
            return client
        }

        /// Sends a command and takes what comes, up to its end.
        @discardableResult
        func ask(_ client: TranscriptRun.Client, _ command: String) async throws -> [String] {
            client.stream.send(Array("\(command)\r\n".utf8))
            return try await answer(client, String(command.prefix { $0 != " " }))
        }

        func answer(_ client: TranscriptRun.Client, _ tag: String) async throws -> [String] {
            var lines: [String] = []
            while let line = await client.response(within: 20_000) {
                lines.append(String(decoding: line.texts[0], as: UTF8.self))
                if line.isTagged(Array(tag.utf8)) { return lines }
            }
            throw Transcript.Malformed(description: "no end of \(tag): \(lines.suffix(3))")
        }
    }

    @Test("a client that does not read keeps nobody waiting, and little in memory")
    func stalledClient() async throws {
        try await EventLoop.test {
            // 200 messages of 160 KB.
            let bench = try await Bench(messages: 200, body: 10_000)
            let (slow, other) = (bench.client(), bench.client())
            try await bench.ask(slow, "s1 SELECT INBOX")
            try await bench.ask(other, "o1 SELECT INBOX")
            slow.stream.isStalled = true
            slow.stream.send(Array("s2 FETCH 1:* BODY.PEEK[]\r\n".utf8))
            await EventLoop.sleep(milliseconds: 300)
            let started = Instant.now
            let lines = try await bench.ask(other, "o2 STORE 5 +FLAGS (\\Flagged)")
            #expect(lines == ["* 5 FETCH (FLAGS (\\Flagged))", "o2 OK Stored"])
            #expect(Instant.now.milliseconds(since: started) < 2_000)
            other.stream.send(Array("o3 IDLE\r\n".utf8))
            #expect(await other.response(within: 5_000)?.isContinuation == true)
            try bench.maildir.perform(.deliver("INBOX", Transcript.MessageSpec()))
            let pushed = await other.response(within: 5_000)?.texts[0]
            #expect(pushed == Array("* 201 EXISTS".utf8))
            // What waits is one batch, not the mailbox.
            #expect(slow.session.output.count < 4 << 20)
            slow.stream.isStalled = false
            let fetched = try await bench.answer(slow, "s2")
            #expect(fetched.filter { $0.contains("FETCH (BODY[]") }.count == 200)
            bench.store.close()
        }
    }

    @Test("bad commands in a row end the connection at the limit, not before")
    func badCommands() async throws {
        try await EventLoop.test {
            let bench = try await Bench()
            let client = bench.client()
            for _ in 0..<2 {
                for number in 1..<Limits.badCommandsMax {
                    let lines = try await bench.ask(client, "a\(number) NONSENSE")
                    #expect(lines[0].contains("BAD"))
                }
                #expect(try await bench.ask(client, "ok NOOP") == ["ok OK Done"])
            }
            for _ in 1..<Limits.badCommandsMax { try await bench.ask(client, "b NONSENSE") }
            try await bench.ask(client, "last NONSENSE")
            let bye = await client.response(within: 5_000)?.texts[0] ?? []
            #expect(bye.hasPrefix("* BYE"))
            #expect(await client.waitForEnd())
            bench.store.close()
        }
    }

    @Test("a line that is too long is refused, and the next one answered")
    func longLine() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            let client = bench.client()
            try await bench.ask(client, "a0 SELECT INBOX")
            let long = String(repeating: "x", count: 1_048_576)
            let lines = try await bench.ask(client, "a1 SEARCH SUBJECT \"\(long)\"")
            #expect(lines == ["a1 BAD Line is too long"])
            let set = (1...90_000).map { _ in "1" }.joined(separator: ",")
            let found = try await bench.ask(client, "a2 UID FETCH \(set) FLAGS")
            #expect(found.count == 2)
            #expect(try await bench.ask(client, "a3 NOOP") == ["a3 OK Done"])
            bench.store.close()
        }
    }

    @Test("messages of one APPEND are refused above the limit, all of them")
    func tooManyMessages() async throws {
        try await EventLoop.test {
            let bench = try await Bench()
            let client = bench.client()
            client.session.appendMessagesMax = 3
            let message = " {14+}\r\nSubject: x\r\n\r\n"
            let four = String(repeating: message, count: 4)
            let refused = try await bench.ask(client, "a1 APPEND INBOX\(four)")
            #expect(refused.count == 1 && refused[0].hasPrefix("a1 NO [LIMIT]"))
            let three = String(repeating: message, count: 3)
            let lines = try await bench.ask(client, "a2 APPEND INBOX\(three)")
            #expect(lines.last?.hasPrefix("a2 OK [APPENDUID") == true)
            let status = try await bench.ask(client, "a3 STATUS INBOX (MESSAGES)")
            #expect(status.first == "* STATUS \"INBOX\" (MESSAGES 3)")
            bench.store.close()
        }
    }

    @Test("a client that vanishes within a message leaves nothing")
    func vanishesInAppend() async throws {
        try await EventLoop.test {
            let bench = try await Bench()
            let client = bench.client()
            client.stream.send(Array("a1 APPEND INBOX {100+}\r\nSubject: half".utf8))
            await EventLoop.sleep(milliseconds: 50)
            client.stream.end()
            #expect(await client.waitForEnd())
            #expect(try bench.maildir.names("INBOX/cur").isEmpty)
            #expect(try bench.maildir.names("INBOX/tmp").isEmpty)
            bench.store.close()
        }
    }

    @Test("a session is ended with BYE in IDLE, between commands, and in a message")
    func ended() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            for start in ["", "a1 IDLE\r\n", "a1 APPEND INBOX {9+}\r\nabc"] {
                let client = bench.client()
                client.stream.send(Array(start.utf8))
                await EventLoop.sleep(milliseconds: 50)
                client.session.end("Server shuts down")
                #expect(await client.waitForEnd())
                let said = String(decoding: client.stream.pending, as: UTF8.self)
                #expect(said.hasSuffix("* BYE [UNAVAILABLE] Server shuts down\r\n"), "\(start)")
                #expect(!said.contains("a1 OK"))
            }
            bench.store.close()
        }
    }

    @Test("LIST patterns cost no more than they must")
    func hostilePattern() async throws {
        try await EventLoop.test {
            let bench = try await Bench()
            for number in 1...60 { try bench.maildir.make("some.longer.name.\(number)") }
            let client = bench.client()
            let started = Instant.now
            for pattern in [
                String(repeating: "%*", count: 20_000), String(repeating: "*a", count: 20_000),
                String(repeating: "%.", count: 4), String(repeating: "*%*x", count: 1_000),
            ] {
                try await bench.ask(client, "a1 LIST \"\" \"\(pattern)\"")
            }
            #expect(Instant.now.milliseconds(since: started) < 5_000)
            bench.store.close()
        }
    }

    @Test(
        "ListPattern matches",
        arguments: [
            ("*", "a.b", true), ("%", "a.b", false), ("%", "a", true), ("a.%", "a.b", true),
            ("a*", "a", true), ("*a", "ba", true), ("%%", "a.b", false), ("%*%", "a.b", true),
            ("*%", "a.b", true), ("a%b", "a.b", false), ("a*b", "a.b", true), ("", "", true),
            ("", "a", false), ("%.%", "a.b", true), ("%.%", "a.b.c", false), ("*.c", "a.b.c", true),
            ("a", "A", false), ("%b%", "abc", true), ("*x*", "abc", false), ("%", "", true),
        ]
    )
    func pattern(_ pattern: String, _ name: String, _ matches: Bool) {
        let made = ListPattern(Array(pattern.utf8), separator: UInt8(ascii: "."))
        #expect(made.matches(Array(name.utf8)) == matches)
    }
}
