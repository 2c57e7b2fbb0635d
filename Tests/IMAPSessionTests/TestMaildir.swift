import Foundation

/// A Maildir in a temporary directory, and what other programs do to it.
final class TestMaildir {
    let root: String
    private let host = "test"
    private var messageCount = 0
    /// Base names by `m1`, `m2` …
    private var bases: [String: String] = [:]

    init() throws {
        // In memory: thousands of commands wait for the disk here, and no test looks at its pace.
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : NSTemporaryDirectory()
        root = parent + "martlet-transcript-" + UUID().uuidString
        try Self.makeMailbox(root)
        try FileManager.default.createDirectory(
            atPath: cache,
            withIntermediateDirectories: false
        )
    }

    deinit {
        try? FileManager.default.removeItem(atPath: root)
        try? FileManager.default.removeItem(atPath: cache)
    }

    /// Where the index is.
    var cache: String { root + "-cache" }

    private static func makeMailbox(_ path: String) throws {
        for name in ["cur", "new", "tmp"] {
            try FileManager.default.createDirectory(
                atPath: path + "/" + name,
                withIntermediateDirectories: true
            )
        }
    }

    /// `INBOX` is the root, `Work.2024` is `.Work.2024`.
    func path(_ mailbox: String) -> String {
        mailbox == "INBOX" ? root : root + "/." + mailbox
    }

    func make(_ mailbox: String) throws {
        let path = path(mailbox)
        try Self.makeMailbox(path)
        if mailbox != "INBOX" { try write([], to: path + "/maildirfolder") }
    }

    func write(_ bytes: [UInt8], to path: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    // MARK: Messages

    func add(_ spec: Transcript.MessageSpec, to mailbox: String) throws {
        for _ in 0..<spec.count { try addOne(spec, to: mailbox) }
    }

    /// Written to `tmp/` and renamed, as a delivery program does it.
    private func addOne(_ spec: Transcript.MessageSpec, to mailbox: String) throws {
        messageCount += 1
        let label = "m\(messageCount)"
        let base = spec.name ?? "\(1_700_000_000 + messageCount).\(label).\(host)"
        bases[label] = base.split(separator: ":").first.map(String.init) ?? base
        var content = try Self.content(spec, label)
        if spec.isGzip { content = Gzip.stored(content) }
        let tmp = path(mailbox) + "/tmp/" + base
        try write(content, to: tmp)
        let date = Date(timeIntervalSince1970: Double(spec.date ?? 1_700_000_000 + messageCount))
        try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: tmp)
        let hasInfo = base.contains(":")
        let name = hasInfo ? base : base + ":2," + (spec.flags ?? "")
        let target = spec.isNew ? "/new/" + base : "/cur/" + name
        try move(tmp, path(mailbox) + target)
    }

    private static func content(_ spec: Transcript.MessageSpec, _ label: String) throws -> [UInt8] {
        if let content = spec.content { return content }
        if let file = spec.file {
            let messages = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .deletingLastPathComponent().appendingPathComponent("Messages")
            return Array(try Data(contentsOf: messages.appendingPathComponent(file)))
        }
        return Array("Subject: \(label)\n\nBody of \(label)\n".utf8)
    }

    private func move(_ old: String, _ new: String) throws {
        guard Glibc.rename(old, new) == 0 else {
            throw Transcript.Malformed(description: "rename \(old) \(new): errno \(errno)")
        }
    }

    /// Where the file of `m1` is now: `cur/…` or `new/…`.
    private func find(_ label: String, in mailbox: String) throws -> String {
        let base = bases[label] ?? label
        for directory in ["cur", "new"] {
            for name in try names(mailbox + "/" + directory)
            where name == base || name.hasPrefix(base + ":") || name.hasPrefix(base + ",") {
                return directory + "/" + name
            }
        }
        throw Transcript.Malformed(description: "no \(label) in \(mailbox)")
    }

    /// Names in `INBOX/cur`, in the order of coming: microseconds have no zeros before them.
    func names(_ directory: String) throws -> [String] {
        let cut = directory.lastIndex(of: "/") ?? directory.endIndex
        let path = path(String(directory[..<cut])) + directory[cut...]
        return try FileManager.default.contentsOfDirectory(atPath: path)
            // The file that becomes the lock time and again (`LockFile`).
            .filter { !$0.hasPrefix("martlet-lock.") }
            .sorted { $0.compare($1, options: .numeric) == .orderedAscending }
    }

    // MARK: Actions

    func perform(_ action: Transcript.Action) throws {
        switch action {
        case .deliver(let mailbox, var spec):
            spec.isNew = true
            if spec.date == nil { spec.date = 1_700_000_000 + messageCount + 1 }
            try add(spec, to: mailbox)
        case .flags(let mailbox, let label, let letters):
            let old = try find(label, in: mailbox)
            let base = bases[label] ?? label
            try move(path(mailbox) + "/" + old, path(mailbox) + "/cur/" + base + ":2," + letters)
        case .rename(let mailbox, let label, let name):
            let old = try find(label, in: mailbox)
            try move(path(mailbox) + "/" + old, path(mailbox) + "/" + name)
        case .remove(let mailbox, let label):
            let name = try find(label, in: mailbox)
            try FileManager.default.removeItem(atPath: path(mailbox) + "/" + name)
        case .file(let name, let content):
            try write(content, to: root + "/" + name + ".test")
            try move(root + "/" + name + ".test", root + "/" + name)
        case .removeFile(let name): try FileManager.default.removeItem(atPath: root + "/" + name)
        case .makeMailbox(let name): try make(name)
        case .removeMailbox(let name):
            try move(path(name), root + "/gone")
            try FileManager.default.removeItem(atPath: root + "/gone")
        case .moveMailbox(let old, let new): try move(path(old), path(new))
        }
    }
}

/// gzip without compression.                                                 RFC 1951 §3.2.4, RFC 1952
private enum Gzip {
    static func stored(_ bytes: [UInt8]) -> [UInt8] {
        var output: [UInt8] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3]
        var start = 0
        repeat {
            let count = min(bytes.count - start, 65_535)
            let isLast = start + count == bytes.count
            output.append(isLast ? 1 : 0)
            output += [UInt8(count & 0xFF), UInt8(count >> 8)]
            output += [UInt8(~count & 0xFF), UInt8(~count >> 8 & 0xFF)]
            output += bytes[start..<(start + count)]
            start += count
        } while start < bytes.count
        for value in [crc(bytes), UInt32(bytes.count)] {
            for shift in [0, 8, 16, 24] { output.append(UInt8(value >> shift & 0xFF)) }
        }
        return output
    }

    private static func crc(_ bytes: [UInt8]) -> UInt32 {
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
        }
        return ~crc
    }
}
