import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  NOTIFY (RFC 5465) where a transcript cannot say it: limits, bursts, clients that do not read, time

@Suite("notify", .serialized)
struct NotifyTests {
    typealias Bench = SessionTests.Bench

    @EventLoop
    private func next(_ client: TranscriptRun.Client) async -> String {
        let line = await client.response(within: 20_000)
        return String(decoding: line?.texts[0] ?? [], as: UTF8.self)
    }

    @Test("as many mailboxes as the limit are watched, and no more")
    func limit() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            for number in 1...3 { try bench.maildir.make("box\(number)") }
            let client = bench.client()
            let set = "NOTIFY SET (personal (MessageNew MessageExpunge))"
            client.session.notifyMailboxCountMax = 3
            let refused = try await bench.ask(client, "a1 \(set)")
            #expect(refused.last == "a1 NO [NOTIFICATIONOVERFLOW] Too many mailboxes to watch")
            client.session.notifyMailboxCountMax = 4
            #expect(try await bench.ask(client, "a2 \(set)").last?.hasPrefix("a2 OK") == true)
            // One more comes to be: nothing is told any more, and that is said.
            try bench.maildir.make("box4")
            #expect(await next(client).hasPrefix("* OK [NOTIFICATIONOVERFLOW] "))
            try bench.maildir.perform(.deliver("box1", Transcript.MessageSpec()))
            #expect(await client.response(within: 300) == nil)
            #expect(try await bench.ask(client, "a3 NOOP") == ["a3 OK Done"])
            bench.store.close()
        }
    }

    @Test("a burst of deliveries ends in the right numbers, in fewer words")
    func burst() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try bench.maildir.make("Lists")
            let client = bench.client()
            let set =
                "NOTIFY SET (selected (MessageNew (UID) MessageExpunge)) (personal (MessageNew MessageExpunge))"
            try await bench.ask(client, "a1 SELECT INBOX")
            try await bench.ask(client, "a2 \(set)")
            for _ in 1...200 {
                try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec()))
                try bench.maildir.perform(.deliver("INBOX", Transcript.MessageSpec()))
            }
            var lines: [String] = []
            func isDone() -> Bool {
                lines.contains { $0.hasPrefix("* STATUS \"Lists\" (MESSAGES 200 UIDNEXT 201 ") }
                    && lines.contains("* 201 EXISTS") && lines.contains("* 201 FETCH (UID 201)")
            }
            while !isDone(), let line = await client.response(within: 20_000) {
                lines.append(String(decoding: line.texts[0], as: UTF8.self))
            }
            #expect(isDone(), "\(lines.suffix(5))")
            let fetched = lines.filter { $0.contains(" FETCH (UID ") }
            #expect(fetched.count == 200 && Set(fetched).count == 200)
            #expect(lines.filter { $0.hasPrefix("* STATUS") }.count <= 200)
            bench.store.close()
        }
    }

    @Test("a client that does not read holds little, and nobody else up")
    func stalled() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            for number in 1...20 { try bench.maildir.make("box\(number)") }
            let (slow, other) = (bench.client(), bench.client())
            let set =
                "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"
            for client in [slow, other] {
                try await bench.ask(client, "a1 SELECT INBOX")
                try await bench.ask(client, "a2 \(set)")
            }
            slow.stream.isStalled = true
            for round in 1...5 {
                for number in 1...20 {
                    try bench.maildir.perform(.deliver("box\(number)", Transcript.MessageSpec()))
                }
                var told: Set<String> = []
                while told.count < 20, let line = await other.response(within: 20_000) {
                    let text = String(decoding: line.texts[0], as: UTF8.self)
                    if text.contains("(MESSAGES \(round) ") { told.insert(text) }
                }
                #expect(told.count == 20)
            }
            #expect(slow.session.output.count < 1 << 16)
            slow.stream.isStalled = false
            var last: Set<String> = []
            while last.count < 20, let line = await slow.response(within: 20_000) {
                let text = String(decoding: line.texts[0], as: UTF8.self)
                if text.contains("(MESSAGES 5 ") { last.insert(text) }
            }
            #expect(last.count == 20)
            #expect(try await bench.ask(slow, "a3 NOOP").last == "a3 OK Done")
            bench.store.close()
        }
    }

    @Test("what happens while a command runs is told behind it")
    func behindCommands() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 500, body: 500)
            try bench.maildir.make("Lists")
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let set =
                "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"
            try await bench.ask(client, "a2 \(set)")
            client.stream.send(Array("a3 SEARCH BODY nothing\r\n".utf8))
            try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec()))
            let lines = try await bench.answer(client, "a3")
            #expect(lines.last == "a3 OK Searched")
            #expect(!lines.contains { $0.hasPrefix("* STATUS") })
            #expect(await next(client).hasPrefix("* STATUS \"Lists\" (MESSAGES 1 UIDNEXT 2 "))
            bench.store.close()
        }
    }

    @Test(
        "a mailbox that another program has locked keeps neither commands nor other mailboxes back"
    )
    func locked() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            for name in ["Held", "Free"] { try bench.maildir.make(name) }
            let client = bench.client()
            try await bench.ask(client, "a1 NOTIFY SET (personal (MessageNew MessageExpunge))")
            let lock = bench.maildir.root + "/.Held/dovecot-uidlist.lock"
            try bench.maildir.write(Array("1:other".utf8), to: lock)
            try bench.maildir.perform(.deliver("Held", Transcript.MessageSpec()))
            try bench.maildir.perform(.deliver("Free", Transcript.MessageSpec()))
            #expect(await next(client).hasPrefix("* STATUS \"Free\" (MESSAGES 1 UIDNEXT 2 "))
            #expect(try await bench.ask(client, "a2 NOOP") == ["a2 OK Done"])
            unlink(lock)
            #expect(await next(client).hasPrefix("* STATUS \"Held\" (MESSAGES 1 UIDNEXT 2 "))
            bench.store.close()
        }
    }

    @Test("it comes at once")
    func latency() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try bench.maildir.make("Lists")
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let set =
                "NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))"
            try await bench.ask(client, "a2 \(set)")
            var times: [Int] = []
            for number in 1...20 {
                let mailbox = number % 2 == 0 ? "Lists" : "INBOX"
                let started = Instant.now
                try bench.maildir.perform(.deliver(mailbox, Transcript.MessageSpec()))
                // RECENT and FETCH of the one before may be late.
                let expected = mailbox == "INBOX" ? " EXISTS" : "STATUS \"Lists\""
                var line = await next(client)
                while !line.isEmpty, !line.contains(expected) { line = await next(client) }
                times.append(Instant.now.milliseconds(since: started))
                #expect(!line.isEmpty, "\(mailbox)")
            }
            // Milliseconds where nothing else runs; machines that test are busy.
            #expect(times.sorted()[10] < 200, "\(times)")
            bench.store.close()
        }
    }

    /// What is told of a mailbox may count a message whose coming was not asked for yet, or still waits in
    /// the queue.
    @Test("a message that was told of does not go unseen", arguments: [true, false])
    func comingAndGoing(isDrained: Bool) async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try bench.maildir.make("Lists")
            let tree = try await bench.store.settledTree()
            let entry = try #require(tree.entries.values.first { $0.path != .inbox })
            let watch = StoreWatch(bench.store, wake: {})
            try await watch.add([entry])
            let inotify = try #require(bench.store.context.inotify)

            // Nobody was told in between: there is nothing to tell.
            try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec(name: "first")))
            try bench.maildir.perform(.remove("Lists", "first"))
            inotify.drain()
            #expect(watch.takeMailboxes(except: nil).isEmpty)

            try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec(name: "second")))
            if isDrained { inotify.drain() }
            watch.noteSeen(entry.path)
            try bench.maildir.perform(.remove("Lists", "second"))
            inotify.drain()
            #expect(watch.takeMailboxes(except: nil).map(\.events) == [.messages])
            watch.stop()
            bench.store.close()
        }
    }

    /// A STATUS that the client asked for is what it knows: back to what NOTIFY told before is a change.
    @Test("what STATUS told is told again when it changes back")
    func askedBetween() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 1)
            try bench.maildir.make("Lists")
            let client = bench.client()
            try await bench.ask(
                client,
                "a1 NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange))"
            )
            try bench.maildir.perform(.deliver("Lists", Transcript.MessageSpec(name: "first")))
            #expect(await next(client).contains("UNSEEN 1"))
            let notifier = try #require(client.session.notifier)
            let told = notifier.told
            try bench.maildir.perform(.flags("Lists", "first", "S"))
            #expect(await next(client).contains("UNSEEN 0"))
            // As if NOTIFY had not come to it yet, and the answer were the first to say so.
            notifier.told = told
            let lines = try await bench.ask(client, "a2 STATUS Lists (UNSEEN)")
            #expect(lines.contains("* STATUS \"Lists\" (UNSEEN 0)"))
            try bench.maildir.perform(.flags("Lists", "first", ""))
            #expect(await next(client).contains("UNSEEN 1"))
            bench.store.close()
        }
    }
}
