import Bytes
package import Posix

//  Courier's files are read once and never written: Courier could go on where it stopped. A crash before
//  dovecot-uidlist is there leaves them as they were, and the next opening reads them again.

extension CourierFiles {
    /// The uidlist that Courier left in a mailbox, nil where there is none. Committed as the list of a
    /// `UIDListFile` it becomes a `dovecot-uidlist` with the same UIDs.
    package static func loadUIDList(in mailbox: Directory) throws(MaildirError) -> UIDList? {
        let file = try ifThere { () throws(SystemError) in
            try mailbox.readFile(uidList, max: Limits.uidListBytesMax)
        }
        guard let file else { return nil }
        do throws(UIDListError) { return try UIDList(file: file) } catch { throw .uidList(error) }
    }

    /// The keywords that Courier recorded for a mailbox's messages.
    ///
    /// Where an update vanishes while it is read, Courier is just putting it into a new list: then all
    /// is read again, a few times.
    package static func loadKeywords(in mailbox: Directory) throws(MaildirError) -> MessageKeywords
    {
        let directory = try ifThere { () throws(SystemError) in try mailbox.subdirectory(keywords) }
        guard let directory else { return [:] }
        for _ in 0..<3 {
            if let messages = try readKeywords(directory) { return messages }
        }
        return try readKeywords(directory, passingOverMissing: true) ?? [:]
    }

    private static func readKeywords(
        _ directory: Directory,
        passingOverMissing: Bool = false
    ) throws(MaildirError) -> MessageKeywords? {
        let names = try system { () throws(SystemError) in try directory.names() }
        let list = try ifThere { () throws(SystemError) in
            try directory.readFile(keywordList, max: Limits.messageKeywordsBytesMax)
        }
        var updates: [(name: [UInt8], content: [UInt8])] = []
        for name in names where isUpdate(name) {
            let content = try ifThere { () throws(SystemError) in
                try directory.readFile(name, max: Limits.keywordsBytesMax)
            }
            if let content {
                updates.append((name, content))
            } else if !passingOverMissing {
                return nil
            }
        }
        var messages = keywordList(list ?? [])
        apply(updates: updates, to: &messages)
        return messages
    }

    /// Nil where Courier has no list of subscriptions.
    package static func loadSubscriptions(
        root: Directory
    ) throws(MaildirError) -> [MailboxPath]? {
        let file = try ifThere { () throws(SystemError) in
            try root.readFile(subscriptions, max: Limits.subscriptionsBytesMax)
        }
        return file.map { subscriptions($0) }
    }
}
