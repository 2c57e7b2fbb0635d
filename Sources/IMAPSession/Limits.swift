/// What bounds a session, each with its reason.
package enum Limits {
    /// APPENDs of one session that wait for the disk, each with a message in memory or in a file, while
    /// the next is taken in.
    static let pendingAppendsMax = 16

    /// RFC 9051 §5.4: at least 30 minutes.
    static let idleSeconds = 30 * 60 + 30

    /// In IDLE something is sent this often, so that home routers do not forget the connection.
    static let keepAliveSeconds = 4 * 60

    /// APPENDLIMIT: the largest message that may be uploaded. RFC 7889
    package static let appendBytesMax = 128 << 20

    /// Answers of STORE that are written from one copy of the mailbox's table.
    static let flagAnswersBatchMax = 256

    /// Output gathered before it is sent and the loop given to others.
    static let outputBytesMax = 64 << 10

    /// Input taken from the stream at once.
    static let inputBytesMax = 64 << 10

    /// Messages in one APPEND. Alpine copies whole mailboxes in one command; each message waits in
    /// tmp/ for the last one, and all are renamed under one taking of the lock.
    static let appendMessagesMax = 10_000

    /// Octets of an uploaded message between two writes to the disk.
    static let uploadChunkBytes = 256 << 10

    /// Message content that one job may read and render. One such piece waits while another is sent: two
    /// of half the size and twice the wake-ups took a tenth more processor time.
    static let renderBytesMax = 1 << 20

    /// Messages handed to one job: bounds what is rendered ahead of a slow reader.
    static let renderCountMax = 64

    /// What a client hears of a command that runs is at most this far apart.     RFC 9585 §4
    static let progressMilliseconds = 10_000

    /// Searches of one session that are kept up to date. Each is asked about each change, and keeps
    /// the UIDs of its result.
    static let searchContextCountMax = 16

    /// Mailboxes that one session may have watched by NOTIFY: two inotify watches each, of which
    /// the kernel gives a user some 8,000 on a small host.
    static let notifyMailboxCountMax = 2_000

    /// Changed annotations that a session keeps until its client may be told: names of a few dozen
    /// octets. Whoever reads so slowly is told no more.
    static let annotationChangeCountMax = 10_000

    /// Mailboxes that NOTIFY looks at at once: one that is locked must not keep others back.
    static let notifyLooksMax = 8

    /// Mailboxes in one ESEARCH. More than anybody has: it bounds what one command can keep busy.
    static let multiSearchCountMax = 10_000

    /// Messages handed to one job where their headers or records are enough.
    static let renderHeaderCountMax = 256

    /// Messages that SEARCH looks at in memory before it gives the loop back.
    static let searchRowsMax = 16_384

    /// Headers of which one job makes columns.
    static let columnHeadersMax = 512

    /// Message content that one job may look through for SEARCH, SORT and THREAD.
    static let lookBytesMax = 4 << 20

    /// BAD commands in a row before the connection is closed: a client that is lost stays so.
    static let badCommandsMax = 50

    /// How long a session that waits keeps what it compresses with: long enough for a client's next
    /// command of the same errand.
    static let compressionRestSeconds = 3

    /// Compressors and decompressors in use in a process, some 50 KB each. Beyond it a session that
    /// waits gives its own up at once.
    static let activeCompressionsMax = 32

    /// Compressed input taken from the stream at once.
    static let compressedBytesMax = 16 << 10

    /// Ranges in one VANISHED response: lines that clients can read.
    static let vanishedRangesMax = 1_000

    /// Reads in a row that decompress to nothing, before others are let run.
    static let emptyReadsMax = 16
}
