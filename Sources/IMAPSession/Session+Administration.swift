import IMAPWire

extension Session {
    /// The commands around mail: quota, rights, annotations, languages.
    func administer(_ body: CommandBody) async throws(CommandFailure) -> Completion {
        switch body {
        case .getQuota(let root): return try await getQuota(root)
        case .getQuotaRoot(let mailbox): return try await getQuotaRoot(mailbox)
        case .setQuota: return try setQuota()
        default: throw .bad("Command is not offered by this server")
        }
    }
}
