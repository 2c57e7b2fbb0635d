package import IMAPWire
package import MailStore

/// How a command ends when it does not end in OK.
///
/// Every error that a command throws is one of these; `Session.answer` is the one place that decides
/// what a client may learn. What the machine said is in the log, written where it came up.
package indirect enum CommandFailure: Error {
    /// The client broke the grammar, or a rule that the grammar cannot say. BAD.
    case bad(StaticString)
    /// A sequence number in UIDONLY mode. BAD.                                RFC 9586 §3
    case uidRequired
    /// Well formed and not possible in this state of the connection: the client does not know where it
    /// is. BAD [CLIENTBUG].                                                  RFC 5530 §3
    case clientBug(StaticString)
    /// Well formed but refused. NO.
    case refused(ResponseCode?, StaticString)
    /// The connection is gone.
    case closed

    package init(_ error: StoreError) {
        self =
            switch error {
            case .noSuchMailbox: .refused(.nonexistent, "No such mailbox")
            case .mailboxExists: .refused(.alreadyExists, "Mailbox exists already")
            case .mailboxName: .refused(.cannot, "Mailbox name is not possible here")
            case .impossible: .refused(.cannot, "Not possible with this mailbox")
            case .hasChildren: .refused(.hasChildren, "Mailbox has children")
            case .messageGone: .refused(.expungeIssued, "Some of the messages no longer exist")
            case .noSpace: .refused(.overQuota, "No space left for mail")
            case .overQuota: .refused(.overQuota, "Quota is used up")
            case .annotation: .refused(.limit, "Too many annotations")
            case .noPermission:
                .refused(.noPermission, "Rights on the mailbox do not suffice")
            case .locked: .refused(.inUse, "Mailbox is locked by another program")
            case .tooManyKeywords: .refused(.limit, "Too many keywords in this mailbox")
            case .invalidKeyword: .refused(.cannot, "Keyword is not possible here")
            case .system, .maildir:
                .refused(.unavailable, "Mailbox cannot be accessed now, see the server's log")
            case .unreadableMessage:
                .refused(.corruption, "Some of the messages are broken on disk")
            }
    }
}
