import Glibc

/// What `stat` says, in the types that the rest uses.
package struct FileStatus: Equatable, Sendable {
    package let device: UInt64
    package let inode: UInt64
    package let mode: UInt32
    package let linkCount: Int
    package let uid: UInt32
    package let gid: UInt32
    package let size: Int
    package let accessed: WallTime
    package let modified: WallTime
    package let changed: WallTime

    init(_ raw: stat) {
        device = UInt64(raw.st_dev)
        inode = UInt64(raw.st_ino)
        mode = raw.st_mode
        linkCount = Int(raw.st_nlink)
        uid = raw.st_uid
        gid = raw.st_gid
        size = Int(raw.st_size)
        accessed = WallTime(
            seconds: Int64(raw.st_atim.tv_sec),
            nanoseconds: Int32(raw.st_atim.tv_nsec)
        )
        modified = WallTime(
            seconds: Int64(raw.st_mtim.tv_sec),
            nanoseconds: Int32(raw.st_mtim.tv_nsec)
        )
        changed = WallTime(
            seconds: Int64(raw.st_ctim.tv_sec),
            nanoseconds: Int32(raw.st_ctim.tv_nsec)
        )
    }

    package var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
    package var isRegular: Bool { mode & S_IFMT == S_IFREG }
    package var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }
    /// The permission bits.
    package var permissions: UInt32 { mode & 0o7777 }
    /// Which file this is, whatever its name.
    package var identity: FileIdentity { FileIdentity(device: device, inode: inode) }
}

/// A file or directory, whatever it is called.
package struct FileIdentity: Hashable, Sendable {
    package let device: UInt64
    package let inode: UInt64

    package init(device: UInt64, inode: UInt64) {
        self.device = device
        self.inode = inode
    }
}
