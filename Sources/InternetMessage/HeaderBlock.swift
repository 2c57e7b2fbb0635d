import Bytes

//  Header blocks
//
//  A header ends with the first empty line, whatever the lines before it look like: a line without
//  a colon is part of the header (it is no field, and HEADER.FIELDS.NOT gives it). Without an empty
//  line all of it is header. Dovecot does the same; Python's email package would end the header at
//  the first line that is no field.

/// Where the header of a message or part ends, and the fields in it.
package enum HeaderBlock {
    /// The offset after the empty line that ends the header, or the end of the bytes.
    package static func end(in bytes: Span<UInt8>, from start: Int = 0) -> Int {
        endIfComplete(in: bytes, from: start) ?? bytes.count
    }

    /// The offset after the empty line, or nil if there is none: for a caller who has read only
    /// the first piece of a file. `start` must be the start of a line.
    package static func endIfComplete(in bytes: Span<UInt8>, from start: Int = 0) -> Int? {
        var line = start
        while line < bytes.count {
            if let after = emptyLine(in: bytes, at: line) { return after }
            guard let feed = bytes.offset(of: .lf, in: line..<bytes.count) else { return nil }
            line = feed + 1
        }
        return nil
    }

    /// The offset after the line end that stands at the offset, or nil if there is none.
    @inline(__always)
    static func emptyLine(in bytes: Span<UInt8>, at line: Int) -> Int? {
        guard line < bytes.count else { return nil }
        if bytes[line] == .lf { return line &+ 1 }
        guard bytes[line] == .cr, line &+ 1 < bytes.count, bytes[line &+ 1] == .lf else {
            return nil
        }
        return line &+ 2
    }
}

/// One field of a header, with its folded lines, as ranges of the bytes it was found in.
package struct HeaderField {
    /// All of it with the line end.
    package let lines: Range<Int>
    /// The name without blanks after it; empty for a line that is no field.
    package let name: Range<Int>
    /// What follows the colon, folds and all, without the last line end.
    package let value: Range<Int>

    /// The field that begins at the offset, which must be the start of a line, or nil at the
    /// empty line and at the end.
    package init?(in bytes: Span<UInt8>, at start: Int, end: Int) {
        guard start < end, HeaderBlock.emptyLine(in: bytes, at: start) == nil else { return nil }
        var next = end
        var search = start
        var firstLine = end
        while let feed = bytes.offset(of: .lf, in: search..<end) {
            if search == start { firstLine = feed }
            search = feed &+ 1
            if search < end, bytes[search] == .space || bytes[search] == .tab { continue }
            next = search
            break
        }
        self.init(in: bytes, lines: start..<next, firstLine)
    }

    /// The field on these lines.
    ///
    /// - Parameter firstLine: where the first of them ends.
    private init(in bytes: Span<UInt8>, lines: Range<Int>, _ firstLine: Int) {
        self.lines = lines
        var valueEnd = lines.upperBound
        if valueEnd > lines.lowerBound, bytes[valueEnd &- 1] == .lf {
            valueEnd &-= 1
            if valueEnd > lines.lowerBound, bytes[valueEnd &- 1] == .cr { valueEnd &-= 1 }
        }
        // Names are short: looked for byte by byte.
        let firstEnd = min(firstLine, valueEnd)
        var colon = lines.lowerBound
        while colon < firstEnd, bytes[colon] != UInt8(ascii: ":") { colon &+= 1 }
        guard colon < firstEnd else {
            name = lines.lowerBound..<lines.lowerBound
            value = lines.lowerBound..<valueEnd
            return
        }
        var nameEnd = colon
        while nameEnd > lines.lowerBound, bytes[nameEnd &- 1].isBlank { nameEnd &-= 1 }
        name = lines.lowerBound..<nameEnd
        value = (colon &+ 1)..<valueEnd
    }

    /// Whether it has the name, in any case of its letters.
    @inline(__always)
    func isNamed(_ text: StaticString, in bytes: Span<UInt8>) -> Bool {
        bytes.equalsIgnoringCase(text, in: name)
    }
}

extension UInt8 {
    /// SP or TAB.
    @inline(__always) var isBlank: Bool { self == .space || self == .tab }
    /// SP, TAB, CR or LF: what may stand between the tokens of a folded field.
    @inline(__always) var isFoldingSpace: Bool {
        self == .space || self == .tab || self == .cr || self == .lf
    }
}

extension Span where Element == UInt8 {
    @inline(__always)
    func equalsIgnoringCase(_ text: StaticString, in range: Range<Int>) -> Bool {
        guard range.count == text.utf8CodeUnitCount else { return false }
        for index in 0..<range.count
        where self[range.lowerBound &+ index].lowercased
            != (unsafe text.utf8Start[index]).lowercased
        {
            return false
        }
        return true
    }

    /// The range without the folding space at both ends.
    func trimmed(_ range: Range<Int>) -> Range<Int> {
        var lower = range.lowerBound
        var upper = range.upperBound
        while lower < upper, self[lower].isFoldingSpace { lower &+= 1 }
        while upper > lower, self[upper &- 1].isFoldingSpace { upper &-= 1 }
        return lower..<upper
    }

    /// The value of a field on one line, without the blanks at both ends.
    ///
    /// A line end goes and the blanks after it stay (RFC 5322 §2.2.3). A CR that belongs to no
    /// line end becomes a space, so that no text sent to a client breaks a line.
    func unfolded(_ range: Range<Int>) -> [UInt8] {
        var output: [UInt8] = []
        unfold(range, into: &output)
        return output
    }

    func unfold(_ range: Range<Int>, into output: inout [UInt8]) {
        let range = trimmed(range)
        var start = range.lowerBound
        while start < range.upperBound {
            let feed = offset(of: .lf, in: start..<range.upperBound)
            var stop = feed ?? range.upperBound
            if feed != nil, stop > start, self[stop &- 1] == .cr { stop &-= 1 }
            appendReplacingCR(start..<stop, to: &output)
            start = feed.map { $0 &+ 1 } ?? range.upperBound
        }
    }

    private func appendReplacingCR(_ range: Range<Int>, to output: inout [UInt8]) {
        let first = output.count
        unsafe extracting(range).withUnsafeBufferPointer { unsafe output.append(contentsOf: $0) }
        guard offset(of: .cr, in: range) != nil else { return }
        for index in first..<output.count where output[index] == .cr { output[index] = .space }
    }
}
