import Glibc
package import Maildir
import Posix

//  The quota is what `maildirsize` says at the moment of asking; see QuotaFile.swift. A file that
//  cannot be read limits nothing: mail is not refused for what an administrator did to it.

extension MailStore {
    /// Limits and what there is; nil where there is no quota.
    package func quota() async -> QuotaFile? {
        await context.quota(in: root) { (quota, root) throws(SystemError) in
            try quota.current(root: root)
        } ?? nil
    }

    /// Whether it is known without a look at the disk that nobody keeps a quota.
    private var hasNoQuota: Bool {
        do throws(SystemError) {
            _ = try root.statusInMemory(Quota.name)
            return false
        } catch {
            return error.code == ENOENT
        }
    }

    /// Throws `overQuota` where messages of this size have no room. What they replace is taken off.
    package func checkRoom(bytes: Int, messages: Int = 1) async throws(StoreError) {
        if hasNoQuota { return }
        let amount = QuotaFile.Amount(bytes: Int64(bytes), messages: Int64(messages))
        let isOver = await context.quota(in: root) { (quota, root) throws(SystemError) in
            try quota.isOver(adding: amount, root: root)
        }
        if isOver == true { throw .overQuota }
    }
}

extension Mailbox {
    /// Throws `overQuota` where copies of these messages have no room.
    package func checkRoom(toCopy uids: [UInt32]) async throws(StoreError) {
        guard
            await context.quota(
                in: disk.root,
                { (quota, root) throws(SystemError) in
                    try quota.current(root: root)
                }
            ) ?? nil != nil
        else { return }
        var names: [(directory: Directory, name: [UInt8])] = []
        for uid in uids {
            guard let row = table.row(of: uid) else { continue }
            let location = table.location(row)
            names.append((location.isNew ? disk.new : disk.cur, location.name))
        }
        let list = names
        let isOver = await context.quota(in: disk.root) { (quota, root) throws(SystemError) in
            var amount = QuotaFile.Amount()
            for (directory, name) in list {
                let size = Quota.size(of: name, in: directory) ?? 0
                amount = amount + QuotaFile.Amount(bytes: size, messages: 1)
            }
            return try quota.isOver(adding: amount, root: root)
        }
        if isOver == true { throw .overQuota }
    }
}

extension StoreContext {
    /// Runs a job on the quota; nil where the file cannot be read.
    fileprivate func quota<Success: Sendable>(
        in root: Directory,
        _ body: @escaping @Sendable (Quota, Directory) throws(SystemError) -> Success
    ) async -> Success? {
        let quota = self.quota
        do throws(SystemError) {
            return try await pool.run { () throws(SystemError) in try body(quota, root) }
        } catch {
            logFailure(.system(error), root)
            return nil
        }
    }
}

extension MailboxDisk {
    /// Runs an admission and notes what our own messages among it come to. (Of what others deliver
    /// they have told themselves.)
    func countingAdmitted(
        _ result: inout AdmissionResult,
        _ body: (inout AdmissionResult) throws(MaildirError) -> Void
    ) throws(MaildirError) {
        var added = QuotaFile.Amount()
        quota.begin()
        defer { quota.end(added, root: root) }
        try body(&result)
        guard quota.isKept(in: root) else { return }
        for case .success(let group) in result.groups {
            for entry in group {
                let message = entry.message
                let name = message.location?.name ?? message.base
                let size = MessageName(name)?.sizeHints.stored.map { Int64(clamping: $0) }
                added = added + QuotaFile.Amount(bytes: size ?? storedSize(message), messages: 1)
            }
        }
    }

    /// The size of a message whose name does not tell it.
    private func storedSize(_ message: FoundMessage) -> Int64 {
        var name = message.base
        if let location = message.location {
            name = location.name
        } else if let parsed = MessageName(message.base) {
            var flags = FlagLetters()
            flags.known = message.flags
            name = parsed.with(flags)
        }
        return Quota.size(of: name, in: cur) ?? 0
    }
}
