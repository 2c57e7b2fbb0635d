import Bytes

extension Grammar {
    //  sequence-set = (seq-number / seq-range) ["," sequence-set]            RFC 9051 §9
    //  sequence-set =/ seq-last-command ; "$", at the end of a set as well   RFC 5182 §3
    static func sequenceSet(_ cursor: inout ByteCursor) throws(SyntaxError) -> SequenceSet {
        var ranges: [SetRange] = []
        repeat {
            guard ranges.count < Limits.setRangeCountMax else {
                throw SyntaxError(at: cursor.offset, expected: "fewer ranges")
            }
            if cursor.accept(UInt8(ascii: "$")) { return SequenceSet(ranges, namesSaved: true) }
            let first = try setBound(&cursor)
            let last = cursor.accept(UInt8(ascii: ":")) ? try setBound(&cursor) : first
            ranges.append(SetRange(first: first, last: last))
        } while cursor.accept(UInt8(ascii: ","))
        return SequenceSet(ranges)
    }

    //  seq-number = nz-number / "*"                                          RFC 9051 §9
    static func setBound(_ cursor: inout ByteCursor) throws(SyntaxError) -> SetBound {
        if cursor.accept(UInt8(ascii: "*")) { return .largest }
        return .number(try nonZeroNumber(&cursor))
    }

    //  known-uids = sequence-set ; "*" is not allowed                        RFC 7162 §7
    static func knownSet(_ cursor: inout ByteCursor) throws(SyntaxError) -> SequenceSet {
        let start = cursor.offset
        let set = try sequenceSet(&cursor)
        guard !set.namesSaved, !set.namesLargest else {
            throw SyntaxError(at: start, expected: "a set without * and $")
        }
        return set
    }

    //  partial-range       = partial-range-first / partial-range-last        RFC 9394 §4
    //  partial-range-first = nz-number ":" nz-number
    //  partial-range-last  = MINUS nz-number ":" MINUS nz-number
    static func partialRange(_ cursor: inout ByteCursor) throws(SyntaxError) -> PartialRange {
        let isFromEnd = cursor.accept(UInt8(ascii: "-"))
        let first = try nonZeroNumber(&cursor)
        try expect(UInt8(ascii: ":"), "a colon", &cursor)
        if isFromEnd { try expect(UInt8(ascii: "-"), "a minus sign", &cursor) }
        let last = try nonZeroNumber(&cursor)
        return PartialRange(first: first, last: last, isFromEnd: isFromEnd)
    }
}
