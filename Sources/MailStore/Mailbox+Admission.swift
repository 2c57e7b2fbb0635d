import Bytes
import Glibc
package import Maildir
package import Posix

extension Mailbox {
    /// Gives all arrivals and all messages of ours that wait their UIDs, with one sync.
    func admitAll() async throws(StoreError) {
        let arrived = arrivals
        let waiting = admissions
        admissions = []
        let items =
            arrived.map { MailboxDisk.Admission(source: .found($0)) } + waiting.map(\.admission)
        let movesNew = hasWriter
        let letters = table.lettersInUse
        var outcome: MailboxDisk.AdmissionResult?
        do throws(StoreError) {
            try await locked { (disk, lock) throws(MaildirError) in
                try disk.admit(items, movesNew: movesNew, lettersInUse: letters, lock)
            } applying: { result in
                apply(result, arrived: arrived)
                outcome = result
            }
        } catch {
            for pending in waiting { pending.done(.failure(error)) }
            throw error
        }
        guard let outcome else { return }
        for (pending, admitted) in zip(waiting, outcome.messages.dropFirst(arrived.count)) {
            pending.done(.success(admitted))
        }
        if outcome.needsScan { needsScan = true }
        notify()
    }

    private func apply(_ result: MailboxDisk.AdmissionResult, arrived: [FileLocation]) {
        keywords = result.keywords
        uidNext = max(uidNext, result.nextUID)
        var found: [(message: FoundMessage, beyond: [Int])] = []
        for case .message(let message, let beyond) in result.messages {
            found.append((message, beyond))
        }
        found.sort { $0.message.uid < $1.message.uid }
        for (message, beyond) in found where message.uid > table.uids.last ?? 0 {
            table.append(message, modseq: nextModseq())
            if !beyond.isEmpty { table.beyond[message.uid] = beyond }
            unclaimedRecent.insert(message.uid)
        }
        arrivals.removeAll { arrived.contains($0) }
    }

    /// Brings a message that was staged in this mailbox's `tmp/` into it. Durable on return.
    package func admit(
        _ staged: StagedMessage,
        flags: FlagLetters.Known,
        keywords: [[UInt8]]
    ) async throws(StoreError) -> UInt32 {
        let admission = MailboxDisk.Admission(
            source: .staged(name: staged.name, base: staged.base),
            flags: flags,
            keywords: keywords
        )
        let admitted = try await admit([admission])
        return admitted[0]
    }

    /// Brings several in; all or none.
    func admit(_ list: [MailboxDisk.Admission]) async throws(StoreError) -> [UInt32] {
        guard !isGone else { throw .noSuchMailbox }
        var results = [Result<MailboxDisk.Admitted, StoreError>?](repeating: nil, count: list.count)
        var missing = list.count
        let finished = Signal()
        for (index, admission) in list.enumerated() {
            admissions.append(
                PendingAdmission(admission: admission) { result in
                    results[index] = result
                    missing -= 1
                    if missing == 0 { finished.fire() }
                }
            )
        }
        work()
        while missing > 0 {
            _ = await finished.wait(until: .after(seconds: 1))
            // Whoever worked may have failed before it came to ours.
            if missing > 0 { work() }
        }
        var uids: [UInt32] = []
        var failure: StoreError?
        for result in results {
            switch result {
            case .success(.message(let message, _)): uids.append(message.uid)
            case .success(.refused(let error)): failure = error
            case .failure(let error): failure = error
            case .success(.vanished), nil: failure = .messageGone
            }
        }
        if let failure {
            _ = try? await expunge(uids, source: 0)
            throw failure
        }
        return uids
    }

    /// Begins a message that will be written piece by piece.
    package func stage() async throws(StoreError) -> StagedMessage {
        guard !isGone else { throw .noSuchMailbox }
        let name = context.names.next()
        let disk = disk
        do throws(SystemError) {
            return try await context.pool.run { () throws(SystemError) in
                try StagedMessage(name, disk)
            }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    package func write(_ bytes: [UInt8], to staged: StagedMessage) async throws(StoreError) {
        do throws(SystemError) {
            try await context.pool.run { () throws(SystemError) in try staged.write(bytes) }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    /// Completes a staged message: content and date are on disk on return.
    package func finish(_ staged: StagedMessage, date: WallTime?) async throws(StoreError) {
        do throws(SystemError) {
            try await context.pool.run { () throws(SystemError) in try staged.finish(date) }
        } catch {
            context.logFailure(.system(error), disk.directory)
            throw StoreError(error)
        }
    }

    package func discard(_ staged: StagedMessage) async {
        await context.pool.run { staged.discard() }
    }
}

//  A message on its way into a mailbox is a file in `tmp/` under its future base name without sizes.
//  A crash leaves it there; nothing names it, and it is removed after 36 hours.

/// A message that is being written into `tmp/`. Line ends are stored as LF, as Maildirs have them;
/// what goes back over the wire is the same.
///
/// Used by one job at a time.
package final class StagedMessage: @unchecked Sendable {
    let name: [UInt8]
    private(set) var base: [UInt8]
    private let disk: MailboxDisk
    private var file: OwnedDescriptor?
    private var endsInCR = false
    /// Octets stored, and octets with each LF as CRLF.
    private(set) package var storedCount = 0
    private(set) package var wireCount = 0

    init(_ name: [UInt8], _ disk: MailboxDisk) throws(SystemError) {
        self.name = name
        self.disk = disk
        base = name
        let permissions = MailboxPermissions(of: try disk.directory.status())
        let created = try disk.tmp.open(
            name,
            O_WRONLY | O_CREAT | O_EXCL,
            mode: permissions.fileMode
        )
        file = consume created
    }

    func write(_ bytes: [UInt8]) throws(SystemError) {
        guard file != nil else { throw SystemError("write", EBADF) }
        var converted: [UInt8] = []
        converted.reserveCapacity(bytes.count + 1)
        for byte in bytes {
            if endsInCR, byte != .lf { converted.append(.cr) }
            endsInCR = byte == .cr
            if !endsInCR { converted.append(byte) }
        }
        try append(converted)
    }

    private func append(_ bytes: [UInt8]) throws(SystemError) {
        guard !bytes.isEmpty else { return }
        try file?.writeAll(bytes)
        storedCount += bytes.count
        wireCount += bytes.count
        for byte in bytes where byte == .lf { wireCount += 1 }
    }

    func finish(_ date: WallTime?) throws(SystemError) {
        if endsInCR {
            endsInCR = false
            try append([.cr])
        }
        base = UniqueNames.base(name, stored: UInt64(storedCount), wire: UInt64(wireCount))
        if let date { try file?.setModified(date) }
        try file?.sync()
        try file.take()?.close()
    }

    func discard() {
        _ = file.take()
        try? disk.tmp.unlink(name)
    }
}
