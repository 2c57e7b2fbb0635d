package import Bytes

//  The names under which FETCH answers. The values of the larger items (ENVELOPE, BODYSTRUCTURE,
//  sections) are written by those who make them.
extension ByteBuffer {
    /// `* n FETCH (`; with UIDONLY `* uid UIDFETCH (`. The items and `)` CRLF follow.
    package mutating func appendFetch(_ number: UInt32, isUIDOnly: Bool = false) {
        append("* ")
        append(decimal: number)
        append(isUIDOnly ? " UIDFETCH (" : " FETCH (")
    }

    //  "BODY" section ["<" number ">"]                                       RFC 9051 §9
    //
    //  The echo of what was asked for, without PEEK, with the offset alone.
    package mutating func append(section: SectionSpecifier, offset: UInt64?) {
        append("BODY[")
        append(part: section.part)
        if !section.part.isEmpty, section.kind != .entire { append(UInt8(ascii: ".")) }
        switch section.kind {
        case .entire: break
        case .header: append("HEADER")
        case .headerFields(let names):
            append("HEADER.FIELDS (")
            append(headerNames: names)
        case .headerFieldsNot(let names):
            append("HEADER.FIELDS.NOT (")
            append(headerNames: names)
        case .text: append("TEXT")
        case .mime: append("MIME")
        }
        append(UInt8(ascii: "]"))
        append(offset: offset)
    }

    //  "BINARY" section-binary ["<" number ">"] / "BINARY.SIZE" section-binary
    package mutating func append(
        _ name: StaticString,
        binaryPart part: [UInt32],
        offset: UInt64? = nil
    ) {
        append(name)
        append(UInt8(ascii: "["))
        append(part: part)
        append(UInt8(ascii: "]"))
        append(offset: offset)
    }

    private mutating func append(part: [UInt32]) {
        for (index, number) in part.enumerated() {
            append(index == 0 ? "" : ".", number)
        }
    }

    private mutating func append(headerNames names: [[UInt8]]) {
        for (index, name) in names.enumerated() {
            if index > 0 { append(.space) }
            append(astring: name, .ascii)
        }
        append(UInt8(ascii: ")"))
    }

    private mutating func append(offset: UInt64?) {
        guard let offset else { return }
        append("<", offset)
        append(UInt8(ascii: ">"))
    }

    /// `MODSEQ (n)`.                                                         RFC 7162 §7
    package mutating func append(modSeq: ModSeq) {
        append("MODSEQ (", modSeq.value)
        append(UInt8(ascii: ")"))
    }

    /// `NAME (id)`: EMAILID, THREADID, MAILBOXID.                            RFC 8474 §7
    package mutating func append(_ name: StaticString, objectID id: [UInt8]) {
        append(name)
        append(" (")
        append(id)
        append(UInt8(ascii: ")"))
    }
}
