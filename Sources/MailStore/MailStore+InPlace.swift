import Bytes
import Glibc
import Maildir
import Posix

//  Whether a live mailbox is still what its path leads to
//
//  Asked by each command that names a mailbox: other programs may have replaced the directories, or
//  mounted another filesystem. As a rule the kernel has all that is asked for in memory; then the loop
//  looks itself, which takes less than handing the question to a thread. Where it would have to wait
//  for a disk a job looks.

extension MailStore {
    func isInPlace(_ mailbox: Mailbox) async -> Bool {
        let look = Look(root, mailbox)
        var found: Look.Found
        do throws(SystemError) {
            found = try look.run { (directory, name, followsLinks) throws(SystemError) in
                try directory.statusInMemory(name, followingLinks: followsLinks)
            }
        } catch {
            found = await context.pool.run {
                let found = try? look.run { (directory, name, followsLinks) throws(SystemError) in
                    followsLinks
                        ? try directory.statusFollowingLinks(name) : try directory.status(name)
                }
                return found ?? Look.Found(isInPlace: false)
            }
        }
        guard found.isInPlace else { return false }
        if found.acl != mailbox.aclFingerprint { await mailbox.loadRights() }
        return true
    }
}

/// What is looked at, by either way.
private struct Look: Sendable {
    struct Found: Sendable {
        var isInPlace: Bool
        var acl: FileFingerprint?
    }

    private let root: Directory
    private let disk: MailboxDisk
    /// Nil for INBOX, which is the root itself.
    private let name: [UInt8]?

    @EventLoop
    init(_ root: Directory, _ mailbox: Mailbox) {
        self.root = root
        disk = mailbox.disk
        let path = disk.directory.path
        let start = path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        name = mailbox.path.isInbox ? nil : Array(path[start...])
    }

    /// Throws what `status` throws, but for names that are missing.
    func run(
        _ status: (Directory, [UInt8], Bool) throws(SystemError) -> FileStatus
    ) throws(SystemError) -> Found {
        do throws(SystemError) {
            if let name {
                let there = try status(root, name, true)
                guard there.identity == (try disk.directory.status()).identity else {
                    return Found(isInPlace: false)
                }
            }
            for (name, open) in [([UInt8]("cur"), disk.cur), ([UInt8]("new"), disk.new)] {
                let there = try status(disk.directory, name, false)
                guard there.identity == (try open.status()).identity else {
                    return Found(isInPlace: false)
                }
            }
        } catch {
            guard error.isMissing else { throw error }
            return Found(isInPlace: false)
        }
        do throws(SystemError) {
            let acl = try status(disk.directory, ACLFile.name, false)
            return Found(isInPlace: true, acl: FileFingerprint(acl))
        } catch {
            guard error.code != EAGAIN else { throw error }
            return Found(isInPlace: true)
        }
    }
}
