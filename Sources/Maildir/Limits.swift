/// Every bound that a file of a Maildir is held to. The files belong to the user and are written by
/// other programs as well, so each parser must stay within these whatever it finds.
package enum Limits {
    /// A file name of Linux. A longer name in a list cannot belong to any file.
    package static let fileNameBytesMax = 255

    /// What a message's base name may take when we make it: leaves room for `:2,`, six system flags
    /// and 26 keyword letters, with some to spare for other programs' additions.
    package static let newBaseNameBytesMax = 200

    /// The host part of a new name, escaped. Linux host names have at most 64 bytes.
    package static let hostBytesMax = 100

    /// `dovecot-uidlist`: 5,000,000 records of the usual 70 bytes are 350 MB. Also keeps offsets
    /// within 32 bits.
    package static let uidListBytesMax = 512 << 20

    /// The keys of one uidlist record. Longer ones are dropped and the record is kept.
    package static let recordKeysBytesMax = 4_096

    /// The header line of a uidlist. Dovecot's has about 60 bytes.
    package static let uidListHeaderBytesMax = 4_096

    /// 2^32 - 1 is kept back, because some clients use it to mean "none".
    package static let uidMax: UInt32 = 0xFFFF_FFFE

    /// By how much UIDNEXT is raised when a damaged header no longer tells it: more than anyone
    /// assigns and expunges again between two rewrites of the file.
    package static let uidSalvageGap: UInt32 = 100_000

    /// Letters `a` to `z`.
    package static let keywordLetterCount = 26

    /// Keywords of one mailbox, with and without a letter: each is sent in every FLAGS response.
    package static let keywordCountMax = 512

    /// A keyword's name. Dovecot refuses more than 50 bytes by default.
    package static let keywordNameBytesMax = 200

    /// `dovecot-keywords` and the names in other keyword files are read up to this.
    package static let keywordsBytesMax = 1 << 20

    /// `martlet-keywords` and Courier's `:list`, which name messages: 1,000,000 lines of 64 bytes.
    package static let messageKeywordsBytesMax = 64 << 20

    /// `subscriptions` and `courierimapsubscribed`: 60,000 names of the usual 16 bytes.
    package static let subscriptionsBytesMax = 1 << 20

    /// One subscribed name, and the storage name of a mailbox: a directory name on disk.
    package static let mailboxNameBytesMax = 255

    /// Directories below a mailbox that is being deleted. Maildirs have one level.
    package static let deleteDepthMax = 16

    /// The content of a lock file, `PID:HOSTNAME`.
    package static let lockBytesMax = 1_024
}
