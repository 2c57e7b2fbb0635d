/// GETMETADATA.                                                              RFC 5464 §4.2
package struct GetMetadataCommand: Hashable, Sendable {
    package enum Depth: Hashable, Sendable {
        case zero
        case one
        case infinity
    }

    /// Empty for the server's annotations.
    package var mailbox: MailboxName
    /// Lower-cased: entry names are case-insensitive (RFC 5464 §3). Never empty.
    package var entries: [[UInt8]]
    package var maxSize: UInt32?
    package var depth: Depth

    package init(
        mailbox: MailboxName,
        entries: [[UInt8]],
        maxSize: UInt32? = nil,
        depth: Depth = .zero
    ) {
        self.mailbox = mailbox
        self.entries = entries
        self.maxSize = maxSize
        self.depth = depth
    }
}

/// SETMETADATA.                                                              RFC 5464 §4.3
package struct SetMetadataCommand: Hashable, Sendable {
    package struct Entry: Hashable, Sendable {
        /// Lower-cased.
        package let name: [UInt8]
        /// NIL removes the entry.
        package let value: [UInt8]?

        package init(name: [UInt8], value: [UInt8]?) {
            self.name = name
            self.value = value
        }
    }

    /// Empty for the server's annotations.
    package var mailbox: MailboxName
    package var entries: [Entry]

    package init(mailbox: MailboxName, entries: [Entry]) {
        self.mailbox = mailbox
        self.entries = entries
    }
}
