import Bytes
import IMAPWire
import Maildir
import MailStore

//  LIST, LSUB                                                                RFC 9051 §6.3.9, RFC 5258

/// A LIST pattern: `*` matches anything, `%` anything but the separator.
struct ListPattern {
    let bytes: [UInt8]
    let separator: UInt8

    /// Linear in the name for each `*`: remembers the last wildcard only, as one behind it can
    /// stand for all that an earlier one could.
    func matches(_ name: [UInt8]) -> Bool {
        // States are positions in the pattern; a set of them, so that no input is exponential.
        var states = Set([0])
        states = closure(states)
        for byte in name {
            var next: Set<Int> = []
            for state in states where state < bytes.count {
                switch bytes[state] {
                case UInt8(ascii: "*"): next.insert(state)
                case UInt8(ascii: "%"): if byte != separator { next.insert(state) }
                default: if bytes[state] == byte { next.insert(state + 1) }
                }
            }
            if next.isEmpty { return false }
            states = closure(next)
        }
        return states.contains(bytes.count)
    }

    /// A wildcard may stand for nothing.
    private func closure(_ states: Set<Int>) -> Set<Int> {
        var closed = states
        for var state in states {
            while state < bytes.count,
                bytes[state] == UInt8(ascii: "*") || bytes[state] == UInt8(ascii: "%")
            {
                state += 1
                closed.insert(state)
            }
        }
        return closed
    }
}

extension Session {
    /// What LIST knows of one name.
    private struct Listed {
        var exists = false
        var isSubscribed = false
        var use: SpecialUse?
        /// A descendant that the selection options choose, and the name itself not.
        var childInfo: ListCommand.Selection = []
    }

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
        let (tree, subscribed, uses): (MailboxTree, Set<MailboxPath>, [MailboxPath: SpecialUse])
        do throws(StoreError) {
            tree = try await store.tree()
            subscribed = Set(try await store.subscriptions().mailboxes)
            uses = Self.uses(tree, stored: try await store.storedUses())
        } catch {
            throw CommandFailure(error)
        }
        let names = collect(tree, subscribed, uses, command)
        let hasChildren = parents(of: tree)
        for (path, listed) in names {
            let name = store.naming.name(of: path)
            guard patterns.contains(where: { $0.matches(name) }) else { continue }
            var response = ListResponse(
                attributes: attributes(listed, path, command, hasChildren.contains(path)),
                separator: separator,
                name: name
            )
            response.childInfo = listed.childInfo
            output.append("LIST", response, mode)
            if !command.status.isEmpty, listed.exists {
                do throws(CommandFailure) { try await appendStatus(path, command.status) } catch {
                    if case .closed = error { throw error }
                    // RFC 5819 §2: a mailbox that cannot be looked at has no STATUS line.
                }
            }
            try await flushIfLarge()
        }
        return Completion("Listed")
    }

    /// The names that the selection options choose, in order, with those parents that only have
    /// children: they show to `%`.
    private func collect(
        _ tree: MailboxTree,
        _ subscribed: Set<MailboxPath>,
        _ uses: [MailboxPath: SpecialUse],
        _ command: ListCommand
    ) -> [(MailboxPath, Listed)] {
        var all: [MailboxPath: Listed] = [:]
        for path in tree.entries.keys where store.naming.isReachable(path) {
            all[path] = Listed(exists: true, isSubscribed: false, use: uses[path])
        }
        for path in subscribed where store.naming.isReachable(path) {
            all[path, default: Listed()].isSubscribed = true
        }
        for path in tree.entries.keys {
            for count in 1..<max(path.components.count, 1) {
                let parent = MailboxPath(Array(path.components.prefix(count)))
                if all[parent] == nil, !isInboxAlias(parent) { all[parent] = Listed() }
            }
        }
        let selection = command.selection
        func isChosen(_ listed: Listed) -> Bool {
            if selection.contains(.subscribed), !listed.isSubscribed { return false }
            if selection.contains(.specialUse), listed.use == nil { return false }
            if !selection.contains(.subscribed), !listed.exists {
                return !selection.contains(.specialUse)
            }
            return true
        }
        var chosen: [MailboxPath: Listed] = [:]
        let isSelective = selection.contains(.subscribed) || selection.contains(.specialUse)
        for (path, listed) in all {
            if isSelective ? isChosen(listed) : (listed.exists || !tree.below(path).isEmpty) {
                chosen[path] = listed
            }
        }
        if selection.contains(.recursiveMatch) {
            for (path, _) in all where chosen[path] != nil {
                for count in 1..<max(path.components.count, 1) {
                    let parent = MailboxPath(Array(path.components.prefix(count)))
                    guard var listed = all[parent] else { continue }
                    listed.childInfo = selection.intersection([.subscribed, .specialUse])
                    if var known = chosen[parent] {
                        known.childInfo = listed.childInfo
                        chosen[parent] = known
                    } else {
                        chosen[parent] = listed
                    }
                }
            }
        }
        return chosen.sorted { left, right in
            if left.key.isInbox != right.key.isInbox { return left.key.isInbox }
            return store.naming.name(of: left.key)
                .lexicographicallyPrecedes(store.naming.name(of: right.key))
        }
        .map { ($0.key, $0.value) }
    }

    private func isInboxAlias(_ path: MailboxPath) -> Bool {
        path.components.count == 1 && path.components[0].equalsIgnoringCase("INBOX")
    }

    /// Every path with a mailbox below it. INBOX has those that begin with a level INBOX.
    private func parents(of tree: MailboxTree) -> Set<MailboxPath> {
        var parents: Set<MailboxPath> = []
        for path in tree.entries.keys where path.components.count > 1 {
            for count in 1..<path.components.count {
                let parent = MailboxPath(Array(path.components.prefix(count)))
                parents.insert(isInboxAlias(parent) ? .inbox : parent)
            }
        }
        if !store.naming.prefix.isEmpty, tree.entries.count > 1 { parents.insert(.inbox) }
        return parents
    }

    private func attributes(
        _ listed: Listed,
        _ path: MailboxPath,
        _ command: ListCommand,
        _ hasChildren: Bool
    ) -> [ListAttribute] {
        var attributes: [ListAttribute] = []
        if !listed.exists {
            attributes.append(command.isExtended ? .nonExistent : .noSelect)
        }
        attributes.append(hasChildren ? .hasChildren : .hasNoChildren)
        let showsSubscribed =
            command.selection.contains(.subscribed) || command.returns.contains(.subscribed)
        if showsSubscribed, listed.isSubscribed { attributes.append(.subscribed) }
        if let use = listed.use { attributes.append(.use(use)) }
        return attributes
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
            return ListPattern(bytes: [0], separator: separator)
        }
        return ListPattern(bytes: decoded, separator: separator)
    }
}
