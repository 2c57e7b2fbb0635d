import Bytes
import Foundation
import Maildir
import Posix
import Synchronization
import Testing

@testable import MailStore

/// Debian's `imap` of Dovecot, without a daemon: it serves one session on its standard input.
final class DovecotSession {
    static let executable = "/usr/lib/dovecot/imap"
    static var isInstalled: Bool { access(executable, X_OK) == 0 }

    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()
    private var buffer: [UInt8] = []
    private var lastTag = 0
    /// Every line that it has sent.
    private(set) var lines: [String] = []

    init(_ scratch: Scratch, settings: String = "") throws {
        // Dovecot does not serve root.
        let uid = getuid() == 0 ? 65_534 : getuid()
        let gid = getuid() == 0 ? 65_534 : getgid()
        let home = scratch.path + "-dovecot"
        try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: false)
        chmod(home, 0o777)
        for name in ["", "/cur", "/new", "/tmp"] { chmod(scratch.path + name, 0o777) }
        for name in scratch.names("") where name.hasPrefix("dovecot") {
            chmod(scratch.path + "/" + name, 0o666)
        }
        let configuration = """
            base_dir = \(home)
            state_dir = \(home)
            log_path = \(home)/log
            mail_location = maildir:\(scratch.path):INDEX=\(home)/index
            ssl = no
            protocols = imap
            stats_writer_socket_path =
            mail_uid = \(uid)
            mail_gid = \(gid)
            first_valid_uid = 1
            \(settings)
            """
        try Data(configuration.utf8).write(to: URL(fileURLWithPath: home + "/conf"))
        process.executableURL = URL(fileURLWithPath: Self.executable)
        process.arguments = ["-c", home + "/conf"]
        process.environment = ["HOME": home, "USER": "nobody"]
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        _ = try line()
    }

    private struct Ended: Error {}

    private func line() throws -> String {
        while true {
            if let end = buffer.firstIndex(of: .lf) {
                let line = buffer[..<end].dropLast().map { $0 }.text
                buffer.removeSubrange(...end)
                lines.append(line)
                return line
            }
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw Ended() }
            buffer += data
        }
    }

    /// Sends a command; returns the untagged lines.
    @discardableResult
    func command(_ text: String) throws -> [String] {
        lastTag += 1
        let tag = "t\(lastTag) "
        try input.fileHandleForWriting.write(contentsOf: Data((tag + text + "\r\n").utf8))
        var untagged: [String] = []
        while true {
            let line = try line()
            guard line.hasPrefix(tag) else {
                untagged.append(line)
                continue
            }
            #expect(line.hasPrefix(tag + "OK"), "\(text): \(line)")
            return untagged
        }
    }

    func end(_ scratch: Scratch) {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
        if let log = FileManager.default.contents(atPath: scratch.path + "-dovecot/log") {
            let text = String(decoding: log, as: UTF8.self)
            for line in text.split(separator: "\n") where !line.contains("Disconnected") {
                print("dovecot: \(line)")
            }
        }
        try? FileManager.default.removeItem(atPath: scratch.path + "-dovecot")
    }
}

extension AllTests {
    /// A live Dovecot on the same Maildir: both change flags, append and see deliveries.
    ///
    /// Checked by hand: with the renames of STORE made outside the lock, UIDs change within seconds.
    @Suite("Beside Dovecot", .enabled(if: DovecotSession.isInstalled, "dovecot-imapd is missing"))
    struct DovecotTests {
        private static let count = 5_000

        @Test("no UID changes on either side") func coexistence() async throws {
            let scratch = try Scratch()
            try scratch.fill(Self.count)
            let dovecot = try DovecotSession(scratch)
            defer { dovecot.end(scratch) }
            try dovecot.command("SELECT INBOX")
            #expect(scratch.listed.count == Self.count)
            let before = scratch.listed

            let isOver = OverFlag()
            async let ours = Self.work(scratch, isOver)
            var number = 0
            let end = Date(timeIntervalSinceNow: 8)
            while Date() < end {
                number += 1
                let first = number * 37 % (Self.count - 60) + 1
                let sign = number % 3 == 0 ? "-" : "+"
                try dovecot.command(
                    "UID STORE \(first):\(first + 40) \(sign)FLAGS.SILENT (\\Flagged)"
                )
                if number % 5 == 0 {
                    try dovecot.command("APPEND INBOX {7+}\r\ndove \(number % 10)")
                }
                if number % 2 == 0 { try dovecot.command("NOOP") }
            }
            isOver.set()
            let (added, table) = try await ours
            try dovecot.command("NOOP")

            let expunged = dovecot.lines.filter { $0.hasSuffix(" EXPUNGE") }
            #expect(expunged.isEmpty, "Dovecot took renamed files for expunged ones")
            let after = scratch.listed
            for (uid, base) in before { #expect(after[uid] == base) }
            for (uid, base) in added { #expect(after[uid] == base) }
            let total = Self.count + number / 5 + added.count
            #expect(after.count == total)
            // Both see the same UIDs, and the same flags.
            let fetched = try dovecot.command("UID FETCH 1:* FLAGS")
            var theirs: [UInt32: Bool] = [:]
            for line in fetched where line.contains(" FETCH ") {
                let words = line.split(whereSeparator: { " ()".contains($0) })
                guard let place = words.firstIndex(of: "UID"), let uid = UInt32(words[place + 1])
                else { continue }
                theirs[uid] = words.contains("\\Flagged")
            }
            #expect(theirs == table)
            print("beside Dovecot: \(number) of its commands, \(added.count) messages of ours")
        }

        /// Until told: flags, appends, deliveries. Returns what was added and what is seen at the end.
        private static func work(
            _ scratch: Scratch,
            _ isOver: OverFlag
        ) async throws -> ([UInt32: String], [UInt32: Bool]) {
            try await EventLoop.test {
                let (store, inbox) = try await scratch.inbox()
                let viewer = Viewer(inbox)
                #expect(inbox.table.count >= Self.count)
                let before = inbox.log.end
                var appended: [UInt32: String] = [:]
                var delivered = 0
                var round = 0
                while !isOver.isSet {
                    round += 1
                    let start = UInt32(round * 53 % (Self.count - 60) + 1)
                    let uids = Array(start..<(start + 30))
                    let outcomes = try await inbox.store(
                        uids,
                        FlagsDelta(
                            mode: round % 3 == 0 ? .remove : .add,
                            system: .seen,
                            keywords: []
                        ),
                        source: 1
                    )
                    #expect(!outcomes.contains(.gone))
                    if round % 4 == 0 {
                        let uid = try await inbox.append("ours \(round)\n")
                        let row = try #require(inbox.table.row(of: uid))
                        appended[uid] = inbox.table.base(row).text
                    }
                    if round % 3 == 0 {
                        delivered += 1
                        try scratch.deliver("new/\(2_000_000_000 + delivered).M1P1.mda")
                    }
                    await EventLoop.sleep(milliseconds: 5)
                }
                await EventLoop.sleep(milliseconds: 500)
                inbox.wantScan()
                try await inbox.settle()
                let expunged = inbox.log.entries(from: before)?.filter(\.isExpunge) ?? []
                #expect(expunged.isEmpty, "renamed files were taken for expunged ones")
                var table: [UInt32: Bool] = [:]
                for row in 0..<inbox.table.count {
                    let uid = inbox.table.uids[row]
                    table[uid] = inbox.table.flags(row).contains(.flagged)
                    let base = inbox.table.base(row).text
                    if base.hasSuffix(".mda") { appended[uid] = base }
                }
                #expect(appended.values.count { $0.hasSuffix(".mda") } == delivered)
                print("beside Dovecot: \(round) rounds of ours")
                _ = (store, viewer)
                return (appended, table)
            }
        }
    }
}

/// Set by one thread, seen by another.
private final class OverFlag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}
