import Bytes
import Glibc
import InternetMessage
import Maildir
import Posix

//  A message on its way into a mailbox is a file in `tmp/` under its future base name without sizes.
//  A crash leaves it there; nothing names it, and it is removed after 36 hours.
//
//  One with binary parts is written as it comes, since only its end shows what is a line end and what
//  is not. `finish` reads it and writes it anew into the same file: the only message that is ever
//  held in memory whole, once.

/// A message that is being written into `tmp/`. Line ends are stored as LF, as Maildirs have them;
/// what goes back over the wire is the same.
///
/// Used by one job at a time.
package final class StagedMessage: @unchecked Sendable {
    let name: [UInt8]
    private(set) var base: [UInt8]
    private let disk: MailboxDisk
    private var file: OwnedDescriptor?
    /// Whether it may hold binary parts, and none of it was rewritten yet.
    private var isBinary: Bool
    private var endsInCR = false
    /// Octets stored, and octets with each LF as CRLF.
    private(set) package var storedCount = 0
    private(set) package var wireCount = 0

    init(_ name: [UInt8], _ disk: MailboxDisk, isBinary: Bool = false) throws(SystemError) {
        self.name = name
        self.isBinary = isBinary
        self.disk = disk
        base = name
        let permissions = MailboxPermissions(of: try disk.directory.status())
        let created = try disk.tmp.open(
            name,
            (isBinary ? O_RDWR | O_APPEND : O_WRONLY) | O_CREAT | O_EXCL,
            mode: permissions.fileMode
        )
        file = consume created
    }

    func write(_ bytes: [UInt8]) throws(SystemError) {
        guard file != nil else { throw SystemError("write", EBADF) }
        if isBinary {
            try file?.writeAll(bytes)
            return
        }
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

    /// Gives binary parts an encoding that can be kept.                       RFC 3516 §4.4
    private func rewrite() throws(SystemError) {
        guard isBinary, let raw = try file?.readAll(max: Limits.messageBytesMax) else { return }
        isBinary = false
        try file?.truncate(to: 0)
        try BinaryRecoding.rewrite(raw.span, pieceBytesMax: Limits.rewriteBytesMax) {
            (piece: inout ByteBuffer) throws(SystemError) in
            try write(piece.bytes)
        }
    }

    func finish(_ date: WallTime?) throws(SystemError) {
        try rewrite()
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
