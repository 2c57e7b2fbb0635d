/// What STATUS, and LIST with RETURN (STATUS …), can tell about a mailbox.
package enum StatusItem: Hashable, CaseIterable, Sendable {
    case messages
    case recent
    case uidNext
    case uidValidity
    case unseen
    case size
    case deleted
    case deletedStorage
    case highestModSeq
    case appendLimit
    case mailboxID

    package var name: StaticString {
        switch self {
        case .messages: "MESSAGES"
        case .recent: "RECENT"
        case .uidNext: "UIDNEXT"
        case .uidValidity: "UIDVALIDITY"
        case .unseen: "UNSEEN"
        case .size: "SIZE"
        case .deleted: "DELETED"
        case .deletedStorage: "DELETED-STORAGE"
        case .highestModSeq: "HIGHESTMODSEQ"
        case .appendLimit: "APPENDLIMIT"
        case .mailboxID: "MAILBOXID"
        }
    }
}
