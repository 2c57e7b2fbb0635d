/// What happened to a mailbox, in order, for sessions to catch up with.
///
/// Each session keeps a position. One that lags behind what the log still holds compares all flags
/// instead (`MessageTable.modseqs`).
package struct ChangeLog: Sendable {
    package struct Entry: Sendable {
        package let uid: UInt32
        package let modseq: UInt64
        package var isExpunge = false
        /// The session that did it; 0 for other programs.
        package let source: UInt32
    }

    private var entries: [Entry] = []
    /// Position of the first entry.
    private var start = 0

    package init() {}

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
