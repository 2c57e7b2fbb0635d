package import Bytes

//  ENVELOPE
//
//  Ten fields, always. Of Date, Subject, From, Sender, Reply-To, In-Reply-To and Message-ID the
//  first counts; To, Cc and Bcc are often written several times, and all of them are read. Where
//  an address has no domain (`root`), the host is the empty string: NIL would begin a group
//  (RFC 3501 §7.4.2). Encoded words are the client's to decode.

/// Where the fields of the envelope are in a header.
package struct EnvelopeFields {
    package private(set) var date: Range<Int>?
    package private(set) var subject: Range<Int>?
    package private(set) var from: Range<Int>?
    package private(set) var sender: Range<Int>?
    package private(set) var replyTo: Range<Int>?
    package private(set) var to: [Range<Int>] = []
    package private(set) var cc: [Range<Int>] = []
    package private(set) var bcc: [Range<Int>] = []
    package private(set) var inReplyTo: Range<Int>?
    package private(set) var messageID: Range<Int>?
    /// Not part of the envelope; for THREAD.
    package private(set) var references: Range<Int>?

    /// Finds them in the header, in one pass.
    package init(in bytes: Span<UInt8>, header: Range<Int>) {
        var offset = header.lowerBound
        while let field = HeaderField(in: bytes, at: offset, end: header.upperBound) {
            offset = field.lines.upperBound
            guard !field.name.isEmpty else { continue }
            switch field.name.count {
            case 2:
                if field.isNamed("to", in: bytes) {
                    to.append(field.value)
                } else if field.isNamed("cc", in: bytes) {
                    cc.append(field.value)
                }
            case 3:
                if field.isNamed("bcc", in: bytes) { bcc.append(field.value) }
            case 4:
                if date == nil, field.isNamed("date", in: bytes) {
                    date = field.value
                } else if from == nil, field.isNamed("from", in: bytes) {
                    from = field.value
                }
            case 6:
                if sender == nil, field.isNamed("sender", in: bytes) { sender = field.value }
            case 7:
                if subject == nil, field.isNamed("subject", in: bytes) { subject = field.value }
            case 8:
                if replyTo == nil, field.isNamed("reply-to", in: bytes) { replyTo = field.value }
            case 10:
                if messageID == nil, field.isNamed("message-id", in: bytes) {
                    messageID = field.value
                } else if references == nil, field.isNamed("references", in: bytes) {
                    references = field.value
                }
            case 11:
                if inReplyTo == nil, field.isNamed("in-reply-to", in: bytes) {
                    inReplyTo = field.value
                }
            default: break
            }
        }
    }
}

package enum Envelope {
    /// Appends the envelope of the message with this header, as it goes on the wire.
    ///
    ///     envelope = "(" env-date SP env-subject SP env-from SP env-sender SP env-reply-to SP
    ///                env-to SP env-cc SP env-bcc SP env-in-reply-to SP env-message-id ")"
    ///                                                                         RFC 3501 §9
    package static func write(
        _ bytes: Span<UInt8>,
        header: Range<Int>,
        utf8: Bool,
        to buffer: inout ByteBuffer
    ) {
        let fields = EnvelopeFields(in: bytes, header: header)
        buffer.append(UInt8(ascii: "("))
        write(text: fields.date, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(.space)
        write(text: fields.subject, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(.space)
        let start = buffer.count
        write(addresses: fields.from.map { [$0] } ?? [], of: bytes, utf8: utf8, to: &buffer)
        let from = start..<buffer.count
        // "the Sender and Reply-To are set to the same value as From"          RFC 3501 §7.4.2
        for field in [fields.sender, fields.replyTo] {
            buffer.append(.space)
            let start = buffer.count
            if let field { write(addresses: [field], of: bytes, utf8: utf8, to: &buffer) }
            if buffer.count == start || isNIL(buffer, from: start) {
                buffer.bytes.removeSubrange(start...)
                buffer.append(Array(buffer.bytes[from]))
            }
        }
        for list in [fields.to, fields.cc, fields.bcc] {
            buffer.append(.space)
            write(addresses: list, of: bytes, utf8: utf8, to: &buffer)
        }
        buffer.append(.space)
        write(text: fields.inReplyTo, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(.space)
        write(text: fields.messageID, of: bytes, utf8: utf8, to: &buffer)
        buffer.append(UInt8(ascii: ")"))
    }

    private static func isNIL(_ buffer: borrowing ByteBuffer, from start: Int) -> Bool {
        buffer.count == start + 3 && buffer.bytes[start] == UInt8(ascii: "N")
    }

    static func write(
        text: Range<Int>?,
        of bytes: Span<UInt8>,
        utf8: Bool,
        to buffer: inout ByteBuffer
    ) {
        guard let text else {
            buffer.append("NIL")
            return
        }
        let range = bytes.trimmed(text)
        // Most values stand on one line and need no copy.
        guard
            bytes.offset(of: .lf, in: range) != nil || bytes.offset(of: .cr, in: range) != nil
        else {
            buffer.append(wireString: bytes.extracting(range), utf8: utf8)
            return
        }
        buffer.append(wireString: bytes.unfolded(range), utf8: utf8)
    }

    /// Appends a list of addresses, or NIL for an empty one (never `()`).
    ///
    ///     address = "(" addr-name SP addr-adl SP addr-mailbox SP addr-host ")"     RFC 3501 §9
    static func write(
        addresses fields: [Range<Int>],
        of bytes: Span<UInt8>,
        utf8: Bool,
        to buffer: inout ByteBuffer
    ) {
        var isOpen = false
        for field in fields {
            var scanner = AddressScanner(field)
            while let item = scanner.next(in: bytes) {
                buffer.append(isOpen ? "(" : "((")
                isOpen = true
                switch item {
                case .address:
                    append(scanner.name, utf8: utf8, to: &buffer)
                    buffer.append(.space)
                    append(scanner.route, utf8: utf8, to: &buffer)
                    buffer.append(.space)
                    buffer.append(wireString: scanner.mailbox, utf8: utf8)
                    buffer.append(.space)
                    buffer.append(wireString: scanner.host, utf8: utf8)
                case .groupStart:
                    buffer.append("NIL NIL ")
                    buffer.append(wireString: scanner.mailbox, utf8: utf8)
                    buffer.append(" NIL")
                case .groupEnd:
                    buffer.append("NIL NIL NIL NIL")
                }
                buffer.append(UInt8(ascii: ")"))
            }
        }
        buffer.append(isOpen ? ")" : "NIL")
    }

    /// NIL for an empty text.
    private static func append(_ text: [UInt8], utf8: Bool, to buffer: inout ByteBuffer) {
        if text.isEmpty {
            buffer.append("NIL")
        } else {
            buffer.append(wireString: text, utf8: utf8)
        }
    }
}
