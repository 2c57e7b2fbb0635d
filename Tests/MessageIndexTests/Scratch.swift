import Foundation
import Posix

@testable import MessageIndex

/// A directory for an index, removed at the end of its test.
final class Scratch: Sendable {
    let path: String
    let guid = [UInt8](0..<16)

    init() throws {
        path = NSTemporaryDirectory() + "message-index-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: path,
            withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o700]
        )
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func index(
        boot: String = "boot-1",
        inode: UInt64 = 1,
        mapBytesMax: Int = Limits.mapBytesMax,
        accepts: ([UInt8]) -> Bool = { _ in true }
    ) throws -> MessageIndex {
        try MessageIndex(
            directory: Directory(path: Array(path.utf8)),
            identity: IndexIdentity(
                maildir: FileIdentity(device: 1, inode: inode),
                bootID: Array(boot.utf8)
            ),
            mapBytesMax: mapBytesMax,
            accepts: accepts
        )
    }

    /// What of the index's file is in this process's memory.
    func mappedKilobytes() throws -> Int {
        let bytes = try Directory(path: Array("/proc/self".utf8))
            .readFile(Array("smaps".utf8), max: 16 << 20)
        let smaps = String(decoding: bytes, as: UTF8.self)
        var isOwn = false
        var sum = 0
        for line in smaps.split(separator: "\n") {
            let words = line.split(separator: " ")
            // What has no name has five words; a line of figures has fewer or shorter ones.
            if words.count >= 5, words[1].count == 4 { isOwn = words.last == "\(path)/index" }
            if isOwn, words.first == "Rss:" { sum += Int(words[1]) ?? 0 }
        }
        return sum
    }

    func write(_ name: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }

    func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }

    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(path)/\(name)").map {
            String(decoding: $0, as: UTF8.self)
        }
    }
}

extension MailboxIndex {
    func columns(_ places: [ColumnPlace]) -> [Int: [UInt8]] {
        var found: [Int: [UInt8]] = [:]
        readColumns(places) { place, bytes in
            var copy: [UInt8] = []
            for index in bytes.indices { copy.append(bytes[index]) }
            found[place] = copy
        }
        return found
    }

    func details(_ uids: some Sequence<UInt32>) -> [UInt32: [UInt8]] {
        var found: [UInt32: [UInt8]] = [:]
        readDetails(Array(uids)) { uid, bytes in
            var copy: [UInt8] = []
            for index in bytes.indices { copy.append(bytes[index]) }
            found[uid] = copy
        }
        return found
    }
}

extension MessageIndex {
    func mailbox(_ scratch: Scratch, uidValidity: UInt32 = 7) throws -> MailboxIndex {
        try mailbox(
            id: scratch.guid,
            directory: FileIdentity(device: 1, inode: 2),
            uidValidity: uidValidity
        )
    }
}
