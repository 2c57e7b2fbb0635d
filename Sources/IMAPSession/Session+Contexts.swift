import Bytes
import IMAPWire
import MailStore
import Posix

//  RETURN (UPDATE), CANCELUPDATE, and what is told between and behind commands     RFC 5267 §4.3

extension Session {
    /// Keeps a search's result up to date from now on.
    ///
    /// - Parameter found: the UIDs of its result, ascending.
    func keepUpdated(
        _ key: SearchKey,
        _ charset: [UInt8]?,
        _ returns: SearchReturn,
        found: [UInt32],
        in view: SelectedMailbox,
        tag: [UInt8],
        isUID: Bool,
        mailboxName: [UInt8]? = nil
    ) {
        guard view.contexts.count < Limits.searchContextCountMax else {
            output.append(untagged: .no, .noUpdate(tag: tag), "Too many searches are kept updated")
            return
        }
        view.contexts.append(
            SearchContext(
                tag: tag,
                isUID: isUID,
                mailboxName: mailboxName,
                key: key.frozen(view.uids, saved: saved),
                charset: charset,
                items: returns.updateItems,
                mode: mode,
                members: found
            )
        )
    }

    /// RFC 5267 §4.3: a tag names one search that is kept up to date.
    func checkUpdate(_ returns: SearchReturn?, _ tag: [UInt8]) throws(CommandFailure) {
        guard let returns, returns.update else { return }
        guard let selected else { throw .bad("UPDATE needs a selected mailbox") }
        guard !selected.contexts.contains(where: { $0.tag == tag }) else {
            throw .bad("Tag is in use by a search that is kept updated")
        }
        for item in returns.updateItems where !isOffered(item) {
            throw .bad("Fetch item is not offered by this server")
        }
    }

    //  cancelupdate = "CANCELUPDATE" 1*(SP quoted)                           RFC 5267 §5
    func cancelUpdate(_ tags: [[UInt8]]) throws(CommandFailure) -> Completion {
        guard let selected else { throw .bad("No mailbox is selected") }
        let known = Set(selected.contexts.map(\.tag))
        selected.contexts.removeAll { tags.contains($0.tag) }
        guard tags.allSatisfy(known.contains) else {
            throw .refused(.nonexistent, "No search of that tag is kept updated")
        }
        return Completion("Cancelled")
    }

    /// What happened in the selected mailbox since it was last told, at the one place where that may
    /// be.
    ///
    /// - Parameter expunged: whether expunges are what the client's own command asked for: these
    ///   are told whatever NOTIFY says.
    func tellChanges(
        allowsExpunge: Bool,
        withUID: Bool,
        expunged: Bool = false
    ) async throws(CommandFailure) {
        guard let selected, !selected.mailbox.isGone else { return }
        var events = notifier?.selected ?? .all
        if expunged { events.insert(.expunged) }
        selected.tracksArrivals = !selected.contexts.isEmpty || notifier?.items.isEmpty == false
        selected.report(
            to: &output,
            allowsExpunge: allowsExpunge,
            withUID: withUID,
            events: events
        )
        if selected.touched.isEmpty && selected.arrived.isEmpty { return }
        try await tellContexts(selected)
    }

    /// Asks the contexts about messages that are new or were changed. What changes meanwhile waits
    /// for the next time.
    private func tellContexts(_ view: SelectedMailbox) async throws(CommandFailure) {
        let touched = view.touched
        let arrived = view.takeArrived()
        view.touched = []
        let indexes = touched.compactMap { view.index(of: $0) }.sorted()
        let runs = RangeBuilder(indexes.map { UInt32($0) }).ranges.map {
            Int($0.lowerBound)..<Int($0.upperBound) + 1
        }
        var responses: [(response: ESearchResponse, mode: TextMode)] = []
        var wanted: [UInt32: [FetchItem]] = [:]
        if let notifier, !notifier.items.isEmpty {
            for uid in arrived.others { wanted[uid] = notifier.items }
        }
        for position in view.contexts.indices {
            let context = view.contexts[position]
            let program = try program(context.key, context.charset, view, isStrict: false)
            let found = try await matches(program, view, within: runs).map { view.uids[$0] }
            let (added, removed) = view.contexts[position].update(touched, found)
            if added.isEmpty && removed.isEmpty { continue }
            responses.append(
                (view.response(context, adding: added, removing: removed), context.mode)
            )
            for uid in added where arrived.others.contains(uid) && !context.items.isEmpty {
                wanted[uid, default: []] += context.items
            }
        }
        // RFC 5465 §7: FETCH behind EXISTS and before ESEARCH.
        try await fetchUnasked(wanted, view)
        for (response, mode) in responses { output.append(response, mode) }
    }

    /// FETCH of what was asked for in advance.
    private func fetchUnasked(
        _ wanted: [UInt32: [FetchItem]],
        _ view: SelectedMailbox
    ) async throws(CommandFailure) {
        // A run of messages of which the same is wanted is fetched as one.
        var run = 0..<0
        var items: [FetchItem] = []
        for uid in wanted.keys.sorted() {
            guard let index = view.index(of: uid), let own = wanted[uid] else { continue }
            var unique: [FetchItem] = []
            for item in own where !unique.contains(item) { unique.append(item) }
            if run.upperBound == index, unique == items {
                run = run.lowerBound..<index + 1
                continue
            }
            try await fetch(run, items, view)
            run = index..<index + 1
            items = unique
        }
        try await fetch(run, items, view)
    }
}
