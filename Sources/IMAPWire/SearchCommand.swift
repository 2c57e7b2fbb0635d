/// What `RETURN (…)` of SEARCH, SORT and ESEARCH asks for.                   RFC 4731, 5182, 5267, 9394
///
/// `RETURN ()` is `.all` alone, as RFC 4731 §3.1 says.
package struct SearchReturn: Hashable, Sendable {
    package var min = false
    package var max = false
    package var all = false
    package var count = false
    package var save = false
    package var update = false
    /// `UPDATE (…)`: what to fetch of a message that joins the result.       RFC 5465 §7
    package var updateItems: [FetchItem] = []
    package var context = false
    /// RELEVANCY of RFC 6203 §4.
    package var relevancy = false
    package var partial: PartialRange?

    package init() {}

    /// `RETURN (CONTEXT)`.
    var isHintAlone: Bool {
        context && partial == nil
            && !(min || max || all || count || save || update || relevancy)
    }
}

/// SEARCH and UID SEARCH.
package struct SearchCommand: Hashable, Sendable {
    package var kind: NumberKind
    /// Nil without RETURN: answered by `* SEARCH` in rev1.
    package var returns: SearchReturn?
    /// As sent. Nil where there is none, which means US-ASCII in rev1 and UTF-8 else.
    package var charset: [UInt8]?
    package var key: SearchKey

    package init(
        kind: NumberKind,
        returns: SearchReturn? = nil,
        charset: [UInt8]? = nil,
        key: SearchKey
    ) {
        self.kind = kind
        self.returns = returns
        self.charset = charset
        self.key = key
    }
}

/// SORT and UID SORT.                                                        RFC 5256 §3, RFC 5267
package struct SortCommand: Hashable, Sendable {
    package enum Key: Hashable, Sendable {
        case arrival
        case cc
        case date
        case from
        case size
        case subject
        case to
        /// RFC 5957.
        case displayFrom
        case displayTo
        /// RFC 6203 §5.
        case relevancy
    }

    package struct Criterion: Hashable, Sendable {
        package let key: Key
        package let isReverse: Bool

        package init(_ key: Key, isReverse: Bool = false) {
            self.key = key
            self.isReverse = isReverse
        }
    }

    package var kind: NumberKind
    package var returns: SearchReturn?
    /// Never empty.
    package var criteria: [Criterion]
    package var charset: [UInt8]
    package var key: SearchKey

    package init(
        kind: NumberKind,
        returns: SearchReturn? = nil,
        criteria: [Criterion],
        charset: [UInt8],
        key: SearchKey
    ) {
        self.kind = kind
        self.returns = returns
        self.criteria = criteria
        self.charset = charset
        self.key = key
    }
}

/// THREAD and UID THREAD.                                                    RFC 5256 §3
package struct ThreadCommand: Hashable, Sendable {
    package enum Algorithm: Hashable, Sendable {
        case orderedSubject
        case references
        case refs
        /// Answered BAD by the session (RFC 5256 says no more).
        case unknown
    }

    package var kind: NumberKind
    package var algorithm: Algorithm
    package var charset: [UInt8]
    package var key: SearchKey

    package init(kind: NumberKind, algorithm: Algorithm, charset: [UInt8], key: SearchKey) {
        self.kind = kind
        self.algorithm = algorithm
        self.charset = charset
        self.key = key
    }
}

/// Which mailboxes ESEARCH and NOTIFY are about.                             RFC 5465 §6, RFC 7377 §2.2
package enum MailboxFilter: Hashable, Sendable {
    case selected
    /// Only NOTIFY: expunges are told when the client allows them.
    case selectedDelayed
    case inboxes
    case personal
    case subscribed
    case subtree([MailboxName])
    /// Only ESEARCH: the mailboxes and their direct children.
    case subtreeOne([MailboxName])
    case mailboxes([MailboxName])
}

/// ESEARCH over several mailboxes.                                           RFC 7377 §2
package struct MultiSearchCommand: Hashable, Sendable {
    /// Empty without IN: the selected mailbox.
    package var sources: [MailboxFilter]
    package var returns: SearchReturn?
    package var charset: [UInt8]?
    package var key: SearchKey

    package init(
        sources: [MailboxFilter],
        returns: SearchReturn? = nil,
        charset: [UInt8]? = nil,
        key: SearchKey
    ) {
        self.sources = sources
        self.returns = returns
        self.charset = charset
        self.key = key
    }
}
