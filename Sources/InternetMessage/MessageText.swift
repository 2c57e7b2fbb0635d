package import Bytes

//  The CRLF form of a message
//
//  Files in a Maildir end their lines with LF, with CRLF, or with both in turn, and may hold NULs.
//  IMAP knows only CRLF: every size and offset a client sees counts the message with each bare LF
//  turned into CRLF. A CRLF stays as it is, and so does a lone CR. A NUL cannot go into a plain
//  literal; it is sent as 0x80, which keeps all sizes (only BINARY sends the true byte).
//
//  Nothing here keeps a converted copy: sizes are counted by vectors over the file, and a part of
//  the CRLF form is written straight into the output from a `CRLFPosition`.

/// Counts and writes the CRLF form of message bytes.
package enum MessageText {
    /// Stands for NUL in plain literals.
    package static let nulSubstitute: UInt8 = 0x80

    /// How many octets the bytes have once each bare LF is a CRLF. What stands before the bytes
    /// is not looked at: they must not begin between a CR and its LF.
    package static func crlfSize(of bytes: Span<UInt8>) -> Int {
        crlfSize(of: bytes, in: 0..<bytes.count)
    }

    package static func crlfSize(of bytes: Span<UInt8>, in range: Range<Int>) -> Int {
        range.count &+ bytes.lineFeeds(in: range).bare
    }

    /// Whether the bytes go out as they are: no bare LF and no NUL.
    package static func isWireReady(_ bytes: Span<UInt8>, in range: Range<Int>) -> Bool {
        bytes.offset(of: 0, in: range) == nil && bytes.bareLineFeed(in: range) == nil
    }

    /// Appends the CRLF form of the range: at most `count` octets from `octetOffset` on.
    /// Returns how many that were.
    ///
    /// Finds its place from the start of the range each time; to write a long message piece by
    /// piece keep a `CRLFPosition`.
    @discardableResult
    package static func appendCRLF(
        of bytes: Span<UInt8>,
        in range: Range<Int>,
        to buffer: inout ByteBuffer,
        from octetOffset: Int = 0,
        count: Int = .max,
        keepsNUL: Bool = false
    ) -> Int {
        if octetOffset == 0, !keepsNUL, count >= 2 * range.count {
            return buffer.appendCRLF(of: bytes.extracting(range), nulSubstitute: nulSubstitute)
        }
        var position = CRLFPosition(at: range.lowerBound)
        position.skip(to: octetOffset, of: bytes, end: range.upperBound)
        return position.append(
            count,
            of: bytes,
            end: range.upperBound,
            to: &buffer,
            keepsNUL: keepsNUL
        )
    }
}

/// A place in the CRLF form of a range of message bytes, from which writing goes on.
package struct CRLFPosition: Sendable, Equatable {
    /// Where in the file the next byte is read.
    package private(set) var raw: Int
    /// How many octets of the CRLF form came before.
    package private(set) var octet = 0
    /// The CR of the bare LF at `raw` has been counted, the LF not.
    private var isInsideLineEnd = false
    private let start: Int

    /// The start of a range.
    package init(at start: Int) {
        raw = start
        self.start = start
    }

    /// Moves forward to the octet, or to the end of the range if that comes first. Never back.
    package mutating func skip(to target: Int, of bytes: Span<UInt8>, end: Int) {
        finishLineEnd(before: target)
        guard !isInsideLineEnd else { return }
        // Halving blocks: counts whole blocks while they fit, then smaller ones.
        var block = 1 << 16
        while octet < target, raw < end, block > 0 {
            let next = min(end, raw &+ block)
            let octets = (next &- raw) &+ bareLineFeeds(of: bytes, in: raw..<next)
            if octets <= target &- octet {
                raw = next
                octet &+= octets
            } else {
                block /= 2
            }
        }
        // Now one byte does not fit any more: it is a bare LF, of which only the CR fits.
        if octet < target, raw < end {
            octet &+= 1
            isInsideLineEnd = true
        }
    }

    /// Appends at most `count` octets and moves behind them; returns how many they were, fewer
    /// than asked only at the end of the range.
    package mutating func append(
        _ count: Int,
        of bytes: Span<UInt8>,
        end: Int,
        to buffer: inout ByteBuffer,
        keepsNUL: Bool = false
    ) -> Int {
        guard count > 0 else { return 0 }
        let outputStart = buffer.count
        let rawStart = raw
        var left = count
        if isInsideLineEnd, raw < end {
            buffer.append(.lf)
            left &-= 1
            raw &+= 1
            isInsideLineEnd = false
        }
        while left > 0, raw < end {
            let limit = end &- raw <= left ? end : raw &+ left
            let feed = bareLineFeed(of: bytes, in: raw..<limit)
            let stop = feed ?? limit
            buffer.append(bytes.extracting(raw..<stop))
            left &-= stop &- raw
            raw = stop
            guard feed != nil, left > 0 else { continue }
            buffer.append(.cr)
            left &-= 1
            guard left > 0 else {
                isInsideLineEnd = true
                break
            }
            buffer.append(.lf)
            left &-= 1
            raw &+= 1
        }
        if !keepsNUL, bytes.offset(of: 0, in: rawStart..<raw) != nil {
            for index in outputStart..<buffer.count where buffer.bytes[index] == 0 {
                buffer.bytes[index] = MessageText.nulSubstitute
            }
        }
        let written = buffer.count &- outputStart
        octet &+= written
        return written
    }

    private mutating func finishLineEnd(before target: Int) {
        guard isInsideLineEnd, octet < target else { return }
        isInsideLineEnd = false
        raw &+= 1
        octet &+= 1
    }

    /// A range in the middle begins after what it follows, so that a CR there is seen.
    private func bareLineFeeds(of bytes: Span<UInt8>, in range: Range<Int>) -> Int {
        guard range.lowerBound > start, !range.isEmpty else {
            return bytes.lineFeeds(in: range).bare
        }
        let before = range.lowerBound &- 1
        let found = bytes.lineFeeds(in: before..<range.upperBound).bare
        return bytes[before] == .lf ? found &- 1 : found
    }

    private func bareLineFeed(of bytes: Span<UInt8>, in range: Range<Int>) -> Int? {
        guard range.lowerBound > start, !range.isEmpty,
            bytes[range.lowerBound] == .lf, bytes[range.lowerBound &- 1] == .cr
        else { return bytes.bareLineFeed(in: range) }
        return bytes.bareLineFeed(in: (range.lowerBound &+ 1)..<range.upperBound)
    }
}
