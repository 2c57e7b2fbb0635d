import Bytes
import IMAPWire
import MailStore

//  Searches that the client is kept told of                                  RFC 5267 §4.3
//
//  A context is a search program and the UIDs that it has found. It belongs to the selected mailbox
//  and goes with it. What changes the result comes to the session as everything else does:
//
//  - an expunge, in `SelectedMailbox.report`: REMOVEFROM goes out before the EXPUNGE, as long as
//    the sequence number is valid;
//  - new messages and changed flags: their UIDs are noted in `touched` by the same report; then
//    the programs are asked about these messages (they may have to be read), and ADDTO and REMOVEFROM
//    go out behind the EXISTS and the FETCH.

struct SearchContext {
    /// The search command's.
    let tag: [UInt8]
    let isUID: Bool
    /// The name of the mailbox where updates tell it, as those of ESEARCH do.    RFC 7377 §2.1
    let mailboxName: [UInt8]?
    /// With the messages that sequence numbers and `$` named when the command came, as UIDs.
    let key: SearchKey
    let charset: [UInt8]?
    /// What is fetched of a new message that joins.                          RFC 5465 §7
    let items: [FetchItem]
    let mode: TextMode
    /// UIDs, ascending.
    var members: [UInt32]

    /// Takes in what was found among messages that were looked at anew.
    ///
    /// - Parameters:
    ///   - touched: the UIDs of those messages.
    ///   - found: those that match, ascending.
    /// - Returns: what joined and what left, ascending.
    mutating func update(
        _ touched: Set<UInt32>,
        _ found: [UInt32]
    ) -> (added: [UInt32], removed: [UInt32]) {
        let now = Set(found)
        let before = Set(members.filter { touched.contains($0) })
        let removed = before.subtracting(now)
        let added = now.subtracting(before)
        if !removed.isEmpty { members.removeAll { removed.contains($0) } }
        if !added.isEmpty { members = (members + added).sorted() }
        return (added.sorted(), removed.sorted())
    }
}

extension SelectedMailbox {
    /// The update of a context, for messages that still have their sequence numbers.
    func response(
        _ context: SearchContext,
        adding added: [UInt32],
        removing removed: [UInt32]
    ) -> ESearchResponse {
        var response = ESearchResponse(tag: context.tag, isUID: context.isUID)
        if let name = context.mailboxName {
            response.mailbox = (name, UIDValidity(mailbox.uidValidity))
        }
        // §4.3.2: position 0, as the order is that of the mailbox.
        func update(_ uids: [UInt32]) -> [ESearchResponse.Update] {
            if uids.isEmpty { return [] }
            let numbers =
                context.isUID ? uids : uids.compactMap { index(of: $0).map { UInt32($0 + 1) } }
            return [.init(position: 0, set: RangeBuilder(numbers).ranges)]
        }
        response.addTo = update(added)
        response.removeFrom = update(removed)
        return response
    }

    /// Tells which results lose messages that are about to be told as expunged.   RFC 5267 §4.3.4
    func reportRemovals(of gone: Set<UInt32>, to output: inout ByteBuffer) {
        touched.subtract(gone)
        for position in contexts.indices {
            let removed = contexts[position].members.filter { gone.contains($0) }
            guard !removed.isEmpty else { continue }
            contexts[position].members.removeAll { gone.contains($0) }
            output.append(
                response(contexts[position], adding: [], removing: removed),
                contexts[position].mode
            )
        }
    }
}

extension SearchKey {
    /// The key with sequence numbers and `$` replaced by the UIDs that they name now.   RFC 5267 §4.3
    ///
    /// - Parameters:
    ///   - uids: of the messages, in the order of their sequence numbers.
    ///   - saved: what `$` stands for.
    func frozen(_ uids: [UInt32], saved: [UInt32]) -> SearchKey {
        switch self {
        case .and(let keys): return .and(keys.map { $0.frozen(uids, saved: saved) })
        case .or(let keys): return .or(keys.map { $0.frozen(uids, saved: saved) })
        case .not(let key): return .not(key.frozen(uids, saved: saved))
        case .fuzzy(let key): return .fuzzy(key.frozen(uids, saved: saved))
        case .sequence(let set):
            var named: [UInt32] = []
            for range in set.resolved(largest: UInt32(uids.count)) {
                let end = min(Int(range.upperBound), uids.count)
                if range.lowerBound <= end { named += uids[Int(range.lowerBound) - 1..<end] }
            }
            return Self.among(named, set.namesSaved ? saved : [])
        case .uid(let set) where set.namesSaved: return Self.among(saved, named: set.ranges)
        case .all, .uid, .uidAfter, .uidBefore, .flag, .recent, .internalDate, .sentDate,
            .saveDate, .saveDateSupported, .from, .to, .cc, .bcc, .subject, .header, .body, .text,
            .larger, .smaller, .older, .younger, .modSeq, .emailID, .threadID:
            return self
        }
    }

    private static func among(_ uids: [UInt32]..., named: [SetRange] = []) -> SearchKey {
        let ranges = uids.flatMap { RangeBuilder($0).ranges }.map { range in
            SetRange(first: .number(range.lowerBound), last: .number(range.upperBound))
        }
        return ranges.isEmpty && named.isEmpty ? .not(.all) : .uid(SequenceSet(named + ranges))
    }
}
