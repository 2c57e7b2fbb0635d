/// How STORE changes flags.
package enum StoreOperation: Hashable, Sendable {
    case replace
    case add
    case remove
}

/// STORE and UID STORE.                                                      RFC 9051 §6.4.6
package struct StoreCommand: Hashable, Sendable {
    package var kind: NumberKind
    package var set: SequenceSet
    package var operation: StoreOperation
    package var isSilent: Bool
    package var flags: [Flag]
    /// `(UNCHANGEDSINCE n)`.                                                 RFC 7162 §3.1.3
    package var unchangedSince: ModSeq?

    package init(
        kind: NumberKind,
        set: SequenceSet,
        operation: StoreOperation,
        isSilent: Bool = false,
        flags: [Flag],
        unchangedSince: ModSeq? = nil
    ) {
        self.kind = kind
        self.set = set
        self.operation = operation
        self.isSilent = isSilent
        self.flags = flags
        self.unchangedSince = unchangedSince
    }
}
