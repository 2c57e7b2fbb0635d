package import Bytes

//  What is kept of a message, so that its file need not be read again
//
//  A record follows from the message's bytes alone, and from how deep it was asked to be. The least is
//  the header fields that clients ask for in lists: from them follows ENVELOPE, and columns are made
//  of them, so that none of that is kept beside them. Whoever asks for more has a record made that
//  keeps more: every field, or what only all of the message tells (ENVELOPE goes with it, as it goes
//  on the wire, since who asks for BODYSTRUCTURE asks for both).
//
//  A record is small on purpose: what is above half a page of the index takes whole pages there.
//
//  The bytes, numbers little endian:
//
//      version      1 byte
//      flags        1 byte
//      size         8 bytes, RFC822.SIZE
//      ends         4 bytes for each section, where it ends behind the table
//      sections     one after the other, in the order of `Section`
//
//  Nothing here trusts the bytes: a record is looked over when it is opened, and what does not fit is no
//  record. A record of another version is none either; the message is read again.

/// The parts of a record.
private enum Section: Int, CaseIterable {
    /// Header lines in the CRLF form, with the empty line that ends them where there is one: all
    /// where `headerIsWhole`, else those in `DetailRecord.keptFields`.
    case header
    case envelope
    /// Empty where it is the same.
    case envelopeUTF8
    case structure
    /// Empty where it is the same.
    case structureUTF8
    /// Start and end, 4 bytes each, of what BODY leaves out of BODYSTRUCTURE.
    case extensions
    case extensionsUTF8
}

private struct RecordFlags: OptionSet {
    let rawValue: UInt8
    static let headerIsWhole = RecordFlags(rawValue: 1)
    static let hasStructure = RecordFlags(rawValue: 2)
    static let hasSize = RecordFlags(rawValue: 4)
    static let hasEnvelope = RecordFlags(rawValue: 8)
    /// The lines hold the bytes of the message: no NUL was replaced.
    static let headerIsExact = RecordFlags(rawValue: 16)
    static let headerHasEnd = RecordFlags(rawValue: 32)
}

/// A record, opened where it lies.
package struct DetailRecord: ~Escapable {
    private static let version: UInt8 = 3
    private static let tableStart = 10
    private static let headStart = tableStart + 4 * Section.allCases.count

    /// What a record holds beside the fields that every one holds.
    package struct Depth: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// Every field of the header, where it is not too long.
        package static let wholeHeader = Depth(rawValue: 1)
        /// ENVELOPE and BODYSTRUCTURE.
        package static let structure = Depth(rawValue: 2)
    }

    private let bytes: Span<UInt8>
    private let flags: RecordFlags

    /// Nil where the bytes are no record of this version.
    @_lifetime(copy bytes)
    package init?(_ bytes: Span<UInt8>) {
        guard bytes.count >= Self.headStart, bytes[0] == Self.version else { return nil }
        var end = Self.headStart
        for section in 0..<Section.allCases.count {
            let next = Self.headStart &+ Int(Self.uint32(bytes, Self.tableStart + 4 * section))
            guard next >= end, next <= bytes.count else { return nil }
            end = next
        }
        guard end == bytes.count else { return nil }
        self.bytes = bytes
        flags = RecordFlags(rawValue: bytes[1])
    }

    // MARK: What it holds

    /// Whether it knows the parts of the message and not its header alone.
    package var hasStructure: Bool { flags.contains(.hasStructure) }
    /// What it holds beside the fields that every one holds.
    package var depth: Depth {
        var depth: Depth = hasStructure ? .structure : []
        if headerIsWhole { depth.insert(.wholeHeader) }
        return depth
    }
    /// RFC822.SIZE.
    package var size: Int? {
        guard flags.contains(.hasSize) else { return nil }
        return Int(clamping: bytes.word(at: 2))
    }

    /// The header lines that are kept.
    package var header: Span<UInt8> {
        @_lifetime(copy self) get { section(.header) }
    }

    /// Whether the header ends with an empty line. Where it does not, what is kept of it does not tell
    /// how its fields go out.
    package var headerHasEnd: Bool { flags.contains(.headerHasEnd) }

    /// Whether the header is kept with all its fields.
    package var headerIsWhole: Bool { flags.contains(.headerIsWhole) }

    package func appendEnvelope(utf8: Bool, to output: inout ByteBuffer) {
        guard flags.contains(.hasEnvelope) else {
            let header = header
            return Envelope.write(header, header: 0..<header.count, utf8: utf8, to: &output)
        }
        let other = section(.envelopeUTF8)
        output.append(utf8 && !other.isEmpty ? other : section(.envelope))
    }

    @_lifetime(copy self)
    package func structure(utf8: Bool) -> Span<UInt8> {
        let other = section(.structureUTF8)
        return utf8 && !other.isEmpty ? other : section(.structure)
    }

    /// Appends BODY: the structure without its extension data.
    package func appendBody(utf8: Bool, to output: inout ByteBuffer) {
        let isOther = utf8 && !section(.structureUTF8).isEmpty
        let text = section(isOther ? .structureUTF8 : .structure)
        let cuts = section(isOther ? .extensionsUTF8 : .extensions)
        var start = 0
        var offset = 0
        while offset + 8 <= cuts.count {
            let lower = Int(Self.uint32(cuts, offset))
            let upper = Int(Self.uint32(cuts, offset + 4))
            guard lower >= start, upper >= lower, upper <= text.count else { break }
            output.append(text.extracting(start..<lower))
            start = upper
            offset += 8
        }
        output.append(text.extracting(start..<text.count))
    }

    // MARK: What follows from the header

    /// The day of the Date field as the sender wrote it, whatever the zone.
    package var sentDay: Int? {
        let header = header
        let field = EnvelopeFields(in: header, header: 0..<header.count).date
        return field.flatMap { MessageDate(header, in: $0) }?.day
    }

    /// Whether a field has the text, or exists where the text is empty; nil where the record does not
    /// know. The name is in lower case.
    package func fieldContains(
        _ needle: SearchText,
        name: [UInt8],
        _ searcher: MessageSearcher
    ) -> Bool? {
        guard keeps(name.span), flags.contains(.headerIsExact) else { return nil }
        let header = header
        return searcher.fieldContains(needle, name: name, in: header, header: 0..<header.count)
    }

    /// Whether what the record has of the header answers for fields of this name.
    package func keeps(_ name: Span<UInt8>) -> Bool {
        headerIsWhole || Self.keptFields.contains(name)
    }

    /// What clients ask for in their lists; `clients.md` of the design has who asks for which.
    package static let keptFields = HeaderFieldSet(
        [
            "from", "to", "cc", "bcc", "subject", "date", "sender", "reply-to", "message-id",
            "in-reply-to", "references", "priority", "x-priority", "importance", "newsgroups",
            "content-type", "content-transfer-encoding", "mime-version", "received",
            "delivered-to", "list-id", "list-post", "list-unsubscribe", "list-help",
            "mail-followup-to",
            "mail-reply-to", "disposition-notification-to", "return-receipt-to", "return-path",
            "x-mailer", "user-agent", "x-label", "lines", "keywords", "resent-message-id",
            "resent-date", "resent-from", "x-spam-flag", "x-tuid", "autocrypt", "precedence",
            "auto-submitted", "followup-to", "content-class", "x-uniform-type-identifier",
            "x-universally-unique-identifier", "thread-topic", "thread-index",
        ].map { [UInt8]($0.utf8) }
    )

    // MARK: Bytes

    @_lifetime(copy self)
    private func section(_ section: Section) -> Span<UInt8> {
        let place = Self.tableStart + 4 * section.rawValue
        let start = section.rawValue == 0 ? 0 : Int(Self.uint32(bytes, place - 4))
        let end = Int(Self.uint32(bytes, place))
        return bytes.extracting((Self.headStart + start)..<(Self.headStart + end))
    }

    private static func uint32(_ bytes: Span<UInt8>, _ offset: Int) -> UInt32 {
        UInt32(bytes[offset]) | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2]) << 16
            | UInt32(bytes[offset + 3]) << 24
    }
}

extension DetailRecord {
    /// The record of a message.
    ///
    /// - Parameters:
    ///   - message: all of it, or where the depth is not of its structure its header at least.
    ///   - size: RFC822.SIZE where it is known.
    package static func make(
        _ message: Span<UInt8>,
        _ depth: Depth,
        size: Int?
    ) -> [UInt8] {
        var output = ByteBuffer(capacity: 2_048)
        _ = append(message, depth, size: size, to: &output)
        return output.bytes
    }

    /// Appends the record of a message.
    ///
    /// - Returns: RFC822.SIZE: what was known, or counted on the way where the depth is of the structure.
    package static func append(
        _ message: Span<UInt8>,
        _ depth: Depth,
        size: Int?,
        to output: inout ByteBuffer
    ) -> Int? {
        var size = size
        var writer = Writer(&output)
        var flags: RecordFlags = []
        let complete = HeaderBlock.endIfComplete(in: message)
        let end = complete ?? message.count
        // One without its empty line is not kept as a whole: it would not come out the same.
        if complete != nil { flags.insert(.headerHasEnd) }
        let isWhole =
            depth.contains(.wholeHeader) && complete != nil && end <= Limits.keptHeaderBytesMax
        if isWhole { flags.insert(.headerIsWhole) }
        (isWhole ? everyField : keptFields).append(
            from: message,
            header: 0..<end,
            excluding: isWhole,
            to: &output
        )
        writer.close(.header, output)
        let isExact = message.offset(of: 0, in: 0..<end) == nil
        if isExact { flags.insert(.headerIsExact) }
        if depth.contains(.structure) || !isExact {
            flags.insert(.hasEnvelope)
            appendEnvelope(message, end, &writer, &output)
        }
        if depth.contains(.structure) {
            flags.insert(.hasStructure)
            let octets = appendStructure(message, &writer, &output)
            size = size ?? octets
        }
        if size != nil { flags.insert(.hasSize) }
        writer.finish(flags, size: UInt64(size ?? 0), &output)
        return size
    }

    private static func appendEnvelope(
        _ message: Span<UInt8>,
        _ end: Int,
        _ writer: inout Writer,
        _ output: inout ByteBuffer
    ) {
        let start = output.count
        Envelope.write(message, header: 0..<end, utf8: false, to: &output)
        writer.close(.envelope, output)
        // Only what has 8-bit bytes can differ.
        if !message.isASCII(in: 0..<end) {
            var other = ByteBuffer()
            Envelope.write(message, header: 0..<end, utf8: true, to: &other)
            if other.bytes[...] != output.bytes[start...] { output.append(other.bytes) }
        }
        writer.close(.envelopeUTF8, output)
    }

    private static func appendStructure(
        _ message: Span<UInt8>,
        _ writer: inout Writer,
        _ output: inout ByteBuffer
    ) -> Int? {
        let structure = MessageStructure.parse(message)
        let start = output.count
        let cuts = BodyStructure.writeExtended(structure, of: message, utf8: false, to: &output)
        writer.close(.structure, output)
        var otherCuts: [Range<Int>] = []
        if structure.parts.contains(where: { !message.isASCII(in: $0.header.bounds) }) {
            var other = ByteBuffer()
            let cuts = BodyStructure.writeExtended(structure, of: message, utf8: true, to: &other)
            if other.bytes[...] != output.bytes[start...] {
                output.append(other.bytes)
                otherCuts = cuts
            }
        }
        writer.close(.structureUTF8, output)
        for (section, cuts) in [(Section.extensions, cuts), (.extensionsUTF8, otherCuts)] {
            for cut in cuts {
                output.append(little: UInt64(UInt32(clamping: cut.lowerBound)), 4)
                output.append(little: UInt64(UInt32(clamping: cut.upperBound)), 4)
            }
            writer.close(section, output)
        }
        return structure.octets
    }

    /// Has no name: what is not in it is every field.
    private static let everyField = HeaderFieldSet([])

    /// Puts the head in front of the sections, which are written behind room for it.
    private struct Writer {
        private let start: Int
        private var ends = InlineArray<7, UInt32>(repeating: 0)
        private var closed = 0

        init(_ output: inout ByteBuffer) {
            start = output.count
            output.bytes.append(contentsOf: repeatElement(0, count: DetailRecord.headStart))
        }

        /// Ends a section; they come in their order, and those between are empty.
        mutating func close(_ section: Section, _ output: borrowing ByteBuffer) {
            precondition(section.rawValue >= closed, "sections of a record in their order")
            let end = UInt32(clamping: output.count - start - DetailRecord.headStart)
            while closed < section.rawValue {
                ends[closed] = closed == 0 ? 0 : ends[closed - 1]
                closed += 1
            }
            ends[closed] = end
            closed += 1
        }

        mutating func finish(_ flags: RecordFlags, size: UInt64, _ output: inout ByteBuffer) {
            while closed < ends.count {
                ends[closed] = ends[closed - 1]
                closed += 1
            }
            output.bytes[start] = DetailRecord.version
            output.bytes[start + 1] = flags.rawValue
            for index in 0..<8 {
                output.bytes[start + 2 + index] = UInt8(truncatingIfNeeded: size >> (8 * index))
            }
            var place = start + DetailRecord.tableStart
            for section in ends.indices {
                for index in 0..<4 {
                    output.bytes[place] = UInt8(truncatingIfNeeded: ends[section] >> (8 * index))
                    place += 1
                }
            }
        }
    }
}

extension ByteBuffer {
    fileprivate mutating func append(little number: UInt64, _ count: Int) {
        for index in 0..<count { append(UInt8(truncatingIfNeeded: number >> UInt64(8 * index))) }
    }
}
