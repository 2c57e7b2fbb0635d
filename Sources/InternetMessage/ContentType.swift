import Bytes

/// Where type, subtype and parameters of a Content-Type are.
struct ContentType {
    let type: Range<Int>
    let subtype: Range<Int>
    /// From behind the subtype to the end of the field.
    let parameters: Range<Int>

    /// Nil if the value does not begin with `type/subtype`: the default then holds.
    ///
    ///     content := "Content-Type" ":" type "/" subtype *(";" parameter)     RFC 2045 §5.1
    init?(_ bytes: Span<UInt8>, in range: Range<Int>) {
        var offset = range.lowerBound
        let end = range.upperBound
        bytes.skipCommentsAndSpace(&offset, end: end)
        let typeStart = offset
        while offset < end, !bytes[offset].endsToken { offset &+= 1 }
        type = typeStart..<offset
        bytes.skipCommentsAndSpace(&offset, end: end)
        guard !type.isEmpty, offset < end, bytes[offset] == UInt8(ascii: "/") else { return nil }
        offset &+= 1
        bytes.skipCommentsAndSpace(&offset, end: end)
        let subtypeStart = offset
        while offset < end, !bytes[offset].endsToken { offset &+= 1 }
        subtype = subtypeStart..<offset
        guard !subtype.isEmpty else { return nil }
        parameters = offset..<end
    }
}
