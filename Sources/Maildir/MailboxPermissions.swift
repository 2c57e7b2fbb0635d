import Glibc
package import Posix

/// Mode and group of what is created in a mailbox: those of the mailbox's directory.
package struct MailboxPermissions: Hashable, Sendable {
    package let directoryMode: UInt32
    package let fileMode: UInt32
    package let gid: UInt32

    package init(of directory: FileStatus) {
        // The owner always has access, or the process that makes the file could not use it.
        directoryMode = directory.permissions & 0o2777 | 0o700
        fileMode = directory.permissions & 0o666 | 0o600
        gid = directory.gid
    }

    /// Gives a new file its mode and group, whatever the umask. Where the group cannot be given, the
    /// file's own group, which is another one, gets no access.
    func apply(to file: borrowing OwnedDescriptor, isDirectory: Bool) throws(SystemError) {
        var mode = isDirectory ? directoryMode : fileMode
        if try file.status().gid != gid {
            do throws(SystemError) { try file.setGroup(gid) } catch { mode &= ~0o2070 }
        }
        try file.setPermissions(mode)
    }
}

extension Directory {
    /// Creates a file that must not be there yet, open for writing.
    func create(
        _ name: [UInt8],
        _ permissions: MailboxPermissions
    ) throws(SystemError) -> OwnedDescriptor {
        let file = try open(name, O_WRONLY | O_CREAT | O_EXCL)
        try permissions.apply(to: file, isDirectory: false)
        return file
    }

    /// Removes a name that may be missing.
    func unlinkIfThere(_ name: [UInt8]) throws(SystemError) {
        do throws(SystemError) { try unlink(name) } catch {
            if !error.isMissing { throw error }
        }
    }
}
