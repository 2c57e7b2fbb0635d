import Bytes
import Glibc
import Maildir
package import Posix

//  Reading many message files
//
//  A reader belongs to one job at a time and keeps its room, so that a message costs four system
//  calls and no allocation. Where only the header is wanted, the file is read as far as the empty
//  line that ends it, which is nearly always in the first 4 KB.

/// How much of a message is wanted.
package enum MessageExtent: Sendable {
    /// The header with its empty line, at least.
    case header
    case whole
}

/// What is known of a message file beside its bytes.
package struct MessageFileFacts: Sendable {
    /// INTERNALDATE: the file's modification time.
    package let date: WallTime
    /// The bytes are all of the message.
    package let isWhole: Bool
    /// RFC822.SIZE, where the name tells it and tells the file's size rightly.
    package let namedSize: Int?
}

/// Reads message files into the same room again and again. Used by one job at a time, which is why it
/// may be handed from thread to thread.
package final class MessageReader: @unchecked Sendable {
    private var room: [UInt8] = []
    private var count = 0
    private var isAtEnd = false
    private var inflated: [UInt8]?
    /// Room for records of messages, which is used again as well.
    package var records: [UInt8] = []

    /// Whether only what the kernel has in memory is read, and only of small messages: so that it may
    /// be done on the loop. `wouldWait` says then whether a message was left out for that.
    var isCachedOnly = false
    var wouldWait = false

    /// Room that is kept for the next message.
    private static let keptBytesMax = 1 << 20
    /// What is read first of a file whose header is wanted.
    private static let headerBytes = 4 << 10

    package init() {}

    /// Calls `body` with a message. False where the file is not there or cannot be read; the log
    /// says why then.
    ///
    /// - Parameter hasHeader: whether the bytes hold the end of the header.
    package func read(
        _ entry: NameList.Entry,
        of list: borrowing NameList,
        _ extent: MessageExtent,
        hasHeader: (Span<UInt8>) -> Bool,
        _ body: (Span<UInt8>, MessageFileFacts) -> Void
    ) -> Bool {
        defer {
            inflated = nil
            if room.count > Self.keptBytesMax { room = [] }
        }
        do throws(SystemError) {
            let facts = try load(entry, of: list, extent, hasHeader)
            if let inflated {
                body(inflated.span, facts)
            } else {
                let bytes = room
                body(bytes.span.extracting(0..<count), facts)
            }
            return true
        } catch {
            if isCachedOnly, error.code == EAGAIN {
                wouldWait = true
                return false
            }
            if !error.isMissing { Log.error("event=unreadable-message error=\"\(error)\"") }
            return false
        }
    }

    private func load(
        _ entry: NameList.Entry,
        of list: borrowing NameList,
        _ extent: MessageExtent,
        _ hasHeader: (Span<UInt8>) -> Bool
    ) throws(SystemError) -> MessageFileFacts {
        let file = try list.open(entry, mayWait: !isCachedOnly)
        let status = try file.status()
        if isCachedOnly, status.size > Limits.loopMessageBytesMax {
            throw SystemError("read", EAGAIN)
        }
        guard status.isRegular, status.size <= Limits.messageBytesMax else {
            throw SystemError("open", EFBIG, path: list.path(entry))
        }
        count = 0
        isAtEnd = status.size == 0
        var wanted = extent == .whole ? status.size : min(status.size, Self.headerBytes)
        try fill(file, to: wanted, status.size)
        if !isAtEnd, isCompressed { try fill(file, to: status.size, status.size) }
        if isCompressed {
            inflated = MessageFile.inflate(Array(room[..<count]))
            guard inflated != nil else {
                throw SystemError("inflate", EBADMSG, path: list.path(entry))
            }
        } else if isForeign {
            // `MessageFile.read` says which.
            throw SystemError("read", EBADMSG, path: list.path(entry))
        } else {
            while !isAtEnd, !has(hasHeader) {
                wanted *= 4
                try fill(file, to: min(wanted, status.size), status.size)
            }
        }
        return MessageFileFacts(
            date: status.modified,
            isWhole: isAtEnd,
            namedSize: list.wireSize(entry, fileSize: status.size)
        )
    }

    private var isCompressed: Bool {
        let bytes = room
        return MessageFile.isCompressed(bytes.span.extracting(0..<count))
    }

    private var isForeign: Bool {
        let bytes = room
        return MessageFile.foreignFormat(bytes.span.extracting(0..<count)) != nil
    }

    private func has(_ header: (Span<UInt8>) -> Bool) -> Bool {
        let bytes = room
        return header(bytes.span.extracting(0..<count))
    }

    /// Reads on until so many bytes are there or the file ends. The end is where the file's size
    /// says; bytes that came since are not of the message that was delivered.
    private func fill(
        _ file: borrowing OwnedDescriptor,
        to wanted: Int,
        _ size: Int
    ) throws(SystemError) {
        if room.count < wanted {
            let more = max(wanted, 64 << 10) - room.count
            // An array, not `repeatElement`: that goes byte by byte in a debug build.
            room.append(contentsOf: [UInt8](repeating: 0, count: more))
        }
        let got = try file.read(
            at: count,
            into: &room,
            count..<wanted,
            mayWait: !isCachedOnly
        )
        isAtEnd = got < wanted - count || count + got == size
        count += got
    }
}

/// The files of some messages, for a job.
package struct NameList: Sendable {
    package struct Entry: Sendable {
        package let uid: UInt32
        /// Nil where the message is not in the mailbox any more.
        fileprivate let name: Range<Int>?
        fileprivate let isNew: Bool
    }

    package private(set) var entries: [Entry] = []
    private let cur: Directory
    private let new: Directory
    /// The names, each with a NUL behind it.
    private let names: [UInt8]

    init(_ disk: MailboxDisk, _ table: MessageTable, _ uids: ArraySlice<UInt32>) {
        cur = disk.cur
        new = disk.new
        entries.reserveCapacity(uids.count)
        var names = ByteBuffer(capacity: uids.count * 80)
        var next = 0
        for uid in uids {
            var row: Int? = next
            if next >= table.count || table.uids[next] != uid { row = table.row(of: uid) }
            guard let row else {
                entries.append(Entry(uid: uid, name: nil, isNew: false))
                continue
            }
            next = row + 1
            let start = names.count
            let isNew = table.appendLocation(row, to: &names)
            entries.append(Entry(uid: uid, name: start..<names.count, isNew: isNew))
            names.append(0)
        }
        self.names = names.bytes
    }

    /// Whether the name of the file with this offset tells RFC822.SIZE, rightly or not.
    package func claimsWireSize(_ offset: Int) -> Bool {
        guard let name = entries[offset].name else { return false }
        return MessageName.SizeHints(base: names.span.extracting(name)).wire != nil
    }

    /// INTERNALDATE of the message with this offset, without a look into its file.
    package func modified(_ offset: Int) -> Int64? {
        guard let name = entries[offset].name else { return nil }
        let directory = entries[offset].isNew ? new : cur
        return try? directory.statusFollowingLinks(Array(names[name])).modified.seconds
    }

    func open(_ entry: Entry, mayWait: Bool) throws(SystemError) -> OwnedDescriptor {
        guard let name = entry.name else { throw SystemError("openat", ENOENT) }
        let directory = entry.isNew ? new : cur
        // Symbolic links to messages are served; not blocking, in case it leads to a FIFO.
        return try directory.openFollowingLinks(
            terminated: names.span.extracting(name.lowerBound...name.upperBound),
            O_RDONLY | O_NONBLOCK,
            mayWait: mayWait
        )
    }

    func path(_ entry: Entry) -> [UInt8] {
        (entry.isNew ? new : cur).child(entry.name.map { Array(names[$0]) } ?? [])
    }

    /// RFC822.SIZE as the name has it: believed where the name knows the size of the file as well.
    func wireSize(_ entry: Entry, fileSize: Int) -> Int? {
        guard let name = entry.name else { return nil }
        let hints = MessageName.SizeHints(base: names.span.extracting(name))
        guard let stored = hints.stored, let wire = hints.wire, stored == UInt64(fileSize),
            wire >= stored, wire <= 2 * stored
        else { return nil }
        return Int(wire)
    }
}
