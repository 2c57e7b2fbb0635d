import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  INPROGRESS (RFC 9585): when it comes, what it says, and where it must not come

@Suite("progress", .serialized)
struct ProgressTests {
    /// `* OK [INPROGRESS ("a1" 5 10)] …`: the numbers, nil for NIL.
    private func numbers(_ line: String, tag: String) -> (done: Int?, goal: Int?)? {
        let start = "* OK [INPROGRESS (\"\(tag)\" "
        guard line.hasPrefix(start), let end = line.firstIndex(of: ")") else { return nil }
        let words = line[..<end].dropFirst(start.count).split(separator: " ")
        guard words.count == 2 else { return nil }
        return (Int(words[0]), Int(words[1]))
    }

    @Test("a long SEARCH, SORT and THREAD tell how far they are, before their answer")
    func search() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 3_000, body: 200)
            let client = bench.client()
            client.session.progressMilliseconds = 1
            try await bench.ask(client, "s SELECT INBOX")
            for command in [
                "SEARCH BODY nothing", "SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
                "ESEARCH RETURN (COUNT) BODY 0123",
            ] {
                let lines = try await bench.ask(client, "a1 \(command)")
                let told = lines.compactMap { numbers($0, tag: "a1") }
                #expect(!told.isEmpty, "\(command)")
                #expect(told.count == lines.count - 2, "\(command): \(lines.suffix(3))")
                let counted = told.filter { $0.done != nil }
                #expect(counted.map { $0.done ?? 0 } == counted.map { $0.done ?? 0 }.sorted())
                #expect(counted.contains { $0.goal == 3_000 }, "\(command): \(lines.prefix(3))")
                for (done, goal) in counted { if let goal { #expect((done ?? 0) < goal) } }
            }
            bench.store.close()
        }
    }

    @Test("what waits for another program's lock keeps the client waiting, not wondering")
    func locked() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 2)
            let client = bench.client()
            client.session.progressMilliseconds = 50
            try await bench.ask(client, "s SELECT INBOX")
            let lock = bench.maildir.root + "/dovecot-uidlist.lock"
            for command in [
                "STORE 1 +FLAGS (\\Flagged \\Deleted)", "COPY 2 INBOX", "EXPUNGE",
                "APPEND INBOX {14+}\r\nSubject: x\r\n\r\n",
            ] {
                try bench.maildir.write(Array("1:other".utf8), to: lock)
                client.stream.send(Array("a1 \(command)\r\n".utf8))
                let first = await client.response(within: 20_000)?.texts[0] ?? []
                #expect(first.hasPrefix("* OK [INPROGRESS (\"a1\" "), "\(command)")
                unlink(lock)
                let lines = try await bench.answer(client, "a1")
                #expect(lines.last?.hasPrefix("a1 OK") == true, "\(command): \(lines)")
            }
            bench.store.close()
        }
    }

    @Test("a quick command, and IDLE, are told nothing of")
    func quick() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 1)
            let client = bench.client()
            try await bench.ask(client, "s SELECT INBOX")
            #expect(try await bench.ask(client, "a1 CAPABILITY").count == 2)
            client.session.progressMilliseconds = 20
            client.stream.send(Array("a2 IDLE\r\n".utf8))
            #expect(await client.response(within: 5_000)?.isContinuation == true)
            #expect(await client.response(within: 200) == nil)
            client.stream.send(Array("DONE\r\n".utf8))
            #expect(try await bench.answer(client, "a2") == ["a2 OK Idle completed"])
            await EventLoop.sleep(milliseconds: 100)
            #expect(client.stream.pending.isEmpty)
            bench.store.close()
        }
    }

    @Test("it never comes within a response, and not to a client that does not read")
    func whole() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 200, body: 10_000)
            let client = bench.client()
            client.session.progressMilliseconds = 1
            try await bench.ask(client, "s SELECT INBOX")
            client.stream.isStalled = true
            client.stream.send(Array("a1 FETCH 1:* BODY.PEEK[]\r\n".utf8))
            // Until what may be sent ahead is there.
            var waiting = 0
            repeat {
                waiting = client.session.output.count
                await EventLoop.sleep(milliseconds: 500)
            } while waiting == 0 || client.session.output.count > waiting + 100_000
            waiting = client.session.output.count
            await EventLoop.sleep(milliseconds: 300)
            #expect(client.session.output.count == waiting)
            client.stream.isStalled = false
            // Parsed as literals: anything within one would break what follows.
            let lines = try await bench.answer(client, "a1")
            let fetched = lines.filter { $0.contains("FETCH (BODY[]") }
            let told = lines.filter { $0.contains("INPROGRESS") }
            #expect(fetched.count == 200)
            #expect(lines.count == fetched.count + told.count + 1)
            bench.store.close()
        }
    }

    @Test("a tag with a bracket is not told")
    func bracket() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 2_000, body: 100)
            let client = bench.client()
            client.session.progressMilliseconds = 1
            try await bench.ask(client, "s SELECT INBOX")
            let lines = try await bench.ask(client, "a]1 SEARCH BODY nothing")
            #expect(lines.first?.hasPrefix("* OK [INPROGRESS (NIL ") == true)
            bench.store.close()
        }
    }

    @Test("ESEARCH refuses more mailboxes than the limit, and takes as many")
    func mailboxLimit() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 1)
            for number in 1...3 { try bench.maildir.make("box\(number)") }
            let client = bench.client()
            client.session.multiSearchCountMax = 4
            #expect(try await bench.ask(client, "a1 ESEARCH IN (personal) ALL").count == 2)
            client.session.multiSearchCountMax = 3
            let lines = try await bench.ask(client, "a2 ESEARCH IN (personal) ALL")
            #expect(lines == ["a2 NO [LIMIT] Too many mailboxes to search at once"])
            bench.store.close()
        }
    }
}
