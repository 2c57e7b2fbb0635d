/// NOTIFY.                                                                   RFC 5465 §3.1
package enum NotifyCommand: Hashable, Sendable {
    case none
    /// With STATUS, the state of each mailbox is told at once.
    case set(status: Bool, groups: [EventGroup])

    package struct EventGroup: Hashable, Sendable {
        package let filter: MailboxFilter
        /// Empty for NONE.
        package let events: [Event]

        package init(filter: MailboxFilter, events: [Event]) {
            self.filter = filter
            self.events = events
        }
    }

    package enum Event: Hashable, Sendable {
        /// With what to fetch of a message that arrives in the selected mailbox.
        case messageNew([FetchItem])
        case messageExpunge
        case flagChange
        case annotationChange
        case mailboxName
        case subscriptionChange
        case mailboxMetadataChange
        case serverMetadataChange
        /// One we do not know: answered NO [BADEVENT …].
        case unknown
    }
}
