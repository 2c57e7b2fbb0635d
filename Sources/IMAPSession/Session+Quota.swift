import Bytes
import IMAPWire
import Maildir
import MailStore

//  QUOTA                                                                     RFC 9208
//
//  One quota root for all of a user's mailboxes, where the Maildir has a `maildirsize`; else none.
//  Only an administrator changes limits, in that file.

extension Session {
    /// As Dovecot calls it by default.
    private static var quotaRoot: [UInt8] { [UInt8]("User quota") }

    //  getquota = "GETQUOTA" SP quota-root-name                              RFC 9208 §4.1.1
    func getQuota(_ root: [UInt8]) async throws(CommandFailure) -> Completion {
        guard root == Self.quotaRoot, let quota = await store.quota() else {
            throw .refused(.nonexistent, "No such quota root")
        }
        appendQuota(quota)
        return Completion("Quota listed")
    }

    //  getquotaroot = "GETQUOTAROOT" SP mailbox                              RFC 9208 §4.1.2
    //
    //  The mailbox need not exist. One that does must be readable (§6).
    func getQuotaRoot(_ name: MailboxName) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        do throws(StoreError) { try await need(.read, path) } catch { throw CommandFailure(error) }
        let mailbox = store.naming.name(of: path)
        let quota = await store.quota()
        output.append(quotaRoot: mailbox, roots: quota == nil ? [] : [Self.quotaRoot], mode)
        if let quota { appendQuota(quota) }
        return Completion("Quota roots listed")
    }

    //  setquota = "SETQUOTA" SP quota-root-name SP setquota-list             RFC 9208 §4.1.3
    func setQuota() throws(CommandFailure) -> Completion {
        throw .refused(.noPermission, "Quota is set by the administrator")
    }

    private func appendQuota(_ quota: QuotaFile) {
        var resources: [(limit: QuotaLimit, usage: UInt64)] = []
        if let limit = quota.limits.bytes {
            resources.append(
                (
                    QuotaLimit(resource: [UInt8]("STORAGE"), limit: Self.kibibytes(limit)),
                    Self.kibibytes(UInt64(max(quota.used.bytes, 0)))
                )
            )
        }
        if let limit = quota.limits.messages {
            resources.append(
                (
                    QuotaLimit(resource: [UInt8]("MESSAGE"), limit: limit),
                    UInt64(max(quota.used.messages, 0))
                )
            )
        }
        output.append(quota: Self.quotaRoot, resources, mode)
    }

    /// Units of 1024 octets, rounded up.                                     RFC 9208 §5.1
    private static func kibibytes(_ bytes: UInt64) -> UInt64 {
        bytes / 1_024 + (bytes % 1_024 > 0 ? 1 : 0)
    }
}
