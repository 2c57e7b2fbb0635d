/// What bounds the store, each with its reason.
package enum Limits {
    /// Names that are renamed or unlinked under one taking of the lock: Dovecot, and other
    /// sessions, wait that long at most.
    static let lockBatchMax = 500

    /// How long one taking of the lock is used for further names.
    static let lockBatchMillisecondsMax = 50

    /// A message file that is read whole. Larger ones are refused by size in the log.
    static let messageBytesMax = 1 << 30

    /// What a message on its way in may take of memory before it goes to a file: most mail is
    /// smaller, and is written, synced and admitted by one job.
    static let heldMessageBytesMax = 256 << 10

    /// Messages copied under one taking of the target's lock. More than are renamed: nobody can take
    /// a new name for an old one that went, so only the wait counts.
    static let copyBatchMax = 2_000

    /// Bytes written at once of a message that is rewritten.
    static let rewriteBytesMax = 256 << 10

    /// What a gzip-compressed message may become: a bomb must not take the process.
    static let inflatedBytesMax = 256 << 20

    /// Mailboxes kept live after their last session, so that the next SELECT or STATUS is instant.
    static let idleMailboxesMax = 24

    /// Messages whose dates are looked up in one job.
    static let dateBatchMax = 2_000

    /// How often an operation looks again for a file that was renamed under it.
    static let renameRetriesMax = 10

    /// Events that wait for an operation to end. Beyond it a scan tells the same for less memory.
    static let deferredEventsMax = 65_536

    /// Names changed in one job from which on events are taken together (`Inotify.hold`): a push may
    /// wait for some milliseconds then.
    static let manyEvents = 32

    /// Names changed by one command from which on the kernel is asked not to tell of renames and
    /// removals, and one look at the directory tells what others did: less than that is not worth it.
    static let quietChangesMin = 1_000

    /// How many messages a mailbox may have for each that is changed, for that look to be less work
    /// than the events.
    static let quietTableFactor = 4

    /// When work that failed (full disk, lock held) is tried again.
    static let retrySeconds = 5

    /// When a file that seemed to have a writer is looked at again, and for how long one is thought
    /// to have one where the filesystem does not tell.
    static let unfinishedSeconds = 2

    /// A file without a UID that was changed within this time may have a writer still.
    static let writingSecondsMax = 60

    /// Entries of the change log of a mailbox before sessions that lag are made to compare flags.
    static let changeLogMax = 65_536

    /// Entries of what a mailbox remembers of its expunges, 16 octets each. Beyond it the older half is
    /// forgotten: clients that were away for so long are told all UIDs that are not there.
    static let expungeHistoryMax = 16_384

    /// How often a process looks whether the reserve of modseqs, a day, is half used up.
    static let reservationSeconds = 3_600

    /// `martlet-state`: a line for each mailbox with a special use.
    static let stateBytesMax = 1 << 20

    /// How long after a change the index is told: one write serves all changes of that time.
    static let summarySeconds = 4

    /// Blocks of 1,024 UIDs (some 100 KB each) that are written to the index in one step, so that
    /// neither the loop nor readers of the index wait for long.
    static let summaryBlocksMax = 8

    /// The age of a change at which a later one is sure to have another time: filesystems count in
    /// up to two seconds.
    static let stampAgeMilliseconds: Int64 = 2_000

    /// The first line of a uidlist.
    static let listHeaderBytesMax = 4_096

    /// Names that came or went in a mailbox that is only watched, before it is just taken for
    /// changed.
    static let watchedNameCountMax = 1_000

    /// When a directory that has just come is looked at again: `mkdir` comes before what makes it
    /// a mailbox.
    static let newMailboxMilliseconds = [30, 300, 2_000]

    /// Detail records that wait to be written together: some hundred messages' worth.
    static let keptDetailBytesMax = 1 << 20

    /// How long the first of them waits: a crash costs no more than reading their messages again.
    static let keepDetailsMilliseconds = 50

    /// Of how many messages, and of which size, a command has the files read on the loop where they are in
    /// the page cache: some hundred microseconds at most.
    static let loopMessagesMax = 4
    static let loopMessageBytesMax = 64 << 10

    /// When the detail records of expunged messages are removed: nobody waits for that.
    static let forgetDetailsSeconds = 2

    /// A block of a column is written again when an eighth of it is new: until then the few messages
    /// that it lacks are looked at one by one.
    static let columnShareMin = 8

    /// Blocks of columns, and messages, that are looked at together: some 10 MB at most, mostly.
    static let columnBlocksMax = 32
    static let columnRowsMax = 32 << 10
}
