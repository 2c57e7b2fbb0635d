package import Bytes

/// One ESEARCH response.                                                     RFC 4731, 5267, 7377, 9394
package struct ESearchResponse: Sendable {
    package struct Partial: Sendable {
        package var range: PartialRange
        /// Empty is written as NIL.
        package var result: [ClosedRange<UInt32>]

        package init(range: PartialRange, result: [ClosedRange<UInt32>]) {
            self.range = range
            self.result = result
        }
    }

    /// A change of a search that is kept up to date.                         RFC 5267 §4.3
    package struct Update: Sendable {
        /// For a sorted result, where; 0 otherwise.
        package var position: UInt32
        package var set: [ClosedRange<UInt32>]

        package init(position: UInt32, set: [ClosedRange<UInt32>]) {
            self.position = position
            self.set = set
        }
    }

    package var tag: [UInt8]?
    /// In UTF-8, with its UIDVALIDITY: only for the ESEARCH command.
    package var mailbox: (name: [UInt8], uidValidity: UIDValidity)?
    package var isUID: Bool
    package var min: UInt32?
    package var max: UInt32?
    /// Nil or empty where not asked for or nothing was found: ALL is left out then.
    package var all: [ClosedRange<UInt32>]?
    package var count: UInt32?
    package var partial: Partial?
    package var modSeq: ModSeq?
    package var relevancy: [UInt8]?
    package var addTo: [Update] = []
    package var removeFrom: [Update] = []

    package init(tag: [UInt8]?, isUID: Bool) {
        self.tag = tag
        self.isUID = isUID
    }
}

extension ByteBuffer {
    //  esearch-response = "ESEARCH" [search-correlator] [SP "UID"] *(SP search-return-data)
    //                                                                        RFC 9051 §9
    package mutating func append(_ response: ESearchResponse, _ mode: TextMode) {
        append("* ESEARCH")
        if let tag = response.tag {
            append(" (TAG ")
            append(quoted: tag)
            if let mailbox = response.mailbox {
                append(" MAILBOX ")
                append(mailbox: mailbox.name, mode)
                append(" UIDVALIDITY ", mailbox.uidValidity.value)
            }
            append(UInt8(ascii: ")"))
        }
        if response.isUID { append(" UID") }
        if let min = response.min { append(" MIN ", min) }
        if let max = response.max { append(" MAX ", max) }
        if let count = response.count { append(" COUNT ", count) }
        if let partial = response.partial {
            append(" PARTIAL (")
            append(partial.range)
            append(.space)
            if partial.result.isEmpty { append("NIL") } else { append(set: partial.result) }
            append(UInt8(ascii: ")"))
        }
        if let all = response.all, !all.isEmpty {
            append(" ALL ")
            append(set: all)
        }
        append(" ADDTO (", response.addTo)
        append(" REMOVEFROM (", response.removeFrom)
        if let scores = response.relevancy {
            append(" RELEVANCY (")
            for (index, score) in scores.enumerated() {
                append(index == 0 ? "" : " ", score)
            }
            append(UInt8(ascii: ")"))
        }
        if let modSeq = response.modSeq { append(" MODSEQ ", modSeq.value) }
        append("\r\n")
    }

    //  ret-data-addto = "ADDTO" SP "(" context-position SP sequence-set
    //                   *(SP context-position SP sequence-set) ")"           RFC 5267 §5
    private mutating func append(_ name: StaticString, _ updates: [ESearchResponse.Update]) {
        let updates = updates.filter { !$0.set.isEmpty }
        guard !updates.isEmpty else { return }
        append(name)
        for (index, update) in updates.enumerated() {
            append(index == 0 ? "" : " ", update.position)
            append(.space)
            append(set: update.set)
        }
        append(UInt8(ascii: ")"))
    }

    private mutating func append(_ range: PartialRange) {
        append(range.isFromEnd ? "-" : "", range.first)
        append(range.isFromEnd ? ":-" : ":", range.last)
    }

    //  "SEARCH" *(SP nz-number) [SP search-sort-mod-seq]                     RFC 3501 §9, RFC 7162 §7
    //  "SORT" *(SP nz-number) [SP search-sort-mod-seq]                       RFC 5256 §5
    package mutating func append(
        _ name: StaticString,
        numbers: [UInt32],
        modSeq: ModSeq? = nil
    ) {
        append("* ")
        append(name)
        for number in numbers {
            append(.space)
            append(decimal: number)
        }
        if let modSeq {
            append(" (MODSEQ ", modSeq.value)
            append(UInt8(ascii: ")"))
        }
        append("\r\n")
    }

    //  expunged-resp = "VANISHED" [SP "(EARLIER)"] SP known-uids             RFC 7162 §7
    //
    //  Nothing for an empty set.
    package mutating func append(vanished uids: [ClosedRange<UInt32>], isEarlier: Bool) {
        if uids.isEmpty { return }
        append(isEarlier ? "* VANISHED (EARLIER) " : "* VANISHED ")
        append(set: uids)
        append("\r\n")
    }
}
