import Posix

//  Where detail records are kept
//
//  A record follows from a message's content, which never changes under its UID: it becomes wrong
//  only with its message. Records may be lost at any time; the file is read again then.

/// The detail records of one mailbox. In jobs.
package protocol DetailStore: AnyObject, Sendable {
    /// Calls `body` with each record that is there, in the order of the UIDs. The bytes may be
    /// anything.
    func read(_ uids: [UInt32], _ body: (UInt32, borrowing Span<UInt8>) -> Void)
    func write(_ records: [(uid: UInt32, bytes: [UInt8])])
    func remove(_ uids: [UInt32])
}

extension Mailbox {
    /// Keeps records that a job has made, when nobody waits.
    package func keep(_ records: [(uid: UInt32, bytes: [UInt8])]) {
        guard !records.isEmpty, let details else { return }
        let kept = records
        Task { [pool = context.pool] in await pool.run { details.write(kept) } }
    }
}
