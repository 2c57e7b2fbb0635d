/// SELECT and EXAMINE.                                                       RFC 9051 §6.3.2
package struct SelectCommand: Hashable, Sendable {
    /// What the client knows from an earlier session.                        RFC 7162 §3.2.5
    package struct QuickResync: Hashable, Sendable {
        package let uidValidity: UIDValidity
        package let modSeq: ModSeq
        /// Never `$`, never `*`. Nil where all of `1:UIDNEXT-1` is meant.
        package let knownUIDs: SequenceSet?
        /// Sequence numbers and the UIDs they had, both ascending and of equal count.
        package let matchSequence: SequenceSet?
        package let matchUIDs: SequenceSet?

        package init(
            uidValidity: UIDValidity,
            modSeq: ModSeq,
            knownUIDs: SequenceSet? = nil,
            matchSequence: SequenceSet? = nil,
            matchUIDs: SequenceSet? = nil
        ) {
            self.uidValidity = uidValidity
            self.modSeq = modSeq
            self.knownUIDs = knownUIDs
            self.matchSequence = matchSequence
            self.matchUIDs = matchUIDs
        }
    }

    package var mailbox: MailboxName
    package var isReadOnly: Bool
    package var condStore: Bool
    package var quickResync: QuickResync?

    package init(
        mailbox: MailboxName,
        isReadOnly: Bool,
        condStore: Bool = false,
        quickResync: QuickResync? = nil
    ) {
        self.mailbox = mailbox
        self.isReadOnly = isReadOnly
        self.condStore = condStore
        self.quickResync = quickResync
    }
}
