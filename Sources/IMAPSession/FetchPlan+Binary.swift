import Bytes
import IMAPWire
import InternetMessage

//  BINARY                                                       RFC 3516, RFC 9051 §6.4.5
//
//  A part is decoded where it is a leaf: multipart and message have no encoding that could be undone
//  (RFC 2045 §6.4), whatever their header says. `BINARY[]` is the whole message as it is, its NULs
//  included: its header would be wrong about a decoded body. A part whose encoding is not known is
//  left out of the answer, and the command ends in NO [UNKNOWN-CTE].

extension FetchPlan {
    /// What a part is without its transfer encoding.
    enum BinaryPart {
        /// The message has no such part.
        case missing
        case unknownEncoding
        case decoded([UInt8])
    }

    static func binaryPart(
        _ part: [UInt32],
        _ structure: MessageStructure?,
        _ span: Span<UInt8>
    ) -> BinaryPart {
        guard let structure, let index = structure.part(at: part),
            let range = structure.range(of: part, .whole)
        else { return .missing }
        var buffer = ByteBuffer()
        let kind = structure.parts[index].kind
        if part.isEmpty || kind == .multipart || kind == .message {
            MessageText.appendCRLF(of: span, in: range, to: &buffer, keepsNUL: true)
        } else {
            guard let encoding = structure.transferEncoding(of: index, in: span) else {
                return .unknownEncoding
            }
            encoding.decode(span, in: range, crlf: true, to: &buffer)
        }
        return .decoded(buffer.bytes)
    }

    /// Appends the item; false, and nothing, where the encoding is not known.
    static func appendBinary(
        _ part: [UInt32],
        _ partial: OctetRange?,
        _ structure: MessageStructure?,
        _ span: Span<UInt8>,
        to output: inout ByteBuffer
    ) -> Bool {
        let content = binaryPart(part, structure, span)
        if case .unknownEncoding = content { return false }
        output.append("BINARY", binaryPart: part, offset: partial?.offset)
        output.append(.space)
        guard case .decoded(let bytes) = content else {
            output.append("NIL")
            return true
        }
        let start = min(Int(clamping: partial?.offset ?? 0), bytes.count)
        let count = min(Int(clamping: partial?.count ?? .max), bytes.count - start)
        let slice = bytes[start..<(start + count)]
        // RFC 3516 §4.3: the client sees from the form whether there is a NUL.
        if slice.contains(0) {
            output.append(binaryLiteralHeader: count)
        } else {
            output.append(literalHeader: count)
        }
        output.append(slice)
        return true
    }

    /// Appends the item; false, and nothing, where the encoding is not known.
    static func appendBinarySize(
        _ part: [UInt32],
        _ structure: MessageStructure?,
        _ span: Span<UInt8>,
        to output: inout ByteBuffer
    ) -> Bool {
        let size: Int
        switch binaryPart(part, structure, span) {
        case .unknownEncoding: return false
        case .missing: size = 0
        case .decoded(let bytes): size = bytes.count
        }
        output.append("BINARY.SIZE", binaryPart: part)
        output.append(.space)
        output.append(decimal: size)
        return true
    }
}
