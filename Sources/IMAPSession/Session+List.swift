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
        var work = 0
        for (name, path, listed) in names {
            // A thousand patterns may be asked of thousands of names.
            work += patterns.count
            if work > 1_000 {
                work = 0
                await EventLoop.yield()
            }
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
            if command.returns.contains(.myRights), listed.exists {
                // RFC 8440 §3: what cannot be looked up has no line.
                try? await appendMyRights(path, tree)
            }
            try await flushIfLarge()
        }
        return Completion("Listed")
    }

    /// `* LIST` for a mailbox that exists, as SELECT answers it in rev2.       RFC 9051 §6.3.2
    func appendListed(_ path: MailboxPath) async throws(CommandFailure) {
        let (tree, uses): (MailboxTree, [MailboxPath: SpecialUse])
        do throws(StoreError) {
            tree = try await store.tree()
            uses = Self.uses(tree, stored: try await store.storedUses())
        } catch {
            throw CommandFailure(error)
        }
        let listed = Listed(exists: true, use: uses[path])
        let command = ListCommand(reference: MailboxName([]), patterns: [])
        output.append(
            "LIST",
            ListResponse(
                attributes: attributes(
                    listed,
                    path,
                    command,
                    parents(of: tree).contains(path)
                ),
                separator: store.naming.separator,
                name: store.naming.name(of: path)
            ),
            mode
        )
    }

    /// The names that the selection options choose, in order, with those parents that only have
    /// children: they show to `%`.
    private func collect(
        _ tree: MailboxTree,
        _ subscribed: Set<MailboxPath>,
        _ uses: [MailboxPath: SpecialUse],
        _ command: ListCommand
    ) -> [(name: [UInt8], path: MailboxPath, listed: Listed)] {
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
        var isParent: Set<MailboxPath> = []
        for path in tree.entries.keys where path.components.count > 1 {
            for count in 1..<path.components.count {
                isParent.insert(MailboxPath(Array(path.components.prefix(count))))
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
            if isSelective ? isChosen(listed) : listed.exists || isParent.contains(path) {
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
        return chosen.map { (store.naming.name(of: $0.key), $0.key, $0.value) }
            .sorted { left, right in
                if left.path.isInbox != right.path.isInbox { return left.path.isInbox }
                return left.name.lexicographicallyPrecedes(right.name)
            }
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
            let isKnown = command.isExtended || revision == .rev2
            attributes.append(isKnown ? .nonExistent : .noSelect)
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
            return ListPattern([0], separator: separator)
        }
        return ListPattern(decoded, separator: separator)
    }
}
