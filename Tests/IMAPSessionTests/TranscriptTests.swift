import Foundation
import IMAPWire
import Posix
import Testing

/// Conversations in Tests/Transcripts, each in four ways.
///
/// `MARTLET_TRANSCRIPTS=rewrite` writes them anew with what the server says, and
/// `MARTLET_TRANSCRIPTS=fetch/` runs those whose names begin so.
@Suite("transcripts", .serialized)
struct TranscriptTests {
    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var way: Way
        var revision: Revision
        var testDescription: String { "\(name), \(way.rawValue), \(revision)" }
    }

    static let directory = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Transcripts")

    private static let mode = ProcessInfo.processInfo.environment["MARTLET_TRANSCRIPTS"] ?? ""

    static let names: [String] = {
        let all = FileManager.default.enumerator(atPath: directory.path)?.allObjects ?? []
        return all.compactMap { $0 as? String }.filter { $0.hasSuffix(".imap") }.sorted()
    }()

    static func transcript(_ name: String) throws -> Transcript {
        let path = directory.appendingPathComponent(name).path
        return try Transcript(name: name, text: String(contentsOfFile: path, encoding: .utf8))
    }

    static let cases: [Case] = {
        let isFiltered = !mode.isEmpty && !mode.hasPrefix("rewrite")
        var cases: [Case] = []
        for name in names where !isFiltered || name.hasPrefix(mode) {
            // What cannot be read fails when it is run.
            let transcript = try? transcript(name)
            for revision in [Revision.rev1, .rev2] {
                for way in Way.allCases
                where transcript.map({ way.applies(to: $0, revision) }) ?? (way == .whole) {
                    cases.append(Case(name: name, way: way, revision: revision))
                }
            }
        }
        return cases
    }()

    @Test("conversation", .enabled(if: !mode.hasPrefix("rewrite")), arguments: cases)
    func conversation(_ entry: Case) async throws {
        let transcript = try Self.transcript(entry.name)
        let failures = try await EventLoop.test {
            let run = try await TranscriptRun(transcript, entry.way, entry.revision)
            try await run.run()
            return run.failures
        }
        #expect(failures.isEmpty, "\(failures.joined(separator: "\n"))")
    }

    /// `rewrite`, or `rewrite fetch/` for some.
    @Test("rewriting", .enabled(if: mode.hasPrefix("rewrite")))
    func rewriting() async throws {
        let chosen = Self.mode.dropFirst("rewrite".count).trimmingCharacters(in: .whitespaces)
        for name in Self.names where name.hasPrefix(chosen) {
            let transcript = try Self.transcript(name)
            let (text, failures) = try await EventLoop.test {
                let revision: Revision = transcript.optOuts.contains("rev1") ? .rev2 : .rev1
                let run = try await TranscriptRun(transcript, .whole, revision)
                let rewriting = TranscriptRewriting(transcript)
                run.rewriting = rewriting
                try await run.run()
                return (rewriting.finish(), run.failures)
            }
            #expect(failures.isEmpty, "\(failures.joined(separator: "\n"))")
            let path = Self.directory.appendingPathComponent(name).path
            try text.write(toFile: path, atomically: true, encoding: .utf8)
        }
    }

    @Test("there are transcripts")
    func thereAreTranscripts() { #expect(Self.names.count > 3) }
}
