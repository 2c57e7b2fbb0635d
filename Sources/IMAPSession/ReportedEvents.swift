/// What of the selected mailbox a session is told unasked.                   RFC 5465 §5
struct ReportedEvents: OptionSet, Sendable {
    let rawValue: UInt8

    static let new = ReportedEvents(rawValue: 1)
    static let expunged = ReportedEvents(rawValue: 2)
    static let flags = ReportedEvents(rawValue: 4)

    /// As it is without NOTIFY.
    static let all: ReportedEvents = [.new, .expunged, .flags]
}
