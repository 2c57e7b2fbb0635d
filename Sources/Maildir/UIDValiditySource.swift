import Bytes
import Glibc
package import Posix
import Synchronization

//  Where a new mailbox gets its UIDVALIDITY
//
//  On disk, in the root of the Maildir: the file `dovecot-uidvalidity` with 8 hex digits, and an empty
//  read-only file `dovecot-uidvalidity.<8 hex digits>`, normally with the same ones. The name of the
//  second is the counter: whoever renames it from v to v + 1 has v + 1 for its own. The first only saves
//  listing the directory.
//
//  Who writes: Dovecot and we, without a lock; of two that rename v, one gets ENOENT and tries the next.
//  A crash after the rename skips a value, or leaves the first file behind; then the next process
//  follows the counter by trying up to ten values, or else lists the directory. A counter that was
//  deleted starts again from the clock, which is ahead of any that only counted.

/// Gives out UIDVALIDITY values, ascending, for the mailboxes of one Maildir.
package enum UIDValiditySource {
    private static let name = [UInt8]("dovecot-uidvalidity")
    private static let temporaryName = [UInt8]("dovecot-uidvalidity.tmp")
    private static let attemptCountMax = 10
    /// Several mailboxes of one process may ask at once, from several threads.
    private static let turn = Mutex(())

    /// A value that no mailbox of this Maildir was given.
    ///
    /// Never below `floor`: pass what the mailbox had before, plus one, where that is known.
    package static func next(
        root: Directory,
        now: WallTime,
        floor: UInt32 = 1
    ) throws(MaildirError) -> UInt32 {
        try turn.withLock { _ throws(MaildirError) in
            try take(root: root, now: now, floor: floor)
        }
    }

    private static func take(
        root: Directory,
        now: WallTime,
        floor: UInt32
    ) throws(MaildirError) -> UInt32 {
        var value = try read(root)
        var wasListed = value == nil
        for _ in 0..<2 {
            if value == nil { value = try newestOnDisk(root) }
            guard var candidate = value else {
                return try start(root, at: max(floor, UInt32(clamping: now.seconds), 1))
            }
            for _ in 0..<attemptCountMax {
                let next = max(candidate == .max ? 1 : candidate + 1, floor)
                let renamed: Void? = try ifThere { () throws(SystemError) in
                    try root.rename(fileName(candidate), to: root, fileName(next))
                }
                if renamed != nil {
                    try write(next, root)
                    return next
                }
                candidate = candidate == .max ? 1 : candidate + 1
            }
            // The plain file says nothing of use: see what is there.
            guard !wasListed else { break }
            wasListed = true
            value = nil
        }
        throw .noUIDValidity
    }

    private static func fileName(_ value: UInt32) -> [UInt8] {
        name + [UInt8(ascii: ".")] + digits(value)
    }

    private static func digits(_ value: UInt32) -> [UInt8] {
        (0..<8).reversed().map { hexDigit(UInt8(value >> UInt32($0 * 4) & 15)) }
    }

    private static func value(_ digits: some Collection<UInt8>) -> UInt32? {
        guard digits.count == 8 else { return nil }
        var value: UInt32 = 0
        for digit in digits {
            guard let nibble = digit.hexValue, !digit.isUppercase else { return nil }
            value = value << 4 | UInt32(nibble)
        }
        return value == 0 ? nil : value
    }

    private static func read(_ root: Directory) throws(MaildirError) -> UInt32? {
        let content = try ifThere { () throws(SystemError) in try root.readFile(name, max: 64) }
        return content.flatMap { value($0.prefix(8)) }
    }

    /// The largest value in a name; where there are several, the smallest is removed.
    private static func newestOnDisk(_ root: Directory) throws(MaildirError) -> UInt32? {
        let prefix = name + [UInt8(ascii: ".")]
        var values: [UInt32] = []
        try system { () throws(SystemError) in
            try root.forEachName { entry, _ throws(SystemError) in
                guard entry.count == prefix.count + 8 else { return }
                let bytes = entry.array
                guard bytes.starts(with: prefix), let value = value(bytes[prefix.count...]) else {
                    return
                }
                values.append(value)
            }
            if values.count > 1, let smallest = values.min() {
                try root.unlinkIfThere(fileName(smallest))
            }
        }
        return values.max()
    }

    private static func start(_ root: Directory, at first: UInt32) throws(MaildirError) -> UInt32 {
        try system { () throws(SystemError) in
            let file = try root.open(fileName(first), O_WRONLY | O_CREAT | O_EXCL, mode: 0o444)
            try file.setPermissions(0o444)
            try file.close()
        }
        try write(first, root)
        return first
    }

    private static func write(_ value: UInt32, _ root: Directory) throws(MaildirError) {
        try system { () throws(SystemError) in
            let permissions = MailboxPermissions(of: try root.status())
            try root.unlinkIfThere(temporaryName)
            let file = try root.create(temporaryName, permissions)
            try file.writeAll(digits(value))
            try file.syncData()
            try file.close()
            try root.rename(temporaryName, to: root, name)
            try root.sync()
        }
    }
}
