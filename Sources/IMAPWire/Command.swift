/// One command as a client sent it, checked against the grammar.
package struct Command: Hashable, Sendable {
    /// Only characters of RFC 9051's `tag`: safe to send back.
    package let tag: [UInt8]
    package let body: CommandBody

    package init(tag: [UInt8], body: CommandBody) {
        self.tag = tag
        self.body = body
    }
}

/// Every command this server knows, one case each, with its arguments.
///
/// Indirect, as each asynchronous function that a command passes through keeps room for a copy of it, in
/// memory that an idle session holds on to.
package indirect enum CommandBody: Hashable, Sendable {
    // Any state
    case capability
    case noop
    case logout
    /// Nil for NIL.                                                          RFC 2971
    case id([IDField]?)
    /// Language tags in order of preference; empty asks for the list.        RFC 5255 §3.2
    case language([[UInt8]])

    // Not authenticated
    case startTLS
    /// The mechanism in capitals; the initial response decoded (`=` is empty).   RFC 4959
    case authenticate(mechanism: [UInt8], initialResponse: [UInt8]?)
    case login(user: [UInt8], password: [UInt8])

    // Authenticated
    /// The names in capitals.                                                RFC 5161
    case enable([[UInt8]])
    case select(SelectCommand)
    /// A use that is none of those that are known is nil.
    case create(mailbox: MailboxName, uses: [SpecialUse?])
    case delete(MailboxName)
    case rename(from: MailboxName, to: MailboxName)
    case subscribe(MailboxName)
    case unsubscribe(MailboxName)
    case list(ListCommand)
    case lsub(reference: MailboxName, pattern: MailboxName)
    case namespace
    case status(mailbox: MailboxName, items: [StatusItem])
    /// What follows the mailbox comes from `AppendGrammar`.
    case append(mailbox: MailboxName)
    case idle
    case compress(algorithm: [UInt8])
    case getQuota(root: [UInt8])
    case getQuotaRoot(MailboxName)
    case setQuota(root: [UInt8], limits: [QuotaLimit])
    case setACL(mailbox: MailboxName, identifier: [UInt8], change: RightsChange)
    case deleteACL(mailbox: MailboxName, identifier: [UInt8])
    case getACL(MailboxName)
    case listRights(mailbox: MailboxName, identifier: [UInt8])
    case myRights(MailboxName)
    case getMetadata(GetMetadataCommand)
    case setMetadata(SetMetadataCommand)
    case notify(NotifyCommand)
    case multiSearch(MultiSearchCommand)
    case unauthenticate

    // Selected
    case check
    case close
    case unselect
    case expunge
    case uidExpunge(SequenceSet)
    case search(SearchCommand)
    case sort(SortCommand)
    case thread(ThreadCommand)
    case fetch(FetchCommand)
    case store(StoreCommand)
    case copy(kind: NumberKind, set: SequenceSet, mailbox: MailboxName)
    case move(kind: NumberKind, set: SequenceSet, mailbox: MailboxName)
    /// What follows the mailbox comes from `AppendGrammar`.                  RFC 8508
    case replace(kind: NumberKind, message: SetBound, mailbox: MailboxName)
    /// The tags of the searches whose updates end.                           RFC 5267 §4.3
    case cancelUpdate([[UInt8]])
}
