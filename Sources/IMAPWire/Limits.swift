/// What a client may make this module hold or do. Each has its test at the limit and one above.
package enum Limits {
    /// Octets of a tag. It is sent back with each answer; real ones have about ten.
    package static let tagBytesMax = 255

    /// Parentheses and NOTs within each other in a search program. They are walked by recursion,
    /// on stacks as small as a pool thread's. Right-nested ORs do not count: see `SearchKey.or`.
    package static let searchDepthMax = 64

    /// Keys in one search program, so that 1 MiB of `1 1 1 …` is not half a million tree nodes
    /// to be asked about each message.
    package static let searchKeyCountMax = 10_000

    /// Ranges in one set, 8 bytes each. Clients send whole mailboxes as lists of UIDs: a line of
    /// 40 KB has some 7,000.
    package static let setRangeCountMax = 100_000

    /// Items in one FETCH, each answered for each message. Real ones have about ten.
    package static let fetchItemCountMax = 256

    /// Names in one `HEADER.FIELDS (…)`.
    package static let headerFieldCountMax = 256

    /// Numbers in a part specifier such as `1.2.3`: as deep as any message is parsed.
    package static let sectionDepthMax = 128

    /// Flags in one STORE or APPEND.
    package static let flagCountMax = 1_024

    /// Octets of a keyword. The keywords file of a Maildir is one line each.
    package static let keywordBytesMax = 255

    /// Elements of any other parenthesised list: patterns, status items, annotations, events.
    package static let listCountMax = 1_024

    /// Fields of ID; RFC 2971 §3.3 says 30, of up to 30 and 1,024 octets.
    package static let idFieldCountMax = 30
    package static let idNameBytesMax = 30
    package static let idValueBytesMax = 1_024
}

/// How much of one command is kept in memory while it comes in.
///
/// The message literals of APPEND are not: the session takes them from the input itself.
package struct FramingLimits: Sendable {
    /// Octets of the command outside its literals.
    package let lineBytesMax: Int
    /// Octets of one literal.
    package let literalBytesMax: Int
    /// Literals in one command.
    package let literalCountMax: Int
    /// Octets of the whole command.
    package let commandBytesMax: Int

    package init(
        lineBytesMax: Int,
        literalBytesMax: Int,
        literalCountMax: Int,
        commandBytesMax: Int
    ) {
        self.lineBytesMax = lineBytesMax
        self.literalBytesMax = literalBytesMax
        self.literalCountMax = literalCountMax
        self.commandBytesMax = commandBytesMax
    }

    /// Strangers: enough for AUTHENTICATE with an initial response, for a long password as a
    /// literal (4 KiB is what LITERAL- allows), and for ID.
    package static let beforeLogin = FramingLimits(
        lineBytesMax: 8 * 1_024,
        literalBytesMax: 4 * 1_024,
        literalCountMax: 8,
        commandBytesMax: 16 * 1_024
    )

    /// Users: `UID SEARCH` and `UID FETCH` with lists of tens of thousands of UIDs, annotations.
    package static let afterLogin = FramingLimits(
        lineBytesMax: 1_024 * 1_024,
        literalBytesMax: 1_024 * 1_024,
        literalCountMax: 1_024,
        commandBytesMax: 2 * 1_024 * 1_024
    )
}
