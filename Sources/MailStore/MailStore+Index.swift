import MessageIndex
import Posix

//  The cache of a live store. What is on disk: MessageIndex.swift, MailboxSummary.swift.
//
//  It is opened with the first mailbox, and may be missing, foreign, broken or full at any time: then
//  `context.index` is nil or every look at it finds nothing, and mailboxes are scanned as without it.
//
//  How much of it is believed `martlet-state` decides (`StatePast.trust`). The incarnation is counted up
//  in `martlet-state` before the first summary is written; nobody waits for that.

extension MailStore {
    /// Opens the index, once. Returns it where there is one.
    func openIndex() async -> MessageIndex? {
        guard let cache = cacheDirectory else { return nil }
        await indexOpening.enter()
        defer { indexOpening.leave() }
        guard !isIndexOpened else { return context.index }
        isIndexOpened = true
        await startClock()
        let root = root
        let bootID = bootID
        let setsAside = setsIndexAside
        let past = past
        let opened = await context.pool.run { () -> Result<MessageIndex, IndexError> in
            do throws(IndexError) {
                return .success(try Self.openIndex(cache, root, bootID, setsAside, past))
            } catch {
                return .failure(error)
            }
        }
        switch opened {
        case .failure(let error):
            Log.warning("event=no-index path=\(cache.quotedForLog) reason=\"\(error)\"")
        case .success(let index): await take(index)
        }
        return context.index
    }

    private nonisolated static func openIndex(
        _ cache: [UInt8],
        _ root: Directory,
        _ bootID: [UInt8],
        _ setsAside: Bool,
        _ past: StatePast?
    ) throws(IndexError) -> MessageIndex {
        let maildir: FileIdentity
        do throws(SystemError) { maildir = try root.status().identity } catch {
            throw .system(error)
        }
        let directory = try IndexDirectory.open(in: cache, for: maildir)
        if setsAside { IndexDirectory.setAside(directory) }
        IndexDirectory.removeOld(in: cache, except: maildir)
        return try MessageIndex(
            directory: directory,
            identity: IndexIdentity(maildir: maildir, bootID: bootID),
            accepts: { past?.trust(in: CacheStamp($0)) != .foreign }
        )
    }

    private func take(_ index: MessageIndex) async {
        switch past?.trust(in: CacheStamp(index.stamp)) {
        case .current: break
        case .contentOnly: index.beginEra(isRestored: false)
        case .maildirRestored:
            raiseModseqs(above: await context.pool.run { index.largestModseq() })
            index.beginEra(isRestored: true)
        // A foreign one was removed when it was opened; one without a stamp was never written to the end.
        case .foreign, nil: index.beginEra(isRestored: false)
        }
        context.index = index
    }

    /// Makes sure that the incarnation that writes summaries was counted. Returns whether that is so.
    func allowSummaries() async -> Bool {
        if context.mayWriteSummaries { return true }
        guard let index = context.index, await reserveModseqs(), let stamp = cacheStamp else {
            return false
        }
        index.setStamp(stamp.bytes)
        context.mayWriteSummaries = true
        return true
    }

    /// Gives back memory that need not be held while nobody does anything.
    package func rest() { context.index?.rest() }

    /// Writes what is not written yet, and closes the index. Nobody uses the store any more.
    func closeIndex() async {
        guard let index = context.index else { return }
        // Who only looked leaves file and index as the process before.
        if !isStateUnwritten { _ = await allowSummaries() }
        var isWhole = context.unsavedMailboxes.isEmpty
        for mailbox in live.values {
            if !(await mailbox.saveSummary(isLast: true)) { isWhole = false }
        }
        let closed = isWhole
        await context.pool.run { index.close(isWhole: closed) }
    }
}

extension CacheStamp {
    /// As the index keeps it: incarnation in 8 bytes, then the id.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<8 {
            bytes.append(UInt8(truncatingIfNeeded: incarnation >> UInt64(8 * index)))
        }
        return bytes + id
    }

    init?(_ bytes: [UInt8]) {
        guard bytes.count > 8 else { return nil }
        var number: UInt64 = 0
        for index in 0..<8 { number |= UInt64(bytes[index]) << UInt64(8 * index) }
        self.init(id: Array(bytes[8...]), incarnation: number)
    }
}
