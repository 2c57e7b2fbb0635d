import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

//  APPENDs that a client sends one behind the other, while the disk keeps them waiting

@Suite("APPENDs that wait", .serialized)
struct PendingAppendTests {
    private static func append(_ number: Int) -> [UInt8] {
        Array("p\(number) APPEND INBOX {10+}\r\nX: y\r\n\r\nab\r\n".utf8)
    }

    @Test("are as many as the limit, the next one is not taken in", arguments: [0, 1])
    func limit(_ above: Int) async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench(messages: 1)
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let lock = bench.maildir.root + "/dovecot-uidlist.lock"
            try Data("other".utf8).write(to: URL(fileURLWithPath: lock))
            let count = Limits.pendingAppendsMax + above
            let end = Array("a2 NOOP\r\n".utf8)
            client.stream.send((1...count).flatMap(Self.append) + end)

            let session = client.session
            let deadline = Instant.now.adding(milliseconds: 10_000)
            while session.pendingAppends.count < Limits.pendingAppendsMax, Instant.now < deadline {
                await EventLoop.sleep(milliseconds: 10)
            }
            await EventLoop.sleep(milliseconds: 200)
            #expect(session.pendingAppends.count == Limits.pendingAppendsMax)
            let left = (0..<above).flatMap { Self.append(Limits.pendingAppendsMax + 1 + $0) } + end
            #expect(Array(session.input[session.consumed...]) == left)

            try FileManager.default.removeItem(atPath: lock)
            let answers = try await bench.answer(client, "a2").filter { $0.hasPrefix("p") }
            #expect(answers.count == count)
            for (index, answer) in answers.enumerated() {
                #expect(answer.hasPrefix("p\(index + 1) OK [APPENDUID "))
            }
            #expect(session.pendingAppends.isEmpty)
            bench.store.close()
        }
    }
}
