import Foundation
import Maildir
import Posix
import Testing

@Suite("UIDVALIDITY from several threads")
struct UIDValidityRaceTests {
    /// Without the turn in `UIDValiditySource` one thread's temporary file is renamed by another,
    /// and `next` throws (tried by hand).
    @Test("gives each its own value and no error")
    func concurrent() async throws {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: url) }
        let root = try Directory(path: Array(url.path.utf8))
        let values = try await withThrowingTaskGroup(of: UInt32.self) { group in
            for _ in 0..<200 {
                group.addTask { try UIDValiditySource.next(root: root, now: .now) }
            }
            return try await group.reduce(into: Set<UInt32>()) { $0.insert($1) }
        }
        #expect(values.count == 200)
    }
}
