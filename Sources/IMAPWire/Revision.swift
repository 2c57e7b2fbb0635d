/// Which protocol a session speaks. Both are offered; a session is rev1 until the client enables
/// rev2.                                                                     RFC 9051 §6.3.1, Appendix A
package enum Revision: Hashable, Sendable {
    /// RFC 3501.
    case rev1
    /// RFC 9051.
    case rev2
}

extension CommandBody {
    /// Whether RFC 9051 has left the command out, or something it asks for: LSUB, CHECK, `\Recent` in
    /// whatever form, RFC822 and its parts (Appendix E 12, 17, 18, 19; erratum 6826). Their answers
    /// are no part of rev2 (Appendix A), so a rev2 session takes none of them.
    package var isLeftOutOfRev2: Bool {
        switch self {
        case .check, .lsub: true
        case .status(_, let items): items.contains(.recent)
        case .list(let command): command.status.contains(.recent)
        case .fetch(let command): command.items.contains(where: \.isLeftOutOfRev2)
        case .search(let command): command.key.asksForRecent
        case .sort(let command): command.key.asksForRecent
        case .thread(let command): command.key.asksForRecent
        case .multiSearch(let command): command.key.asksForRecent
        default: false
        }
    }
}

extension FetchItem {
    fileprivate var isLeftOutOfRev2: Bool {
        switch self {
        case .rfc822, .rfc822Header, .rfc822Text: true
        default: false
        }
    }
}

extension SearchKey {
    /// NEW, OLD or RECENT, anywhere in it.
    var asksForRecent: Bool {
        switch self {
        case .recent: true
        case .and(let keys), .or(let keys): keys.contains(where: \.asksForRecent)
        case .not(let key), .fuzzy(let key): key.asksForRecent
        default: false
        }
    }
}
