import Bytes
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
        case .getMetadata(let command): return try await getMetadata(command)
        case .setMetadata(let command): return try await setMetadata(command)
        case .language(let tags): return try language(tags)
        default: throw .bad("Command is not offered by this server")
        }
    }

    /// What LIST returns of a mailbox behind its line.                        RFC 8440 §3, RFC 9590 §3
    ///
    /// What cannot be looked up has no line.
    ///
    /// - Parameter tree: looked at once for a command.
    func appendReturns(
        _ path: MailboxPath,
        _ command: ListCommand,
        _ tree: inout MailboxTree?
    ) async throws(CommandFailure) {
        guard command.returns.contains(.myRights) || !command.metadata.isEmpty else { return }
        do throws(StoreError) {
            if tree == nil { tree = try await store.tree() }
            if command.returns.contains(.myRights) { try await appendMyRights(path, tree) }
        } catch {
            // Gone meanwhile, or not readable: it is in the log.
            return
        }
        if !command.metadata.isEmpty {
            do throws(CommandFailure) {
                try await appendMetadata(path, command.metadata, tree)
            } catch {
                if case .closed = error { throw error }
            }
        }
    }

    //  language = "LANGUAGE" [SP lang-range *(SP lang-range)]                RFC 5255 §3.2
    //
    //  Texts are in English, which `i-default` is too. A range that covers neither is NO; the present
    //  language stays.
    func language(_ ranges: [[UInt8]]) throws(CommandFailure) -> Completion {
        let tags = [[UInt8]("i-default"), [UInt8]("en")]
        guard !ranges.isEmpty else {
            output.append(languages: tags)
            return Completion("Languages listed")
        }
        for range in ranges {
            let chosen: [UInt8]?
            switch String(decoding: range, as: UTF8.self).lowercased() {
            case "i-default", "default", "*": chosen = tags[0]
            case let text where text == "en" || text.hasPrefix("en-"): chosen = tags[1]
            default: chosen = nil
            }
            if let chosen {
                output.append(languages: [chosen])
                return Completion("Language chosen")
            }
        }
        throw .refused(nil, "Texts are in English only")
    }
}
