import Bytes
import CLinux
import Glibc

/// An open directory: every file operation of the store goes through one, by name, so that no
/// path is walked twice and no symbolic link is followed on the way.
///
/// Shared by reference; jobs keep it while they run. All calls are synchronous and may wait for
/// the disk: use them in jobs, or where that is known not to matter.
package final class Directory: Sendable {
    package let descriptor: CInt
    /// For logs and messages; operations do not use it.
    package let path: [UInt8]

    package init(_ descriptor: consuming OwnedDescriptor, path: [UInt8]) {
        self.descriptor = descriptor.release()
        self.path = path
    }

    deinit { _ = close(descriptor) }

    /// Opens a directory by absolute path.
    package convenience init(path: [UInt8]) throws(SystemError) {
        let descriptor = unsafe try withPath(path) { name throws(SystemError) in
            let result = unsafe martlet_openat(
                AT_FDCWD,
                name,
                O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                0
            )
            guard result >= 0 else { throw SystemError("open", path: path) }
            return result
        }
        self.init(OwnedDescriptor(descriptor), path: path)
    }

    /// Opens a subdirectory. A symbolic link is followed only where asked for.
    package func subdirectory(
        _ name: [UInt8],
        followingLinks: Bool = false
    ) throws(SystemError) -> Directory {
        let flags = O_RDONLY | O_DIRECTORY | (followingLinks ? 0 : O_NOFOLLOW)
        return Directory(try open(name, flags), path: child(name))
    }

    /// The path of a name in here, for messages.
    package func child(_ name: [UInt8]) -> [UInt8] { path + [UInt8(ascii: "/")] + name }

    /// Opens a file; close-on-exec always, O_NOFOLLOW unless it is a directory asked for by link.
    package func open(
        _ name: [UInt8],
        _ flags: CInt,
        mode: UInt32 = 0o600
    ) throws(SystemError) -> OwnedDescriptor {
        try Faults.check("openat")
        let follow = flags & O_DIRECTORY != 0 ? 0 : O_NOFOLLOW
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe martlet_openat(descriptor, cName, flags | follow | O_CLOEXEC, mode)
        }
        guard result >= 0 else { throw SystemError("openat", path: child(name)) }
        return OwnedDescriptor(result)
    }

    /// Opens a file, or what a symbolic link of that name leads to. For reading messages, which a
    /// user may have linked; never for writing.
    package func openFollowingLinks(
        _ name: [UInt8],
        _ flags: CInt
    ) throws(SystemError) -> OwnedDescriptor {
        try Faults.check("openat")
        let result = try unsafe withPath(name) { cName throws(SystemError) in
            unsafe martlet_openat(descriptor, cName, flags | O_CLOEXEC, 0)
        }
        guard result >= 0 else { throw SystemError("openat", path: child(name)) }
        return OwnedDescriptor(result)
    }

    /// The same for a name with a NUL behind it, which must be its only one, without a copy of it.
    ///
    /// - Parameter mayWait: whether it may wait for a disk; EAGAIN where it would have to and must not.
    package func openFollowingLinks(
        terminated name: Span<UInt8>,
        _ flags: CInt,
        mayWait: Bool = true
    ) throws(SystemError) -> OwnedDescriptor {
        try Faults.check("openat")
        precondition(name.count > 0 && name[name.count - 1] == 0, "a name without its NUL")
        let result = unsafe name.withUnsafeBytes { bytes -> CInt in
            guard let start = bytes.baseAddress else { return -1 }
            let cName = unsafe start.assumingMemoryBound(to: CChar.self)
            return mayWait
                ? unsafe martlet_openat(descriptor, cName, flags | O_CLOEXEC, 0)
                : unsafe martlet_open_cached(descriptor, cName, flags | O_CLOEXEC)
        }
        guard result >= 0 else {
            throw SystemError("openat", path: child(name.extracting(droppingLast: 1).array))
        }
        return OwnedDescriptor(result)
    }

    /// Opens a new file of this directory's filesystem that has no name yet, for writing. It is gone
    /// when it is closed without `giveName`. Not every filesystem can do that (EOPNOTSUPP).
    package func openUnnamed(mode: UInt32 = 0o600) throws(SystemError) -> OwnedDescriptor {
        try Faults.check("openat")
        // O_TMPFILE: __O_TMPFILE and O_DIRECTORY.
        let temporary: CInt = 0o20_000_000 | O_DIRECTORY
        let result = unsafe martlet_openat(
            descriptor,
            ".",
            O_WRONLY | temporary | O_CLOEXEC,
            mode
        )
        guard result >= 0 else { throw SystemError("openat", path: path) }
        return OwnedDescriptor(result)
    }

    /// Gives a file without a name one, with all that is in it by now; EEXIST where it is taken.
    package func giveName(
        _ name: [UInt8],
        to file: borrowing OwnedDescriptor
    ) throws(SystemError) {
        try Faults.check("linkat")
        let path = Array("/proc/self/fd/\(file.raw)".utf8)
        let result = try unsafe withPath(path) { source throws(SystemError) in
            try unsafe withPath(name) { target throws(SystemError) in
                unsafe linkat(AT_FDCWD, source, descriptor, target, AT_SYMLINK_FOLLOW)
            }
        }
        guard result == 0 else { throw SystemError("linkat", path: child(name)) }
    }

    /// The status of a name, of the link itself where it is one.
    package func status(_ name: [UInt8]) throws(SystemError) -> FileStatus {
        try status(name, flags: AT_SYMLINK_NOFOLLOW)
    }

    /// The status of what a name leads to.
    package func statusFollowingLinks(_ name: [UInt8]) throws(SystemError) -> FileStatus {
        try status(name, flags: 0)
    }

    /// The status of a name, or of what it leads to, as far as the kernel has it in memory; EAGAIN
    /// where it would have to look at a disk.
    package func statusInMemory(
        _ name: [UInt8],
        followingLinks: Bool = false
    ) throws(SystemError) -> FileStatus {
        // O_PATH: neither needs the file to be readable, nor opens a device.
        let path: CInt = 0o10_000_000
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe martlet_open_cached(
                descriptor,
                cName,
                path | O_CLOEXEC | (followingLinks ? 0 : O_NOFOLLOW)
            )
        }
        guard result >= 0 else { throw SystemError("openat2", path: child(name)) }
        return try OwnedDescriptor(result).status()
    }

    /// The status of the directory itself.
    package func status() throws(SystemError) -> FileStatus {
        var raw = stat()
        guard unsafe fstat(descriptor, &raw) == 0 else { throw SystemError("fstat", path: path) }
        return FileStatus(raw)
    }

    private func status(_ name: [UInt8], flags: CInt) throws(SystemError) -> FileStatus {
        var raw = stat()
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe fstatat(descriptor, cName, &raw, flags)
        }
        guard result == 0 else { throw SystemError("fstatat", path: child(name)) }
        return FileStatus(raw)
    }

    package func rename(
        _ name: [UInt8],
        to target: Directory,
        _ newName: [UInt8]
    ) throws(SystemError) {
        try Faults.check("renameat")
        let result = unsafe try withPath(name) { old throws(SystemError) in
            unsafe try withPath(newName) { new throws(SystemError) in
                unsafe renameat(descriptor, old, target.descriptor, new)
            }
        }
        guard result == 0 else { throw SystemError("renameat", path: child(name)) }
    }

    /// Renames, but fails with EEXIST where the new name is taken. (On a filesystem that cannot tell
    /// in one step, another program can take it in between.)
    package func renameExclusively(
        _ name: [UInt8],
        to target: Directory,
        _ newName: [UInt8]
    ) throws(SystemError) {
        try Faults.check("renameat")
        let result = unsafe try withPath(name) { old throws(SystemError) in
            unsafe try withPath(newName) { new throws(SystemError) in
                unsafe martlet_rename_no_replace(descriptor, old, target.descriptor, new)
            }
        }
        if result != 0, errno == EINVAL || errno == ENOSYS {
            guard (try? target.status(newName)) == nil else {
                throw SystemError("renameat2", EEXIST, path: child(name))
            }
            return try rename(name, to: target, newName)
        }
        guard result == 0 else { throw SystemError("renameat2", path: child(name)) }
    }

    package func link(
        _ name: [UInt8],
        to target: Directory,
        _ newName: [UInt8]
    ) throws(SystemError) {
        try Faults.check("linkat")
        let result = unsafe try withPath(name) { old throws(SystemError) in
            unsafe try withPath(newName) { new throws(SystemError) in
                unsafe linkat(descriptor, old, target.descriptor, new, 0)
            }
        }
        guard result == 0 else { throw SystemError("linkat", path: child(name)) }
    }

    package func unlink(_ name: [UInt8]) throws(SystemError) {
        try Faults.check("unlinkat")
        try unlink(name, flags: 0)
    }

    package func removeDirectory(_ name: [UInt8]) throws(SystemError) {
        try Faults.check("unlinkat")
        try unlink(name, flags: AT_REMOVEDIR)
    }

    private func unlink(_ name: [UInt8], flags: CInt) throws(SystemError) {
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe unlinkat(descriptor, cName, flags)
        }
        guard result == 0 else { throw SystemError("unlinkat", path: child(name)) }
    }

    package func makeDirectory(_ name: [UInt8], mode: UInt32) throws(SystemError) {
        try Faults.check("mkdirat")
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe mkdirat(descriptor, cName, mode)
        }
        guard result == 0 else { throw SystemError("mkdirat", path: child(name)) }
    }

    /// Sets the modification time of a name, in or at a link itself.
    package func setModified(_ name: [UInt8], _ time: WallTime) throws(SystemError) {
        let times = [
            timespec(tv_sec: 0, tv_nsec: utimeOmit),
            timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds)),
        ]
        let result = unsafe try withPath(name) { cName throws(SystemError) in
            unsafe utimensat(descriptor, cName, times, AT_SYMLINK_NOFOLLOW)
        }
        guard result == 0 else { throw SystemError("utimensat", path: child(name)) }
    }

    /// Waits until the names in the directory are on the disk.
    package func sync() throws(SystemError) {
        try Faults.check("fsync")
        Faults.delaySync()
        guard fsync(descriptor) == 0 else { throw SystemError("fsync", path: path) }
    }

    // MARK: Whole files

    /// The whole of a regular file, at most `max` bytes (EFBIG where it is larger).
    package func readFile(_ name: [UInt8], max: Int) throws(SystemError) -> [UInt8] {
        // Not blocking: a FIFO of that name must not stop the process.
        let file = try open(name, O_RDONLY | O_NONBLOCK)
        guard try file.status().isRegular else {
            throw SystemError("open", EINVAL, path: child(name))
        }
        return try file.readAll(max: max)
    }

    /// Replaces a file by one with this content: all of the old or all of the new is there at
    /// every moment, the new one for sure once this returns.
    ///
    /// - Parameter temporaryName: in the same directory; what a crash left there is overwritten.
    package func replaceFile(
        _ name: [UInt8],
        via temporaryName: [UInt8],
        with content: [UInt8],
        mode: UInt32
    ) throws(SystemError) {
        let file = try open(temporaryName, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try file.writeAll(content)
        try file.syncData()
        try file.close()
        try rename(temporaryName, to: self, name)
        try sync()
    }

    // MARK: Listing

    /// What a directory entry is, as far as the filesystem tells without a `stat`.
    package enum EntryKind: Sendable { case regular, directory, link, other, unknown }

    /// Calls `body` with each name in the directory but `.` and `..`, in no order. Names that
    /// appear or go meanwhile may be seen or not.
    package func forEachName(
        _ body: (Span<UInt8>, EntryKind) throws(SystemError) -> Void
    ) throws(SystemError) {
        try Faults.check("getdents")
        // A descriptor of its own: the read position belongs to the open file, and several
        // threads may list at once.
        let listing = unsafe openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard listing >= 0 else { throw SystemError("openat", path: path) }
        defer { _ = close(listing) }
        let room = 65_536
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 8)
        defer { unsafe buffer.deallocate() }
        while true {
            let count = unsafe martlet_getdents(listing, buffer.baseAddress, room)
            guard count >= 0 else { throw SystemError("getdents64", path: path) }
            if count == 0 { return }
            var offset = 0
            // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name, NUL.
            while offset + 19 < count {
                let length = Int(
                    unsafe buffer.loadUnaligned(fromByteOffset: offset + 16, as: UInt16.self)
                )
                guard length >= 20, offset + length <= count else { break }
                let kind: EntryKind =
                    switch unsafe CInt(buffer[offset + 18]) {
                    case 8: .regular
                    case 4: .directory
                    case 10: .link
                    case 0: .unknown
                    default: .other
                    }
                let tail = unsafe UnsafeRawBufferPointer(
                    rebasing: buffer[(offset + 19)..<(offset + length)]
                )
                let bytes = unsafe Span<UInt8>(_unsafeBytes: tail)
                let name = bytes.extracting(0..<(bytes.firstIndex(of: 0) ?? bytes.count))
                offset += length
                let isSelf = name.count <= 2 && name[0] == 0x2E && name[name.count - 1] == 0x2E
                if !isSelf { try body(name, kind) }
            }
        }
    }

    /// All names, for small directories.
    package func names() throws(SystemError) -> [[UInt8]] {
        var list: [[UInt8]] = []
        try forEachName { name, _ throws(SystemError) in list.append(name.array) }
        return list
    }

    /// Whether each change in the directory is told by inotify: only on filesystems that this
    /// kernel alone writes to.
    package var tellsEveryChange: Bool {
        switch martlet_filesystem_magic(descriptor) {
        case 0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010, 0x0102_1994, 0x794C_7630:
            true  // ext4, xfs, btrfs, zfs, f2fs, tmpfs, overlayfs
        default: false
        }
    }
}

/// UTIME_OMIT of sys/stat.h: leave this time as it is. (A macro that Swift does not import.)
let utimeOmit = (1 << 30) - 2

/// Calls `body` with the name as a C string; EINVAL where it holds a NUL.
package func withPath<Result>(
    _ name: [UInt8],
    _ body: (UnsafePointer<CChar>) throws(SystemError) -> Result
) throws(SystemError) -> Result {
    guard !name.contains(0) else { throw SystemError("path", EINVAL, path: name) }
    var outcome: Swift.Result<Result, SystemError>?
    unsafe withUnsafeTemporaryAllocation(byteCount: name.count + 1, alignment: 1) { room in
        unsafe room.copyBytes(from: name)
        unsafe room[name.count] = 0
        do throws(SystemError) {
            let pointer = unsafe room.baseAddress?.assumingMemoryBound(to: CChar.self)
            guard let pointer = unsafe pointer else { throw SystemError("path", EINVAL) }
            outcome = .success(try unsafe body(pointer))
        } catch {
            outcome = .failure(error)
        }
    }
    guard let outcome else { throw SystemError("path", EINVAL) }
    return try outcome.get()
}

/// The status of what a path leads to. For messages about it; the store works with descriptors.
package func statusOfPath(_ path: [UInt8]) throws(SystemError) -> FileStatus {
    var raw = stat()
    let result = try unsafe withPath(path) { name throws(SystemError) in unsafe stat(name, &raw) }
    guard result == 0 else { throw SystemError("stat", path: path) }
    return FileStatus(raw)
}
