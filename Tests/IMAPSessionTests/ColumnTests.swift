import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import InternetMessage
@testable import MailStore
@testable import MessageIndex

//  What columns answer needs no file: the files of these tests lose their content behind the server's
//  back, so that whatever still answers as before has not looked at them

@Suite("columns", .serialized)
struct ColumnTests {
    static let commands = [
        "SEARCH FROM ann", "SEARCH SUBJECT one", "SEARCH TO \"\"", "SEARCH CC b", "SEARCH BCC x",
        "SEARCH SENTSINCE 5-Mar-2026", "SEARCH OR NOT FROM ann SUBJECT \"subject 1\"",
        "SORT (DATE) UTF-8 ALL", "SORT (SUBJECT) UTF-8 ALL", "SORT (REVERSE FROM TO CC) UTF-8 ALL",
        "SORT (DISPLAYFROM DISPLAYTO) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL",
        "THREAD ORDEREDSUBJECT UTF-8 ALL", "THREAD REFS UTF-8 ALL",
    ]

    private static func message(_ number: Int) -> [UInt8] {
        let names = ["ann", "bob", "cid"]
        return Array(
            """
            From: \(names[number % 3]) <\(names[(number + 1) % 3])@example.org>
            To: to\(number % 5)@example.org
            Cc: b\(number % 2)@example.org
            Subject: \(number % 4 == 0 ? "Re: " : "")subject \(number % 7) one
            Date: \(number % 9 + 1) Mar 2026 10:00:00 +0000
            Message-ID: <\(number)@x>
            References: <\(number / 2)@x> <\(number / 3)@x>

            body
            """.utf8
        )
    }

    private static func deliver(_ numbers: Range<Int>, to maildir: TestMaildir) throws {
        for number in numbers {
            try maildir.add(Transcript.MessageSpec(content: message(number)), to: "INBOX")
        }
    }

    /// Empties the files, as no mail program does.
    private static func hollow(_ maildir: TestMaildir) throws {
        for name in try FileManager.default.contentsOfDirectory(atPath: maildir.root + "/cur") {
            let file = try FileHandle(
                forWritingTo: URL(fileURLWithPath: maildir.root + "/cur/" + name)
            )
            try file.truncate(atOffset: 0)
            try file.close()
        }
    }

    @EventLoop
    private final class Connection {
        let store: MailStore
        private let client: TranscriptRun.Client

        init(_ maildir: TestMaildir, cached: Bool = true) async throws {
            store = try await MailStore.forTest(maildir.root, cache: cached ? maildir.cache : nil)
            client = TranscriptRun.Client(MemoryStream(), store)
            client.start(tag: nil)
            _ = try await ask("SELECT INBOX")
        }

        func ask(_ command: String) async throws -> String {
            client.stream.send(Array("t \(command)\r\n".utf8))
            // Whoever goes on too early takes each answer for that of the command behind it.
            let deadline = Instant.after(seconds: 300)
            while !client.stream.pending.suffix(400).split(separator: 10).contains(where: {
                $0.starts(with: "t OK".utf8) || $0.starts(with: "t NO".utf8)
                    || $0.starts(with: "t BAD".utf8)
            }) {
                guard await client.stream.waitForOutput(until: deadline) else { break }
            }
            let all = client.stream.pending
            let text = withoutProgress(client.stream.take(all.count))
            #expect(text.contains("t OK"), "\(command)")
            return text
        }

        func ask(_ commands: [String]) async throws -> [String] {
            var answers: [String] = []
            for command in commands { answers.append(try await ask(command)) }
            return answers
        }

        /// What jobs have made is written before the store goes.
        func end() async {
            await EventLoop.sleep(milliseconds: 200)
            await store.shutDown()
        }
    }

    /// What the index keeps of INBOX.
    @EventLoop
    private static func columns(_ connection: Connection) throws -> any ColumnStore {
        let mailbox = try #require(connection.store.live.values.first { $0.path == .inbox })
        return try #require(mailbox.columns)
    }

    @Test("answer without the files, now and after a restart")
    func withoutFiles() async throws {
        try await EventLoop.test {
            let maildir = try TestMaildir()
            try Self.deliver(0..<60, to: maildir)
            let first = try await Connection(maildir)
            let cold = try await first.ask(Self.commands)
            await EventLoop.sleep(milliseconds: 300)
            try Self.hollow(maildir)
            #expect(try await first.ask(Self.commands) == cold)
            await first.end()
            let second = try await Connection(maildir)
            #expect(try await second.ask(Self.commands) == cold)
            await second.end()
            // The files matter where there is no index: the test would show it if one were opened.
            let third = try await Connection(maildir, cached: false)
            let hollow = try await third.ask(Self.commands)
            #expect(hollow[0] != cold[0] && hollow[7] != cold[7] && hollow[11] != cold[11])
            await third.end()
        }
    }

    @Test("are completed by new mail, and lose nothing by expunged mail")
    func completed() async throws {
        try await EventLoop.test {
            let maildir = try TestMaildir()
            try Self.deliver(0..<40, to: maildir)
            let connection = try await Connection(maildir)
            _ = try await connection.ask(Self.commands)
            await EventLoop.sleep(milliseconds: 200)
            // Few new ones are looked at one by one, many complete the block.
            for range in [40..<42, 42..<60] {
                try Self.deliver(range, to: maildir)
                _ = try await connection.ask("NOOP")
                _ = try await connection.ask("STORE 3,\(range.lowerBound) +FLAGS (\\Deleted)")
                _ = try await connection.ask("EXPUNGE")
                let now = try await connection.ask(Self.commands)
                let plain = try await Connection(maildir, cached: false)
                #expect(try await plain.ask(Self.commands) == now)
                await plain.end()
                await EventLoop.sleep(milliseconds: 200)
            }
            let block = try #require(try Self.columns(connection).readBlock(0, [.fromText])[0])
            #expect(block.uids.count == 56)
            let before = try await connection.ask(Self.commands)
            try Self.hollow(maildir)
            #expect(try await connection.ask(Self.commands) == before)
            await connection.end()
        }
    }

    @Test("that are wrong are made anew", arguments: 0..<4)
    func wrong(_ kind: Int) async throws {
        try await EventLoop.test {
            let maildir = try TestMaildir()
            try Self.deliver(0..<30, to: maildir)
            let connection = try await Connection(maildir)
            let cold = try await connection.ask(Self.commands)
            await EventLoop.sleep(milliseconds: 200)
            let store = try Self.columns(connection)
            let index = try #require(store as? MailboxIndex)
            for column in MessageColumn.allCases {
                let place = MailboxIndex.ColumnPlace(column: column.rawValue, block: 0)
                var bytes: [UInt8] = []
                index.readColumns([place]) { _, span in
                    for offset in span.indices { bytes.append(span[offset]) }
                }
                #expect(!bytes.isEmpty || column == .bccText, "\(column)")
                guard !bytes.isEmpty else { continue }
                switch kind {
                case 0: bytes[0] += 1
                case 1: bytes = [1, 2, 3]
                case 2: bytes.removeLast()
                default: bytes[16] ^= 0xFF
                }
                index.writeColumns([(place, bytes)])
                #expect(store.readBlock(0, [column])[0] == nil)
            }
            #expect(try await connection.ask(Self.commands) == cold)
            await EventLoop.sleep(milliseconds: 200)
            #expect(store.readBlock(0, [.subjectKey])[0]?.uids.count == 30)
            await connection.end()
        }
    }

    @Test("of blocks without messages are removed")
    func emptied() async throws {
        try await EventLoop.test {
            let maildir = try TestMaildir()
            try Self.deliver(0..<5, to: maildir)
            let connection = try await Connection(maildir)
            _ = try await connection.ask("SEARCH FROM ann")
            await EventLoop.sleep(milliseconds: 200)
            let store = try Self.columns(connection)
            #expect(store.readBlock(0, [.fromText])[0]?.uids == [1, 2, 3, 4, 5])
            _ = try await connection.ask("STORE 1:* +FLAGS (\\Deleted)")
            _ = try await connection.ask("EXPUNGE")
            let deadline = Instant.after(seconds: 20)
            while store.readBlock(0, [.fromText])[0] != nil, Instant.now < deadline {
                await EventLoop.sleep(milliseconds: 100)
            }
            #expect(store.readBlock(0, [.fromText])[0] == nil)
            await connection.end()
        }
    }
}
