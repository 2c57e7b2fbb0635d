import Bytes
import Glibc
package import Maildir
package import Posix

//  Arrivals and our own messages get their UIDs together: whoever works takes all that wait, and one
//  sync of the uidlist serves them. What a crash leaves at each step stands in MailboxDisk.swift.
//  What comes while somebody works is made durable in `tmp/` beside it; else one job does all.

/// Messages of ours that want UIDs: all of them or none.
@EventLoop
final class PendingAdmission {
    let items: [MailboxDisk.Admission]
    let replaced: ReplacedMessage?
    /// The session that asks: of one session, what was asked for first comes in first.
    let source: UInt32?
    /// Whether a job that begins now may take it: its messages are not being synced beside.
    var isReady = true
    private var result: Result<[UInt32], StoreError>?
    private let finished = Signal()
    var isFinished: Bool { result != nil }

    init(
        _ items: [MailboxDisk.Admission],
        replacing replaced: ReplacedMessage?,
        by source: UInt32?
    ) {
        self.items = items
        self.replaced = replaced
        self.source = source
    }

    var messages: [StagedMessage] { items.compactMap(\.message) }

    func finish(_ result: Result<[UInt32], StoreError>) {
        self.result = result
        finished.fire()
    }

    func wait() async -> Result<[UInt32], StoreError> {
        while true {
            if let result { return result }
            await finished.wait()
        }
    }
}

/// A message of the same mailbox that goes as soon as the new ones are durable.
@EventLoop
package struct ReplacedMessage {
    package let uid: UInt32
    /// The session that does it, in the log and among the observers.
    package let source: UInt32
    package let session: (any MailboxObserver)?

    package init(uid: UInt32, source: UInt32, session: (any MailboxObserver)? = nil) {
        self.uid = uid
        self.source = source
        self.session = session
    }
}

/// A staged message and what it is to have in the mailbox.
package struct StagedAdmission: Sendable {
    package var message: StagedMessage
    package var flags: FlagLetters.Known
    package var keywords: [[UInt8]]

    package init(_ message: StagedMessage, flags: FlagLetters.Known, keywords: [[UInt8]]) {
        self.message = message
        self.flags = flags
        self.keywords = keywords
    }
}

extension Mailbox {
    /// Gives arrivals and messages of ours that wait their UIDs, with one sync.
    func admitAll() async throws(StoreError) {
        var waiting: [PendingAdmission] = []
        var result: MailboxDisk.AdmissionResult?
        do throws(StoreError) {
            try await locked { () -> Job<MailboxDisk.AdmissionResult>? in
                waiting = takeAdmissible()
                for pending in waiting where removal(of: pending.replaced) == nil {
                    if pending.replaced != nil { pending.finish(.failure(.messageGone)) }
                }
                waiting.removeAll(where: \.isFinished)
                let request = MailboxDisk.AdmissionRequest(
                    found: arrivals.first(Limits.lockBatchMax),
                    groups: waiting.map(\.items),
                    replaced: waiting.map { removal(of: $0.replaced) },
                    uidValidity: uidValidity,
                    lastUID: table.uids.last ?? 0,
                    movesNew: hasWriter,
                    lettersInUse: table.lettersInUse
                )
                if request.isEmpty { return nil }
                return { (disk, lock) throws(MaildirError) in try disk.admit(request, lock) }
            } makesManyEvents: {
                waiting.reduce(0) { $0 + $1.items.count } >= Limits.manyEvents
            } messages: {
                waiting.flatMap(\.messages)
            } applying: {
                apply($0, waiting.map(\.replaced))
                result = $0
            }
        } catch {
            for pending in waiting { pending.finish(.failure(error)) }
            throw error
        }
        guard let result else { return }
        if !result.isDone {
            // The list is another one: a scan tells what that means, then it is tried again.
            admissions = waiting + admissions
            return wantScan()
        }
        // What other programs gave UIDs comes first into the table, which grows at its end only. Where
        // that fails the messages are in all the same.
        if result.needsScan { try? await rescan() }
        for (pending, group) in zip(waiting, result.groups) {
            for case let failure? in pending.items.map(\.message?.failure) {
                context.logFailure(.system(failure), disk.directory)
            }
            pending.finish(group.map { $0.map(\.message.uid) })
        }
    }

    /// What may come in now: all that is ready, but nothing before what its session asked for earlier.
    private var admissible: [Bool] {
        var held: Set<UInt32> = []
        return admissions.map { pending in
            if pending.isReady, pending.source.map(held.contains) != true { return true }
            if let source = pending.source { held.insert(source) }
            return false
        }
    }

    var hasAdmissible: Bool { !admissions.isEmpty && admissible.contains(true) }

    private func takeAdmissible() -> [PendingAdmission] {
        let all = zip(admissions, admissible)
        defer { admissions = all.filter { !$0.1 }.map(\.0) }
        return all.filter(\.1).map(\.0)
    }

    /// What removes a replaced message's file; nil where the message is gone.
    private func removal(of replaced: ReplacedMessage?) -> MailboxDisk.Removal? {
        guard let replaced, let row = table.row(of: replaced.uid) else { return nil }
        return MailboxDisk.Removal(
            uid: replaced.uid,
            base: table.base(row),
            location: table.location(row),
            isKept: isNumbered(replaced.uid, except: replaced.session)
        )
    }

    /// - Parameter replaced: of each group.
    private func apply(_ result: MailboxDisk.AdmissionResult, _ replaced: [ReplacedMessage?]) {
        guard result.isDone else { return }
        keywords = result.keywords
        for base in result.vanished { arrivals.remove(base) }
        for (removed, aside) in result.removed { if let aside { ghosts[removed] = aside } }
        if result.needsScan { return wantScan() }
        uidNext = max(uidNext, result.nextUID)
        var admitted = result.found
        for case .success(let group) in result.groups { admitted += group }
        admitted.sort { $0.message.uid < $1.message.uid }
        for entry in admitted {
            let message = entry.message
            if !arrivals.isEmpty { arrivals.remove(message.base) }
            table.append(message, modseq: nextModseq())
            if !entry.beyond.isEmpty { table.beyond[message.uid] = entry.beyond }
            // RFC 3501 §6.3.11: a message that was appended is recent too.
            unclaimedRecent.insert(message.uid)
        }
        for case let message? in replaced where result.removed.keys.contains(message.uid) {
            guard let row = table.row(of: message.uid) else { continue }
            logExpunge(message.uid, source: message.source)
            table.remove([row])
        }
        notify()
    }

    /// Brings finished messages into the mailbox, all or none. Durable on return; the UIDs are in the
    /// order of the list.
    ///
    /// - Parameters:
    ///   - replaced: goes in the same step, so that no session sees both, or neither. Where it is gone
    ///     already or cannot go, nothing comes in.
    ///   - source: the session; what it asks for first gets the lower UIDs.
    package func admit(
        _ list: [StagedAdmission],
        replacing replaced: ReplacedMessage? = nil,
        by source: UInt32? = nil
    ) async throws(StoreError) -> [UInt32] {
        let uids = try await admit(
            list.map { entry in
                MailboxDisk.Admission(
                    source: .message(entry.message),
                    base: entry.message.base,
                    flags: entry.flags,
                    keywords: entry.keywords
                )
            },
            replacing: replaced,
            by: source
        )
        // What fails is logged there: a power cut may then bring the old message back beside the new.
        if replaced != nil { try? await syncNames() }
        return uids
    }

    /// Brings several in; all or none. The UIDs are in the order of the list.
    func admit(
        _ list: [MailboxDisk.Admission],
        replacing replaced: ReplacedMessage? = nil,
        by source: UInt32? = nil
    ) async throws(StoreError) -> [UInt32] {
        if list.isEmpty { return [] }
        guard !isGone else { throw .noSuchMailbox }
        // RFC 4314 §4: flags that the user may not set are not set.
        let changeable = changeableLetters
        let list = list.map { item in
            var item = item
            item.flags.formIntersection(changeable)
            if !rights.contains(.write) { item.keywords = [] }
            return item
        }
        let pending = PendingAdmission(list, replacing: replaced, by: source)
        admissions.append(pending)
        let messages = pending.messages
        if !messages.isEmpty, isWorking || isBusy {
            // Its turn is not now: what it brings is synced beside the work that is under way. Else
            // one job does all.
            pending.isReady = false
            await context.pool.run(.syncing) { StagedMessage.makeDurable(messages) }
            pending.isReady = true
        }
        work()
        return try await pending.wait().get()
    }

    /// Begins a message that will be written piece by piece.
    ///
    /// - Parameter isBinary: whether it may hold parts of the encoding "binary".
    package func stage(isBinary: Bool = false) async throws(StoreError) -> StagedMessage {
        guard !isGone else { throw .noSuchMailbox }
        return StagedMessage(context.names.next(), disk, isBinary: isBinary)
    }

    package func write(_ bytes: [UInt8], to staged: StagedMessage) async throws(StoreError) {
        do throws(SystemError) {
            if staged.holds(bytes.count) { return try staged.write(bytes) }
            try await context.pool.run(.syncing) { () throws(SystemError) in
                try staged.write(bytes)
            }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    /// Completes a staged message, which `admit` makes durable.
    package func finish(_ staged: StagedMessage, date: WallTime?) async throws(StoreError) {
        do throws(SystemError) {
            if !staged.isBinary { return try staged.finish(date) }
            try await context.pool.run(.syncing) { () throws(SystemError) in
                try staged.finish(date)
            }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    package func discard(_ staged: [StagedMessage]) async {
        let filed = staged.filter(\.hasFile)
        if filed.isEmpty { return }
        await context.pool.run(.syncing) { for message in filed { message.discard() } }
    }
}
