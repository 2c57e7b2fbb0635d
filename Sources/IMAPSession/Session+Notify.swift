import Bytes
import IMAPWire
import Maildir
import MailStore
import Posix

//  NOTIFY                                                                    RFC 5465
//
//  After NOTIFY SET the session is woken while no command runs, and tells then what it would else tell
//  behind a command or in IDLE. Whatever is told is told by the session's own task, between commands or
//  at their end: so no response is ever within another, and a client that does not read makes
//  nobody wait and nothing grow.

extension Session {
    //  notify = "NOTIFY" SP (notify-set / notify-none)                       RFC 5465 §8
    func notify(_ command: NotifyCommand) async throws(CommandFailure) -> Completion {
        guard case .set(let status, let groups) = command else {
            notifier?.stop()
            notifier = Notifier([], self) {}
            return Completion("Not notified any more")
        }
        try check(groups)
        let next = Notifier(groups, self) { [weak self] in self?.stream.interrupt() }
        do throws(Notifier.Refusal) { try await next.begin(countMax: notifyMailboxCountMax) } catch
        {
            next.stop()
            switch error {
            case .store(let error): throw CommandFailure(error)
            case .tooMany: throw .refused(.notificationOverflow, "Too many mailboxes to watch")
            case .unwatchable:
                throw .refused(.notificationOverflow, "Mailboxes cannot be watched here")
            }
        }
        notifier?.stop()
        notifier = next
        if status {
            for path in next.watch.paths.sorted(by: { store.naming.precedes($0, $1) })
            where path != selected?.mailbox.path {
                try await tellState(of: path, next, [.messages, .flags], always: true)
            }
        }
        selected?.mailbox.drainEvents()
        return Completion("Notified from now on")
    }

    private func check(_ groups: [NotifyCommand.EventGroup]) throws(CommandFailure) {
        for group in groups {
            for event in group.events {
                switch event {
                case .messageNew(let items):
                    for item in items where !isOffered(item) {
                        throw .bad("Fetch item is not offered by this server")
                    }
                case .messageExpunge, .flagChange, .mailboxName, .subscriptionChange: break
                case .annotationChange, .mailboxMetadataChange, .serverMetadataChange, .unknown:
                    throw .refused(.badEvent, "Some of the events are not supported")
                }
            }
        }
    }

    // MARK: Telling

    /// Tells what NOTIFY asked for, while no command runs or in IDLE.
    func tellEvents() async throws(CommandFailure) {
        guard let notifier, notifier.listens else { return }
        if selected?.mailbox.isGone != true {
            try await tellChanges(allowsExpunge: !notifier.isDelayed || isIdling, withUID: true)
        }
        do throws(CommandFailure) {
            try await tellTree(notifier)
            try await tellMailboxes(notifier)
        } catch {
            if case .closed = error { throw error }
            // §5.8: what cannot be told any more is said to be so.
            overflow()
        }
    }

    private func overflow() {
        notifier?.stop()
        notifier = Notifier([], self) {}
        output.append(untagged: .ok, .notificationOverflow, "Not notified any more")
    }

    private func tellTree(_ notifier: Notifier) async throws(CommandFailure) {
        let changes: Notifier.TreeChanges?
        do throws(Notifier.Refusal) {
            changes = try await notifier.treeChanges(countMax: notifyMailboxCountMax)
        } catch {
            throw .refused(.notificationOverflow, "Mailboxes cannot be watched")
        }
        guard let changes else { return }
        for path in notifier.takeArrived() { notifier.watch.suspect(path) }
        guard !changes.names.isEmpty || !changes.subscriptions.isEmpty else { return }
        let listing: MailboxListing
        do throws(StoreError) {
            listing = MailboxListing(
                naming: store.naming,
                tree: changes.tree,
                subscribed: changes.subscribed,
                storedUses: try await store.storedUses()
            )
        } catch {
            throw CommandFailure(error)
        }
        let named = Set(changes.names.map(\.path))
        let told =
            changes.names
            + changes.subscriptions.filter { !named.contains($0) }.map {
                Notifier.NameChange(path: $0)
            }
        let lines = await store.pool.run {
            told.map { listing.line(of: $0.path, returns: .subscribed) }
        }
        for (change, line) in zip(told, lines) {
            var response = line
            response.oldName = change.oldPath.map { store.naming.name(of: $0) }
            output.append("LIST", response, mode)
            try await flushIfLarge()
        }
    }

    private func tellMailboxes(_ notifier: Notifier) async throws(CommandFailure) {
        // What happens in the selected mailbox is told otherwise; it is kept for when it is not
        // selected any more.
        let changed = notifier.watch.takeMailboxes(except: selected?.mailbox.path)
        for (path, seen) in changed.sorted(by: { store.naming.precedes($0.path, $1.path) }) {
            let wanted = notifier.events(of: path)
            var events: Notifier.Events = []
            if seen.contains(.messages), wanted.contains(.messages) { events.insert(.messages) }
            if seen.contains(.flags), wanted.contains(.flags) { events.insert(.flags) }
            if events.isEmpty { continue }
            try await tellState(of: path, notifier, events, always: false)
            try await flushIfLarge()
            if isEnding { throw .closed }
        }
    }

    /// STATUS of a mailbox that is not selected.                              RFC 5465 §5.1 to §5.3
    ///
    /// - Parameter always: whether it is told where it is what was told last, too.
    private func tellState(
        of path: MailboxPath,
        _ notifier: Notifier,
        _ events: Notifier.Events,
        always: Bool
    ) async throws(CommandFailure) {
        let mailbox: Mailbox
        do throws(StoreError) {
            mailbox = try await store.open(path)
            try await mailbox.settleWork()
        } catch {
            // It went away, and the tree tells of it, or cannot be read now.
            return
        }
        let tellsFlags = notifier.events(of: path).contains(.flags)
        let table = mailbox.table
        let state = Notifier.Told(
            uidValidity: mailbox.uidValidity,
            messages: table.count,
            uidNext: mailbox.uidNext,
            unseen: tellsFlags
                ? table.uids.indices.count { !table.flags($0).contains(.seen) } : nil
        )
        guard always || notifier.told[path] != state else { return }
        let isFirst = notifier.told[path] == nil
        notifier.told[path] = state
        // A mailbox that has come, and nothing in it yet.
        if isFirst, !always, state.messages == 0, state.uidNext == 1 { return }
        var values: [(item: StatusItem, value: StatusValue)] = [
            (.messages, .number(UInt64(state.messages))),
            (.uidNext, .number(UInt64(state.uidNext))),
            (.uidValidity, .number(UInt64(state.uidValidity))),
        ]
        if let unseen = state.unseen { values.append((.unseen, .number(UInt64(unseen)))) }
        output.append(status: store.naming.name(of: path), values, mode)
    }
}
