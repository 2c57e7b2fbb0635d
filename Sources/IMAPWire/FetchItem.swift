/// One thing FETCH can tell about a message. The macros ALL, FAST and FULL are written out by
/// the grammar.                                                              RFC 9051 §6.4.5
package indirect enum FetchItem: Hashable, Sendable {
    case flags
    case uid
    case internalDate
    case envelope
    /// `BODY` without a section: the structure without its extension data.
    case body
    case bodyStructure
    case rfc822
    case rfc822Header
    case rfc822Text
    case rfc822Size
    /// `BODY[…]<…>` and `BODY.PEEK[…]<…>`.
    case bodySection(SectionSpecifier, partial: OctetRange?, peek: Bool)
    /// `BINARY[…]<…>` and `BINARY.PEEK[…]<…>`.                              RFC 3516 §4.2
    case binary(part: [UInt32], partial: OctetRange?, peek: Bool)
    case binarySize(part: [UInt32])
    case modSeq
    case emailID
    case threadID
    case saveDate
    /// With LAZY, only if it is at hand.                                     RFC 8970 §3
    case preview(lazy: Bool)

    /// Whether fetching it sets \Seen.
    package var setsSeen: Bool {
        switch self {
        case .rfc822, .rfc822Text: true
        case .bodySection(_, _, let peek), .binary(_, _, let peek): !peek
        case .flags, .uid, .internalDate, .envelope, .body, .bodyStructure, .rfc822Header,
            .rfc822Size, .binarySize, .modSeq, .emailID, .threadID, .saveDate, .preview:
            false
        }
    }
}

/// `<offset.count>` of a section; `count` is at least 1. The answer echoes `offset` alone.
package struct OctetRange: Hashable, Sendable {
    package let offset: UInt64
    package let count: UInt64

    package init(offset: UInt64, count: UInt64) {
        self.offset = offset
        self.count = count
    }
}

/// What stands between the brackets of `BODY[…]`.                            RFC 9051 §6.4.5.1
package struct SectionSpecifier: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// All of the message or part.
        case entire
        case header
        /// The names as the client wrote them, for the echo.
        case headerFields([[UInt8]])
        case headerFieldsNot([[UInt8]])
        case text
        /// Only with a part.
        case mime
    }

    /// Empty for the message itself; each number is at least 1.
    package let part: [UInt32]
    package let kind: Kind

    package init(part: [UInt32] = [], kind: Kind = .entire) {
        self.part = part
        self.kind = kind
    }
}

/// FETCH and UID FETCH.
package struct FetchCommand: Hashable, Sendable {
    package var kind: NumberKind
    package var set: SequenceSet
    package var items: [FetchItem]
    /// `(CHANGEDSINCE n)`; implies that MODSEQ is fetched.                   RFC 7162 §3.1.4.1
    package var changedSince: ModSeq?
    /// Only with UID FETCH and CHANGEDSINCE; the session checks QRESYNC.     RFC 7162 §3.2.6
    package var vanished: Bool
    /// `(PARTIAL range)`.                                                    RFC 9394 §3.3
    package var partial: PartialRange?

    package init(
        kind: NumberKind,
        set: SequenceSet,
        items: [FetchItem],
        changedSince: ModSeq? = nil,
        vanished: Bool = false,
        partial: PartialRange? = nil
    ) {
        self.kind = kind
        self.set = set
        self.items = items
        self.changedSince = changedSince
        self.vanished = vanished
        self.partial = partial
    }
}

/// A window on a result: `1:500`, or from its end `-1:-500`.                 RFC 9394 §3.1
package struct PartialRange: Hashable, Sendable {
    /// As written, without the sign; at least 1. The answer echoes the range as written.
    package let first: UInt32
    package let last: UInt32
    package let isFromEnd: Bool

    package init(first: UInt32, last: UInt32, isFromEnd: Bool = false) {
        self.first = first
        self.last = last
        self.isFromEnd = isFromEnd
    }

    /// The indexes of the window in an ascending result of `count`; may be empty.
    package func indices(count: Int) -> Range<Int> {
        let low = Int(min(first, last)) - 1
        let high = Int(max(first, last))
        if isFromEnd {
            return max(0, count - high)..<max(0, count - low)
        }
        return min(low, count)..<min(high, count)
    }
}
