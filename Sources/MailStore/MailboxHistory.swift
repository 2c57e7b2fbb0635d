import Bytes

//  What a mailbox remembers of its past: the newest modseq, and when which messages were expunged
//
//  With it, and a modseq for each message (`MessageTable.modseqs`), a client that was away is told
//  what it missed (RFC 7162). All of it may be lost at any time: then every message gets a new modseq,
//  and the history begins there; who knew the mailbox before is told all UIDs that are not there.
//
//  In a cache it is one record (`bytes`): numbers in little endian, highestModseq and completeSince in
//  8 octets each, then for each entry first and last UID in 4 and the modseq in 8.

package struct MailboxHistory: Hashable, Sendable {
    /// Messages with UIDs in a row that were expunged one after the other.
    package struct Expunge: Hashable, Sendable {
        package let first: UInt32
        package internal(set) var last: UInt32
        /// Of the last of them: a client that knew an earlier one is told that one again.
        package internal(set) var modseq: UInt64
    }

    /// The newest modseq that any message or expunge got.
    package private(set) var highestModseq: UInt64
    /// Every expunge with a modseq above this is in `expunges`.
    package private(set) var completeSince: UInt64
    /// Ascending by modseq.
    package private(set) var expunges: [Expunge] = []

    /// Begins where all messages have this modseq, and nothing from before is known.
    init(from modseq: UInt64) {
        highestModseq = modseq
        completeSince = modseq
    }

    mutating func noteChange(_ modseq: UInt64) {
        precondition(modseq > highestModseq, "a modseq went back")
        highestModseq = modseq
    }

    mutating func noteExpunge(_ uid: UInt32, _ modseq: UInt64) {
        noteChange(modseq)
        if let end = expunges.indices.last, expunges[end].last != .max,
            uid == expunges[end].last + 1
        {
            expunges[end].last = uid
            expunges[end].modseq = modseq
            return
        }
        expunges.append(Expunge(first: uid, last: uid, modseq: modseq))
        if expunges.count > Limits.expungeHistoryMax {
            let dropped = expunges.count / 2
            completeSince = expunges[dropped - 1].modseq
            expunges.removeFirst(dropped)
        }
    }

    /// The UIDs that were expunged after a modseq, ascending and joined; nil where it is not known.
    package func vanished(since modseq: UInt64) -> [ClosedRange<UInt32>]? {
        guard modseq >= completeSince else { return nil }
        var ranges: [ClosedRange<UInt32>] = []
        for entry in expunges.reversed() {
            if entry.modseq <= modseq { break }
            ranges.append(entry.first...entry.last)
        }
        ranges.sort { $0.lowerBound < $1.lowerBound }
        var joined: [ClosedRange<UInt32>] = []
        for range in ranges {
            if let last = joined.last, range.lowerBound <= last.upperBound &+ 1 {
                joined[joined.count - 1] =
                    last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                joined.append(range)
            }
        }
        return joined
    }

    // MARK: In a cache

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(16 + expunges.count * 16)
        Self.append(highestModseq, 8, to: &bytes)
        Self.append(completeSince, 8, to: &bytes)
        for entry in expunges {
            Self.append(UInt64(entry.first), 4, to: &bytes)
            Self.append(UInt64(entry.last), 4, to: &bytes)
            Self.append(entry.modseq, 8, to: &bytes)
        }
        return bytes
    }

    /// Nil for what no history of ours is.
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count >= 16, bytes.count % 16 == 0,
            bytes.count / 16 - 1 <= Limits.expungeHistoryMax
        else { return nil }
        highestModseq = Self.number(bytes, 0, 8)
        completeSince = Self.number(bytes, 8, 8)
        guard highestModseq > 0, highestModseq < ModseqClock.limit,
            completeSince <= highestModseq
        else { return nil }
        var before = completeSince
        for offset in stride(from: 16, to: bytes.count, by: 16) {
            let first = UInt32(Self.number(bytes, offset, 4))
            let last = UInt32(Self.number(bytes, offset + 4, 4))
            let modseq = Self.number(bytes, offset + 8, 8)
            guard first > 0, first <= last, modseq > before, modseq <= highestModseq else {
                return nil
            }
            expunges.append(Expunge(first: first, last: last, modseq: modseq))
            before = modseq
        }
    }

    private static func append(_ number: UInt64, _ count: Int, to bytes: inout [UInt8]) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (index * 8))) }
    }

    private static func number(_ bytes: Span<UInt8>, _ offset: Int, _ count: Int) -> UInt64 {
        var number: UInt64 = 0
        for index in 0..<count { number |= UInt64(bytes[offset + index]) << (index * 8) }
        return number
    }
}
