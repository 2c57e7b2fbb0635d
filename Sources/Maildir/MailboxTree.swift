import Bytes
import Glibc
package import Posix

//  The mailboxes of a Maildir
//
//  On disk: INBOX is the root; each other mailbox is a directory `.A.B` in the root, with `cur/`,
//  `new/`, `tmp/` and an empty file `maildirfolder`. A parent that has no directory is no mailbox.
//
//  Who writes: every mail program of the user, at any moment, without a lock. So the tree is a
//  picture of one moment. What changes it works on names and fails cleanly where the picture was old.
//
//  Not mailboxes: names that begin with `..`, names with an empty component, what is no directory,
//  and directories without `cur` (in a home directory that is a Maildir, `.cache` and its like). A
//  symbolic link to a directory counts as that directory, unless the directory is there already
//  under another name: two names for one uidlist would be two views that fight for one lock. Of two
//  names that decode to the same text the one that we would write wins; the other is reported.
//
//  Creating: the new directory is made as `..martlet-new.<unique>`, which no program takes for a
//  mailbox, filled, and renamed into place: nobody sees half a mailbox, and of two that create the
//  same one fails. A crash leaves the `..` directory.
//
//  Deleting: the directory is renamed to `..martlet-gone.<unique>` (the moment of deletion, durable
//  after a sync), then emptied and removed. A crash leaves the `..` directory.
//
//  Both kinds of leftovers are found by the next listing and removed once they are an hour old.
//
//  Renaming: each directory by itself, the parent first. Not one step: a crash, or an error, between
//  two leaves some children under the old parent, where they still are mailboxes with all their mail.

/// The mailboxes that exist, at one moment.
package struct MailboxTree: Sendable {
    package struct Entry: Hashable, Sendable {
        package let path: MailboxPath
        /// Its name in the root; empty for the root itself.
        package let directoryName: [UInt8]
        package let identity: FileIdentity
        package let isLink: Bool

        /// Whether it still is a mailbox, and the same.
        package func isCurrent(root: Directory) throws(SystemError) -> Bool {
            if directoryName.isEmpty { return true }
            return try MailboxTree.entry(path, directoryName, in: root) == self
        }
    }

    package private(set) var entries: [MailboxPath: Entry] = [:]

    /// How new mailboxes are named on disk: as those that are there.
    package private(set) var encoding = NameEncoding.modifiedUTF7

    /// Directories that are mailboxes of a name that another has already, for the log.
    package private(set) var hidden: [[UInt8]] = []

    /// What is left of creations and deletions that did not finish.
    package private(set) var leftovers: [[UInt8]] = []

    static let newPrefix = [UInt8]("..martlet-new.")
    static let gonePrefix = [UInt8]("..martlet-gone.")

    /// Lists the root of a Maildir.
    package init(root: Directory) throws(SystemError) {
        var names: [[UInt8]] = []
        var leftovers: [[UInt8]] = []
        try root.forEachName { name, kind throws(SystemError) in
            guard name.count > 1, name[0] == UInt8(ascii: "."), kind != .regular, kind != .other
            else { return }
            let bytes = name.array
            if name[1] != UInt8(ascii: ".") {
                names.append(bytes)
            } else if bytes.starts(with: Self.newPrefix) || bytes.starts(with: Self.gonePrefix) {
                leftovers.append(bytes)
            }
        }
        self.leftovers = leftovers
        if names.contains(where: { $0.contains { $0 >= 0x80 } && Self.isUTF8($0) }) {
            encoding = .utf8
        }
        let rootIdentity = try root.status().identity
        var known: Set = [rootIdentity]
        entries[.inbox] = Entry(
            path: .inbox,
            directoryName: [],
            identity: rootIdentity,
            isLink: false
        )
        var found: [(entry: Entry, isCanonical: Bool)] = []
        for name in names {
            guard let path = MailboxPath(storageName: name.dropFirst()),
                let entry = try Self.entry(path, name, in: root)
            else { continue }
            let canonical = try? path.storageName(encoding)
            found.append((entry, canonical.map { $0.elementsEqual(name.dropFirst()) } ?? false))
        }
        // Real directories before links, our spelling before others, then by name: the same choice
        // every time, whatever order the directory is read in.
        found.sort { left, right in
            if left.entry.isLink != right.entry.isLink { return right.entry.isLink }
            if left.isCanonical != right.isCanonical { return left.isCanonical }
            return left.entry.directoryName.lexicographicallyPrecedes(right.entry.directoryName)
        }
        for (entry, _) in found {
            if entries[entry.path] == nil, known.insert(entry.identity).inserted {
                entries[entry.path] = entry
            } else {
                hidden.append(entry.directoryName)
            }
        }
    }

    private static func isUTF8(_ name: [UInt8]) -> Bool { UTF8Text.isValid(name.span) }

    /// Nil for what is no mailbox, or went away meanwhile.
    private static func entry(
        _ path: MailboxPath,
        _ name: [UInt8],
        in root: Directory
    ) throws(SystemError) -> Entry? {
        do throws(SystemError) {
            let link = try root.status(name)
            let status = link.isSymbolicLink ? try root.statusFollowingLinks(name) : link
            guard status.isDirectory,
                try root.statusFollowingLinks(name + [UInt8]("/cur")).isDirectory
            else { return nil }
            return Entry(
                path: path,
                directoryName: name,
                identity: status.identity,
                isLink: link.isSymbolicLink
            )
        } catch {
            // One directory that cannot be entered must not hide the others.
            switch error.code {
            case ENOENT, ENOTDIR, EACCES, ELOOP, ENAMETOOLONG: return nil
            default: throw error
            }
        }
    }

    /// The mailboxes below a path, those nearer to the root first, in the order of their names.
    package func below(_ path: MailboxPath) -> [Entry] {
        entries.values.filter { $0.path.isBelow(path) }.sorted { left, right in
            if left.path.components.count != right.path.components.count {
                return left.path.components.count < right.path.components.count
            }
            return left.directoryName.lexicographicallyPrecedes(right.directoryName)
        }
    }

    /// Whether the path is a mailbox or has one below it.
    package func isPresent(_ path: MailboxPath) -> Bool {
        entries[path] != nil || entries.keys.contains { $0.isBelow(path) }
    }

    /// Opens a mailbox that exists.
    package static func open(_ entry: Entry, root: Directory) throws(SystemError) -> Directory {
        if entry.directoryName.isEmpty { return root }
        return try root.subdirectory(entry.directoryName, followingLinks: entry.isLink)
    }
}
