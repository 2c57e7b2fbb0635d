import Bytes

/// What of a part is asked for, without the fields of HEADER.FIELDS.
///
///     section-msgtext = "HEADER" / "HEADER.FIELDS" [".NOT"] SP header-list / "TEXT"
///     section-text    = section-msgtext / "MIME"                                   RFC 3501 §9
package enum SectionText: Sendable, Equatable {
    /// Nothing more: the whole message, or the body of the part.
    case whole
    case header
    case text
    case mime
}

extension MessageStructure {
    /// The part that a section's numbers name, or nil if there is none. No numbers name the
    /// message itself.
    ///
    /// "Every message has at least one part number": part 1 of a message that is no multipart is
    /// its body. Numbers after a message/rfc822 name parts of the message within.  RFC 3501 §6.4.5
    package func part(at path: [UInt32]) -> Int? {
        var current = 0
        // Whether `current` is a message as a whole, whose parts are numbered next.
        var isMessage = true
        for number in path {
            if !isMessage, parts[current].kind == .message {
                guard let child = parts[current].firstChild else { return nil }
                current = child
                isMessage = true
            }
            if parts[current].kind == .multipart {
                guard let child = child(number, of: current) else { return nil }
                current = child
            } else if !isMessage || number != 1 {
                return nil
            }
            isMessage = false
        }
        return current
    }

    /// The bytes that a section names, as a range of the file; nil where the message has no such
    /// part. The wire has their CRLF form.
    package func range(of path: [UInt32], _ text: SectionText) -> Range<Int>? {
        guard let index = part(at: path) else { return nil }
        let part = parts[index]
        guard !path.isEmpty else {
            return switch text {
            case .whole: part.header.bounds.lowerBound..<part.body.bounds.upperBound
            case .header, .mime: part.header.bounds
            case .text: part.body.bounds
            }
        }
        switch text {
        case .whole: return part.body.bounds
        case .mime: return part.header.bounds
        case .header, .text:
            // Only a message has a header of its own.
            guard part.kind == .message, let child = part.firstChild else { return nil }
            return text == .header ? parts[child].header.bounds : parts[child].body.bounds
        }
    }

    /// The transfer encoding of the part that a section's numbers name, for BINARY.
    package func transferEncoding(of part: Int, in bytes: Span<UInt8>) -> TransferEncoding? {
        guard let token = parts[part].encodingToken(in: bytes) else { return .identity }
        return TransferEncoding(bytes.extracting(token))
    }
}
