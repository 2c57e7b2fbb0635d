import Bytes
import CZlib
import Glibc
package import Posix

/// A message file in memory, as its reader needs it.
package struct MessageContent: Sendable {
    /// As stored, decompressed where it was compressed: LF or CRLF line ends.
    package let bytes: [UInt8]
    /// INTERNALDATE: the file's modification time.
    package let date: WallTime
}

/// Reads message files. In jobs.
enum MessageFile {
    /// The content and date of a file; nil where it is not there.
    static func read(_ name: [UInt8], in directory: Directory) throws(StoreError) -> MessageContent?
    {
        do throws(SystemError) {
            // Symbolic links to messages are served; not blocking, in case it leads to a FIFO.
            let file = try directory.openFollowingLinks(name, O_RDONLY | O_NONBLOCK)
            let status = try file.status()
            guard status.isRegular, status.size <= Limits.messageBytesMax else {
                throw SystemError("open", EFBIG, path: directory.child(name))
            }
            let bytes = try file.readAll(max: Limits.messageBytesMax)
            if isCompressed(bytes.span) {
                guard let inflated = inflate(bytes) else {
                    let path = directory.child(name).quotedForLog
                    Log.error("event=unreadable-message path=\(path) reason=\"broken gzip\"")
                    return try broken(directory, name)
                }
                return MessageContent(bytes: inflated, date: status.modified)
            }
            if let format = foreignFormat(bytes.span) {
                let path = directory.child(name).quotedForLog
                Log.error(
                    "event=unreadable-message path=\(path) reason=\"compressed by \(format)\""
                )
                throw SystemError("read", EBADMSG, path: directory.child(name))
            }
            return MessageContent(bytes: bytes, date: status.modified)
        } catch {
            // A link that leads nowhere is an error, not an expunge.
            if error.isMissing, (try? directory.status(name))?.isSymbolicLink != true { return nil }
            Log.error("event=unreadable-message error=\"\(error)\"")
            throw StoreError(error)
        }
    }

    private static func broken(
        _ directory: Directory,
        _ name: [UInt8]
    ) throws(SystemError) -> MessageContent {
        throw SystemError("inflate", EBADMSG, path: directory.child(name))
    }

    /// The magic number of gzip and its one method. No header field of a message begins so.
    static func isCompressed(_ bytes: Span<UInt8>) -> Bool {
        bytes.count > 18 && bytes[0] == 0x1F && bytes[1] == 0x8B && bytes[2] == 8
    }

    private static let foreignFormats: [(name: StaticString, magic: [UInt8])] = [
        ("bzip2", [0x42, 0x5A, 0x68, 0x39, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59]),
        ("xz", [0xFD, 0x37, 0x7A, 0x58, 0x5A, 0x00]),
        ("zstd", [0x28, 0xB5, 0x2F, 0xFD]),
        ("lz4", [UInt8]("Dovecot-LZ4") + [0x0D, 0x2A, 0x9B, 0xC5]),
    ]

    /// The name of a compression that Dovecot can store mail in and that is not read here. As a
    /// message its bytes would be an empty header and noise.
    static func foreignFormat(_ bytes: Span<UInt8>) -> StaticString? {
        guard let first = bytes.isEmpty ? nil : bytes[0] else { return nil }
        for (name, magic) in foreignFormats where magic[0] == first && bytes.count >= magic.count {
            // The level of bzip2 is any digit.
            let isMagic = magic.indices.allSatisfy { index in
                bytes[index] == magic[index]
                    || magic[index] == 0x39 && index == 3 && bytes[index].isDigit
            }
            if isMagic { return name }
        }
        return nil
    }

    /// Nil where the data is broken or comes to more than `bytesMax`.
    static func inflate(_ bytes: [UInt8], bytesMax: Int = Limits.inflatedBytesMax) -> [UInt8]? {
        var stream = unsafe z_stream()
        // 15 bits of window, and 16 for "gzip".
        let size = unsafe Int32(MemoryLayout<z_stream>.size)
        guard unsafe inflateInit2_(&stream, 31, ZLIB_VERSION, size) == Z_OK else { return nil }
        defer { unsafe inflateEnd(&stream) }
        var output: [UInt8] = []
        let room = 256 << 10
        return unsafe bytes.withUnsafeBufferPointer { input -> [UInt8]? in
            unsafe stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
            unsafe stream.avail_in = UInt32(clamping: input.count)
            while true {
                var result = Z_OK
                let chunk = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                    unsafe stream.next_out = buffer.baseAddress
                    unsafe stream.avail_out = UInt32(room)
                    result = unsafe CZlib.inflate(&stream, Z_NO_FLUSH)
                    count = unsafe room - Int(stream.avail_out)
                }
                output.append(contentsOf: chunk)
                guard output.count <= bytesMax else { return nil }
                switch result {
                case Z_OK:
                    if unsafe chunk.isEmpty && stream.avail_in == 0 { return nil }
                case Z_STREAM_END:
                    // A file may hold several members, one after the other.
                    if unsafe stream.avail_in == 0 { return output }
                    guard unsafe inflateReset(&stream) == Z_OK else { return nil }
                default: return nil
                }
            }
        }
    }
}
