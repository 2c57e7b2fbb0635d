import Foundation
import Posix
import Testing

@testable import IMAPSession
@testable import MailStore

@Suite("dates and sizes that are not known", .serialized)
struct UnknownDateTests {
    typealias Bench = SessionTests.Bench

    /// Another program changes flags: the file has another name, of which inotify has not told yet.
    @EventLoop
    private func rename(_ bench: Bench, _ number: Int) throws {
        try bench.maildir.perform(.flags("INBOX", "m\(number)", "F"))
    }

    @Test("a file that was renamed meanwhile is found; one that went has no date of 1970")
    func renamed() async throws {
        try await EventLoop.test {
            let bench = try await Bench(messages: 6, body: 1)
            let client = bench.client()
            try await bench.ask(client, "a1 SELECT INBOX")
            let table = try await bench.store.open(.inbox).table
            #expect(table.uids.indices.allSatisfy { table.dates[$0] == .min })
            let inotify = try #require(bench.store.context.inotify)
            inotify.hold()
            for number in 1...4 { try rename(bench, number) }
            try bench.maildir.perform(.remove("INBOX", "m5"))
            for (tag, number, items) in [
                ("b1", 1, "INTERNALDATE"), ("b2", 2, "(INTERNALDATE RFC822.SIZE)"),
                ("b3", 3, "(INTERNALDATE ENVELOPE)"), ("b4", 4, "RFC822.SIZE"),
            ] {
                let lines = try await bench.ask(client, "\(tag) FETCH \(number) \(items)")
                #expect(lines.last == "\(tag) OK Fetched", "\(lines)")
                let line = lines.first { $0.hasPrefix("* \(number) FETCH (") } ?? ""
                if items.contains("INTERNALDATE") {
                    #expect(line.contains("\"14-Nov-2023 22:13:2\(number)"), "\(lines)")
                }
                #expect(!line.contains("RFC822.SIZE 0"), "\(lines)")
            }
            try rename(bench, 6)
            let sorted = try await bench.ask(client, "b5 SORT (ARRIVAL) UTF-8 ALL")
            #expect(sorted.first == "* SORT 1 2 3 4 6", "\(sorted)")
            let gone = try await bench.ask(client, "c1 FETCH 5 (INTERNALDATE RFC822.SIZE)")
            #expect(gone.last?.hasPrefix("c1 NO [EXPUNGEISSUED]") == true, "\(gone)")
            #expect(!gone.contains { $0.contains("1970") }, "\(gone)")
            inotify.release()
            bench.store.close()
        }
    }
}
