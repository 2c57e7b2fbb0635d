import Bytes
package import MessageIndex
import Posix

//  Where detail records are kept
//
//  A record follows from a message's content, which never changes under its UID: it becomes wrong
//  only with its message. Records may be lost at any time; the file is read again then.

/// The detail records of one mailbox. In jobs.
package protocol DetailStore: AnyObject, Sendable {
    /// Calls `body` with each record that is there, in the order of the UIDs. The bytes may be
    /// anything.
    func readDetails(_ uids: [UInt32], _ body: (UInt32, borrowing Span<UInt8>) -> Void)
    func writeDetails(_ batches: [DetailBatch])
    func removeDetails(_ uids: [UInt32])
}

extension MailboxIndex: DetailStore {
    package func writeDetails(_ batches: [DetailBatch]) {
        writeDetails(batches.map { ($0.bytes.bytes, $0.ends) })
    }
}

extension Mailbox {
    /// Where what was found out of messages is kept; nil for nowhere.
    package var details: (any DetailStore)? { index }

    /// Keeps records that a job has made, when nobody waits.
    ///
    /// They are written some at a time: a transaction costs as much as a dozen records.
    package func keep(_ records: DetailBatch) {
        guard !records.isEmpty, details != nil else { return }
        let isFirst = keptDetails.isEmpty
        keptDetails.append(records)
        keptDetailBytes += records.bytes.count
        if keptDetailBytes >= Limits.keptDetailBytesMax {
            writeKeptDetails()
        } else if isFirst {
            EventLoop.schedule(at: .after(milliseconds: Limits.keepDetailsMilliseconds)) {
                [weak self] in
                self?.writeKeptDetails()
            }
        }
    }

    private func writeKeptDetails() {
        guard !keptDetails.isEmpty, let details else { return }
        let kept = keptDetails
        keptDetails = []
        keptDetailBytes = 0
        Task { [pool = context.pool] in await pool.run { details.writeDetails(kept) } }
    }

    /// Drops the records of messages that are gone, many at once and after a while, and the columns
    /// of blocks that have no message any more.
    func forgetDetails(of uid: UInt32) {
        guard index != nil else { return }
        goneDetails.append(uid)
        guard goneDetails.count == 1 else { return }
        EventLoop.schedule(at: .after(seconds: Limits.forgetDetailsSeconds)) { [weak self] in
            guard let self, let details = self.details else { return }
            let gone = self.goneDetails
            self.goneDetails = []
            let columns = self.columns
            let emptied = self.emptiedBlocks(gone)
            Task { [pool = self.context.pool] in
                await pool.run {
                    for start in stride(from: 0, to: gone.count, by: Limits.lockBatchMax) {
                        let end = min(start + Limits.lockBatchMax, gone.count)
                        details.removeDetails(Array(gone[start..<end]))
                    }
                    columns?.removeColumns(blocks: emptied)
                }
            }
        }
    }
}
