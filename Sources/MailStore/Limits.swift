/// What bounds the store, each with its reason.
package enum Limits {
    /// Names that are renamed or unlinked under one taking of the lock: Dovecot, and other
    /// sessions, wait that long at most.
    static let lockBatchMax = 500

    /// How long one taking of the lock is used for further names.
    static let lockBatchMillisecondsMax = 50

    /// A message file that is read whole. Larger ones are refused by size in the log.
    static let messageBytesMax = 1 << 30

    /// What a gzip-compressed message may become: a bomb must not take the process.
    static let inflatedBytesMax = 256 << 20

    /// Mailboxes kept live after their last session, so that the next SELECT or STATUS is instant.
    static let idleMailboxesMax = 24

    /// How often an operation looks again for a file that was renamed under it.
    static let renameRetriesMax = 10

    /// Entries of the change log of a mailbox before sessions that lag are made to compare flags.
    static let changeLogMax = 65_536

    /// `martlet-state`: a line for each mailbox with a special use.
    static let stateBytesMax = 1 << 20
}
