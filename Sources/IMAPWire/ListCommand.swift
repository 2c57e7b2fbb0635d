/// What a mailbox is for.                                                    RFC 6154 §2, RFC 8457
package enum SpecialUse: Hashable, CaseIterable, Sendable {
    case all
    case archive
    case drafts
    case flagged
    case important
    case junk
    case sent
    case trash

    package var name: StaticString {
        switch self {
        case .all: "\\All"
        case .archive: "\\Archive"
        case .drafts: "\\Drafts"
        case .flagged: "\\Flagged"
        case .important: "\\Important"
        case .junk: "\\Junk"
        case .sent: "\\Sent"
        case .trash: "\\Trash"
        }
    }
}

/// LIST, plain and extended.                                                 RFC 9051 §6.3.9
package struct ListCommand: Hashable, Sendable {
    package struct Selection: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let subscribed = Selection(rawValue: 1)
        package static let remote = Selection(rawValue: 2)
        /// Only beside one that is not REMOTE; the grammar checks it.
        package static let recursiveMatch = Selection(rawValue: 4)
        package static let specialUse = Selection(rawValue: 8)
    }

    package struct Returns: OptionSet, Hashable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }

        package static let subscribed = Returns(rawValue: 1)
        package static let children = Returns(rawValue: 2)
        package static let specialUse = Returns(rawValue: 4)
        /// RFC 8440.
        package static let myRights = Returns(rawValue: 8)
    }

    package var reference: MailboxName
    /// One pattern, or several in parentheses; never empty.
    package var patterns: [MailboxName]
    package var selection: Selection
    package var returns: Returns
    /// `RETURN (STATUS (…))`; empty without.                                 RFC 5819
    package var status: [StatusItem]
    /// `RETURN (METADATA (…))`; empty without.                               RFC 9590
    package var metadata: [[UInt8]]
    /// Selection options, several patterns or RETURN were written. Only then do the rules of
    /// RFC 5258 hold, by which `""` as the one pattern is no question for the separator.
    package var isExtended: Bool

    package init(
        reference: MailboxName,
        patterns: [MailboxName],
        selection: Selection = [],
        returns: Returns = [],
        status: [StatusItem] = [],
        metadata: [[UInt8]] = [],
        isExtended: Bool = false
    ) {
        self.reference = reference
        self.patterns = patterns
        self.selection = selection
        self.returns = returns
        self.status = status
        self.metadata = metadata
        self.isExtended = isExtended
    }
}
