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

    /// The indexes of the messages with these UIDs; nil for none.
    func indexes(of range: ClosedRange<UInt32>) -> Range<Int>? {
        let first = firstIndex(from: range.lowerBound)
        let end = range.upperBound == .max ? uids.count : firstIndex(from: range.upperBound + 1)
        return first < end ? first..<end : nil
    }
}
