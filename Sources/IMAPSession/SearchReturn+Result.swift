import IMAPWire

//  What the return options of a search make of its result                   RFC 4731, 5182, 9394

extension SearchReturn {
    /// Whether there is an ESEARCH response: SAVE alone is answered by nothing.   RFC 5182 §2.1
    var isAnswered: Bool { !save || min || max || count || all || partial != nil }

    /// The part of what was found that the answer tells, for its MODSEQ.      RFC 4731 §3.2
    func told(of indexes: [Int]) -> [Int] {
        if all || count { return indexes }
        var part: [Int] = []
        if let partial { part += indexes[partial.indices(count: indexes.count)] }
        if min, let first = indexes.first { part.append(first) }
        if max, let last = indexes.last { part.append(last) }
        return part
    }

    /// What `$` stands for after a search with SAVE: all that was found; or with MIN, MAX or PARTIAL
    /// and neither ALL nor COUNT, what these name.            RFC 5182 §2.4, RFC 9394 §3.2 table 1
    ///
    /// - Parameter uids: what was found, in the order of the result.
    /// - Returns: ascending.
    func saved(of uids: [UInt32]) -> [UInt32] {
        if all || count || !(min || max || partial != nil) { return uids.sorted() }
        var part: Set<UInt32> = []
        if let partial { part.formUnion(uids[partial.indices(count: uids.count)]) }
        if min, let first = uids.first { part.insert(first) }
        if max, let last = uids.last { part.insert(last) }
        return part.sorted()
    }
}

extension PartialRange {
    /// The window on a list of ascending runs of indexes.                    RFC 9394 §3.3
    func window(on runs: [Range<Int>]) -> [Range<Int>] {
        var left = indices(count: runs.reduce(0) { $0 + $1.count })
        var window: [Range<Int>] = []
        for run in runs {
            let start = min(left.lowerBound, run.count)
            let end = min(left.upperBound, run.count)
            if start < end { window.append(run.lowerBound + start..<run.lowerBound + end) }
            left = left.lowerBound - start..<left.upperBound - end
        }
        return window
    }
}
