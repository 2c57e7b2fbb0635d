import IMAPWire
import Maildir
import MailStore
import Posix

//  What a session asked for with NOTIFY SET, and what it has been told        RFC 5465
//
//  Mailboxes that are not selected are watched (`StoreWatch`), not opened. When inotify tells of one,
//  it is opened as STATUS opens it, and its state is sent where it is not what was told last. The tree
//  and the subscriptions are compared with those told last whenever the root changes. So an event that
//  comes twice, or for what this session did itself, is told once or not at all, and a queue that
//  overflowed costs a comparison.

@EventLoop
final class Notifier {
    /// Of mailboxes other than the selected one.
    struct Events: OptionSet {
        let rawValue: UInt8

        static let messages = Events(rawValue: 1)
        static let flags = Events(rawValue: 2)
        static let names = Events(rawValue: 4)
        static let subscriptions = Events(rawValue: 8)
        static let annotations = Events(rawValue: 16)
        /// Of no mailbox: whichever group asks for it.
        static let serverAnnotations = Events(rawValue: 32)

        /// Those for which mailboxes are watched, and not only the tree.
        static let inMailboxes: Events = [.messages, .flags]
    }

    struct Group {
        let choice: MailboxChoice
        let events: Events
    }

    /// The state of a mailbox as it was last told.
    struct Told: Equatable {
        var uidValidity: UInt32
        var messages: Int
        var uidNext: UInt32
        /// Nil where flags are not told.
        var unseen: Int?
        /// Nil for a client that does not know CONDSTORE.
        var highestModseq: UInt64?
    }

    /// Of the selected mailbox.
    let selected: ReportedEvents
    /// What is fetched of a new message there.
    let items: [FetchItem]
    /// With SELECTED-DELAYED expunges wait for a command that allows them.      RFC 5465 §6.1.2
    let isDelayed: Bool
    let groups: [Group]
    private let store: MailStore
    let watch: StoreWatch
    private let wake: () -> Void
    private var isStopped = false

    var told: [MailboxPath: Told] = [:]
    private(set) var tree: MailboxTree?
    private(set) var subscribed: Set<MailboxPath> = []
    /// Names that this session's own commands change: they are not told.          RFC 5465 §5
    private var own: Set<MailboxPath> = []

    /// - Parameter wake: called where something may be to be told.
    init(
        _ groups: [NotifyCommand.EventGroup],
        _ session: Session,
        wake: @escaping () -> Void
    ) {
        var selected: ReportedEvents = []
        var items: [FetchItem] = []
        var isDelayed = false
        var others: [Group] = []
        for group in groups {
            let isSelected = group.filter == .selected || group.filter == .selectedDelayed
            var events: Events = []
            for event in group.events {
                switch event {
                case .messageNew(let fetched):
                    if isSelected {
                        selected.insert(.new)
                        items = fetched
                    }
                    events.insert(.messages)
                case .messageExpunge:
                    if isSelected { selected.insert(.expunged) }
                    events.insert(.messages)
                case .flagChange:
                    if isSelected { selected.insert(.flags) }
                    events.insert(.flags)
                case .mailboxName: events.insert(.names)
                case .subscriptionChange: events.insert(.subscriptions)
                case .mailboxMetadataChange: events.insert(.annotations)
                case .serverMetadataChange: events.insert(.serverAnnotations)
                // Refused before.
                case .annotationChange, .unknown: break
                }
            }
            if isSelected {
                isDelayed = group.filter == .selectedDelayed
            } else {
                others.append(Group(choice: session.choice([group.filter]), events: events))
            }
        }
        self.selected = selected
        self.items = items
        self.isDelayed = isDelayed
        self.groups = others
        store = session.store
        self.wake = wake
        watch = StoreWatch(session.store, wake: wake)
    }

    func stop() {
        watch.stop()
        isStopped = true
    }

    /// Whether the session is to be woken between commands.
    var listens: Bool { !selected.isEmpty || !groups.isEmpty }

    /// What is told of a mailbox: of all the groups that choose it.
    func events(of path: MailboxPath) -> Events {
        guard store.naming.isReachable(path) else { return [] }
        let name = store.naming.name(of: path)
        let isSubscribed = subscribed.contains(path)
        return groups.reduce([]) { events, group in
            group.choice.contains(name, isSubscribed: isSubscribed)
                ? events.union(group.events) : events
        }
    }

    private var all: Events { groups.reduce([]) { $0.union($1.events) } }

    var wantsAnnotations: Bool { !all.isDisjoint(with: [.annotations, .serverAnnotations]) }

    /// Whether changed annotations of a mailbox, or of the server (nil), are told.
    func wantsAnnotations(of path: MailboxPath?) -> Bool {
        guard let path else { return all.contains(.serverAnnotations) }
        return events(of: path).contains(.annotations)
    }

    // MARK: Watching

    enum Refusal: Error {
        case unwatchable
        case tooMany
        case store(StoreError)
    }

    /// Starts to watch. What there is now counts as told.
    func begin(countMax: Int) async throws(Refusal) {
        if all.isSubset(of: .serverAnnotations) { return }
        do throws(StoreWatch.Refusal) { try watch.watchTree() } catch { throw .unwatchable }
        let (tree, subscribed) = try await look()
        self.tree = tree
        self.subscribed = subscribed
        try await watchMailboxes(tree, countMax)
    }

    private func look() async throws(Refusal) -> (MailboxTree, Set<MailboxPath>) {
        do throws(StoreError) {
            return (try await store.settledTree(), Set(try await store.subscriptions().mailboxes))
        } catch {
            throw .store(error)
        }
    }

    /// Watches the mailboxes whose messages are asked for, and no others.
    private func watchMailboxes(_ tree: MailboxTree, _ countMax: Int) async throws(Refusal) {
        let wanted = tree.entries.values.filter {
            !events(of: $0.path).isDisjoint(with: .inMailboxes)
        }
        guard wanted.count <= countMax else { throw .tooMany }
        let paths = Set(wanted.map(\.path))
        for path in watch.paths where !paths.contains(path) {
            watch.remove(path)
            told[path] = nil
        }
        do throws(StoreWatch.Refusal) { try await watch.add(wanted) } catch {
            throw .unwatchable
        }
    }

    // MARK: Mailboxes

    /// Mailboxes in which something happened that is to be told, and which are not looked at yet.
    private var changed: Set<MailboxPath> = []
    private var looking: Set<MailboxPath> = []
    private var lookedAt: [(path: MailboxPath, state: Told)] = []

    /// Takes in what was seen to happen, but for one mailbox, of which it is kept for later.
    func noteChanges(except kept: MailboxPath?) {
        for (path, seen) in watch.takeMailboxes(except: kept) {
            let wanted = events(of: path)
            if seen.contains(.messages) && wanted.contains(.messages)
                || seen.contains(.flags) && wanted.contains(.flags)
            {
                changed.insert(path)
            }
        }
    }

    /// The next mailbox to look at; nil where there is none, or enough are being looked at.
    func nextToLookAt() -> MailboxPath? {
        guard looking.count < Limits.notifyLooksMax,
            let path = changed.first(where: { !looking.contains($0) })
        else { return nil }
        changed.remove(path)
        looking.insert(path)
        return path
    }

    func noteState(_ state: Told?, of path: MailboxPath) {
        looking.remove(path)
        if isStopped { return }
        if let state { lookedAt.append((path, state)) }
        wake()
    }

    /// The client was told of a mailbox in a STATUS that it asked for: the next change is told whatever
    /// was told before.
    func noteAsked(_ path: MailboxPath) {
        watch.noteSeen(path)
        told[path] = nil
    }

    func takeLookedAt() -> [(path: MailboxPath, state: Told)] {
        defer { lookedAt = [] }
        return lookedAt
    }

    // MARK: The tree

    /// What a client is told of one name.
    struct NameChange: Sendable {
        let path: MailboxPath
        var oldPath: MailboxPath?
    }

    /// What changed in the tree and among the subscriptions since it was last told.
    struct TreeChanges {
        var names: [NameChange] = []
        var subscriptions: [MailboxPath] = []
        var tree: MailboxTree
        var subscribed: Set<MailboxPath>
    }

    func noteOwn(_ paths: [MailboxPath]) { own.formUnion(paths) }

    func noteOwnSubscription(_ path: MailboxPath, _ isSubscribed: Bool) {
        if isSubscribed { subscribed.insert(path) } else { subscribed.remove(path) }
    }

    /// Nil where nothing may have changed.
    func treeChanges(countMax: Int) async throws(Refusal) -> TreeChanges? {
        let changed = watch.takeTreeChanges()
        guard changed.tree || changed.subscriptions, let before = tree else { return nil }
        var (tree, subscribed) = try await look()
        if before.entries.keys.contains(where: { tree.entries[$0] == nil }) {
            // A listing may miss a directory that is renamed meanwhile. What is gone twice is gone.
            await EventLoop.sleep(milliseconds: 5)
            _ = watch.takeTreeChanges()
            (tree, subscribed) = try await look()
        }
        var changes = TreeChanges(tree: tree, subscribed: subscribed)
        let subscribedBefore = self.subscribed
        self.tree = tree
        self.subscribed = subscribed
        follow(before, tree, &changes)
        for path in subscribedBefore.symmetricDifference(subscribed)
        where events(of: path, wasSubscribed: subscribedBefore).contains(.subscriptions) {
            changes.subscriptions.append(path)
        }
        changes.subscriptions.sort { store.naming.precedes($0, $1) }
        try await watchMailboxes(tree, countMax)
        return changes
    }

    /// A mailbox that was subscribed, or is, is one of `subscribed`.
    private func events(of path: MailboxPath, wasSubscribed: Set<MailboxPath>) -> Events {
        guard store.naming.isReachable(path) else { return [] }
        let name = store.naming.name(of: path)
        let isSubscribed = subscribed.contains(path) || wasSubscribed.contains(path)
        return groups.reduce([]) { events, group in
            group.choice.contains(name, isSubscribed: isSubscribed)
                ? events.union(group.events) : events
        }
    }

    private func follow(
        _ before: MailboxTree,
        _ after: MailboxTree,
        _ changes: inout TreeChanges
    ) {
        var gone: [FileIdentity: MailboxPath] = [:]
        var removed: Set<MailboxPath> = []
        var added: [MailboxPath] = []
        for (path, entry) in before.entries where after.entries[path]?.identity != entry.identity {
            // Another directory of the same name: other mail.
            if after.entries[path] != nil { watch.remove(path) } else { removed.insert(path) }
            gone[entry.identity] = path
        }
        var renamed: [MailboxPath: MailboxPath] = [:]
        for (path, entry) in after.entries where before.entries[path]?.identity != entry.identity {
            if let old = gone[entry.identity], removed.contains(old) {
                renamed[path] = old
                removed.remove(old)
                watch.rename(old, to: path)
                told[path] = told.removeValue(forKey: old)
            } else {
                if before.entries[path] == nil { added.append(path) }
                arrived.insert(path)
            }
        }
        for path in removed { told[path] = nil }
        var affected: [MailboxPath: MailboxPath?] = [:]
        // Parents first, which are affected too (§5.4), each name once.
        for path in removed.union(added) where !own.contains(path) {
            if path.components.count > 1 {
                affected[MailboxPath(path.components.dropLast())] = .some(nil)
            }
        }
        for path in removed.union(added) where !own.contains(path) { affected[path] = .some(nil) }
        for (path, old) in renamed where !own.contains(path) {
            // §5.4: of a tree that is renamed its top alone is told.
            let parent = MailboxPath(path.components.dropLast())
            let oldParent = MailboxPath(old.components.dropLast())
            let isChild =
                path.components.last == old.components.last && renamed[parent] == oldParent
            if !isChild { affected[path] = .some(old) }
        }
        own = []
        changes.names = affected.map { NameChange(path: $0.key, oldPath: $0.value) }
            .filter { change in
                events(of: change.path).contains(.names)
                    || change.oldPath.map { events(of: $0).contains(.names) } ?? false
            }
            .sorted { store.naming.precedes($0.path, $1.path) }
    }

    /// Mailboxes that have come with mail in them perhaps: it is told.
    private var arrived: Set<MailboxPath> = []

    func takeArrived() -> Set<MailboxPath> {
        defer { arrived = [] }
        return arrived
    }
}

extension MailboxNaming {
    /// The order in which mailboxes are told: INBOX, then by name.
    func precedes(_ left: MailboxPath, _ right: MailboxPath) -> Bool {
        if left.isInbox != right.isInbox { return left.isInbox }
        return name(of: left).lexicographicallyPrecedes(name(of: right))
    }
}
