import IMAPWire
import Maildir
import MailStore

extension Session {
    /// The commands around mail: quota, rights, annotations, languages.
    func administer(_ body: CommandBody) async throws(CommandFailure) -> Completion {
        switch body {
        case .getQuota(let root): return try await getQuota(root)
        case .getQuotaRoot(let mailbox): return try await getQuotaRoot(mailbox)
        case .setQuota: return try setQuota()
        case .getACL(let mailbox): return try await getACL(mailbox)
        case .setACL(let mailbox, let identifier, let change):
            return try await setACL(mailbox, identifier, change)
        case .deleteACL(let mailbox, let identifier):
            return try await deleteACL(mailbox, identifier)
        case .listRights(let mailbox, let identifier):
            return try await listRights(mailbox, identifier)
        case .myRights(let mailbox): return try await myRights(mailbox)
        default: throw .bad("Command is not offered by this server")
        }
    }

    /// What LIST returns of a mailbox behind its line.                        RFC 8440 §3
    ///
    /// What cannot be looked up has no line.
    ///
    /// - Parameter tree: looked at once for a command.
    func appendReturns(
        _ path: MailboxPath,
        _ command: ListCommand,
        _ tree: inout MailboxTree?
    ) async throws(CommandFailure) {
        guard command.returns.contains(.myRights) else { return }
        do throws(StoreError) {
            if tree == nil { tree = try await store.tree() }
            try await appendMyRights(path, tree)
        } catch {
            // Gone meanwhile, or not readable: it is in the log.
        }
    }
}
