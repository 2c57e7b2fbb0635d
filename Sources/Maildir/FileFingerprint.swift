package import Posix

/// What tells whether a file is as it was: which one it is, its size and its times.
///
/// The inode alone does not: once a file is replaced, its inode may go to the next one.
package struct FileFingerprint: Hashable, Sendable {
    package let identity: FileIdentity
    package let size: Int
    package let modified: WallTime
    package let changed: WallTime

    package init(_ status: FileStatus) {
        identity = status.identity
        size = status.size
        modified = status.modified
        changed = status.changed
    }

    package init(identity: FileIdentity, size: Int, modified: WallTime, changed: WallTime) {
        self.identity = identity
        self.size = size
        self.modified = modified
        self.changed = changed
    }
}
