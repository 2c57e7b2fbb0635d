/// What bounds the work that one message can cause. Message files are written by strangers.
package enum Limits {
    /// Levels of multipart and message/rfc822 below the message. Deeper parts are opaque. Real mail
    /// has fewer than ten; clients and our own writer recurse once a level.
    package static let partDepthMax = 100

    /// Parts of one message; the last one holds all the rest. A part costs about 200 bytes of memory
    /// here and 100 on the wire.
    package static let partCountMax = 10_000

    /// Bytes of a boundary that are compared. RFC 2046 §5.1.1 allows 70; a longer one is cut, and
    /// matches as a prefix does.
    package static let boundaryBytesMax = 200

    /// Sections of one RFC 2231 parameter are numbered below this; each is at least 4 bytes.
    package static let parameterSectionMax = 1_000_000

    /// Bytes of a text that we send in quotes. A longer one is a literal: clients read lines into
    /// buffers of some size, and a literal tells its length first.
    package static let quotedBytesMax = 8_000

    /// Bytes of a charset's name; the longest on the list has 17.
    package static let charsetNameBytesMax = 40

    /// Bytes of a body that SEARCH decodes at a time, so that a body of any size needs about four
    /// times this in memory.
    package static let searchPieceBytesMax = 1 << 18

    /// Bytes of an encoded word of a header. RFC 2047 §2 allows 75; senders write longer ones.
    package static let encodedWordBytesMax = 1_000

    /// Characters of the text that PREVIEW gives (RFC 8970 §3.1: at most 256, 200 is advised).
    package static let previewCharactersMax = 200

    /// Bytes of a text part that PREVIEW looks at: HTML can begin with long styles.
    package static let previewSourceBytesMax = 1 << 16

    /// A header that a detail record keeps whole. Of a longer one, where reports of filters and
    /// signatures are most of it, only the fields are kept that clients are known to ask for.
    package static let keptHeaderBytesMax = 2_048

    /// Bytes that a column keeps of one message. What is longer (a thousand recipients) is read from
    /// the message each time, so that a block of 1,024 messages stays small.
    package static let columnCellBytesMax = 4_096
}
