import Foundation

/// The index in the hands of others: nothing in it is truth, so nothing that happens to it may show.
final class ModelIndex {
    let path: String
    private var old: String { path + "/../" + (path as NSString).lastPathComponent + "-old" }

    init(_ path: String) { self.path = path }

    deinit { try? FileManager.default.removeItem(atPath: old) }

    /// All of it, under a process that has it open or while there is none.
    func remove() {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] {
            try? FileManager.default.removeItem(atPath: path + "/" + name)
        }
    }

    /// While no process runs: it goes, is one of before (a restore), is no index at all, or stays.
    func change(_ random: inout SeededGenerator) throws {
        switch Int.random(in: 0..<6, using: &random) {
        case 0: remove()
        case 1: try restore()
        case 2: try spoil()
        case 3:
            try? FileManager.default.removeItem(atPath: old)
            try FileManager.default.copyItem(atPath: path, toPath: old)
        default: break
        }
    }

    private func restore() throws {
        guard FileManager.default.fileExists(atPath: old) else { return }
        remove()
        for name in try FileManager.default.contentsOfDirectory(atPath: old) {
            try FileManager.default.copyItem(atPath: old + "/" + name, toPath: path + "/" + name)
        }
    }

    private func spoil() throws {
        let files = FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []
        for name in files {
            let file = path + "/" + name
            var isDirectory: ObjCBool = false
            guard FileManager.default.fileExists(atPath: file, isDirectory: &isDirectory),
                !isDirectory.boolValue
            else { continue }
            try Data(repeating: 0x55, count: 20_000).write(to: URL(fileURLWithPath: file))
        }
    }
}
