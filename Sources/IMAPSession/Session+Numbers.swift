import IMAPWire
import MailStore

//  Which messages a command names

extension Session {
    /// The selected mailbox, with every message that was announced having its UID.
    func settledView() async throws(CommandFailure) -> SelectedMailbox {
        guard let view = selected else { throw .bad("No mailbox is selected") }
        if view.announced != view.uids.count || !view.mailbox.isSettled {
            if view.announced > view.uids.count {
                do throws(StoreError) { try await view.mailbox.settle() } catch {
                    throw CommandFailure(error)
                }
                view.report(to: &output, allowsExpunge: false, withUID: isUIDCommand)
            }
        }
        return view
    }

    /// The indexes (sequence numbers less one) of the messages in a set, ascending.
    ///
    /// A sequence number that is not there is BAD; a UID that is not there is nothing.
    func indexes(
        _ set: SequenceSet,
        _ kind: NumberKind,
        _ view: SelectedMailbox
    ) throws(CommandFailure) -> [Range<Int>] {
        let uids = view.uids
        switch kind {
        case .sequenceNumber:
            let count = view.numberCount
            if count == 0, set.namesLargest { throw .bad("The mailbox is empty") }
            guard set.largestNumber <= count else { throw .bad("No such message") }
            let ranges = set.resolved(largest: UInt32(count), saved: savedNumbers(view))
            return ranges.compactMap { range in
                // What was announced and went before it had a UID is nothing.
                let end = min(Int(range.upperBound), uids.count)
                return range.lowerBound <= end ? Int(range.lowerBound) - 1..<end : nil
            }
        case .uid:
            // `*` is the last message; in an empty mailbox nothing.
            let ranges = set.resolved(largest: uids.last ?? 0, saved: saved)
            return ranges.compactMap { range in
                let first = view.firstIndex(from: range.lowerBound)
                let end =
                    range.upperBound == .max
                    ? uids.count : view.firstIndex(from: range.upperBound + 1)
                return first < end ? first..<end : nil
            }
        }
    }

    /// The sequence numbers of what `$` names and is still there.              RFC 5182 §2.1
    private func savedNumbers(_ view: SelectedMailbox) -> [UInt32] {
        saved.compactMap { uid in view.index(of: uid).map { UInt32($0 + 1) } }
    }

    /// The UIDs of the messages in a set, ascending.
    func uids(
        _ set: SequenceSet,
        _ kind: NumberKind,
        _ view: SelectedMailbox
    ) throws(CommandFailure) -> [UInt32] {
        var list: [UInt32] = []
        for range in try indexes(set, kind, view) { list.append(contentsOf: view.uids[range]) }
        return list
    }
}
