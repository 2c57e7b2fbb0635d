import Bytes
import IMAPWire
import Maildir
import MailStore

//  STORE, EXPUNGE, COPY, MOVE

extension Session {
    //  store = "STORE" SP sequence-set SP store-att-flags                    RFC 9051 §6.4.6
    //
    //  What is missing does not keep the rest from being changed.
    func storeFlags(_ command: StoreCommand) async throws(CommandFailure) -> Completion {
        let view = try await settledView()
        let uids = try uids(command.set, command.kind, view)
        let mode: FlagsDelta.Mode =
            switch command.operation {
            case .add: .add
            case .remove: .remove
            case .replace: .replace
            }
        let (system, keywords) = Self.split(command.flags)
        let delta = FlagsDelta(mode: mode, system: system, keywords: keywords)
        try needRight(toStore: command, view)
        var outcomes: [StoreOutcome]
        do throws(StoreError) {
            outcomes = try await view.mailbox.store(
                uids,
                delta,
                unchangedSince: command.unchangedSince?.value,
                source: source,
                progress: progress
            )
        } catch {
            // Some of the batches may be done.
            view.tellsOwnChanges = true
            throw CommandFailure(error)
        }
        view.reportKeywords(to: &output)
        var failure: CommandFailure?
        var modified = RangeBuilder()
        let isConditional = command.unchangedSince != nil
        var next = 0
        while next < uids.count {
            // The table is a copy, to be taken once for many and not across a wait.
            let table = view.mailbox.table
            let end = min(next + Limits.flagAnswersBatchMax, uids.count)
            for (uid, outcome) in zip(uids[next..<end], outcomes[next..<end]) {
                var withFlags = true
                switch outcome {
                case .gone:
                    failure = failure ?? CommandFailure(.messageGone)
                    continue
                case .refused(let error):
                    failure = CommandFailure(error)
                    continue
                case .changed, .unchanged:
                    // RFC 7162 §3.1.3: the new mod-sequence is told in any case.
                    let tellsModseq =
                        view.telling.modseqs && (outcome == .changed || isConditional)
                    guard !command.isSilent || tellsModseq else { continue }
                    withFlags = !command.isSilent
                case .modified:
                    guard let index = view.index(of: uid) else { continue }
                    modified.add(command.kind == .uid ? uid : UInt32(index + 1))
                }
                view.appendChange(
                    uid,
                    in: table,
                    withFlags: withFlags,
                    withUID: command.kind == .uid,
                    to: &output
                )
            }
            next = end
            try await flushIfLarge()
        }
        outcomes = []
        let code = modified.ranges.isEmpty ? nil : ResponseCode.modified(modified.ranges)
        if let failure {
            // RFC 7162 §3.1.3, example 11
            if let code, case .refused(_, let text) = failure { throw .refused(code, text) }
            throw failure
        }
        return code == nil ? Completion("Stored") : Completion("Conditional store failed", code)
    }

    /// System flags as Maildir's letters, and the names of keywords.
    static func split(_ flags: [Flag]) -> (system: FlagLetters.Known, keywords: [[UInt8]]) {
        var system: FlagLetters.Known = []
        var keywords: [[UInt8]] = []
        for flag in flags {
            switch flag {
            case .system(.answered): system.insert(.replied)
            case .system(.flagged): system.insert(.flagged)
            case .system(.deleted): system.insert(.trashed)
            case .system(.seen): system.insert(.seen)
            case .system(.draft): system.insert(.draft)
            case .keyword(let name):
                if name.equalsIgnoringCase(Mailbox.forwarded) {
                    system.insert(.passed)
                } else {
                    keywords.append(name)
                }
            }
        }
        return (system, keywords)
    }

    // MARK: EXPUNGE

    /// The messages with \Deleted, in a set or all, ascending.
    func deleted(_ view: SelectedMailbox, _ chosen: [UInt32]?) -> [UInt32] {
        let table = view.mailbox.table
        if table.deletedCount == 0 { return [] }
        guard let chosen else {
            return table.uids(with: .trashed).filter { view.index(of: $0) != nil }
        }
        return chosen.filter { uid in
            table.row(of: uid).map { table.flags($0).contains(.trashed) } ?? false
        }
    }

    //  expunge = "EXPUNGE"            uid-expunge = "UID EXPUNGE" SP sequence-set
    //                                                        RFC 9051 §6.4.3, RFC 4315 §2.1
    func expunge(_ set: SequenceSet?) async throws(CommandFailure) -> Completion {
        let view = try await settledView()
        try need(.expunge, view.mailbox)
        var chosen: [UInt32]?
        if let set { chosen = try uids(set, .uid, view) }
        try await remove(deleted(view, chosen), view, onlyDeleted: true)
        return Completion("Expunged")
    }

    private func remove(
        _ uids: [UInt32],
        _ view: SelectedMailbox,
        onlyDeleted: Bool
    ) async throws(CommandFailure) {
        do throws(StoreError) {
            let result = try await view.mailbox.expunge(
                uids,
                source: source,
                by: view,
                onlyDeleted: onlyDeleted,
                progress: progress
            )
            if let failure = result.failure { throw failure }
        } catch {
            throw CommandFailure(error)
        }
    }

    // MARK: COPY and MOVE

    //  copy = "COPY" SP sequence-set SP mailbox                              RFC 9051 §6.4.7
    //  move = "MOVE" SP sequence-set SP mailbox                              RFC 6851
    //
    //  All or none. A move is a copy and then the expunge of what was copied: in between a crash
    //  leaves a message twice, never lost. COPYUID goes before the EXPUNGEs.
    func copy(
        _ kind: NumberKind,
        _ set: SequenceSet,
        _ name: MailboxName,
        isMove: Bool
    ) async throws(CommandFailure) -> Completion {
        let view = try await settledView()
        let uids = try uids(set, kind, view)
        let target: Mailbox
        do throws(CommandFailure) {
            target = try await open(try path(name), needing: .insert)
        } catch {
            if case .refused(.nonexistent, _) = error {
                throw .refused(.tryCreate, "No such mailbox")
            }
            throw error
        }
        if isMove { try need([.deleteMessages, .expunge], view.mailbox) }
        guard !uids.isEmpty else { return Completion("No messages") }
        let copies: [UInt32]
        do throws(StoreError) {
            // A move takes no room.
            if !isMove { try await view.mailbox.checkRoom(toCopy: uids) }
            copies = try await view.mailbox.copy(uids, to: target, progress: progress)
        } catch {
            throw CommandFailure(error)
        }
        let code: ResponseCode? =
            maySelect(target)
            ? .copyUID(
                UIDValidity(target.uidValidity),
                from: RangeBuilder(uids).ranges,
                to: RangeBuilder(copies).ranges
            ) : nil
        view.noteOwn(copies, in: target)
        guard isMove else { return Completion("Copied", code) }
        if let code { output.append(untagged: .ok, code, "Moved") }
        try await remove(uids, view, onlyDeleted: false)
        return Completion("Moved")
    }
}
