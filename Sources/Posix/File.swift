import Bytes
import CLinux
import Glibc

/// Reading, writing and syncing an open file.
extension OwnedDescriptor {
    package borrowing func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        guard unsafe fstat(self.raw, &raw) == 0 else { throw SystemError("fstat") }
        return FileStatus(raw)
    }

    /// The bytes at `offset`, at most `count`; fewer only at the end of the file.
    package borrowing func read(at offset: Int, count: Int) throws(SystemError) -> [UInt8] {
        try Faults.check("pread")
        var bytes: [UInt8] = []
        try read(at: offset, count: count, appendingTo: &bytes)
        return bytes
    }

    /// Appends the bytes at `offset`, at most `count`; fewer only at the end of the file.
    package borrowing func read(
        at offset: Int,
        count: Int,
        appendingTo bytes: inout [UInt8]
    ) throws(SystemError) {
        guard count > 0 else { return }
        let descriptor = raw
        var failure: SystemError?
        let start = bytes.count
        // Room for the whole is made once; it is not zeroed first.
        let chunk = unsafe [UInt8](unsafeUninitializedCapacity: count) { room, filled in
            while filled < count {
                let result = unsafe pread(
                    descriptor,
                    room.baseAddress.map { unsafe $0 + filled },
                    count - filled,
                    off_t(offset + filled)
                )
                if result < 0, errno == EINTR { continue }
                if result < 0 { failure = SystemError("pread") }
                if result <= 0 { break }
                filled += result
            }
        }
        if let failure { throw failure }
        if start == 0 { bytes = chunk } else { bytes.append(contentsOf: chunk) }
    }

    /// Reads into a range of the room. Returns how many bytes came; fewer only at the end.
    ///
    /// - Parameter mayWait: whether it may wait for a disk. Where it must not, EAGAIN means that it
    ///   would have to.
    package borrowing func read(
        at offset: Int,
        into room: inout [UInt8],
        _ range: Range<Int>,
        mayWait: Bool = true
    ) throws(SystemError) -> Int {
        guard !range.isEmpty else { return 0 }
        try Faults.check("pread")
        let descriptor = raw
        var bytes = room.mutableSpan
        precondition(range.upperBound <= bytes.count, "no such room")
        var filled = 0
        var failure: SystemError?
        unsafe bytes.withUnsafeMutableBufferPointer { room in
            guard let start = room.baseAddress else { return }
            while filled < range.count {
                let place = unsafe start + range.lowerBound + filled
                let (count, position) = (range.count - filled, off_t(offset + filled))
                let result =
                    mayWait
                    ? unsafe pread(descriptor, place, count, position)
                    : unsafe martlet_read_cached(descriptor, place, count, position)
                if result < 0, errno == EINTR { continue }
                if result < 0 { failure = SystemError("pread") }
                if result <= 0 { break }
                filled += result
            }
        }
        if let failure { throw failure }
        return filled
    }

    /// The whole file, at most `max` bytes; EFBIG where it is larger.
    package borrowing func readAll(max: Int) throws(SystemError) -> [UInt8] {
        let size = try status().size
        guard size <= max else { throw SystemError("read", EFBIG) }
        // One byte more, so that a file that grew meanwhile shows.
        var bytes = try read(at: 0, count: size + 1)
        while bytes.count > size, bytes.count <= max {
            let before = bytes.count
            let more = try read(at: before, count: min(65_536, max - before + 1))
            if more.isEmpty { break }
            bytes.append(contentsOf: more)
        }
        guard bytes.count <= max else { throw SystemError("read", EFBIG) }
        return bytes
    }

    package borrowing func writeAll(_ bytes: [UInt8]) throws(SystemError) {
        try writeAll(bytes.span)
    }

    package borrowing func writeAll(_ bytes: Span<UInt8>) throws(SystemError) {
        try Faults.check("write")
        let descriptor = raw
        var written = 0
        while written < bytes.count {
            let rest = bytes.extracting(written..<bytes.count)
            let result = unsafe rest.withUnsafeBufferPointer {
                unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
            }
            if result < 0, errno == EINTR { continue }
            guard result > 0 else { throw SystemError("write", result == 0 ? EIO : errno) }
            written += result
        }
    }

    /// Waits until content and size are on the disk.
    package borrowing func syncData() throws(SystemError) {
        try Faults.check("fdatasync")
        Faults.delaySync()
        guard fdatasync(raw) == 0 else { throw SystemError("fdatasync") }
    }

    /// Has the content written, without waiting: a hint, for several files that are synced one after
    /// the other.
    package borrowing func beginWriting() {
        _ = martlet_begin_writing(raw)
    }

    /// Waits until content and all metadata (names, for a directory) are on the disk.
    package borrowing func sync() throws(SystemError) {
        try Faults.check("fsync")
        Faults.delaySync()
        guard fsync(raw) == 0 else { throw SystemError("fsync") }
    }

    package borrowing func setModified(_ time: WallTime) throws(SystemError) {
        let times = [
            timespec(tv_sec: 0, tv_nsec: utimeOmit),
            timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds)),
        ]
        guard unsafe futimens(raw, times) == 0 else { throw SystemError("futimens") }
    }

    package borrowing func setPermissions(_ mode: UInt32) throws(SystemError) {
        guard fchmod(raw, mode) == 0 else { throw SystemError("fchmod") }
    }

    package borrowing func setGroup(_ gid: UInt32) throws(SystemError) {
        guard fchown(raw, uid_t.max, gid) == 0 else { throw SystemError("fchown") }
    }

    package borrowing func truncate(to size: Int) throws(SystemError) {
        guard ftruncate(raw, off_t(size)) == 0 else { throw SystemError("ftruncate") }
    }
}

extension OwnedDescriptor {
    /// Whether nobody has the file open for writing at this moment: a read lease is only granted
    /// then. Nil where leases are refused for another reason (somebody else's file, the filesystem).
    package borrowing func hasNoWriterNow() -> Bool? {
        // F_SETLEASE of Linux; the default action of a broken lease's SIGIO would end the process,
        // so whoever calls this ignores that signal.
        if martlet_try_read_lease(raw) == 0 { return true }
        return errno == EAGAIN ? false : nil
    }
}
