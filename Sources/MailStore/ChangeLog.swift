/// What happened to a mailbox, in order, for sessions to catch up with.
///
/// Each session keeps a position. One that lags behind what the log still holds compares all flags
/// instead (`MessageTable.modseqs`).
package struct ChangeLog: Sendable {
    package struct Entry: Sendable {
        package let uid: UInt32
        package let modseq: UInt64
        package var isExpunge = false
        /// Which flags are others than before, and the modseq that the message had before.
        package var changed = ChangedFlags()
        package var previous: UInt64 = 0
        /// The session that did it; 0 for other programs.
        package let source: UInt32
    }

    private var entries: [Entry] = []
    /// Position of the first entry.
    private var start = 0

    package init() {}

    /// Which flags of messages changed after a modseq.
    ///
    /// The entries of a message are a chain from the modseq that it has now back to one that is not
    /// newer than `modseq`. Where a link is missing (the log does not reach back so far, the message
    /// came since) nothing is known of it.
    ///
    /// - Parameter messages: ascending by UID, with the modseqs that they have now.
    /// - Returns: for each its changed flags, or nil where that is not known.
    package func flagsChanged(
        in messages: [(uid: UInt32, modseq: UInt64)],
        since modseq: UInt64
    ) -> [ChangedFlags?] {
        var reached = messages.map(\.modseq)
        var changed = [ChangedFlags](repeating: ChangedFlags(), count: messages.count)
        for entry in entries.reversed() {
            if entry.modseq <= modseq { break }
            var low = 0
            var high = messages.count
            while low < high {
                let middle = (low + high) / 2
                if messages[middle].uid < entry.uid { low = middle + 1 } else { high = middle }
            }
            guard low < messages.count, messages[low].uid == entry.uid, !entry.isExpunge,
                reached[low] == entry.modseq
            else { continue }
            reached[low] = entry.previous
            changed[low].formUnion(entry.changed)
        }
        return messages.indices.map { reached[$0] <= modseq ? changed[$0] : nil }
    }

    package var end: Int { start + entries.count }

    /// The entries from a position on, or nil where some of them are no longer held.
    package func entries(from position: Int) -> ArraySlice<Entry>? {
        guard position >= start else { return nil }
        return entries[min(position - start, entries.count)...]
    }

    mutating func append(_ entry: Entry) {
        entries.append(entry)
        if entries.count > Limits.changeLogMax {
            let dropped = entries.count / 2
            entries.removeFirst(dropped)
            start += dropped
        }
    }
}
