//  The parts of a message
//
//  A tree in a flat array: part 0 is the message itself, children are linked by index. A multipart
//  has its parts as children; a message/rfc822 has one child, the message within it (as part 0 is
//  the message within the file). Offsets are into the file as it is; octets and lines are those of
//  the CRLF form.
//
//  Parsed in one pass with a stack of open parts, never recursively. What a stranger can do to the
//  time is bounded: every byte is looked at a fixed number of times, except that a line that
//  begins with `--` is compared with the boundaries of all open multiparts (at most
//  `Limits.partDepthMax`).
//
//  Boundaries match as RFC 2046 §5.1.1 wants it, by the beginning of the line; where several do,
//  the longest counts, then the innermost. A multipart with no boundary or no parts gets a
//  text/plain child that is its whole body: structures without parts are not legal, and so a
//  reader still sees what is there. (Dovecot reports an empty text there.)

/// A range of a message file, in half the space of `Range<Int>`.
package struct ByteRange: Sendable, Equatable {
    private let lower: UInt32
    private let upper: UInt32

    package init(_ range: Range<Int>) {
        lower = UInt32(range.lowerBound)
        upper = UInt32(range.upperBound)
    }

    private init(lower: UInt32, upper: UInt32) {
        self.lower = lower
        self.upper = upper
    }

    /// Stands for a field that is not there.
    static let absent = ByteRange(lower: 1, upper: 0)

    /// Nil for a field that is not there.
    package var range: Range<Int>? { lower <= upper ? Int(lower)..<Int(upper) : nil }
    /// Empty for a field that is not there.
    package var bounds: Range<Int> { range ?? 0..<0 }
    package var count: Int { bounds.count }
}

/// One part of a message.
package struct Part: Sendable {
    package enum Kind: Sendable {
        case multipart
        /// message/rfc822 or message/global; its child is the message within.
        case message
        case text
        case other
        /// A multipart or message below `Limits.partDepthMax`, or the last part that fits
        /// `Limits.partCountMax`, or a message in base64: not looked into, given as
        /// application/octet-stream.
        case opaque
    }

    package internal(set) var kind = Kind.text
    /// Its type where Content-Type is missing or broken: message/rfc822 in a digest, else text.
    var isDigestDefault = false
    /// MIME header with the empty line; of a message, its whole header.
    package internal(set) var header: ByteRange
    package internal(set) var body: ByteRange
    /// Octets of the body in the CRLF form.
    package internal(set) var bodyOctets = 0
    /// Line ends in the body.
    package internal(set) var bodyLines = 0

    package internal(set) var parent: Int?
    package internal(set) var firstChild: Int?
    package internal(set) var nextSibling: Int?
    package internal(set) var childCount = 0

    // Values of the header's fields, folds and all.
    package internal(set) var contentType = ByteRange.absent
    package internal(set) var transferEncoding = ByteRange.absent
    package internal(set) var contentID = ByteRange.absent
    package internal(set) var description = ByteRange.absent
    package internal(set) var md5 = ByteRange.absent
    package internal(set) var disposition = ByteRange.absent
    package internal(set) var language = ByteRange.absent
    package internal(set) var location = ByteRange.absent

    init(at offset: Int) {
        header = ByteRange(offset..<offset)
        body = ByteRange(offset..<offset)
    }
}

/// The parts of one message.
package struct MessageStructure: Sendable {
    /// Part 0 is the message itself.
    package let parts: [Part]
    /// Of the message with CRLF; nil where not all of it was looked at.
    package let octets: Int?

    /// Parses a whole message. Of a file larger than 4 GiB only the first 4 GiB are looked at.
    package static func parse(_ bytes: Span<UInt8>) -> MessageStructure {
        var parser = StructureParser()
        let count = min(bytes.count, Int(UInt32.max))
        parser.parse(bytes.extracting(0..<count))
        return MessageStructure(
            parts: parser.parts,
            octets: count == bytes.count ? count + parser.bareLineFeeds : nil
        )
    }

    /// The child of a part by its number from 1, or nil.
    package func child(_ number: UInt32, of part: Int) -> Int? {
        guard number >= 1, number <= UInt32(parts[part].childCount) else { return nil }
        var child = parts[part].firstChild
        var left = number - 1
        while left > 0, let current = child {
            child = parts[current].nextSibling
            left -= 1
        }
        return child
    }
}
