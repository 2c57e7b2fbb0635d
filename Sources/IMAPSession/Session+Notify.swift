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
            replaceNotifier(with: Notifier([], self) {})
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
        replaceNotifier(with: next)
        if status {
            for path in next.watch.paths.sorted(by: { store.naming.precedes($0, $1) })
            where path != selected?.mailbox.path {
                if let state = await state(of: path, isFirst: true) {
                    tell(state, of: path, next, always: true)
                }
                try await flushIfLarge()
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
                case .messageExpunge, .flagChange, .mailboxName, .subscriptionChange,
                    .mailboxMetadataChange, .serverMetadataChange:
                    break
                case .annotationChange, .unknown:
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
            try await tellAnnotations()
        } catch {
            if case .closed = error { throw error }
            // §5.8: what cannot be told any more is said to be so.
            overflow()
        }
    }

    private func replaceNotifier(with next: Notifier) {
        notifier?.stop()
        notifier = next
        followAnnotations(next)
    }

    private func overflow() {
        replaceNotifier(with: Notifier([], self) {})
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

    /// Tells of the mailboxes that were looked at, and has those looked at in which something happened
    /// since. That is done beside the session: a mailbox may be locked by another program for long.
    private func tellMailboxes(_ notifier: Notifier) async throws(CommandFailure) {
        for (path, state) in notifier.takeLookedAt() {
            if path == selected?.mailbox.path {
                // It is told of otherwise now; once more when it is not selected any more.
                notifier.watch.suspect(path)
                continue
            }
            tell(present(state, of: path), of: path, notifier)
            try await flushIfLarge()
        }
        notifier.noteChanges(except: selected?.mailbox.path)
        while let path = notifier.nextToLookAt() {
            Task { [weak self, weak notifier] in
                let state = await self?.state(of: path)
                notifier?.noteState(state, of: path)
            }
        }
    }

    /// The state of a mailbox that is not selected; nil where it went away, of which the tree tells,
    /// or cannot be looked at now.
    ///
    /// - Parameter isFirst: whether it is told because NOTIFY SET STATUS asks: §3.1 wants
    ///   HIGHESTMODSEQ then, also of a client that has not enabled CONDSTORE.
    private func state(of path: MailboxPath, isFirst: Bool = false) async -> Notifier.Told? {
        guard let notifier, let mailbox = try? await store.open(path) else { return nil }
        do throws(StoreError) { try await mailbox.settleWork() } catch { return nil }
        let tellsFlags = notifier.events(of: path).contains(.flags)
        let modseq = sync.condStore || isFirst && tellsFlags ? await highestModseq(mailbox) : nil
        return Self.state(of: mailbox, tellsFlags: tellsFlags, highestModseq: modseq)
    }

    private static func state(
        of mailbox: Mailbox,
        tellsFlags: Bool,
        highestModseq: UInt64?
    ) -> Notifier.Told {
        let table = mailbox.table
        return Notifier.Told(
            uidValidity: mailbox.uidValidity,
            messages: table.count,
            uidNext: mailbox.uidNext,
            unseen: tellsFlags ? table.unseenCount : nil,
            highestModseq: highestModseq
        )
    }

    /// What a mailbox that was looked at is now. While it waited to be told the session may have
    /// answered STATUS or APPEND, and what it tells must not be older.
    private func present(_ seen: Notifier.Told, of path: MailboxPath) -> Notifier.Told {
        guard let mailbox = store.liveMailbox(path), mailbox.uidValidity == seen.uidValidity else {
            return seen
        }
        return Self.state(
            of: mailbox,
            tellsFlags: seen.unseen != nil,
            highestModseq: seen.highestModseq.map { $0 == 0 ? 0 : mailbox.highestModseq }
        )
    }

    /// STATUS of a mailbox that is not selected, where its state is not what was told last.
    ///                                                                       RFC 5465 §5.1 to §5.3
    private func tell(
        _ state: Notifier.Told,
        of path: MailboxPath,
        _ notifier: Notifier,
        always: Bool = false
    ) {
        notifier.watch.noteSeen(path)
        var before = notifier.told.updateValue(state, forKey: path)
        if state.highestModseq == nil { before?.highestModseq = nil }
        if before == state, !always { return }
        // A mailbox that has come, and nothing in it yet.
        if before == nil, !always, state.messages == 0, state.uidNext == 1 { return }
        var values: [(item: StatusItem, value: StatusValue)] = [
            (.messages, .number(UInt64(state.messages))),
            (.uidNext, .number(UInt64(state.uidNext))),
            (.uidValidity, .number(UInt64(state.uidValidity))),
        ]
        if let unseen = state.unseen { values.append((.unseen, .number(UInt64(unseen)))) }
        if let modseq = state.highestModseq { values.append((.highestModSeq, .number(modseq))) }
        output.append(status: store.naming.name(of: path), values, mode)
    }
}
