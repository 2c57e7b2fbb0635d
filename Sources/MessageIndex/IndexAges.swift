/// What tells a summary that may be believed from one that may be older than what clients were told.
///
/// A summary is written some seconds after the changes that it tells of, and holds the ages of its
/// time. `epoch` is counted up where a process ended without writing what it knew, `era` where
/// the whole cache was found to be of another time (a restored Maildir, a power cut).
package struct IndexAges: Equatable, Sendable {
    package var epoch: UInt64 = 1
    package var era: UInt64 = 1
    /// The last era that began with a Maildir that is older than its cache; 0 for none.
    package var restoredEra: UInt64 = 0

    init() {}

    init(_ record: inout RecordReader) {
        epoch = record.uint64()
        era = record.uint64()
        restoredEra = record.uint64()
    }

    func write(to record: inout RecordWriter) {
        record.append(epoch)
        record.append(era)
        record.append(restoredEra)
    }

    /// Each process counts up by one at most.
    var arePlausible: Bool { epoch < 1 << 62 && era < 1 << 62 && restoredEra <= era }
}
