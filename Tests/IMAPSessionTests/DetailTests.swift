import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  Detail records change what an answer costs, never what it says

@Suite("details", .serialized)
struct DetailTests {
    static let commands = [
        "FETCH 1:* ENVELOPE", "FETCH 1:* (ENVELOPE INTERNALDATE RFC822.SIZE BODYSTRUCTURE)",
        "FETCH 1:* BODY",
        "UID FETCH 1:* (RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc "
            + "Subject Date Message-ID Priority References Content-Type Received)])",
        "FETCH 1:* BODY.PEEK[HEADER]", "FETCH 1:* BODY.PEEK[HEADER.FIELDS.NOT (Subject)]",
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (X-Nobody Subject)]", "FETCH 1:* RFC822.HEADER",
        "FETCH 1:* (BODY.PEEK[] RFC822.SIZE)", "FETCH 1:* (ENVELOPE BODY.PEEK[TEXT])",
        "SEARCH FROM a", "SEARCH SUBJECT e", "SEARCH TO example", "SEARCH CC b", "SEARCH BCC x",
        "SEARCH HEADER Message-ID \"<\"", "SEARCH HEADER X-Nobody \"\"",
        "SEARCH SENTSINCE 1-Jan-2000",
        "SEARCH SENTBEFORE 1-Jan-2010", "SEARCH OR SUBJECT a LARGER 500",
        "SEARCH NOT FROM a BODY e",
        "SEARCH TEXT a", "SORT (DATE) UTF-8 ALL", "SORT (REVERSE SUBJECT SIZE) UTF-8 ALL",
        "SORT (FROM TO CC) UTF-8 ALL", "SORT (DISPLAYFROM DISPLAYTO ARRIVAL) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL", "THREAD ORDEREDSUBJECT UTF-8 ALL", "THREAD REFS UTF-8 ALL",
    ]

    private static func fill(_ maildir: TestMaildir) throws {
        let messages = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Messages")
        let names = try FileManager.default.contentsOfDirectory(atPath: messages.path)
        for name in names.filter({ $0.hasSuffix(".eml") }).sorted() {
            let content = Array(try Data(contentsOf: messages.appendingPathComponent(name)))
            try maildir.add(Transcript.MessageSpec(content: content), to: "INBOX")
        }
        // One that is compressed, and one whose name tells its size.
        var zipped = Transcript.MessageSpec(content: Array("Subject: zip\n\nz\n".utf8))
        zipped.isGzip = true
        try maildir.add(zipped, to: "INBOX")
        for size in [18, 19] {
            var named = Transcript.MessageSpec(content: Array("Subject: name\n\nz\n".utf8))
            named.name = "1700000900.n\(size).test,S=16,W=\(size):2,"
            try maildir.add(named, to: "INBOX")
        }
    }

    /// What each command answers, octet by octet, in a process of its own.
    @EventLoop
    private static func answers(
        _ maildir: TestMaildir,
        cache: String?,
        _ commands: [String]
    ) async throws -> [String] {
        let store = try await MailStore.forTest(maildir.root, cache: cache)
        let client = TranscriptRun.Client(MemoryStream(), store)
        client.start(tag: nil)
        func raw(_ command: String) async throws -> String {
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
            return withoutProgress(client.stream.take(all.count))
        }
        _ = try await raw("SELECT INBOX")
        var answers: [String] = []
        for command in commands { answers.append(try await raw(command)) }
        // What jobs have made is written before the store goes.
        await EventLoop.sleep(milliseconds: 300)
        await store.shutDown()
        return answers
    }

    @Test("change no answer", arguments: [0, 1, 2])
    func identical(_ turn: Int) async throws {
        try await EventLoop.test {
            let maildir = try TestMaildir()
            try Self.fill(maildir)
            let shift = turn * 9
            let commands = Array(Self.commands[shift...] + Self.commands[..<shift])
            let plain = try await Self.answers(maildir, cache: nil, commands)
            // Cold and warm in one process, then warm in the next.
            let first = try await Self.answers(maildir, cache: maildir.cache, commands + commands)
            let second = try await Self.answers(maildir, cache: maildir.cache, commands)
            for (index, command) in commands.enumerated() {
                #expect(plain[index].contains("t OK"), "\(command): \(plain[index].prefix(100))")
                #expect(first[index] == plain[index], "cold: \(command)")
                #expect(first[commands.count + index] == plain[index], "warm: \(command)")
                #expect(second[index] == plain[index], "later: \(command)")
            }
        }
    }
}

/// An answer without the untagged responses that come on slow machines only.    RFC 9585 §3
func withoutProgress(_ answer: [UInt8]) -> String {
    String(decoding: answer, as: Unicode.ASCII.self)
        .split(separator: "\r\n", omittingEmptySubsequences: false)
        .filter { !$0.hasPrefix("* OK [INPROGRESS ") }
        .joined(separator: "\r\n")
}
