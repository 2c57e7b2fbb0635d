import IMAPWire
import Maildir
import MailStore

//  Which mailboxes the filters of ESEARCH and NOTIFY are about             RFC 5465 §6, RFC 7377 §2.2

/// What filters choose, among mailboxes that exist or may come to exist.
struct MailboxChoice {
    private var isPersonal = false
    private(set) var isSubscribed = false
    private var names: Set<[UInt8]> = []
    private var subtrees: [[UInt8]] = []
    private var childrenOf: [[UInt8]] = []
    private let separator: UInt8

    /// A name that no mailbox can have chooses none.
    ///
    /// - Parameter resolve: the name of a client's mailbox as `MailboxNaming.name` gives it.
    init(
        _ filters: [MailboxFilter],
        separator: UInt8,
        resolve: (MailboxName) -> [UInt8]?
    ) {
        self.separator = separator
        for filter in filters {
            switch filter {
            case .selected, .selectedDelayed: break
            // Any mailbox may be delivered to, by procmail and its like: RFC 5465 §6.3 wants
            // "personal" then.
            case .inboxes, .personal: isPersonal = true
            case .subscribed: isSubscribed = true
            case .subtree(let list): subtrees += list.compactMap(resolve)
            case .subtreeOne(let list): childrenOf += list.compactMap(resolve)
            case .mailboxes(let list): names.formUnion(list.compactMap(resolve))
            }
        }
    }

    /// - Parameter name: in UTF-8, as clients see it.
    func contains(_ name: [UInt8], isSubscribed: Bool) -> Bool {
        if isPersonal || self.isSubscribed && isSubscribed || names.contains(name) { return true }
        if subtrees.contains(where: { name == $0 || isBelow(name, $0) }) { return true }
        return childrenOf.contains { parent in
            name == parent
                || isBelow(name, parent) && !name[(parent.count + 1)...].contains(separator)
        }
    }

    private func isBelow(_ name: [UInt8], _ parent: [UInt8]) -> Bool {
        name.count > parent.count + 1 && name[parent.count] == separator
            && name.starts(with: parent)
    }
}

extension Session {
    func choice(_ filters: [MailboxFilter]) -> MailboxChoice {
        MailboxChoice(filters, separator: store.naming.separator) { name in
            (try? path(name)).map { store.naming.name(of: $0) }
        }
    }

    /// The mailboxes that exist of those that the filters choose, INBOX first, each once.
    func mailboxes(_ filters: [MailboxFilter]) async throws(CommandFailure) -> [MailboxPath] {
        let choice = choice(filters)
        var chosen: [(name: [UInt8], path: MailboxPath)] = []
        do throws(StoreError) {
            let tree = try await store.tree()
            let subscribed: Set<MailboxPath> =
                choice.isSubscribed ? Set(try await store.subscriptions().mailboxes) : []
            for path in tree.entries.keys where store.naming.isReachable(path) {
                let name = store.naming.name(of: path)
                let isSelected = filters.contains(.selected) && path == selected?.mailbox.path
                if isSelected || choice.contains(name, isSubscribed: subscribed.contains(path)) {
                    chosen.append((name, path))
                }
            }
        } catch {
            throw CommandFailure(error)
        }
        chosen.sort { left, right in
            if left.path.isInbox != right.path.isInbox { return left.path.isInbox }
            return left.name.lexicographicallyPrecedes(right.name)
        }
        return chosen.map(\.path)
    }
}
