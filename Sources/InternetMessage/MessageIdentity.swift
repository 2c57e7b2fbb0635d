import Bytes

//  EMAILID and THREADID                                                      RFC 8474
//
//  Both follow from the message alone, so they need no place on disk, are the same in every mailbox
//  and under every server process, and outlive a COPY, a MOVE, and the loss of every cache.
//
//  EMAILID hashes what must not change of a message: its content as stored, and its internal date.
//  THREADID hashes the Message-ID that the thread began with, which every reply carries as the first
//  of its References. A reply that has only In-Reply-To belongs to what it answers; a message that
//  names nothing begins a thread of its own. It never changes when other mail comes, as RFC 8474 §5.2
//  wants; what it cannot do is join threads that a client broke by cutting References.

/// Identifiers of messages that follow from their content.
package enum MessageIdentity {
    /// Bytes of a hash in an identifier: 160 bits.
    private static let hashBytes = 20

    package static func emailID(of bytes: Span<UInt8>, date: Int64) -> [UInt8] {
        var hash = SHA256()
        let seconds = (0..<8).map { UInt8(truncatingIfNeeded: date >> Int64($0 * 8)) }
        hash.update(seconds.span)
        hash.update(bytes)
        return identifier(UInt8(ascii: "M"), &hash)
    }

    /// Nil where the message has no Message-ID and answers none.
    package static func threadID(of bytes: Span<UInt8>) -> [UInt8]? {
        var roots: (references: [UInt8]?, reply: [UInt8]?, own: [UInt8]?)
        var offset = 0
        while let field = HeaderField(in: bytes, at: offset, end: bytes.count) {
            offset = field.lines.upperBound
            let name = field.name
            let value = field.value
            if roots.references == nil, name.count == 10, field.isNamed("references", in: bytes) {
                roots.references = MessageIDs.parse(bytes, in: value).first
            } else if roots.reply == nil, name.count == 11, field.isNamed("in-reply-to", in: bytes)
            {
                roots.reply = MessageIDs.parse(bytes, in: value).first
            } else if roots.own == nil, name.count == 10, field.isNamed("message-id", in: bytes) {
                roots.own = MessageIDs.parse(bytes, in: value).first
            }
        }
        guard let root = roots.references ?? roots.reply ?? roots.own else { return nil }
        var hash = SHA256()
        hash.update(root.span)
        return identifier(UInt8(ascii: "T"), &hash)
    }

    private static func identifier(_ kind: UInt8, _ hash: inout SHA256) -> [UInt8] {
        var text = ByteBuffer()
        text.append(kind)
        text.append(hex: Array(hash.finish().prefix(hashBytes)))
        return text.bytes
    }
}
