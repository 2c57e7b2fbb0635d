/// How a date key compares.
package enum DateComparison: Hashable, Sendable {
    /// Earlier than the day.
    case before
    /// Within the day.
    case on
    /// Within the day or later.
    case since
}

/// A search program as a tree.                                               RFC 9051 §6.4.4
///
/// Texts are in the charset of the command. Right-nested ORs, which clients write by the
/// hundred, are one `.or` of many; so depth is bounded by `Limits.searchDepthMax` without
/// refusing them.
package indirect enum SearchKey: Hashable, Sendable {
    case all
    /// True if every one is; never empty.
    case and([SearchKey])
    /// True if any one is; two or more.
    case or([SearchKey])
    case not(SearchKey)
    case sequence(SequenceSet)
    case uid(SequenceSet)
    /// Above the UID, and below it; may be none.                             RFC 9738 §3.2
    case uidAfter(UID)
    case uidBefore(UID)
    /// SEEN, UNSEEN, KEYWORD x, UNKEYWORD x and so on.
    case flag(Flag, isSet: Bool)
    /// RECENT, and OLD with false.
    case recent(Bool)
    case internalDate(DateComparison, CalendarDate)
    case sentDate(DateComparison, CalendarDate)
    /// SAVEDBEFORE, SAVEDON, SAVEDSINCE.                                     RFC 8514 §4.2
    case saveDate(DateComparison, CalendarDate)
    /// Whether the mailbox has save dates at all.
    case saveDateSupported
    case from([UInt8])
    case to([UInt8])
    case cc([UInt8])
    case bcc([UInt8])
    case subject([UInt8])
    /// An empty value asks for the field's presence.
    case header(name: [UInt8], value: [UInt8])
    case body([UInt8])
    case text([UInt8])
    case larger(UInt64)
    case smaller(UInt64)
    /// OLDER and YOUNGER, seconds before now.                                RFC 5032 §3
    case older(UInt32)
    case younger(UInt32)
    /// At least this; the entry of RFC 7162 §3.1.5 is parsed and does not matter to us, as
    /// all flags share one mod-sequence.
    case modSeq(ModSeq)
    case emailID([UInt8])
    case threadID([UInt8])
    /// May match approximately.                                              RFC 6203 §3
    case fuzzy(SearchKey)
}
