package import Bytes

//  Messages with binary parts                                                RFC 3516 §4.4
//
//  A part of the encoding "binary" may hold anything: NULs, and lines that end as they like. A
//  Maildir does not keep that: other programs turn line ends round, and a plain FETCH has no way to
//  send a NUL. So a message that came as `~{n}` is stored with its binary parts in base64, which RFC
//  3516 §4.4 allows and what Dovecot does too: every reader gets what the base protocol can say, and
//  `BINARY[…]` gives the true bytes. What is not binary stays as it came; so do signatures, since
//  what is signed must not be binary (RFC 1847 §2.1).

/// Rewrites a message so that none of its parts has the encoding "binary".
package enum BinaryRecoding {
    /// A range of the message and what takes its place.
    private struct Edit {
        enum Kind {
            /// The word in Content-Transfer-Encoding. A container cannot be base64 (RFC 2045 §6.4).
            case word(isContainer: Bool)
            case body
        }
        var range: Range<Int>
        var kind: Kind
    }

    /// Bytes of a part in one line of base64: 76 characters.                 RFC 2045 §6.8
    private static let lineBytes = 57

    /// Gives the message in pieces to `write`: what stays as it came, line ends included, and what
    /// is new. Where nothing is binary that is the message itself.
    package static func rewrite<Failure: Error>(
        _ bytes: Span<UInt8>,
        pieceBytesMax: Int,
        _ write: (inout ByteBuffer) throws(Failure) -> Void
    ) throws(Failure) {
        let structure = MessageStructure.parse(bytes)
        var output = ByteBuffer()
        var offset = 0
        for edit in edits(structure, bytes) {
            try copy(offset..<edit.range.lowerBound, of: bytes, pieceBytesMax, &output, write)
            switch edit.kind {
            case .word(let isContainer): output.append(isContainer ? "8bit" : "base64")
            case .body: try encode(edit.range, of: bytes, pieceBytesMax, &output, write)
            }
            offset = edit.range.upperBound
        }
        try copy(offset..<bytes.count, of: bytes, pieceBytesMax, &output, write)
        if !output.isEmpty { try write(&output) }
    }

    /// In the order of the message: a part's header stands before its body, and bodies that are
    /// encoded have no parts within.
    private static func edits(_ structure: MessageStructure, _ bytes: Span<UInt8>) -> [Edit] {
        var edits: [Edit] = []
        for part in structure.parts {
            guard let token = part.encodingToken(in: bytes),
                bytes.equalsIgnoringCase("binary", in: token)
            else { continue }
            switch part.kind {
            case .multipart, .message:
                edits.append(Edit(range: token, kind: .word(isContainer: true)))
            case .text, .other, .opaque:
                edits.append(Edit(range: token, kind: .word(isContainer: false)))
                edits.append(Edit(range: part.body.bounds, kind: .body))
            }
        }
        return edits
    }

    private static func copy<Failure: Error>(
        _ range: Range<Int>,
        of bytes: Span<UInt8>,
        _ pieceBytesMax: Int,
        _ output: inout ByteBuffer,
        _ write: (inout ByteBuffer) throws(Failure) -> Void
    ) throws(Failure) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let end = min(range.upperBound, offset + max(pieceBytesMax - output.count, 1))
            output.append(bytes.extracting(offset..<end))
            offset = end
            if output.count >= pieceBytesMax {
                try write(&output)
                output.removeAll()
            }
        }
    }

    private static func encode<Failure: Error>(
        _ range: Range<Int>,
        of bytes: Span<UInt8>,
        _ pieceBytesMax: Int,
        _ output: inout ByteBuffer,
        _ write: (inout ByteBuffer) throws(Failure) -> Void
    ) throws(Failure) {
        var offset = range.lowerBound
        while offset < range.upperBound {
            let end = min(range.upperBound, offset + lineBytes)
            if offset > range.lowerBound { output.append("\r\n") }
            output.append(Base64.encode(bytes.extracting(offset..<end).array))
            offset = end
            if output.count >= pieceBytesMax {
                try write(&output)
                output.removeAll()
            }
        }
    }
}
