import Bytes
import Posix

/// What the index has of one mailbox. Every call may wait for the disk: use it in jobs.
///
/// Nothing here fails: what cannot be read is not there, and what cannot be written is made anew when
/// it is next asked for. The log says once why.
package final class MailboxIndex: Sendable {
    package let index: MessageIndex
    let number: UInt32

    init(_ index: MessageIndex, _ number: UInt32) {
        self.index = index
        self.number = number
    }

    // MARK: Details

    /// Calls `body` for each UID that has a detail record, in the order of `uids`: cheapest where
    /// they ascend. The bytes are valid only inside. One consistent look; writers wait for its end.
    package func readDetails(
        _ uids: some Sequence<UInt32>,
        _ body: (UInt32, borrowing Span<UInt8>) -> Void
    ) {
        try? index.read { transaction throws(IndexError) in
            for uid in uids {
                try transaction.read(IndexKey(.detail, mailbox: number, uid)) { bytes in
                    body(uid, bytes)
                }
            }
        }
    }

    /// Stores or replaces detail records, in one transaction. One that is too long is left out.
    package func writeDetails(_ records: [(uid: UInt32, bytes: [UInt8])]) {
        try? index.write { transaction throws(IndexError) in
            for record in records where record.bytes.count <= Limits.detailBytesMax {
                let key = IndexKey(.detail, mailbox: number, record.uid)
                try transaction.write(key, record.bytes.span)
            }
        }
    }

    /// Removes the details of messages that are gone.
    package func removeDetails(_ uids: [UInt32]) {
        try? index.write { transaction throws(IndexError) in
            for uid in uids { try transaction.remove(IndexKey(.detail, mailbox: number, uid)) }
        }
    }

    /// Drops all that is known of the mailbox.
    package func removeAll() { try? index.remove(number) }
}
