import Bytes

/// Message-IDs as THREAD compares them.
package enum MessageIDs {
    /// The IDs of a Message-ID, In-Reply-To or References field, without brackets and quoting, so
    /// that `<"a"@b>` equals `<a@b>` (RFC 5256 §3). What is not in brackets is no ID.
    package static func parse(_ bytes: Span<UInt8>, in value: Range<Int>) -> [[UInt8]] {
        var ids: [[UInt8]] = []
        var offset = value.lowerBound
        let end = value.upperBound
        while offset < end {
            switch bytes[offset] {
            case UInt8(ascii: "<"):
                offset += 1
                if let id = readID(bytes, &offset, end: end) { ids.append(id) }
            case UInt8(ascii: "("):
                bytes.skipComment(&offset, end: end)
            case .quote:
                bytes.skipQuoted(&offset, end: end)
            default:
                offset += 1
            }
        }
        return ids
    }

    /// Reads up to the closing bracket; nil if there is none before the next opening one.
    private static func readID(
        _ bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int
    ) -> [UInt8]? {
        var id: [UInt8] = []
        while offset < end {
            let byte = bytes[offset]
            switch byte {
            case UInt8(ascii: ">"):
                offset += 1
                return id.isEmpty ? nil : id
            case UInt8(ascii: "<"):
                return nil
            case .quote:
                bytes.readQuoted(&offset, end: end, into: &id)
            default:
                if !byte.isFoldingSpace { id.append(byte) }
                offset += 1
            }
        }
        return nil
    }
}
