import Bytes
import Foundation
import Maildir
import Posix

/// A directory of its own for one test, removed at its end.
final class Scratch {
    let path: String
    let directory: Directory

    init() throws {
        path = NSTemporaryDirectory() + "maildir-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        directory = try Directory(path: Array(path.utf8))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ content: String) throws {
        try Data(content.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }

    func append(_ name: String, _ content: String) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(path)/\(name)"))
        try handle.seekToEnd()
        try handle.write(contentsOf: Data(content.utf8))
        try handle.close()
    }

    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(path)/\(name)").map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    func exists(_ name: String) -> Bool { (try? directory.status(Array(name.utf8))) != nil }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }

    /// All names, sorted.
    func names(_ name: String = "") throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(name)").sorted()
    }

    func makeMailbox(_ name: String, messages: [String] = []) throws {
        for sub in ["cur", "new", "tmp"] {
            try FileManager.default.createDirectory(
                atPath: "\(path)/\(name)/\(sub)",
                withIntermediateDirectories: true
            )
        }
        for message in messages { try write("\(name)/cur/\(message)", "mail") }
    }

    static let owner = DotLock.Owner(processID: ownProcessID, host: Array("host".utf8))

    func lock(_ name: [UInt8] = UIDListFile.name) throws -> DotLock {
        guard case .acquired(let lock) = try DotLock.tryAcquire(name, in: directory, as: Self.owner)
        else { throw Held() }
        return lock
    }

    struct Held: Error {}
}
