import Bytes

/// The flags that RFC 9051 §2.3.2 defines and that Maildir has letters for.
package enum SystemFlag: UInt8, CaseIterable, Sendable {
    case answered
    case flagged
    case deleted
    case seen
    case draft

    package var name: StaticString {
        switch self {
        case .answered: "\\Answered"
        case .flagged: "\\Flagged"
        case .deleted: "\\Deleted"
        case .seen: "\\Seen"
        case .draft: "\\Draft"
        }
    }
}

/// A flag as a client names it: a system flag, or a keyword in the case it was written.
///
/// `\Recent` is not among them: no client can set it (RFC 3501 §2.3.2).
package enum Flag: Hashable, Sendable {
    case system(SystemFlag)
    /// Compare with `equalsIgnoringCase`: keywords differ by more than case (RFC 9051 §2.3.2).
    case keyword([UInt8])

    package static let answered = Flag.system(.answered)
    package static let flagged = Flag.system(.flagged)
    package static let deleted = Flag.system(.deleted)
    package static let seen = Flag.system(.seen)
    package static let draft = Flag.system(.draft)
}
