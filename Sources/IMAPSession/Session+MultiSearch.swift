import IMAPWire
import Maildir
import MailStore
import Posix

//  ESEARCH over several mailboxes                                            RFC 7377
//
//  One mailbox after the other, each opened as STATUS opens it: nothing is moved out of `new/`, no
//  \Recent is claimed, and the selected mailbox stays selected. Answers are UIDs, always.

extension Session {
    //  esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program
    //                                                                        RFC 7377 §4
    func multiSearch(
        _ command: MultiSearchCommand,
        tag: [UInt8]
    ) async throws(CommandFailure) -> Completion {
        let sources = command.sources.isEmpty ? [.selected] : command.sources
        var returns = command.returns ?? SearchReturn()
        // §2.1: without result options ALL.
        if command.returns == nil { returns.all = true }
        guard !returns.save || sources == [.selected] else {
            throw .bad("SAVE is for the selected mailbox alone")
        }
        try checkUpdate(returns, tag)
        // What is wrong with the keys is told even where there is no mailbox to search.
        try check(command.key, command.charset, returns)
        let paths = try await mailboxes(sources)
        guard paths.count <= multiSearchCountMax else {
            throw .refused(.limit, "Too many mailboxes to search at once")
        }
        if returns.update, !paths.contains(where: { $0 == selected?.mailbox.path }) {
            output.append(untagged: .no, .noUpdate(tag: tag), "Not the selected mailbox")
        }
        var failure: CommandFailure?
        for path in paths {
            do throws(CommandFailure) { try await search(path, command, returns, tag) } catch {
                switch error {
                // It went away since the listing.
                case .refused(.nonexistent, _): break
                case .refused: failure = failure ?? error
                case .bad, .clientBug, .uidRequired, .closed: throw error
                }
            }
            try await flushIfLarge()
            await EventLoop.yield()
            if isEnding { throw .closed }
        }
        if let failure { throw failure }
        return Completion("Searched")
    }

    private func search(
        _ path: MailboxPath,
        _ command: MultiSearchCommand,
        _ returns: SearchReturn,
        _ tag: [UInt8]
    ) async throws(CommandFailure) {
        let view: SelectedMailbox
        let isSelected = path == selected?.mailbox.path
        if isSelected {
            view = try await settledView()
        } else {
            view = SelectedMailbox(
                try await open(path),
                isReadOnly: true,
                revision: revision,
                source: source
            ) {}
            view.takeIn()
        }
        defer { if !isSelected { view.close() } }
        let found = try await find(command.key, command.charset, returns, view, isStrict: false)
        let uids = found.map { view.uids[$0] }
        if returns.save { saved = returns.saved(of: uids) }
        defer {
            // RFC 7377 §2.2: UPDATE is about the selected mailbox alone.
            if isSelected, returns.update {
                keepUpdated(
                    command.key,
                    command.charset,
                    returns,
                    found: uids,
                    in: view,
                    tag: tag,
                    isUID: true,
                    mailboxName: store.naming.name(of: path)
                )
            }
        }
        guard !uids.isEmpty, returns.isAnswered else { return }
        var response = response(returns, uids, tag, isUID: true)
        response.modSeq = modSeq(command.key, returns.told(of: found), view)
        response.mailbox = (
            store.naming.name(of: path), UIDValidity(view.mailbox.uidValidity)
        )
        output.append(response, mode)
    }
}
