//  Which commands show that a client knows CONDSTORE                         RFC 7162 §3.1

extension CommandBody {
    /// Whether it enables CONDSTORE. SELECT does so by itself, since it leaves a mailbox first.
    package var enablesCondStore: Bool {
        switch self {
        case .status(_, let items): items.contains(.highestModSeq)
        case .list(let command): command.status.contains(.highestModSeq)
        case .multiSearch(let command): command.key.namesModSeq
        default: needsModseqs
        }
    }

    /// Whether it cannot be answered where a mailbox has no modseqs.           RFC 7162 §3.1.2.2
    package var needsModseqs: Bool {
        switch self {
        case .fetch(let command):
            command.changedSince != nil || command.items.contains(.modSeq)
        case .store(let command): command.unchangedSince != nil
        case .search(let command): command.key.namesModSeq
        case .sort(let command): command.key.namesModSeq
        case .thread(let command): command.key.namesModSeq
        default: false
        }
    }

    /// Whether it may come only after ENABLE QRESYNC.                          RFC 7162 §3.2.3
    package var needsQuickResync: Bool {
        switch self {
        case .fetch(let command): command.vanished
        case .select(let command): command.quickResync != nil
        default: false
        }
    }
}

extension SearchKey {
    /// Whether a key is MODSEQ: the answer then tells the highest one.         RFC 7162 §3.1.5
    package var namesModSeq: Bool {
        switch self {
        case .modSeq: true
        case .and(let keys), .or(let keys): keys.contains(where: \.namesModSeq)
        case .not(let key), .fuzzy(let key): key.namesModSeq
        default: false
        }
    }
}
