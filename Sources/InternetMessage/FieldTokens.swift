import Bytes

/// Reading structured field values (RFC 5322 §3.2, RFC 2045 §5.1) from a range of bytes. No
/// function here fails: what is not closed ends with the range.
extension Span where Element == UInt8 {
    /// Moves over blanks, folds and comments. Comments nest; their depth is only counted.
    func skipCommentsAndSpace(_ offset: inout Int, end: Int) {
        while offset < end {
            if self[offset].isFoldingSpace {
                offset &+= 1
            } else if self[offset] == UInt8(ascii: "(") {
                skipComment(&offset, end: end)
            } else {
                return
            }
        }
    }

    /// Moves over the comment that begins at the offset.
    func skipComment(_ offset: inout Int, end: Int) {
        var depth = 0
        while offset < end {
            switch self[offset] {
            case UInt8(ascii: "("): depth &+= 1
            case UInt8(ascii: ")"): depth &-= 1
            case .backslash: offset &+= 1
            default: break
            }
            offset &+= 1
            if depth == 0 { break }
        }
        offset = Swift.min(offset, end)
    }

    /// Reads the comment that begins at the offset; its text replaces `output`.
    func readComment(_ offset: inout Int, end: Int, into output: inout [UInt8]) {
        let start = offset &+ 1
        skipComment(&offset, end: end)
        var stop = offset
        if stop > start, self[stop &- 1] == UInt8(ascii: ")") { stop &-= 1 }
        output.removeAll(keepingCapacity: true)
        guard start < stop else { return }
        appendUnescaped(trimmed(start..<stop), to: &output)
    }

    /// Reads the quoted string that begins at the offset and appends what it says, without quotes,
    /// backslashes and line ends.
    ///
    ///     quoted-string = [CFWS] DQUOTE *([FWS] qcontent) [FWS] DQUOTE      RFC 5322 §3.2.4
    func readQuoted(_ offset: inout Int, end: Int, into output: inout [UInt8]) {
        let start = offset &+ 1
        offset = start
        while offset < end, self[offset] != .quote {
            offset &+= self[offset] == .backslash ? 2 : 1
        }
        offset = Swift.min(offset, end)
        appendUnescaped(start..<Swift.max(start, offset), to: &output)
        if offset < end { offset &+= 1 }
    }

    private func appendUnescaped(_ range: Range<Int>, to output: inout [UInt8]) {
        var index = range.lowerBound
        while index < range.upperBound {
            var byte = self[index]
            index &+= 1
            if byte == .backslash, index < range.upperBound {
                byte = self[index]
                index &+= 1
            }
            guard byte != .cr, byte != .lf else { continue }
            output.append(byte)
        }
    }
}

extension UInt8 {
    /// Ends a token of MIME: `()<>@,;:\"/[]?=`, space and controls.     RFC 2045 §5.1
    var endsToken: Bool {
        switch self {
        case 0...0x20, 0x7F: true
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "<"), UInt8(ascii: ">"),
            UInt8(ascii: "@"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: ":"),
            .backslash, .quote, UInt8(ascii: "/"), UInt8(ascii: "["), UInt8(ascii: "]"),
            UInt8(ascii: "?"), UInt8(ascii: "="):
            true
        default: false
        }
    }

    /// Ends an atom of an address list.                                  RFC 5322 §3.2.3
    var endsAtom: Bool {
        switch self {
        case 0x09, 0x0A, 0x0D, 0x20, UInt8(ascii: "("), UInt8(ascii: "<"), UInt8(ascii: ">"),
            UInt8(ascii: "@"), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: ":"),
            .quote, UInt8(ascii: "."):
            true
        default: false
        }
    }
}
