import Bytes
import IMAPWire
import InternetMessage
import Maildir
import MailStore
import Posix

//  SELECT, EXAMINE, CLOSE, CREATE, DELETE, RENAME, SUBSCRIBE, STATUS

extension Session {
    /// The mailbox that a client's name means.
    func path(_ name: MailboxName) throws(CommandFailure) -> MailboxPath {
        guard
            let decoded = name.decoded(isUTF8: isUTF8, separator: store.naming.separator),
            !decoded.isEmpty
        else { throw .refused(.cannot, "Mailbox name is not valid") }
        do throws(MailboxNameRefusal) { return try store.naming.path(of: decoded) } catch {
            throw .refused(.cannot, Self.text(error))
        }
    }

    private static func text(_ refusal: MailboxNameRefusal) -> StaticString {
        switch refusal {
        case .emptyComponent: "Mailbox name has an empty level"
        case .dot: "Mailbox name must not hold a dot"
        case .slash: "Mailbox name must not hold a slash"
        case .controlCharacter, .notUTF8: "Mailbox name is not valid"
        case .tooLong: "Mailbox name is too long"
        case .outsidePrefix: "Mailbox name is outside the namespace"
        }
    }

    /// A name to be created may end in a separator: the client means to create children later.
    private func pathToCreate(_ name: MailboxName) throws(CommandFailure) -> MailboxPath {
        var bytes = name.bytes
        if bytes.count > 1, bytes.last == store.naming.separator { bytes.removeLast() }
        return try path(MailboxName(bytes))
    }

    func open(
        _ path: MailboxPath,
        outlineSuffices: Bool = false
    ) async throws(CommandFailure) -> Mailbox {
        do throws(StoreError) {
            return try await store.open(path, outlineSuffices: outlineSuffices)
        } catch {
            throw CommandFailure(error)
        }
    }

    // MARK: SELECT

    //  select = "SELECT" SP mailbox                                          RFC 9051 §6.3.2
    //
    //  A failed SELECT leaves no mailbox selected.
    func select(_ command: SelectCommand) async throws(CommandFailure) -> Completion {
        if command.condStore { sync.condStore = true }
        if let view = selected {
            view.close()
            selected = nil
            output.append(untagged: .ok, .closed, "Previous mailbox closed")
        }
        saved = []
        let mailbox = try await open(
            try path(command.mailbox),
            needing: .read,
            outlineSuffices: command.quickResync == nil
        )
        let isReadOnly = command.isReadOnly || !mailbox.rights.allowChanges
        let view = SelectedMailbox(
            mailbox,
            isReadOnly: isReadOnly,
            revision: revision,
            source: source
        ) { [weak self] in
            guard let self, self.isIdling || self.notifier?.listens == true else { return }
            self.stream.interrupt()
        }
        do throws(StoreError) {
            if !isReadOnly { try await mailbox.claimNew() }
            try await mailbox.settle(outlineSuffices: command.quickResync == nil)
        } catch {
            view.close()
            throw CommandFailure(error)
        }
        view.telling = await telling()
        view.takeIn()
        selected = view
        view.appendFlagLists(to: &output)
        output.append(untagged: UInt32(view.uids.count), "EXISTS")
        if revision == .rev1 {
            output.append(untagged: UInt32(view.recent.count), "RECENT")
            // A sequence number, which RFC 9586 §3 forbids.
            if !sync.uidOnly, let unseen = firstUnseen(view) {
                output.append(untagged: .ok, .unseen(SequenceNumber(unseen)), "First unseen")
            }
        }
        output.append(untagged: .ok, .uidValidity(UIDValidity(mailbox.uidValidity)), "UIDs valid")
        output.append(untagged: .ok, .uidNext(UID(mailbox.uidNext)), "Predicted next UID")
        await appendHighestModseq(view)
        // RFC 8474 §4.2
        if !mailbox.guid.isEmpty {
            output.append(untagged: .ok, .mailboxID(mailbox.guid), "Lasting name")
        }
        if revision == .rev2 { try await appendListed(mailbox.path, supplied: command.mailbox) }
        if let client = command.quickResync { try await resynchronize(client, view) }
        return isReadOnly
            ? Completion("Examined", .readOnly) : Completion("Selected", .readWrite)
    }

    /// After the answer to SELECT, before the next command: the rest of what the mailbox holds.
    func completeSelected() async {
        guard let view = selected, view.mailbox.isOutline else { return }
        do throws(CommandFailure) { try await flush() } catch { return }
        // Whatever is wrong with it, the next command says so.
        do throws(StoreError) { try await view.mailbox.settle() } catch {}
        // Neither the index nor the directories can be read.
        if view.mailbox.isOutline, !view.mailbox.isGone { end("Mailbox cannot be read") }
    }

    private func firstUnseen(_ view: SelectedMailbox) -> UInt32? {
        view.mailbox.firstUnseen.flatMap { view.index(of: $0) }.map { UInt32($0 + 1) }
    }

    //  close = "CLOSE"                                                       RFC 9051 §6.4.1
    //
    //  Expunges without a word, unless the mailbox is read-only.
    func close() async throws(CommandFailure) -> Completion {
        guard let view = selected else { throw .bad("No mailbox is selected") }
        defer {
            view.close()
            selected = nil
        }
        if !view.isReadOnly, view.mailbox.rights.contains(.expunge) {
            do throws(StoreError) {
                _ = try await view.mailbox.expunge(
                    deleted(view, nil),
                    source: source,
                    by: view,
                    onlyDeleted: true
                )
            } catch {
                throw CommandFailure(error)
            }
        }
        return Completion("Closed")
    }

    // MARK: The tree

    //  create = "CREATE" SP mailbox [SP "(USE" SP "(" use-attr… "))"]        RFC 9051 §6.3.4, RFC 6154
    func create(_ name: MailboxName, _ uses: [SpecialUse?]) async throws(CommandFailure)
        -> Completion
    {
        let path = try pathToCreate(name)
        guard !path.isInbox else { throw .refused(.alreadyExists, "INBOX exists always") }
        try await needRightAbove(path)
        guard uses.count <= 1, uses.allSatisfy({ $0?.isStorable ?? false }) else {
            throw .refused(.useAttribute, "Special use is not possible here")
        }
        let use = uses.first ?? nil
        if let use, try await specialUses().values.contains(use) {
            throw .refused(.useAttribute, "Another mailbox has this use")
        }
        notifier?.noteOwn([path])
        let guid: [UInt8]
        do throws(StoreError) {
            try await store.create(path)
            try await store.inheritACL(path)
            if let use { try await store.setUse(path, [UInt8](use.name)) }
            // RFC 8474 §4.1; it has a name of its own once it was looked at.
            guid = try await store.open(path).guid
        } catch {
            throw CommandFailure(error)
        }
        appendNormalized(name, path)
        return Completion("Created", guid.isEmpty ? nil : .mailboxID(guid))
    }

    //  delete = "DELETE" SP mailbox                                          RFC 9051 §6.3.5
    func delete(_ name: MailboxName) async throws(CommandFailure) -> Completion {
        let path = try path(name)
        guard !path.isInbox else { throw .refused(.cannot, "INBOX cannot be deleted") }
        do throws(StoreError) {
            let tree = try await store.tree()
            if tree.entries[path] == nil, !tree.below(path).isEmpty {
                throw .hasChildren
            }
            try await need(.deleteMailbox, path)
            notifier?.noteOwn([path])
            try await store.delete(path)
        } catch {
            throw CommandFailure(error)
        }
        leaveIfGone { $0 == path }
        appendNormalized(name, path, isGone: true)
        return Completion("Deleted")
    }

    //  rename = "RENAME" SP mailbox SP mailbox                               RFC 9051 §6.3.6
    //
    //  INBOX stays, empty, and its mail moves into a new mailbox.
    func rename(_ old: MailboxName, to new: MailboxName) async throws(CommandFailure) -> Completion
    {
        let oldPath = try path(old)
        let newPath = try pathToCreate(new)
        guard !newPath.isInbox else { throw .refused(.alreadyExists, "INBOX exists always") }
        try await needRightAbove(newPath)
        notifier?.noteOwn([newPath])
        if oldPath.isInbox {
            let inbox = try await open(.inbox)
            do throws(StoreError) {
                try await store.create(newPath)
                try await store.copyAnnotations(from: .inbox, to: newPath)
                let target = try await store.open(newPath)
                let uids = inbox.table.uids
                _ = try await inbox.copy(uids, to: target)
                let result = try await inbox.expunge(uids, source: source, by: nil)
                if let failure = result.failure { throw failure }
            } catch {
                throw CommandFailure(error)
            }
            appendNormalized(new, newPath)
            return Completion("Renamed")
        }
        do throws(StoreError) {
            try await need(.deleteMailbox, oldPath)
            try await store.rename(oldPath, to: newPath)
        } catch {
            throw CommandFailure(error)
        }
        leaveIfGone { $0 == oldPath || $0.isBelow(oldPath) }
        appendRenamed((old, oldPath), (new, newPath))
        return Completion("Renamed")
    }

    /// The session's own command took its mailbox away: it knows, and has none selected now.
    private func leaveIfGone(_ isMeant: (MailboxPath) -> Bool) {
        guard let view = selected, view.mailbox.isGone, isMeant(view.mailbox.path) else { return }
        view.close()
        selected = nil
    }

    //  subscribe = "SUBSCRIBE" SP mailbox                                    RFC 9051 §6.3.7
    //
    //  A name that no longer exists may be unsubscribed, and subscribed: mailboxes come and go.
    func subscribe(
        _ name: MailboxName,
        _ isSubscribed: Bool
    ) async throws(CommandFailure) -> Completion {
        let path = try pathToCreate(name)
        do throws(StoreError) { try await store.setSubscribed(path, isSubscribed) } catch {
            throw CommandFailure(error)
        }
        notifier?.noteOwnSubscription(path, isSubscribed)
        return isSubscribed ? Completion("Subscribed") : Completion("Unsubscribed")
    }

    // MARK: STATUS

    //  status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"   RFC 9051 §6.3.11
    func status(_ name: MailboxName, _ items: [StatusItem]) async throws(CommandFailure)
        -> Completion
    {
        let path = try path(name)
        try await appendStatus(path, items)
        return Completion("Status done")
    }

    func appendStatus(_ path: MailboxPath, _ items: [StatusItem]) async throws(CommandFailure) {
        let values = try await statusValues(path, items)
        notifier?.noteAsked(path)
        output.append(status: store.naming.name(of: path), values, mode)
    }

    /// - Parameter known: what `statusesAtRest` said of it, where somebody has asked.
    func statusValues(
        _ path: MailboxPath,
        _ items: [StatusItem],
        known: MailboxStatus? = nil
    ) async throws(CommandFailure) -> [(item: StatusItem, value: StatusValue)] {
        var values: [(item: StatusItem, value: StatusValue)] = []
        var known = known
        if known == nil { known = await statusesAtRest([path], items)[path] }
        if let known {
            for item in items {
                if let value = await value(of: item, known) { values.append((item, value)) }
            }
            return values
        }
        let mailbox = try await open(path, needing: .read)
        for item in items {
            if let value = try await value(of: item, mailbox) { values.append((item, value)) }
        }
        return values
    }

    /// What is known of mailboxes that nobody has open, where that is all that is asked for.
    func statusesAtRest(
        _ paths: [MailboxPath],
        _ items: [StatusItem]
    ) async -> [MailboxPath: MailboxStatus] {
        if items.contains(.size) || items.contains(.deletedStorage) { return [:] }
        return await store.statuses(of: paths)
    }

    /// Nil for what needs the messages.
    private func value(of item: StatusItem, _ known: MailboxStatus) async -> StatusValue? {
        switch item {
        case .messages: .number(UInt64(known.messages))
        case .recent: .number(UInt64(known.recent))
        case .uidNext: .number(UInt64(known.uidNext))
        case .uidValidity: .number(UInt64(known.uidValidity))
        case .unseen: .number(UInt64(known.unseen))
        case .deleted: .number(UInt64(known.deleted))
        case .appendLimit: .number(UInt64(Limits.appendBytesMax))
        case .highestModSeq: .number(await store.reserveModseqs() ? known.highestModseq : 0)
        case .mailboxID: .objectID(known.guid)
        case .size, .deletedStorage: nil
        }
    }

    private func value(
        of item: StatusItem,
        _ mailbox: Mailbox
    ) async throws(CommandFailure) -> StatusValue? {
        let table = mailbox.table
        switch item {
        case .messages: return .number(UInt64(table.count))
        case .recent: return .number(UInt64(recentCount(mailbox)))
        case .uidNext: return .number(UInt64(mailbox.uidNext))
        case .uidValidity: return .number(UInt64(mailbox.uidValidity))
        case .unseen: return .number(UInt64(table.unseenCount))
        case .deleted: return .number(UInt64(table.deletedCount))
        case .size:
            let sizes = await sizes(of: table.uids, in: mailbox)
            return .number(sizes.reduce(0) { $0 &+ UInt64(max($1, 0)) })
        case .deletedStorage:
            let deleted = table.uids.indices.filter { table.flags($0).contains(.trashed) }
            let sizes = await sizes(of: deleted.map { table.uids[$0] }, in: mailbox)
            return .number(sizes.reduce(0) { $0 &+ UInt64(max($1, 0)) })
        case .appendLimit: return .number(UInt64(Limits.appendBytesMax))
        case .highestModSeq: return .number(await highestModseq(mailbox))
        // A mailbox that cannot be written to may have none.
        case .mailboxID: return mailbox.guid.isEmpty ? nil : .objectID(mailbox.guid)
        }
    }

    /// Messages that are `\Recent` for this session, or would be.              RFC 3501 §6.3.10
    private func recentCount(_ mailbox: Mailbox) -> Int {
        guard let view = selected, view.mailbox === mailbox else {
            return mailbox.unclaimedRecent.count
        }
        return view.recent.union(mailbox.unclaimedRecent).count { mailbox.table.row(of: $0) != nil }
    }

    /// RFC822.SIZE of messages, -1 for one that is gone.
    func sizes(of uids: [UInt32], in mailbox: Mailbox) async -> [Int64] {
        await mailbox.loadSizes(uids) { MessageText.crlfSize(of: $0.span) }
        return uids.map { uid in
            mailbox.table.row(of: uid).map { mailbox.table.sizes[$0] } ?? -1
        }
    }
}

extension SpecialUse {
    /// Uses that a mailbox can be made for; the others are views of messages elsewhere.
    var isStorable: Bool {
        switch self {
        case .archive, .drafts, .junk, .sent, .trash: true
        case .all, .flagged, .important: false
        }
    }
}
