import Bytes
import Glibc
package import Posix
import Synchronization

/// The quota of one Maildir, for all jobs of this process.
///
/// Whoever changes mail says so: `begin` before names change, `end` with what it came to. So a count
/// of the directories that ran meanwhile is known to be worth nothing.
package final class Quota: Sendable {
    private struct State {
        var changing = 0
        /// Changes begun and ended.
        var generation: UInt64 = 0
    }
    private let state = Mutex(State())

    package static let name = [UInt8]("maildirsize")
    private static let temporaryName = [UInt8]("maildirsize.martlet")

    /// Files larger than this are not read: others make theirs short again at 5120 bytes.
    private static let readBytesMax = 1 << 20
    /// Counts that others' changes made worthless, before the numbers are used for this once.
    private static let attemptsMax = 3
    /// A count of this age is believed when mail is to be refused.
    private static let freshSeconds: Int64 = 15 * 60

    package init() {}

    /// Whether anybody keeps a quota, so that sizes are worth a look at each file.
    package func isKept(in root: Directory) -> Bool { (try? root.status(Self.name)) != nil }

    package func begin() {
        state.withLock {
            $0.changing += 1
            $0.generation += 1
        }
    }

    /// Adds what was delivered or, negative, removed. A failure is in the log: mail goes on without.
    package func end(_ amount: QuotaFile.Amount, root: Directory) {
        state.withLock {
            $0.changing -= 1
            $0.generation += 1
            guard amount != QuotaFile.Amount() else { return }
            do throws(SystemError) {
                let file = try root.open(Self.name, O_WRONLY | O_APPEND | O_NONBLOCK)
                try file.writeAll(QuotaFile.line(amount))
                try file.close()
            } catch {
                if error.isMissing { return }
                Log.error("event=quota-not-noted path=\(root.path.quotedForLog) error=\"\(error)\"")
            }
        }
    }

    /// Deletes a mailbox by `body`, which says where its content waits to be removed.
    package func countingDeletion(
        of entry: MailboxTree.Entry?,
        root: Directory,
        _ body: () throws(MailboxTreeError) -> [UInt8]?
    ) throws(MailboxTreeError) -> [UInt8]? {
        var freed = QuotaFile.Amount()
        begin()
        defer { end(-freed, root: root) }
        let isLimited = (try? root.status(Self.name)) != nil
        // Of a link nothing is left to look at afterwards.
        if isLimited, let entry, entry.isLink, let linked = try? MailboxTree.open(entry, root: root)
        {
            freed = (try? Self.content(of: linked)) ?? freed
        }
        do throws(MailboxTreeError) {
            let left = try body()
            if isLimited, let left, let mailbox = try? root.subdirectory(left) {
                freed = (try? Self.content(of: mailbox)) ?? freed
            }
            return left
        } catch {
            freed = QuotaFile.Amount()
            throw error
        }
    }

    /// What the file says, counted anew where that is due; nil where there is no quota.
    package func current(root: Directory) throws(SystemError) -> QuotaFile? {
        guard let (file, _) = try load(root: root), !file.limits.isNone else { return nil }
        return file.mustCount ? try count(root: root) : file
    }

    /// Whether there is no room for so much more.
    package func isOver(
        adding amount: QuotaFile.Amount,
        root: Directory
    ) throws(SystemError) -> Bool {
        guard let file = try current(root: root), file.isOver(adding: amount) else { return false }
        guard let (_, status) = try load(root: root) else { return false }
        let (age, overflowed) = WallTime.now.seconds.subtractingReportingOverflow(
            status.modified.seconds
        )
        if file.lineCount == 1, !overflowed, (0..<Self.freshSeconds).contains(age) { return true }
        return try count(root: root)?.isOver(adding: amount) ?? false
    }

    private func load(root: Directory) throws(SystemError) -> (QuotaFile, FileFingerprint)? {
        do throws(SystemError) {
            let file = try root.open(Self.name, O_RDONLY | O_NONBLOCK)
            let status = try file.status()
            guard status.isRegular else { return nil }
            let content = try file.read(at: 0, count: min(status.size, Self.readBytesMax))
            return (QuotaFile(content), FileFingerprint(status))
        } catch {
            if error.isMissing { return nil }
            throw error
        }
    }

    // MARK: Counting

    /// Counts all messages and writes the file anew; nil where it is gone meanwhile.
    private func count(root: Directory) throws(SystemError) -> QuotaFile? {
        for attempt in 1... {
            let before = state.withLock { ($0.changing, $0.generation) }
            guard let (loaded, fingerprint) = try load(root: root) else { return nil }
            var file = loaded
            file.used = try Self.countAll(root: root)
            file.lineCount = 1
            file.mustCount = false
            let isLast = attempt == Self.attemptsMax
            let isDone = try state.withLock { state throws(SystemError) -> Bool in
                guard before == (0, state.generation), try Self.isSame(fingerprint, root: root)
                else { return false }
                try Self.replace(file, root: root)
                return true
            }
            if isDone || isLast { return file }
        }
        return nil
    }

    private static func isSame(
        _ fingerprint: FileFingerprint,
        root: Directory
    ) throws(SystemError) -> Bool {
        do throws(SystemError) {
            return FileFingerprint(try root.status(name)) == fingerprint
        } catch {
            if error.isMissing { return false }
            throw error
        }
    }

    private static func replace(_ file: QuotaFile, root: Directory) throws(SystemError) {
        let permissions = MailboxPermissions(of: try root.status())
        do throws(SystemError) {
            try root.unlinkIfThere(temporaryName)
            let new = try root.create(temporaryName, permissions)
            try new.writeAll(file.file)
            try new.close()
            // Not synced: a lost count is taken again.
            try root.rename(temporaryName, to: root, name)
        } catch {
            // The numbers are right all the same.
            Log.warning("event=quota-not-written path=\(root.path.quotedForLog) error=\"\(error)\"")
        }
    }

    private static func countAll(root: Directory) throws(SystemError) -> QuotaFile.Amount {
        var sum = QuotaFile.Amount()
        for entry in try MailboxTree(root: root).entries.values {
            do throws(SystemError) {
                sum = sum + (try content(of: try MailboxTree.open(entry, root: root)))
            } catch {
                // Deleted meanwhile.
                if !error.isMissing { throw error }
            }
        }
        return sum
    }

    /// What a mailbox's messages come to.
    package static func content(of mailbox: Directory) throws(SystemError) -> QuotaFile.Amount {
        var sum = QuotaFile.Amount()
        for name in [[UInt8]("new"), [UInt8]("cur")] {
            let directory: Directory
            do throws(SystemError) { directory = try mailbox.subdirectory(name) } catch {
                if error.isMissing { continue }
                throw error
            }
            try directory.forEachName { name, kind throws(SystemError) in
                guard kind != .directory, name.count > 0, name[0] != UInt8(ascii: ".") else {
                    return
                }
                guard let size = Self.size(of: name.array, in: directory) else { return }
                sum = sum + QuotaFile.Amount(bytes: size, messages: 1)
            }
        }
        return sum
    }

    /// The size of a message file: as its name says, or as it is; nil where it is gone.
    package static func size(of name: [UInt8], in directory: Directory) -> Int64? {
        if let size = MessageName(name)?.sizeHints.stored { return Int64(clamping: size) }
        return (try? directory.statusFollowingLinks(name)).map { Int64($0.size) }
    }
}
