import Bytes
import IMAPWire
import MailStore

//  What a session's view knows of modseqs: which the client has seen, and which it may believe

extension SelectedMailbox {
    /// In which words changes are told.
    struct Telling {
        /// MODSEQ with flags; CONDSTORE, and the mailbox has modseqs.
        var modseqs = false
        /// VANISHED in the place of EXPUNGE.
        var vanished = false
        /// UIDFETCH in the place of FETCH.                                    RFC 9586
        var uidOnly = false
    }

    /// `* n FETCH (`, or `* uid UIDFETCH (`.
    func appendFetch(_ index: Int, _ uid: UInt32, to output: inout ByteBuffer) {
        output.appendFetch(telling.uidOnly ? uid : UInt32(index + 1), isUIDOnly: telling.uidOnly)
    }

    /// `MODSEQ (n)`; notes that the client saw it.
    func appendModseq(_ modseq: UInt64, to output: inout ByteBuffer) {
        output.append(modSeq: ModSeq(modseq))
        noteSeen(modseq)
    }

    /// FETCH for a message whose flags a command changed, or refused to change.
    ///
    /// - Parameters:
    ///   - table: the mailbox's, taken once for many messages.
    ///   - withFlags: false after .SILENT.
    ///   - withUID: whether the command is of the UID form.
    func appendChange(
        _ uid: UInt32,
        in table: borrowing MessageTable,
        withFlags: Bool,
        withUID: Bool,
        to output: inout ByteBuffer
    ) {
        guard let index = index(of: uid), let row = table.row(of: uid) else { return }
        appendFetch(index, uid, to: &output)
        let start = output.count
        // RFC 7162 §3.2.4: with MODSEQ the UID.
        if !telling.uidOnly, withUID || telling.modseqs {
            output.append("UID ")
            output.append(decimal: uid)
        }
        if withFlags {
            output.append(output.count > start ? " FLAGS " : "FLAGS ")
            appendFlags(table.flags(row), table.beyond, uid, to: &output)
        }
        if telling.modseqs {
            if output.count > start { output.append(.space) }
            appendModseq(table.modseqs[row], to: &output)
        }
        output.append(")\r\n")
    }

    /// The indexes of the messages with these UIDs; nil for none.
    func indexes(of range: ClosedRange<UInt32>) -> Range<Int>? {
        let first = firstIndex(from: range.lowerBound)
        let end = range.upperBound == .max ? uids.count : firstIndex(from: range.upperBound + 1)
        return first < end ? first..<end : nil
    }
}
