import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  LIST, LSUB                                                                RFC 9051 §6.3.9, RFC 5258

/// A LIST pattern: `*` matches anything, `%` anything but the separator.
struct ListPattern {
    private let bytes: [UInt8]
    private let separator: UInt8

    private static let star = UInt8(ascii: "*")
    private static let percent = UInt8(ascii: "%")

    /// Runs of wildcards are one: `*` where one of them is `*`.
    init(_ pattern: [UInt8], separator: UInt8) {
        self.separator = separator
        var bytes: [UInt8] = []
        for byte in pattern {
            if Self.isWildcard(byte), let last = bytes.last, Self.isWildcard(last) {
                if byte == Self.star { bytes[bytes.count - 1] = byte }
            } else {
                bytes.append(byte)
            }
        }
        self.bytes = bytes
    }

    private static func isWildcard(_ byte: UInt8) -> Bool { byte == star || byte == percent }

    /// Costs at most the length of the name times that of the pattern, whatever they are; what a
    /// name is too short for costs nothing.
    func matches(_ name: [UInt8]) -> Bool {
        guard bytes.count <= 2 * name.count + 1 else { return false }
        // Which positions of the pattern the name so far can lead to.
        var states = [Bool](repeating: false, count: bytes.count + 1)
        states[0] = true
        skipWildcards(&states)
        for byte in name {
            var next = [Bool](repeating: false, count: bytes.count + 1)
            var isAlive = false
            for position in bytes.indices where states[position] {
                switch bytes[position] {
                case Self.star: next[position] = true
                case Self.percent where byte != separator: next[position] = true
                case Self.percent: continue
                case byte: next[position + 1] = true
                default: continue
                }
                isAlive = true
            }
            guard isAlive else { return false }
            states = next
            skipWildcards(&states)
        }
        return states[bytes.count]
    }

    /// A wildcard may stand for nothing.
    private func skipWildcards(_ states: inout [Bool]) {
        for position in bytes.indices where states[position] && Self.isWildcard(bytes[position]) {
            states[position + 1] = true
        }
    }
}

extension Session {
    //  list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
    //                                                                        RFC 9051 §6.3.9
    func list(_ command: ListCommand) async throws(CommandFailure) -> Completion {
        let separator = store.naming.separator
        if !command.isExtended, command.patterns.count == 1, command.patterns[0].bytes.isEmpty {
            output.append(
                "LIST",
                ListResponse(attributes: [.noSelect], separator: separator, name: []),
                mode
            )
            return Completion("Listed")
        }
        let patterns = try command.patterns.map { pattern throws(CommandFailure) in
            try self.pattern(command.reference, pattern)
        }
        let isExtended = command.isExtended || revision == .rev2
        let lines = try await listing { listing in
            listing.lines(command, patterns, isExtended: isExtended)
        }
        var tree: MailboxTree?
        var known: [MailboxPath: MailboxStatus] = [:]
        if !command.status.isEmpty {
            let mailboxes = lines.filter(\.isMailbox).map(\.path)
            known = await statusesAtRest(mailboxes, command.status)
        }
        for line in lines {
            var response = line.response
            var status: [(item: StatusItem, value: StatusValue)]?
            if !command.status.isEmpty, line.isMailbox {
                do throws(CommandFailure) {
                    status = try await statusValues(
                        line.path,
                        command.status,
                        known: known[line.path]
                    )
                } catch {
                    guard case .refused = error else { throw error }
                    // RFC 5819 §2: a mailbox that cannot be looked at has no STATUS line.
                    response.attributes.insert(.noSelect, at: 0)
                }
            }
            output.append("LIST", response, mode)
            if let status {
                notifier?.noteAsked(line.path)
                output.append(status: response.name, status, mode)
            }
            if line.isMailbox { try await appendReturns(line.path, command, &tree) }
            try await flushIfLarge()
        }
        return Completion("Listed")
    }

    /// Looks at all mailboxes, in a job.
    private func listing<Success: Sendable>(
        _ body: @escaping @Sendable (MailboxListing) -> Success
    ) async throws(CommandFailure) -> Success {
        do throws(StoreError) {
            let naming = store.naming
            let uses = try await store.storedUses()
            return try await store.survey { tree, subscriptions in
                body(
                    MailboxListing(
                        naming: naming,
                        tree: tree,
                        subscribed: Set(subscriptions.mailboxes),
                        storedUses: uses
                    )
                )
            }
        } catch {
            throw CommandFailure(error)
        }
    }

    /// `* LIST` for a mailbox that exists, as SELECT answers it in rev2.       RFC 9051 §6.3.2
    ///
    /// - Parameter supplied: the client's name for it: told as OLDNAME where it is another.
    func appendListed(
        _ path: MailboxPath,
        supplied: MailboxName
    ) async throws(CommandFailure) {
        var response = try await listing { $0.line(of: path) }
        response.oldName = oldName(supplied, path)
        output.append("LIST", response, mode)
    }

    /// The name that a client gave to a mailbox, where it is not the mailbox's name: not in Form C, or
    /// INBOX in other letters.                                               RFC 9051 §6.3.9.7
    func oldName(_ supplied: MailboxName, _ path: MailboxPath) -> [UInt8]? {
        var name = supplied.bytes
        if name.count > 1, name.last == store.naming.separator { name.removeLast() }
        return name == store.naming.name(of: path) ? nil : name
    }

    /// In rev2: tells which mailbox was made, deleted or written to where its name is another than
    /// the client's.
    func appendNormalized(_ supplied: MailboxName, _ path: MailboxPath, isGone: Bool = false) {
        guard revision == .rev2, let oldName = oldName(supplied, path) else { return }
        appendOldName(oldName, path, isGone ? [.nonExistent] : [])
    }

    /// In rev2: tells what a mailbox was renamed to where one of the names is another than the
    /// client's.                                                             RFC 9051 §6.3.6
    func appendRenamed(
        _ old: (name: MailboxName, path: MailboxPath),
        _ new: (name: MailboxName, path: MailboxPath)
    ) {
        guard revision == .rev2,
            oldName(old.name, old.path) != nil || oldName(new.name, new.path) != nil
        else { return }
        appendOldName(old.name.bytes, new.path, [])
    }

    private func appendOldName(
        _ oldName: [UInt8],
        _ path: MailboxPath,
        _ attributes: [ListAttribute]
    ) {
        var response = ListResponse(
            attributes: attributes,
            separator: store.naming.separator,
            name: store.naming.name(of: path)
        )
        response.oldName = oldName
        output.append("LIST", response, mode)
    }

    //  lsub = "LSUB" SP mailbox SP list-mailbox                              RFC 3501 §6.3.9
    //
    //  With `%` a parent that is not subscribed shows as \Noselect where a child is.
    func lsub(
        _ reference: MailboxName,
        _ pattern: MailboxName
    ) async throws(CommandFailure) -> Completion {
        let matcher = try self.pattern(reference, pattern)
        let separator = store.naming.separator
        let paths: [MailboxPath]
        do throws(StoreError) { paths = try await store.subscriptions().mailboxes } catch {
            throw CommandFailure(error)
        }
        let names = Set(paths.filter(store.naming.isReachable).map(store.naming.name))
        var told: Set<[UInt8]> = []
        for name in names.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
            if matcher.matches(name) {
                told.insert(name)
                output.append(
                    "LSUB",
                    ListResponse(attributes: [], separator: separator, name: name),
                    mode
                )
                continue
            }
            guard pattern.bytes.contains(UInt8(ascii: "%")) else { continue }
            var end = name.count
            while let cut = name[..<end].lastIndex(of: separator) {
                end = cut
                let parent = Array(name[..<cut])
                guard matcher.matches(parent), !names.contains(parent),
                    told.insert(parent).inserted
                else { continue }
                output.append(
                    "LSUB",
                    ListResponse(attributes: [.noSelect], separator: separator, name: parent),
                    mode
                )
            }
        }
        return Completion("Listed")
    }

    private func pattern(
        _ reference: MailboxName,
        _ pattern: MailboxName
    ) throws(CommandFailure) -> ListPattern {
        let joined = MailboxName(reference.bytes + pattern.bytes)
        let separator = store.naming.separator
        // A pattern that is no name in this mode can match none.
        guard let decoded = joined.decoded(isUTF8: isUTF8, separator: separator) else {
            return ListPattern([0], separator: separator)
        }
        return ListPattern(UTF8Text.normalized(decoded), separator: separator)
    }
}
