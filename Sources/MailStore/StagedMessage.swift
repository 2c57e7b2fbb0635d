import Bytes
import Glibc
import InternetMessage
import Maildir
import Posix

//  A message on its way into a mailbox
//
//  A small one is held in memory, and gets its file in `tmp/` by the job that admits it; a large one
//  goes to its file as it comes. The file has the message's future base name without sizes. A crash
//  leaves it there; nothing names it, and it is removed after 36 hours.
//
//  One with binary parts is kept as it comes, since only its end shows what is a line end and what is
//  not. `finish` reads it and writes it anew: the only large message that is ever held in memory
//  whole, once.
//
//  Messages that wait together are synced together: the writing of all is begun before the first is
//  waited for, so that one commit of the filesystem's journal serves them all.

/// A message that is being taken in. Line ends are stored as LF, as Maildirs have them; what goes
/// back over the wire is the same.
///
/// Used by one job at a time, or by the loop while no job has it.
package final class StagedMessage: @unchecked Sendable {
    let name: [UInt8]
    /// The name with the sizes; known once the message is finished.
    private(set) var base: [UInt8]
    private let disk: MailboxDisk
    private var file: OwnedDescriptor?
    /// Whether there is a file in `tmp/`.
    private(set) var hasFile = false
    /// What is not yet in the file.
    private var held: [UInt8] = []
    /// Whether it may hold binary parts, and was not rewritten yet.
    private(set) var isBinary: Bool
    private var endsInCR = false
    private var date: WallTime?
    private var isDurable = false
    /// Why it could not be made durable.
    private(set) var failure: SystemError?
    /// Octets stored, and octets with each LF as CRLF.
    private(set) package var storedCount = 0
    private(set) package var wireCount = 0

    init(_ name: [UInt8], _ disk: MailboxDisk, isBinary: Bool = false) {
        self.name = name
        self.isBinary = isBinary
        self.disk = disk
        base = name
    }

    /// Whether as many more octets stay in memory, so that `write` does not wait for a disk.
    func holds(_ count: Int) -> Bool {
        !hasFile && held.count + count <= Limits.heldMessageBytesMax
    }

    /// Takes octets. What is too much to be held goes to the file.
    func write(_ bytes: [UInt8]) throws(SystemError) {
        let stays = holds(bytes.count)
        if isBinary { held.append(contentsOf: bytes) } else { convert(bytes) }
        if !stays { try writeOut() }
    }

    /// CRLF becomes LF; a CR that stands alone stays.
    private func convert(_ bytes: [UInt8]) {
        let span = bytes.span
        let before = held.count
        held.reserveCapacity(before + bytes.count + 1)
        var start = 0
        if endsInCR, let first = bytes.first, first != .lf { held.append(.cr) }
        endsInCR = false
        while let cr = span.offset(of: .cr, in: start..<bytes.count) {
            held.append(contentsOf: bytes[start..<cr])
            start = cr + 1
            if start == bytes.count {
                endsInCR = true
            } else if bytes[start] != .lf {
                held.append(.cr)
            }
        }
        held.append(contentsOf: bytes[start...])
        storedCount += held.count - before
        let all = held
        wireCount += all.count - before + all.span.lineFeeds(in: before..<all.count).all
    }

    /// Gives binary parts an encoding that can be kept.                       RFC 3516 §4.4
    private func rewrite() throws(SystemError) {
        guard isBinary else { return }
        var raw = held
        held = []
        if hasFile {
            if let stored = try file?.readAll(max: Limits.messageBytesMax) { raw = stored + raw }
            try file?.truncate(to: 0)
        }
        isBinary = false
        try BinaryRecoding.rewrite(raw.span, pieceBytesMax: Limits.rewriteBytesMax) {
            (piece: inout ByteBuffer) throws(SystemError) in
            try write(piece.bytes)
        }
    }

    /// No more octets follow. Waits for the disk only where parts are binary.
    func finish(_ date: WallTime?) throws(SystemError) {
        try rewrite()
        if endsInCR {
            endsInCR = false
            held.append(.cr)
            storedCount += 1
            wireCount += 1
        }
        self.date = date
        base = UniqueNames.base(name, stored: UInt64(storedCount), wire: UInt64(wireCount))
    }

    private func writeOut() throws(SystemError) {
        if !hasFile {
            let permissions = MailboxPermissions(of: try disk.directory.status())
            let created = try disk.tmp.open(
                name,
                (isBinary ? O_RDWR | O_APPEND : O_WRONLY) | O_CREAT | O_EXCL,
                mode: permissions.fileMode
            )
            hasFile = true
            file = consume created
        }
        guard file != nil else { throw SystemError("write", EBADF) }
        if !held.isEmpty { try file?.writeAll(held) }
        held = []
    }

    /// Makes finished messages durable: content and dates are on disk on return, but for those that
    /// have a `failure`. What was done before is not done again.
    static func makeDurable(_ messages: [StagedMessage]) {
        let left = messages.filter { !$0.isDurable && $0.failure == nil }
        for message in left {
            message.attempt { () throws(SystemError) in
                try message.writeOut()
                if let date = message.date { try message.file?.setModified(date) }
            }
        }
        if left.count > 1 {
            for message in left where message.failure == nil { message.file?.beginWriting() }
        }
        for message in left where message.failure == nil {
            message.attempt { () throws(SystemError) in
                try message.file?.sync()
                try message.file.take()?.close()
                message.isDurable = true
            }
        }
    }

    private func attempt(_ body: () throws(SystemError) -> Void) {
        do throws(SystemError) { try body() } catch { failure = error }
    }

    func discard() {
        held = []
        _ = file.take()
        guard hasFile else { return }
        hasFile = false
        try? disk.tmp.unlink(name)
    }
}
