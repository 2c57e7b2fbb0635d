import Bytes
import IMAPWire
import Maildir

/// The mailboxes at one moment, as LIST tells of them.                        RFC 9051 §6.3.9, RFC 5258
///
/// Pure, so that a tree of thousands of mailboxes is gone through in a job.
struct MailboxListing: Sendable {
    let naming: MailboxNaming
    let tree: MailboxTree
    let subscribed: Set<MailboxPath>
    /// The uses that CREATE set.
    let storedUses: [MailboxPath: [UInt8]]

    /// One name that LIST answers.
    struct Line: Sendable {
        var path: MailboxPath
        var response: ListResponse
        /// A mailbox, and chosen for itself: it has a STATUS line where one is asked for.
        var isMailbox: Bool
    }

    /// What is known of one name.
    private struct Name {
        var exists = false
        var isSubscribed = false
        var use: SpecialUse?
        /// Satisfies the selection options itself.
        var isChosen = false
        /// Descendants that satisfy them, and those of them that no pattern matches.
        var chosenBelow = 0
        var hiddenBelow = 0
        var hasChildren = false
    }

    /// The answer to LIST, in order: INBOX, then by name.
    ///
    /// - Parameter isExtended: the client knows `\NonExistent`.
    func lines(
        _ command: ListCommand,
        _ patterns: [ListPattern],
        isExtended: Bool
    ) -> [Line] {
        var names = allNames()
        var matching = choose(&names, command, patterns)
        // Sorted before there are lines: these cost more to move about.
        matching.sort { left, right in
            if left.path.isInbox != right.path.isInbox { return left.path.isInbox }
            return left.name.lexicographicallyPrecedes(right.name)
        }
        let isSelective = !command.selection.isDisjoint(with: [.subscribed, .specialUse])
        let isRecursive = command.selection.contains(.recursiveMatch)
        var lines: [Line] = []
        lines.reserveCapacity(matching.count)
        for (path, name) in matching {
            guard let known = names[path] else { continue }
            // §6.3.9.6: a name that is only there for its descendants is left out where they all show.
            let showsBelow = isSelective ? isRecursive && known.hiddenBelow > 0 : known.hasChildren
            guard known.isChosen || showsBelow else { continue }
            var response = ListResponse(
                attributes: attributes(known, command, isExtended),
                separator: naming.separator,
                name: name
            )
            if isRecursive, known.chosenBelow > 0 {
                response.childInfo = command.selection.intersection([.subscribed, .specialUse])
            }
            let isMailbox = known.exists && known.isChosen
            lines.append(Line(path: path, response: response, isMailbox: isMailbox))
        }
        return lines
    }

    /// The line of one mailbox that exists, with all that is known of it.
    func line(of path: MailboxPath, returns: ListCommand.Returns = []) -> ListResponse {
        let known = allNames()[path] ?? Name()
        var command = ListCommand(reference: MailboxName([]), patterns: [])
        command.returns = returns
        return ListResponse(
            attributes: attributes(known, command, true),
            separator: naming.separator,
            name: naming.name(of: path)
        )
    }

    /// Mailboxes, subscribed names, and the parents of mailboxes, which show to `%`.
    private func allNames() -> [MailboxPath: Name] {
        let uses = Session.uses(tree, stored: storedUses)
        var names: [MailboxPath: Name] = [:]
        names.reserveCapacity(tree.entries.count)
        for path in tree.entries.keys where naming.isReachable(path) {
            names[path, default: Name()].exists = true
            names[path]?.use = uses[path]
        }
        for path in subscribed where naming.isReachable(path) {
            names[path, default: Name()].isSubscribed = true
        }
        for path in tree.entries.keys {
            forEachParent(of: path) { parent in
                // INBOX has the children that begin with a level INBOX.
                names[isInboxAlias(parent) ? .inbox : parent, default: Name()].hasChildren = true
            }
        }
        if !naming.prefix.isEmpty, tree.entries.count > 1 { names[.inbox]?.hasChildren = true }
        return names
    }

    private func forEachParent(of path: MailboxPath, _ body: (MailboxPath) -> Void) {
        guard path.components.count > 1 else { return }
        for count in 1..<path.components.count {
            body(MailboxPath(Array(path.components.prefix(count))))
        }
    }

    private func isInboxAlias(_ path: MailboxPath) -> Bool {
        path.components.count == 1 && path.components[0].equalsIgnoringCase("INBOX")
    }

    /// Notes which names satisfy the selection options and tells their parents. Returns the names
    /// that a pattern matches.
    private func choose(
        _ names: inout [MailboxPath: Name],
        _ command: ListCommand,
        _ patterns: [ListPattern]
    ) -> [(path: MailboxPath, name: [UInt8])] {
        let selection = command.selection
        let isSelective = !selection.isDisjoint(with: [.subscribed, .specialUse])
        var matching: [(path: MailboxPath, name: [UInt8])] = []
        var below: [(path: MailboxPath, isHidden: Bool)] = []
        for (path, known) in names {
            let name = naming.name(of: path)
            let isMatch = patterns.contains { $0.matches(name) }
            if isMatch { matching.append((path, name)) }
            var isChosen = known.exists
            if isSelective {
                isChosen =
                    (!selection.contains(.subscribed) || known.isSubscribed)
                    && (!selection.contains(.specialUse) || known.use != nil)
            }
            guard isChosen else { continue }
            names[path]?.isChosen = true
            below.append((path, !isMatch))
        }
        if selection.contains(.recursiveMatch) {
            for (path, isHidden) in below {
                forEachParent(of: path) { parent in
                    // A subscribed name may have parents that nobody has heard of.
                    let known = isInboxAlias(parent) ? .inbox : parent
                    if names[known] == nil, naming.isReachable(known) {
                        names[known] = Name()
                        let name = naming.name(of: known)
                        if patterns.contains(where: { $0.matches(name) }) {
                            matching.append((known, name))
                        }
                    }
                    names[known]?.chosenBelow += 1
                    if isHidden { names[known]?.hiddenBelow += 1 }
                }
            }
        }
        return matching
    }

    private func attributes(
        _ known: Name,
        _ command: ListCommand,
        _ isExtended: Bool
    ) -> [ListAttribute] {
        var attributes: [ListAttribute] = []
        if !known.exists { attributes.append(isExtended ? .nonExistent : .noSelect) }
        attributes.append(known.hasChildren ? .hasChildren : .hasNoChildren)
        let showsSubscribed =
            command.selection.contains(.subscribed) || command.returns.contains(.subscribed)
        if showsSubscribed, known.isSubscribed { attributes.append(.subscribed) }
        if let use = known.use { attributes.append(.use(use)) }
        return attributes
    }
}
