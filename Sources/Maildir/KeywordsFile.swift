import Bytes
import Glibc
package import Posix

//  How keywords reach the disk
//
//  Under `dovecot-uidlist.lock`, which Dovecot holds as well when it writes them, before any message is
//  renamed to carry a new letter:
//
//  1. dovecot-keywords.lock is written whole, synced, and renamed over dovecot-keywords. This is
//     Dovecot's way; a lock file that is there already is a dead process's, and is removed.
//  2. martlet-keywords.tmp likewise over martlet-keywords.
//  3. the directory is synced.
//
//  A crash between them leaves either file old or new; they need not be of one moment. Readers look at
//  the modification time in seconds, so a new `dovecot-keywords` is always at least a second younger
//  than the one before, by its time.

/// One mailbox's keyword files, as last read or written. A value, as `UIDListFile`.
package struct KeywordsFile: Sendable {
    package var keywords = Keywords() {
        didSet { mayDiffer = true }
    }

    /// Whether the keywords may differ from what is on the disk: without that `commit` looks at nothing.
    private var mayDiffer = true

    private var letters: FileFingerprint?
    private var beyond: FileFingerprint?
    private var writtenLetters: [UInt8] = []
    private var writtenBeyond: [UInt8]?
    private var isRead = false

    package static let name = [UInt8]("dovecot-keywords")
    package static let beyondName = [UInt8]("martlet-keywords")

    package init() {}

    /// Reads what changed. Needs no lock. Returns whether anything was read; changes that were not
    /// committed are dropped then.
    package mutating func refresh(in directory: Directory) throws(MaildirError) -> Bool {
        let letters = try Self.fingerprint(Self.name, in: directory)
        let beyond = try Self.fingerprint(Self.beyondName, in: directory)
        if isRead, letters == self.letters, beyond == self.beyond { return false }
        isRead = false
        let lettersFile =
            try ifThere { () throws(SystemError) in
                try directory.readFile(Self.name, max: Limits.keywordsBytesMax)
            } ?? []
        let beyondFile = try ifThere { () throws(SystemError) in
            try directory.readFile(Self.beyondName, max: Limits.messageKeywordsBytesMax)
        }
        do throws(KeywordsError) {
            keywords = try Keywords(letters: lettersFile, beyond: beyondFile)
        } catch {
            throw .keywords(error)
        }
        self.letters = letters
        self.beyond = beyond
        writtenLetters = lettersFile
        writtenBeyond = beyondFile
        isRead = true
        return true
    }

    private static func fingerprint(
        _ name: [UInt8],
        in directory: Directory
    ) throws(MaildirError) -> FileFingerprint? {
        try ifThere { () throws(SystemError) in try directory.status(name) }
            .map(FileFingerprint.init)
    }

    /// Brings the keywords to the disk, where they differ from what is there. Messages may carry a new
    /// keyword once it returns. After an error, refresh and do the change again.
    package mutating func commit(_ lock: DotLock) throws(MaildirError) {
        precondition(lock.name == UIDListFile.name, "the lock protects another file")
        precondition(isRead, "keywords are read before they are written")
        guard mayDiffer else { return }
        let directory = lock.directory
        guard try Self.fingerprint(Self.name, in: directory) == letters,
            try Self.fingerprint(Self.beyondName, in: directory) == beyond
        else {
            isRead = false
            throw .stale
        }
        let newLetters = keywords.lettersFile
        let newBeyond = keywords.beyondFile
        let changesLetters = newLetters != writtenLetters
        let changesBeyond = newBeyond != writtenBeyond
        guard changesLetters || changesBeyond else {
            mayDiffer = false
            return
        }
        guard try system({ () throws(SystemError) in try lock.isStillOurs() }) else {
            throw .lockLost
        }
        isRead = false
        try system { () throws(SystemError) in
            if changesLetters {
                try Self.replace(Self.name, via: DotLock.lockName(of: Self.name), newLetters, lock)
            }
            if changesBeyond {
                let temporaryName = Self.beyondName + [UInt8](".tmp")
                if let newBeyond {
                    try Self.replace(Self.beyondName, via: temporaryName, newBeyond, lock)
                } else {
                    try directory.unlinkIfThere(Self.beyondName)
                }
            }
            try directory.sync()
        }
        letters = try Self.fingerprint(Self.name, in: directory)
        beyond = try Self.fingerprint(Self.beyondName, in: directory)
        writtenLetters = newLetters
        writtenBeyond = newBeyond
        isRead = true
        mayDiffer = false
    }

    private static func replace(
        _ name: [UInt8],
        via temporaryName: [UInt8],
        _ content: [UInt8],
        _ lock: DotLock
    ) throws(SystemError) {
        let directory = lock.directory
        try directory.unlinkIfThere(temporaryName)
        do throws(SystemError) {
            try write(name, via: temporaryName, content, directory)
        } catch {
            // Dovecot would take what is left for a lock.
            try? directory.unlinkIfThere(temporaryName)
            throw error
        }
    }

    private static func write(
        _ name: [UInt8],
        via temporaryName: [UInt8],
        _ content: [UInt8],
        _ directory: Directory
    ) throws(SystemError) {
        let permissions = MailboxPermissions(of: try directory.status())
        let file = try directory.create(temporaryName, permissions)
        try file.writeAll(content)
        var old: WallTime?
        do throws(SystemError) { old = try directory.status(name).modified } catch {
            if !error.isMissing { throw error }
        }
        if let old, old.seconds < .max, try file.status().modified.seconds <= old.seconds {
            try file.setModified(WallTime(seconds: old.seconds + 1))
        }
        try file.sync()
        try file.close()
        try directory.rename(temporaryName, to: directory, name)
    }
}
