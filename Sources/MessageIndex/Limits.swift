/// What bounds the index, each with its reason.
package enum Limits {
    /// How much of the file is mapped at first: address space, no memory.
    static let mapBytesMin = 64 << 20

    /// What the file of one Maildir may become. A million messages take about 2 GB; beyond it the
    /// mailbox that would not fit goes without.
    static let mapBytesMax = 16 << 30

    /// One detail record. What is longer is made anew each time: mail with a header of this size is
    /// rare, and one record must not push out a thousand others.
    package static let detailBytesMax = 64 << 10

    /// One column of a block. 1,024 cells are some 40 KB; only where somebody sends nothing but
    /// extremes are they more than this, and then they are made anew each time.
    package static let columnBlockBytesMax = 1 << 20

    /// UIDs of one block of the summary: a change of a flag writes one block, and one block is read
    /// in one piece.
    package static let blockUIDs: UInt32 = 1_024

    /// Messages of one summary: what a mailbox can have in the memory that a process may use.
    static let messagesMax: UInt32 = 1 << 24

    /// Records that go with one transaction when a mailbox is dropped, so that readers wait little.
    static let removalBatch = 1_000

    /// When an index that no process has opened is taken for that of a Maildir that is gone.
    static let unusedSecondsMax: Int64 = 90 * 86_400

    /// The file that says whether the last process ended well.
    static let stateBytesMax = 256
}
