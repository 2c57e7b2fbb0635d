import Bytes
package import Maildir
package import Posix

//  What happens in mailboxes that are not selected, and to the tree          for RFC 5465
//
//  A mailbox of interest costs two watches and a few bytes: it is not opened, and its list of
//  messages is not in memory. inotify says which names came and went in `new/` and `cur/`; names
//  that only changed (a letter was added, a file moved from `new/` to `cur/`) cancel out. So it is
//  known what kind of thing happened without a look at the disk, and the mailbox is opened only when
//  somebody is to be told. The root is watched for mailboxes that come and go, and for
//  `subscriptions`.
//
//  Each watcher has its own watches; the kernel keeps one for a directory, however many ask.

/// Watches mailboxes and the tree for one session.
@EventLoop
package final class StoreWatch {
    package struct Events: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        /// Messages came or went.
        package static let messages = Events(rawValue: 1)
        package static let flags = Events(rawValue: 2)
    }

    /// What is known of one mailbox, whatever its name is meanwhile.
    @EventLoop
    private final class Watched {
        var watches: [Inotify.WatchID] = []
        private var events: Events = []
        /// Base names that are in the mailbox now and were not before, and the other way round.
        private var came: Set<[UInt8]> = []
        private var went: Set<[UInt8]> = []

        func note(_ events: Events) {
            self.events.formUnion(events)
            guard events.contains(.messages) else { return }
            came = []
            went = []
        }

        func note(_ event: FileEvent, isNew: Bool) {
            switch event.kind {
            case .overflow, .directoryGone: return note([.messages, .flags])
            case .attributes: return
            case .movedTo, .created, .written, .movedFrom, .deleted: break
            }
            // What came or went is known by one name; more is told all the same.
            guard !events.contains(.messages), let name = MessageName(event.name) else { return }
            switch event.kind {
            case .movedTo, .created, .written:
                if went.remove(name.base) == nil {
                    came.insert(name.base)
                } else if !isNew {
                    events.insert(.flags)
                }
            default:
                if came.remove(name.base) == nil { went.insert(name.base) }
            }
            if came.count + went.count > Limits.watchedNameCountMax { note(.messages) }
        }

        /// What came or went until now does not cancel out with what follows.
        func noteSeen() {
            if !came.isEmpty || !went.isEmpty { note(.messages) }
        }

        func take() -> Events {
            var taken = events
            if !came.isEmpty || !went.isEmpty { taken.insert(.messages) }
            events = []
            came = []
            went = []
            return taken
        }
    }

    /// Why it cannot watch.
    package enum Refusal: Error {
        /// The filesystem does not tell of changes, or inotify has no room.
        case unwatchable
    }

    private let store: MailStore
    private let wake: () -> Void
    private var watched: [MailboxPath: Watched] = [:]
    private var root: Inotify.WatchID?
    private var isTreeChanged = false
    private var hasNewSubscriptions = false
    private var rechecks: [TimerID] = []

    /// - Parameter wake: called where something may be to be told.
    package init(_ store: MailStore, wake: @escaping () -> Void) {
        self.store = store
        self.wake = wake
    }

    package func stop() {
        for path in watched.keys { remove(path) }
        if let root { store.context.inotify?.remove(root) }
        root = nil
        for timer in rechecks { EventLoop.cancel(timer) }
        rechecks = []
    }

    // MARK: The tree

    package func watchTree() throws(Refusal) {
        guard root == nil else { return }
        guard let inotify = store.context.inotify, store.root.tellsEveryChange else {
            throw .unwatchable
        }
        do throws(SystemError) {
            root = try inotify.add(store.root, directories: true) { [weak self] event in
                self?.handleRoot(event)
            }
        } catch {
            throw .unwatchable
        }
    }

    private func handleRoot(_ event: FileEvent) {
        switch event.kind {
        case .overflow, .directoryGone:
            isTreeChanged = true
            hasNewSubscriptions = true
        case .attributes: return
        case .created, .movedTo, .written, .deleted, .movedFrom:
            if event.name.first == UInt8(ascii: ".") {
                isTreeChanged = true
                // Other programs make the directory first and what belongs into it then.
                if event.kind == .created || event.kind == .movedTo { lookAgain() }
            } else if event.name == Subscriptions.name {
                hasNewSubscriptions = true
            } else {
                return
            }
        }
        wake()
    }

    private func lookAgain() {
        for timer in rechecks { EventLoop.cancel(timer) }
        rechecks = Limits.newMailboxMilliseconds.map { milliseconds in
            EventLoop.schedule(at: .after(milliseconds: milliseconds)) { [weak self] in
                self?.isTreeChanged = true
                self?.wake()
            }
        }
    }

    /// Whether mailboxes may have come or gone, and whether subscriptions may have changed, since
    /// this was last asked.
    package func takeTreeChanges() -> (tree: Bool, subscriptions: Bool) {
        defer { (isTreeChanged, hasNewSubscriptions) = (false, false) }
        return (isTreeChanged, hasNewSubscriptions)
    }

    // MARK: Mailboxes

    package var paths: [MailboxPath] { Array(watched.keys) }

    /// Watches mailboxes of a listing; those that went away since are left out.
    package func add(_ entries: [MailboxTree.Entry]) async throws(Refusal) {
        guard let inotify = store.context.inotify else { throw .unwatchable }
        var left = entries.filter { watched[$0.path] == nil }[...]
        while !left.isEmpty {
            // Their directories are open until they are watched.
            let batch = Array(left.prefix(64))
            left = left.dropFirst(batch.count)
            let root = store.root
            let opened = await store.context.pool.run { () -> [(new: Directory, cur: Directory)?] in
                batch.map { entry in
                    guard let directory = try? MailboxTree.open(entry, root: root),
                        let new = try? directory.subdirectory([UInt8]("new")),
                        let cur = try? directory.subdirectory([UInt8]("cur"))
                    else { return nil }
                    return (new, cur)
                }
            }
            for (entry, directories) in zip(batch, opened) {
                guard let directories, watched[entry.path] == nil else { continue }
                try add(entry.path, directories.new, directories.cur, inotify)
            }
        }
    }

    private func add(
        _ path: MailboxPath,
        _ new: Directory,
        _ cur: Directory,
        _ inotify: Inotify
    ) throws(Refusal) {
        guard cur.tellsEveryChange else { throw .unwatchable }
        let mailbox = Watched()
        do throws(SystemError) {
            for (directory, isNew) in [(new, true), (cur, false)] {
                let id = try inotify.add(directory) { [weak self] event in
                    mailbox.note(event, isNew: isNew)
                    self?.wake()
                }
                mailbox.watches.append(id)
            }
        } catch {
            for id in mailbox.watches { inotify.remove(id) }
            Log.warning("event=no-inotify error=\"\(error)\" reason=notify")
            throw .unwatchable
        }
        watched[path] = mailbox
    }

    package func remove(_ path: MailboxPath) {
        guard let entry = watched.removeValue(forKey: path) else { return }
        for id in entry.watches { store.context.inotify?.remove(id) }
    }

    /// The mailbox has another name now.
    package func rename(_ old: MailboxPath, to new: MailboxPath) {
        guard let entry = watched.removeValue(forKey: old) else { return }
        remove(new)
        watched[new] = entry
    }

    /// Has a mailbox looked at, whatever inotify told.
    package func suspect(_ path: MailboxPath) {
        watched[path]?.note([.messages, .flags])
    }

    /// A mailbox's state has been told. A message that was counted and goes before `takeMailboxes` is
    /// asked again came to nothing for the watch, but not for who was told.
    package func noteSeen(_ path: MailboxPath) {
        // A listing may have found what the queue still holds.
        store.context.inotify?.drain()
        watched[path]?.noteSeen()
    }

    /// The mailboxes in which something happened since this was last asked; but for one, which is
    /// told later.
    package func takeMailboxes(
        except kept: MailboxPath?
    ) -> [(path: MailboxPath, events: Events)] {
        var list: [(path: MailboxPath, events: Events)] = []
        for (path, mailbox) in watched where path != kept {
            let events = mailbox.take()
            if !events.isEmpty { list.append((path, events)) }
        }
        return list
    }
}
