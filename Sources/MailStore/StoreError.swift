import Glibc
package import Maildir
package import Posix

/// Why the store could not do what a session asked.
package enum StoreError: Error, Equatable {
    case noSuchMailbox
    case mailboxExists
    case mailboxName(MailboxNameRefusal)
    /// Deleting or renaming INBOX as a directory, or moving a mailbox below itself.
    case impossible
    case hasChildren
    /// The message is gone: another program removed it.
    case messageGone
    /// The disk or the quota of the filesystem is full.
    case noSpace
    /// The user has as much mail as `maildirsize` allows.
    case overQuota
    /// `dovecot-acl` does not allow it.
    case noPermission
    case annotation(AnnotationFile.Refusal)
    /// Another program holds the lock and does not give it back.
    case locked
    case tooManyKeywords
    case invalidKeyword
    /// What the machine said; logged already where it came up.
    case system(SystemError)
    /// A file of the Maildir that we must not touch, or that others keep changing.
    case maildir(MaildirError)
    /// The content of a message file is broken, or the disk says so.
    case unreadableMessage

    package init(_ error: MaildirError) {
        if case .system(let system) = error { self = .init(system) } else { self = .maildir(error) }
    }

    package init(_ error: SystemError) {
        self =
            if error.isNoSpace {
                .noSpace
            } else if error.code == EBADMSG {
                .unreadableMessage
            } else {
                .system(error)
            }
    }

    init(_ error: MailboxTreeError) {
        switch error {
        case .system(let system): self = .init(system)
        case .name(let refusal): self = .mailboxName(refusal)
        case .exists: self = .mailboxExists
        case .missing: self = .noSuchMailbox
        case .impossible: self = .impossible
        }
    }
}
