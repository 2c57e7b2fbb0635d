package import Bytes

/// The field names of a `HEADER.FIELDS` or `HEADER.FIELDS.NOT`, made once for a command and then
/// matched against the header of each message.
package struct HeaderFieldSet: Sendable, Equatable {
    /// The names in lower case, one after the other.
    private let text: [UInt8]
    /// Per name its length, and where it starts in `text`; ordered by length.
    private let names: [Name]
    /// Where in `names` those of each length begin; of 63 or more: the first.
    private let firsts: [Int]
    /// Bit n: there is a name of length n (63: of 63 or more).
    private let lengths: UInt64

    private struct Name: Sendable, Equatable {
        let start: Int
        let count: Int
    }

    package init(_ fieldNames: [[UInt8]]) {
        var text: [UInt8] = []
        var names: [Name] = []
        var lengths: UInt64 = 0
        for field in fieldNames.sorted(by: { $0.count < $1.count }) where !field.isEmpty {
            names.append(Name(start: text.count, count: field.count))
            text += field.lowercased
            lengths |= 1 << UInt64(min(field.count, 63))
        }
        self.text = text
        self.names = names
        firsts = (0...63).map { length in
            names.firstIndex { $0.count >= length } ?? names.count
        }
        self.lengths = lengths
    }

    package func contains(_ name: Span<UInt8>) -> Bool {
        contains(0..<name.count, of: name)
    }

    @inline(__always)
    private func contains(_ range: Range<Int>, of bytes: Span<UInt8>) -> Bool {
        let count = range.count
        guard count > 0, lengths >> UInt64(min(count, 63)) & 1 != 0 else { return false }
        var next = firsts[min(count, 63)]
        while next < names.count {
            let name = names[next]
            next &+= 1
            guard name.count >= count else { continue }
            guard name.count == count else { return false }
            var index = 0
            while index < count,
                bytes[range.lowerBound &+ index].lowercased == text[name.start &+ index]
            {
                index &+= 1
            }
            if index == count { return true }
        }
        return false
    }

    /// Appends the fields of the header that are in the set, or with `excluding` those that are
    /// not, in the CRLF form, then an empty line.
    ///
    /// In the order of the message, with duplicates and folds as they are. The empty line is there
    /// even where no field is and where the message has none: clients wait for it, and `{0}` has
    /// made some of them fail.                                                 RFC 3501 §6.4.5
    package func append(
        from bytes: Span<UInt8>,
        header: Range<Int>,
        excluding: Bool,
        to buffer: inout ByteBuffer
    ) {
        var offset = header.lowerBound
        // Neighbouring fields that go out are copied as one run.
        var run = offset..<offset
        while let field = HeaderField(in: bytes, at: offset, end: header.upperBound) {
            offset = field.lines.upperBound
            guard contains(field.name, of: bytes) != excluding else { continue }
            if run.upperBound == field.lines.lowerBound {
                run = run.lowerBound..<field.lines.upperBound
            } else {
                flush(run, of: bytes, to: &buffer)
                run = field.lines
            }
        }
        flush(run, of: bytes, to: &buffer)
        // RFC 3501 §6.4.5: the empty line is always there, unless the message has none.
        if offset < header.upperBound || header.isEmpty { buffer.append("\r\n") }
    }

    private func flush(_ run: Range<Int>, of bytes: Span<UInt8>, to buffer: inout ByteBuffer) {
        guard !run.isEmpty else { return }
        MessageText.appendCRLF(of: bytes, in: run, to: &buffer)
        if bytes[run.upperBound &- 1] != .lf { buffer.append("\r\n") }
    }
}
