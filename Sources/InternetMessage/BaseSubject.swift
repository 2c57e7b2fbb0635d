import Bytes

/// The subject without what replies, forwards and mailing lists add.          RFC 5256 §2.1
package struct BaseSubject: Sendable, Equatable {
    /// Decoded, in UTF-8. Compare it folded.
    package let text: [UInt8]
    /// Something told that the message is a reply or forwarded.
    package let isReply: Bool

    package init(_ bytes: Span<UInt8>, subject: Range<Int>, decoder: HeaderDecoder) {
        // (1) Decoded, every run of tabs and spaces one space.
        var line: [UInt8] = []
        for byte in decoder.text(bytes, in: subject) {
            if !byte.isFoldingSpace {
                line.append(byte)
            } else if line.last != .space {
                line.append(.space)
            }
        }
        var trimmer = SubjectTrimmer(end: line.count)
        trimmer.trim(line.span)
        text = Array(line[trimmer.start..<trimmer.end])
        isReply = trimmer.isReply
    }
}

/// Moves in from both ends of a subject.
private struct SubjectTrimmer {
    var start = 0
    var end: Int
    var isReply = false
    /// Blobs up to here are known to stand before no `re:`; looking again would make a subject of
    /// many blobs quadratic.
    private var blobsLeadTo = -1

    init(end: Int) { self.end = end }

    mutating func trim(_ line: Span<UInt8>) {
        repeat {
            // (2), then (3) and (4) until neither changes anything, then (6).
            while removeTrailer(line) {}
            while removeLeader(line) || removeBlob(line) {}
        } while removeForward(line)
    }

    ///     subj-trailer = "(fwd)" / WSP
    private mutating func removeTrailer(_ line: Span<UInt8>) -> Bool {
        guard end > start else { return false }
        if line[end - 1] == .space {
            end -= 1
            return true
        }
        guard end - start >= 5, line.equalsIgnoringCase("(fwd)", in: (end - 5)..<end) else {
            return false
        }
        end -= 5
        isReply = true
        return true
    }

    ///     subj-leader = (*subj-blob subj-refwd) / WSP
    ///     subj-refwd  = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
    private mutating func removeLeader(_ line: Span<UInt8>) -> Bool {
        guard start < end else { return false }
        if line[start] == .space {
            start += 1
            return true
        }
        guard start > blobsLeadTo else { return false }
        var index = start
        while let next = blobEnd(line, at: index) { index = next }
        blobsLeadTo = index
        let letters = line.extracting(index..<end)
        guard letters.hasPrefixIgnoringCase("re") || letters.hasPrefixIgnoringCase("fw") else {
            return false
        }
        index += 2
        if line[index - 2].lowercased == UInt8(ascii: "f"), index < end,
            line[index].lowercased == UInt8(ascii: "d")
        {
            index += 1
        }
        while index < end, line[index] == .space { index += 1 }
        if let next = blobEnd(line, at: index) { index = next }
        guard index < end, line[index] == UInt8(ascii: ":") else { return false }
        start = index + 1
        isReply = true
        return true
    }

    /// Removes a blob, if that leaves something.
    private mutating func removeBlob(_ line: Span<UInt8>) -> Bool {
        guard let next = blobEnd(line, at: start), next < end else { return false }
        start = next
        return true
    }

    /// The offset behind the blob at the offset, or nil if there is none.
    ///
    ///     subj-blob = "[" *BLOBCHAR "]" *WSP
    private func blobEnd(_ line: Span<UInt8>, at offset: Int) -> Int? {
        guard offset < end, line[offset] == UInt8(ascii: "[") else { return nil }
        var index = offset + 1
        while index < end, line[index] != UInt8(ascii: "]") {
            guard line[index] != UInt8(ascii: "[") else { return nil }
            index += 1
        }
        guard index < end else { return nil }
        index += 1
        while index < end, line[index] == .space { index += 1 }
        return index
    }

    ///     subj-fwd = subj-fwd-hdr subject subj-fwd-trl        "[fwd:" and "]"
    private mutating func removeForward(_ line: Span<UInt8>) -> Bool {
        guard end - start >= 6, line[end - 1] == UInt8(ascii: "]"),
            line.equalsIgnoringCase("[fwd:", in: start..<(start + 5))
        else { return false }
        start += 5
        end -= 1
        blobsLeadTo = -1
        isReply = true
        return true
    }
}

extension Span where Element == UInt8 {
    func hasPrefixIgnoringCase(_ text: StaticString) -> Bool {
        count >= text.utf8CodeUnitCount && equalsIgnoringCase(text, in: 0..<text.utf8CodeUnitCount)
    }
}
