import Bytes
import Glibc
package import Maildir
import MessageIndex
import Posix

//  STATUS of mailboxes that nobody has open
//
//  The header of a summary has all that STATUS asks for but sizes; its stamps tell whether the mailbox
//  still is of that very state (Mailbox+Index.swift). So a look is some calls of `stat`, and thousands
//  of mailboxes are looked at in one job: nothing is opened, locked, watched or kept. What the index
//  does not know, or not any more, is left to `MailStore.open`.

/// What the index knows of a mailbox as it is now.
package struct MailboxStatus: Sendable {
    package let messages: UInt32
    package let unseen: UInt32
    package let deleted: UInt32
    /// Files in `new/`.
    package let recent: UInt32
    package let uidNext: UInt32
    package let uidValidity: UInt32
    package let highestModseq: UInt64
    package let guid: [UInt8]

    init(_ header: SummaryHeader, guid: [UInt8]) {
        messages = header.messageCount
        unseen = header.unseenCount
        deleted = header.deletedCount
        recent = header.newCount
        uidNext = header.uidNext
        uidValidity = header.uidValidity
        highestModseq = header.highestModseq
        self.guid = guid
    }
}

extension MailStore {
    /// What is known of mailboxes without opening them. Those that are open, that have an ACL, or of
    /// which the index does not know how they are now are left out.
    package func statuses(of paths: [MailboxPath]) async -> [MailboxPath: MailboxStatus] {
        let asked = paths.compactMap { isAtRest($0) ? lastSeen[$0] : nil }
        guard !asked.isEmpty, let index = await openIndex() else { return [:] }
        let (root, unsaved) = (root, context.unsavedMailboxes)
        let found = await context.pool.run(.reading) {
            var found: [MailboxPath: MailboxStatus] = [:]
            for entry in asked {
                let look = ClosedMailbox(entry, root)
                guard let status = try? look.status(in: index, unsaved) else { continue }
                found[entry.path] = status
            }
            return found
        }
        // Who opened one meanwhile may have changed it, and told its changes.
        return found.filter { isAtRest($0.key) }
    }
}

/// A mailbox that is looked at by names, from the root.
private struct ClosedMailbox {
    let entry: MailboxTree.Entry
    let root: Directory

    init(_ entry: MailboxTree.Entry, _ root: Directory) {
        self.entry = entry
        self.root = root
    }

    /// Nil where the index does not know.
    func status(
        in index: MessageIndex,
        _ unsaved: Set<[UInt8]>
    ) throws(SystemError) -> MailboxStatus? {
        guard try entry.isCurrent(root: root), try stamp(ACLFile.name) == FileStamp() else {
            return nil
        }
        let list = try root.open(name(UIDListFile.name), O_RDONLY | O_NONBLOCK)
        guard let header = MailboxDisk.listHeader(list), let guid = header.guid,
            let id = MailboxDisk.bytes(ofHex: guid),
            let summary = index.header(
                id: id,
                directory: entry.identity,
                uidValidity: header.uidValidity
            ),
            summary.uidValidity == header.uidValidity, summary.ages.era == index.ages.era,
            !unsaved.contains(guid), summary.stamps == (try stamps())
        else { return nil }
        return MailboxStatus(summary, guid: guid)
    }

    /// As `MailboxDisk.fileStamps`.
    private func stamps() throws(SystemError) -> [FileStamp] {
        var stamps: [FileStamp] = []
        for name in MailboxDisk.stampedNames { stamps.append(try stamp(name)) }
        return stamps
    }

    private func stamp(_ file: [UInt8]) throws(SystemError) -> FileStamp {
        do throws(SystemError) { return FileStamp(try root.status(name(file))) } catch {
            guard error.isMissing else { throw error }
            return FileStamp()
        }
    }

    private func name(_ file: [UInt8]) -> [UInt8] {
        entry.directoryName.isEmpty ? file : entry.directoryName + [UInt8(ascii: "/")] + file
    }
}
