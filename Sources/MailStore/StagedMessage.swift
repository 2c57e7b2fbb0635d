import Bytes
import Glibc
import Maildir
import Posix

//  A message on its way into a mailbox is a file in `tmp/` under its future base name without sizes.
//  A crash leaves it there; nothing names it, and it is removed after 36 hours.

/// A message that is being written into `tmp/`. Line ends are stored as LF, as Maildirs have them;
/// what goes back over the wire is the same.
///
/// Used by one job at a time.
package final class StagedMessage: @unchecked Sendable {
    let name: [UInt8]
    private(set) var base: [UInt8]
    private let disk: MailboxDisk
    private var file: OwnedDescriptor?
    private var endsInCR = false
    /// Octets stored, and octets with each LF as CRLF.
    private(set) package var storedCount = 0
    private(set) package var wireCount = 0

    init(_ name: [UInt8], _ disk: MailboxDisk) throws(SystemError) {
        self.name = name
        self.disk = disk
        base = name
        let permissions = MailboxPermissions(of: try disk.directory.status())
        let created = try disk.tmp.open(
            name,
            O_WRONLY | O_CREAT | O_EXCL,
            mode: permissions.fileMode
        )
        file = consume created
    }

    func write(_ bytes: [UInt8]) throws(SystemError) {
        guard file != nil else { throw SystemError("write", EBADF) }
        var converted: [UInt8] = []
        converted.reserveCapacity(bytes.count + 1)
        for byte in bytes {
            if endsInCR, byte != .lf { converted.append(.cr) }
            endsInCR = byte == .cr
            if !endsInCR { converted.append(byte) }
        }
        try append(converted)
    }

    private func append(_ bytes: [UInt8]) throws(SystemError) {
        guard !bytes.isEmpty else { return }
        try file?.writeAll(bytes)
        storedCount += bytes.count
        wireCount += bytes.count
        for byte in bytes where byte == .lf { wireCount += 1 }
    }

    func finish(_ date: WallTime?) throws(SystemError) {
        if endsInCR {
            endsInCR = false
            try append([.cr])
        }
        base = UniqueNames.base(name, stored: UInt64(storedCount), wire: UInt64(wireCount))
        if let date { try file?.setModified(date) }
        try file?.sync()
        try file.take()?.close()
    }

    func discard() {
        _ = file.take()
        try? disk.tmp.unlink(name)
    }
}
