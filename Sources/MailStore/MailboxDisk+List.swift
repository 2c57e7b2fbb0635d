import Maildir
import Posix

//  The uidlist between jobs and when messages go. What is on disk stands in UIDListFile.swift.

extension MailboxDisk {
    /// The messages that sessions know: what has no row, below UIDNEXT, is gone.
    struct Rows: Sendable {
        var uidValidity: UInt32
        var uidNext: UInt32
        var uids: [UInt32]
    }

    /// The end of a job: what it needed of the list is given back.
    func rest() {
        rows = nil
        uidList.rest()
    }

    /// Writes the list anew where enough of its messages are gone, these among them.
    func compactList(without removed: Set<UInt32>, _ lock: DotLock) throws(MaildirError) {
        guard uidList.list?.needsRewrite == true else { return }
        let wasWhole = uidList.list?.isWhole == true
        _ = try uidList.refresh(in: directory)
        if !wasWhole, let rows, uidList.list?.header.uidValidity == rows.uidValidity {
            uidList.list?.removeGone(
                below: rows.uidNext,
                keeping: rows.uids.filter { !removed.contains($0) }
            )
        }
        if uidList.isCommitDue { try uidList.commit(lock) }
    }
}
