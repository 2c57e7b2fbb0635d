import Bytes
import Glibc
package import Posix

/// Why mailboxes could not be changed.
package enum MailboxTreeError: Error, Equatable {
    case system(SystemError)
    case name(MailboxNameRefusal)
    case exists
    case missing
    /// INBOX is neither deleted nor renamed as a directory; and nothing moves below itself.
    case impossible
}

extension MailboxTree {
    /// Creates a mailbox and returns it. It is durable then. Parents are not made: they need not be.
    ///
    /// `unique` must not have been given before by any process; a message name will do.
    package func create(
        _ path: MailboxPath,
        root: Directory,
        unique: [UInt8]
    ) throws(MailboxTreeError) -> Entry {
        guard entries[path] == nil else { throw .exists }
        let name = try Self.directoryName(path, encoding)
        do throws(SystemError) {
            let status = try root.status()
            let temporaryName = Self.newPrefix + unique
            try Self.makeMailbox(temporaryName, root, MailboxPermissions(of: status))
            try root.renameExclusively(temporaryName, to: root, name)
            try root.sync()
            return Entry(
                path: path,
                directoryName: name,
                identity: try root.status(name).identity,
                isLink: false
            )
        } catch {
            throw error.code == EEXIST || error.code == ENOTEMPTY ? .exists : .system(error)
        }
    }

    private static func directoryName(
        _ path: MailboxPath,
        _ encoding: NameEncoding
    ) throws(MailboxTreeError) -> [UInt8] {
        guard !path.isInbox else { throw .impossible }
        do throws(MailboxNameRefusal) {
            return [UInt8(ascii: ".")] + (try path.storageName(encoding))
        } catch {
            throw .name(error)
        }
    }

    private static func makeMailbox(
        _ name: [UInt8],
        _ root: Directory,
        _ permissions: MailboxPermissions
    ) throws(SystemError) {
        try root.makeDirectory(name, mode: 0o700)
        let mailbox = try root.subdirectory(name)
        try makeSubdirectories(in: mailbox, permissions)
        try mailbox.create([UInt8]("maildirfolder"), permissions).close()
        try mailbox.sync()
        let made = try root.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
        try permissions.apply(to: made, isDirectory: true)
    }

    /// Makes whichever of `tmp`, `new` and `cur` is missing.
    package static func makeSubdirectories(
        in mailbox: Directory,
        _ permissions: MailboxPermissions
    ) throws(SystemError) {
        for name in [[UInt8]("tmp"), [UInt8]("new"), [UInt8]("cur")] {
            do throws(SystemError) {
                try mailbox.makeDirectory(name, mode: 0o700)
            } catch {
                if error.code == EEXIST { continue }
                throw error
            }
            let made = try mailbox.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
            try permissions.apply(to: made, isDirectory: true)
        }
    }

    /// Deletes a mailbox, not those below it. Returns the name under which its content waits to be
    /// removed by `remove`; the deletion itself is done and durable.
    ///
    /// Of a mailbox that is a symbolic link only the link goes, and nothing waits.
    package func delete(
        _ path: MailboxPath,
        root: Directory,
        unique: [UInt8]
    ) throws(MailboxTreeError) -> [UInt8]? {
        guard !path.isInbox else { throw .impossible }
        guard let entry = entries[path] else { throw .missing }
        do throws(SystemError) {
            if entry.isLink {
                try root.unlink(entry.directoryName)
                try root.sync()
                return nil
            }
            let name = Self.gonePrefix + unique
            try root.renameExclusively(entry.directoryName, to: root, name)
            try root.sync()
            return name
        } catch {
            throw error.isMissing ? .missing : .system(error)
        }
    }

    /// Removes a directory that is no mailbox any more, with all that is in it. Links in it are
    /// removed, not followed. What is gone already is no error.
    package static func remove(_ name: [UInt8], root: Directory) throws(SystemError) {
        try remove(name, in: root, depth: 0)
    }

    private static func remove(
        _ name: [UInt8],
        in parent: Directory,
        depth: Int
    ) throws(SystemError) {
        guard depth < Limits.deleteDepthMax else {
            throw SystemError("unlinkat", ELOOP, path: parent.child(name))
        }
        let directory: Directory
        do throws(SystemError) {
            directory = try Directory(
                parent.open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
                path: parent.child(name)
            )
        } catch {
            if error.isMissing { return }
            throw error
        }
        // A listing may leave out names while others are removed, so it is taken whole, and again
        // until the directory is empty.
        while true {
            var entries: [(name: [UInt8], kind: Directory.EntryKind)] = []
            try directory.forEachName { entry, kind throws(SystemError) in
                entries.append((entry.array, kind))
            }
            if entries.isEmpty { break }
            for entry in entries {
                let isDirectory =
                    entry.kind == .unknown
                    ? try directory.status(entry.name).isDirectory : entry.kind == .directory
                if isDirectory {
                    try remove(entry.name, in: directory, depth: depth + 1)
                } else {
                    try directory.unlinkIfThere(entry.name)
                }
            }
        }
        do throws(SystemError) { try parent.removeDirectory(name) } catch {
            if !error.isMissing { throw error }
        }
    }

    /// Removes what creations and deletions left an hour ago and more.
    package func removeLeftovers(root: Directory, now: WallTime) throws(SystemError) {
        for name in leftovers {
            do throws(SystemError) {
                let (age, overflowed) = now.seconds.subtractingReportingOverflow(
                    try root.status(name).changed.seconds
                )
                guard !overflowed, age >= 3_600 else { continue }
                try Self.remove(name, root: root)
            } catch {
                if !error.isMissing { throw error }
            }
        }
    }

    /// One directory that gets another name.
    package struct Renaming: Hashable, Sendable {
        package let old: [UInt8]
        package let new: [UInt8]
    }

    /// The directories to rename so that `old` and all below it become `new` and all below that:
    /// parents first. Looks at nothing but the tree.
    ///
    /// Throws `exists` where any of the new names is taken, before anything is renamed.
    package func renamings(
        _ old: MailboxPath,
        to new: MailboxPath
    ) throws(MailboxTreeError) -> [Renaming] {
        guard !old.isInbox, !new.isInbox, !new.isBelow(old) else { throw .impossible }
        guard entries[new] == nil else { throw .exists }
        var list: [Renaming] = []
        let moved = (entries[old].map { [$0] } ?? []) + below(old)
        guard !moved.isEmpty else { throw .missing }
        let going = Set(moved.map(\.path))
        for entry in moved {
            let target = entry.path.moved(from: old, to: new)
            guard entries[target] == nil || going.contains(target) else { throw .exists }
            list.append(
                Renaming(
                    old: entry.directoryName,
                    new: try newName(entry, from: old, to: new)
                )
            )
        }
        return list
    }

    /// The new parent's name and, behind it, what the directory has behind the old one.
    private func newName(
        _ entry: Entry,
        from old: MailboxPath,
        to new: MailboxPath
    ) throws(MailboxTreeError) -> [UInt8] {
        var name = try Self.directoryName(new, encoding)
        let parts = entry.directoryName.dropFirst().split(separator: UInt8(ascii: "."))
        for part in parts.dropFirst(old.components.count) {
            name.append(UInt8(ascii: "."))
            name += MailboxPath.reencoded(Array(part), encoding)
        }
        guard name.count <= Limits.mailboxNameBytesMax else { throw .name(.tooLong) }
        return name
    }

    /// Carries out renamings. On an error those before it are done; list again to see.
    package static func rename(
        _ renamings: [Renaming],
        root: Directory
    ) throws(MailboxTreeError) {
        do throws(SystemError) {
            for renaming in renamings {
                try root.renameExclusively(renaming.old, to: root, renaming.new)
            }
            try root.sync()
        } catch {
            // What was renamed is durable, even so.
            try? root.sync()
            switch error.code {
            case EEXIST: throw .exists
            case ENOENT: throw .missing
            default: throw .system(error)
            }
        }
    }
}
