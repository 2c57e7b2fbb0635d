import Bytes
import Foundation
import Maildir
import Posix
import Testing

@testable import MailStore

/// A Maildir of its own for one test, removed at its end.
final class Scratch: Sendable {
    let path: String
    let root: Directory
    private static let isReady: Void = {
        // A lease that is broken tells by SIGIO, which would end the process.
        signal(SIGIO, SIG_IGN)
    }()

    init() throws {
        Self.isReady
        // In memory where that is possible: the tests of faults make thousands of syncs.
        let parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : NSTemporaryDirectory()
        path = parent + "mailstore-" + UUID().uuidString
        for sub in ["", "/cur", "/new", "/tmp"] {
            try FileManager.default.createDirectory(
                atPath: path + sub,
                withIntermediateDirectories: false
            )
        }
        root = try Directory(path: Array(path.utf8))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func write(_ name: String, _ content: String = "Subject: x\n\nbody\n") throws {
        try Data(content.utf8).write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    }

    /// Delivers as an MDA does: whole in `tmp/`, then renamed.
    func deliver(_ name: String, _ content: String = "Subject: x\n\nbody\n") throws {
        let base = name.split(separator: "/").last.map(String.init) ?? name
        try write("tmp/\(base)", content)
        try rename("tmp/\(base)", name)
    }

    func rename(_ old: String, _ new: String) throws {
        guard Foundation.rename("\(path)/\(old)", "\(path)/\(new)") == 0 else {
            throw SystemError("rename", errno, path: Array("\(old) \(new)".utf8))
        }
    }

    func link(_ old: String, _ new: String) throws {
        guard Foundation.link("\(path)/\(old)", "\(path)/\(new)") == 0 else {
            throw SystemError("link", errno)
        }
    }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }

    func read(_ name: String) -> String? {
        FileManager.default.contents(atPath: "\(path)/\(name)").map {
            String(decoding: $0, as: UTF8.self)
        }
    }

    func exists(_ name: String) -> Bool { (try? root.status(Array(name.utf8))) != nil }

    func names(_ name: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: "\(path)/\(name)")) ?? [])
            // The file that becomes the lock time and again (`LockFile`).
            .filter { !$0.hasPrefix("martlet-lock.") }
            .sorted()
    }

    /// How many descriptors lead below it, but for our own.
    func openFiles() -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        let targets = names.compactMap {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)")
        }
        return targets.count { $0.hasPrefix(path) } - 1
    }

    static let guid = "3085f01b7f11094c501100008c4a11c1"

    /// UID → base name, as the file tells.
    var listed: [UInt32: String] {
        guard let file = read("dovecot-uidlist"), let list = try? UIDList(file: Array(file.utf8))
        else { return [:] }
        var result: [UInt32: String] = [:]
        for record in 0..<list.recordCount where list.isLive(record) {
            result[list.uid(record)] = String(decoding: list.baseName(record).array, as: UTF8.self)
        }
        return result
    }

    /// Messages `0.host` … in `cur/`, with UIDs from 1 on, and a list that says so.
    func fill(_ count: Int, content: String = "Subject: x\n\nbody\n") throws {
        try write("tmp/seed", content)
        var list = "3 V7 N\(count + 1) G\(Self.guid)\n"
        for number in 1...count {
            let base = "\(1_000_000_000 + number).M1P1.host"
            // Links: a test of 100,000 messages shall not write as many files.
            if number % 50_000 == 1 { try write("tmp/seed\(number)", content) }
            try link("tmp/seed\((number - 1) / 50_000 * 50_000 + 1)", "cur/\(base):2,")
            list += "\(number) :\(base)\n"
        }
        for name in names("tmp") { try remove("tmp/\(name)") }
        try write("dovecot-uidlist", list)
    }

    @EventLoop
    func store(_ pool: JobPool = .shared) throws -> MailStore {
        try MailStore(
            StoreSettings(
                root: Array(path.utf8),
                processID: ownProcessID,
                host: Array("host".utf8)
            ),
            pool: pool
        )
    }

    @EventLoop
    func inbox(_ pool: JobPool = .shared) async throws -> (MailStore, Mailbox) {
        let store = try store(pool)
        return (store, try await store.open(.inbox))
    }
}

/// A session's part towards a mailbox: it numbers what it was told.
@EventLoop
final class Viewer: MailboxObserver {
    let mailbox: Mailbox
    private(set) var uids: [UInt32] = []
    private(set) var callCount = 0

    init(_ mailbox: Mailbox, isWriter: Bool = true) {
        self.mailbox = mailbox
        mailbox.add(self, isWriter: isWriter)
        catchUp()
    }

    func mailboxChanged() { callCount += 1 }
    func numbers(_ uid: UInt32) -> Bool { uids.contains(uid) }

    /// As the end of a command, where everything is told.
    func catchUp() {
        uids = mailbox.table.uids
        mailbox.releaseGhosts()
    }

    func close() {
        uids = []
        mailbox.remove(self)
    }
}

/// Waits until something is so, at most ten seconds.
@EventLoop
func eventually(
    _ condition: @EventLoop () -> Bool,
    _ location: SourceLocation = #_sourceLocation
) async {
    let end = Instant.after(seconds: 10)
    while !condition() {
        guard Instant.now < end else {
            Issue.record("it did not come to be so", sourceLocation: location)
            return
        }
        await EventLoop.sleep(milliseconds: 2)
    }
}

extension Mailbox {
    func flags(_ uid: UInt32) -> FlagLetters.Known? { table.row(of: uid).map { table.flags($0) } }

    func name(_ uid: UInt32) -> String? {
        table.row(of: uid).map { row in
            let location = table.location(row)
            return (location.isNew ? "new/" : "cur/") + location.name.text
        }
    }

    func append(
        _ text: String = "Subject: y\r\n\r\nbody\r\n",
        flags: FlagLetters.Known = [],
        keywords: [[UInt8]] = [],
        replacing old: UInt32? = nil
    ) async throws(StoreError) -> UInt32 {
        let staged = try await stage()
        do throws(StoreError) {
            try await write(Array(text.utf8), to: staged)
            try await finish(staged, date: WallTime(seconds: 1_000_000_000))
            return try await admit(
                [StagedAdmission(staged, flags: flags, keywords: keywords)],
                replacing: old.map { ReplacedMessage(uid: $0, source: 0) }
            )[0]
        } catch {
            await discard([staged])
            throw error
        }
    }
}

extension [UInt8] {
    var text: String { String(decoding: self, as: UTF8.self) }
}

extension FlagsDelta {
    static func add(_ flags: FlagLetters.Known, _ keywords: [String] = []) -> FlagsDelta {
        FlagsDelta(mode: .add, system: flags, keywords: keywords.map { Array($0.utf8) })
    }
}

/// One after the other: some measure how long the loop is kept from other work.
@Suite(.serialized)
enum AllTests {}

/// Tasks that run at once.
@EventLoop
final class Crew {
    private var running = 0
    private var failures: [any Error] = []
    private let finished = Signal()

    func add(_ body: @escaping @EventLoop () async throws -> Void) {
        running += 1
        Task {
            do { try await body() } catch { failures.append(error) }
            running -= 1
            finished.fire()
        }
    }

    func wait() async throws {
        while running > 0 { await finished.wait() }
        if let failure = failures.first { throw failure }
    }
}
