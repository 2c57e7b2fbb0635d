package import Bytes

//  What is kept of a message, so that its file need not be read again
//
//  A record follows from the message's bytes alone. It holds, as they go on the wire, what clients ask
//  for in lists (ENVELOPE, BODYSTRUCTURE, header fields), and folded texts and numbers as SEARCH, SORT
//  and THREAD compare them. It is made in two depths: of the header, which is in the first kilobytes of
//  a file, or of all.
//
//  The bytes, numbers little endian:
//
//      version      1 byte
//      flags        1 byte
//      sent day     4 bytes, days since 1970
//      sent time    8 bytes, seconds since 1970
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
    // Folded texts to search in: for each field 4 bytes of length and the text.
    case fromText
    case toText
    case ccText
    case bccText
    case subjectText
    // Folded texts to sort by.
    case subjectKey
    case fromKey
    case toKey
    case ccKey
    case displayFromKey
    case displayToKey
    /// Message-ID, then what the message refers to, each with 4 bytes of length in front.
    case threadIDs
}

private struct RecordFlags: OptionSet {
    let rawValue: UInt8
    static let headerIsWhole = RecordFlags(rawValue: 1)
    static let hasStructure = RecordFlags(rawValue: 2)
    static let hasSize = RecordFlags(rawValue: 4)
    static let hasSentDate = RecordFlags(rawValue: 8)
    static let isReply = RecordFlags(rawValue: 16)
    static let hasMessageID = RecordFlags(rawValue: 32)
    static let headerHasEnd = RecordFlags(rawValue: 64)
}

/// A record, opened where it lies.
package struct DetailRecord: ~Escapable {
    private static let version: UInt8 = 2
    private static let tableStart = 22
    private static let headStart = tableStart + 4 * Section.allCases.count

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
    /// RFC822.SIZE.
    package var size: Int? { flags.contains(.hasSize) ? Int(clamping: uint64(14)) : nil }
    /// The day of the Date field as the sender wrote it, whatever the zone.
    package var sentDay: Int? {
        flags.contains(.hasSentDate) ? Int(Int32(bitPattern: Self.uint32(bytes, 2))) : nil
    }
    /// The time of the Date field in seconds.
    package var sentTime: Int64? {
        flags.contains(.hasSentDate) ? Int64(bitPattern: uint64(6)) : nil
    }
    /// Whether the subject says that the message is a reply or forwarded.
    package var isReply: Bool { flags.contains(.isReply) }

    /// The header lines that are kept.
    package var header: Span<UInt8> {
        @_lifetime(copy self) get { section(.header) }
    }

    /// Whether the header ends with an empty line. Where it does not, what is kept of it does not tell
    /// how its fields go out.
    package var headerHasEnd: Bool { flags.contains(.headerHasEnd) }

    /// Whether the header is kept with all its fields.
    package var headerIsWhole: Bool { flags.contains(.headerIsWhole) }

    @_lifetime(copy self)
    package func envelope(utf8: Bool) -> Span<UInt8> {
        let other = section(.envelopeUTF8)
        return utf8 && !other.isEmpty ? other : section(.envelope)
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

    /// A text that SORT compares, folded.
    package enum SortKey: Sendable { case subject, from, to, cc, displayFrom, displayTo }

    @_lifetime(copy self)
    package func key(_ key: SortKey) -> Span<UInt8> {
        switch key {
        case .subject: section(.subjectKey)
        case .from: section(.fromKey)
        case .to: section(.toKey)
        case .cc: section(.ccKey)
        case .displayFrom: section(.displayFromKey)
        case .displayTo: section(.displayToKey)
        }
    }

    /// Whether a field has the text, or exists where the text is empty; nil where the record does not
    /// know. The name is in lower case.
    package func fieldContains(
        _ needle: SearchText,
        name: [UInt8],
        _ searcher: MessageSearcher
    ) -> Bool? {
        if let section = Self.searchSection(name.span) {
            return contains(needle, in: self.section(section))
        }
        guard keeps(name.span) else { return nil }
        let header = header
        return searcher.fieldContains(needle, name: name, in: header, header: 0..<header.count)
    }

    private func contains(_ needle: SearchText, in list: Span<UInt8>) -> Bool {
        var offset = 0
        while let text = Self.next(in: list, &offset) {
            if needle.isEmpty
                || list.offset(ofLowercased: needle.folded.span, in: text) != nil
            {
                return true
            }
        }
        return false
    }

    /// The section for the field of a name, in any case of its letters.
    private static func searchSection(_ span: Span<UInt8>) -> Section? {
        let all = 0..<span.count
        switch span.count {
        case 2:
            if span.equalsIgnoringCase("to", in: all) { return .toText }
            if span.equalsIgnoringCase("cc", in: all) { return .ccText }
        case 3: if span.equalsIgnoringCase("bcc", in: all) { return .bccText }
        case 4: if span.equalsIgnoringCase("from", in: all) { return .fromText }
        case 7: if span.equalsIgnoringCase("subject", in: all) { return .subjectText }
        default: break
        }
        return nil
    }

    /// Message-ID, where there is one, and the IDs that it refers to, from the oldest on.
    package var threadIDs: (messageID: [UInt8]?, references: [[UInt8]]) {
        let list = section(.threadIDs)
        var ids: [[UInt8]] = []
        var offset = 0
        while let range = Self.next(in: list, &offset) { ids.append(list.extracting(range).array) }
        guard flags.contains(.hasMessageID), let first = ids.first else { return (nil, ids) }
        return (first, Array(ids.dropFirst()))
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

    /// The next text of a list, or nil at its end.
    private static func next(in list: Span<UInt8>, _ offset: inout Int) -> Range<Int>? {
        guard offset + 4 <= list.count else { return nil }
        let start = offset + 4
        let count = Int(uint32(list, offset))
        guard count <= list.count - start else { return nil }
        offset = start + count
        return start..<offset
    }

    private static func uint32(_ bytes: Span<UInt8>, _ offset: Int) -> UInt32 {
        UInt32(bytes[offset]) | UInt32(bytes[offset + 1]) << 8 | UInt32(bytes[offset + 2]) << 16
            | UInt32(bytes[offset + 3]) << 24
    }

    private func uint64(_ offset: Int) -> UInt64 {
        UInt64(Self.uint32(bytes, offset)) | UInt64(Self.uint32(bytes, offset + 4)) << 32
    }
}

extension DetailRecord {
    /// Makes records. Keeps its buffers; used by one job at a time.
    package final class Maker {
        private let searcher = MessageSearcher()
        private let decoder = HeaderDecoder()

        package init() {}

        /// The record of a message.
        ///
        /// - Parameters:
        ///   - message: all of it, or without `withStructure` its header at least.
        ///   - size: RFC822.SIZE where it is known.
        package func record(
            _ message: Span<UInt8>,
            withStructure: Bool,
            size: Int?
        ) -> [UInt8] {
            let headerEnd = HeaderBlock.end(in: message)
            var writer = Writer()
            if let size {
                writer.flags.insert(.hasSize)
                writer.size = UInt64(size)
            }
            let fields = EnvelopeFields(in: message, header: 0..<headerEnd)
            if let date = fields.date.flatMap({ MessageDate(message, in: $0) }) {
                writer.flags.insert(.hasSentDate)
                writer.sentDay = Int32(clamping: date.day)
                writer.sentTime = Int64(date.seconds)
            }
            appendHeader(message, headerEnd, &writer)
            appendEnvelope(message, headerEnd, &writer)
            appendStructure(message, withStructure, &writer)
            appendTexts(message, headerEnd, &writer)
            appendKeys(message, fields, &writer)
            appendThreadIDs(message, fields, &writer)
            return writer.bytes
        }

        private func appendHeader(_ message: Span<UInt8>, _ end: Int, _ writer: inout Writer) {
            // One without its empty line is not kept as a whole: it would not come out the same.
            let hasEnd = HeaderBlock.endIfComplete(in: message) != nil
            if hasEnd, end <= Limits.keptHeaderBytesMax {
                writer.flags.insert(.headerIsWhole)
                DetailRecord.everyField.append(
                    from: message,
                    header: 0..<end,
                    excluding: true,
                    to: &writer.body
                )
            } else {
                DetailRecord.keptFields.append(
                    from: message,
                    header: 0..<end,
                    excluding: false,
                    to: &writer.body
                )
            }
            if hasEnd { writer.flags.insert(.headerHasEnd) }
            writer.close(.header)
        }

        private func appendEnvelope(_ message: Span<UInt8>, _ end: Int, _ writer: inout Writer) {
            let start = writer.body.count
            Envelope.write(message, header: 0..<end, utf8: false, to: &writer.body)
            writer.close(.envelope)
            // Only what has 8-bit bytes can differ.
            if !message.isASCII(in: 0..<end) {
                var other = ByteBuffer()
                Envelope.write(message, header: 0..<end, utf8: true, to: &other)
                if other.bytes[...] != writer.body.bytes[start...] {
                    writer.body.append(other.bytes)
                }
            }
            writer.close(.envelopeUTF8)
        }

        private func appendStructure(
            _ message: Span<UInt8>,
            _ isWanted: Bool,
            _ writer: inout Writer
        ) {
            var cuts: [Range<Int>] = []
            var otherCuts: [Range<Int>] = []
            if isWanted {
                writer.flags.insert(.hasStructure)
                let structure = MessageStructure.parse(message)
                let start = writer.body.count
                cuts = BodyStructure.writeExtended(
                    structure,
                    of: message,
                    utf8: false,
                    to: &writer.body
                )
                writer.close(.structure)
                if structure.parts.contains(where: { !message.isASCII(in: $0.header.bounds) }) {
                    var other = ByteBuffer()
                    otherCuts = BodyStructure.writeExtended(
                        structure,
                        of: message,
                        utf8: true,
                        to: &other
                    )
                    if other.bytes[...] != writer.body.bytes[start...] {
                        writer.body.append(other.bytes)
                    } else {
                        otherCuts = []
                    }
                }
            } else {
                writer.close(.structure)
            }
            writer.close(.structureUTF8)
            for (section, cuts) in [(Section.extensions, cuts), (.extensionsUTF8, otherCuts)] {
                for cut in cuts {
                    writer.append(UInt32(clamping: cut.lowerBound))
                    writer.append(UInt32(clamping: cut.upperBound))
                }
                writer.close(section)
            }
        }

        /// The folded texts of the fields that are searched most.
        private func appendTexts(_ message: Span<UInt8>, _ end: Int, _ writer: inout Writer) {
            let sections = [
                Section.fromText, .toText, .ccText, .bccText, .subjectText,
            ]
            var found: [(section: Section, value: Range<Int>)] = []
            var offset = 0
            while let field = HeaderField(in: message, at: offset, end: end) {
                offset = field.lines.upperBound
                let name = message.extracting(field.name)
                guard let section = DetailRecord.searchSection(name) else { continue }
                found.append((section, field.value))
            }
            for section in sections {
                for (other, value) in found where other == section {
                    writer.append(text: searcher.foldedValue(value, of: message))
                }
                writer.close(section)
            }
        }

        private func appendKeys(
            _ message: Span<UInt8>,
            _ fields: EnvelopeFields,
            _ writer: inout Writer
        ) {
            if let subject = fields.subject {
                let base = BaseSubject(message, subject: subject, decoder: decoder)
                if base.isReply { writer.flags.insert(.isReply) }
                writer.body.append(CaseFold.shared.folded(base.text))
            }
            writer.close(.subjectKey)
            let from = AddressSortKey(message, field: fields.from, decoder: decoder)
            let to = AddressSortKey(message, field: fields.to.first, decoder: decoder)
            let cc = AddressSortKey(message, field: fields.cc.first, decoder: decoder)
            for (section, text) in [
                (Section.fromKey, from.mailbox), (.toKey, to.mailbox), (.ccKey, cc.mailbox),
                (.displayFromKey, from.display), (.displayToKey, to.display),
            ] {
                writer.body.append(CaseFold.shared.folded(text))
                writer.close(section)
            }
        }

        private func appendThreadIDs(
            _ message: Span<UInt8>,
            _ fields: EnvelopeFields,
            _ writer: inout Writer
        ) {
            if let id = fields.messageID.flatMap({ MessageIDs.parse(message, in: $0).first }) {
                writer.flags.insert(.hasMessageID)
                writer.append(text: id)
            }
            var references = fields.references.map { MessageIDs.parse(message, in: $0) } ?? []
            if references.isEmpty, let field = fields.inReplyTo {
                references = Array(MessageIDs.parse(message, in: field).prefix(1))
            }
            for id in references { writer.append(text: id) }
            writer.close(.threadIDs)
        }
    }

    /// Has no name: what is not in it is every field.
    private static let everyField = HeaderFieldSet([])

    private struct Writer {
        var flags: RecordFlags = []
        var sentDay: Int32 = 0
        var sentTime: Int64 = 0
        var size: UInt64 = 0
        var body = ByteBuffer(capacity: 2_048)
        private var table = ByteBuffer(capacity: 4 * Section.allCases.count)
        private var closed = 0

        init() {}

        /// Ends a section; they come in their order.
        mutating func close(_ section: Section) {
            precondition(section.rawValue == closed, "sections of a record in their order")
            closed += 1
            Self.append(UInt64(body.count), 4, to: &table)
        }

        mutating func append(_ number: UInt32) { Self.append(UInt64(number), 4, to: &body) }

        mutating func append(text: [UInt8]) {
            append(UInt32(clamping: text.count))
            body.append(text)
        }

        private static func append(_ number: UInt64, _ count: Int, to buffer: inout ByteBuffer) {
            for index in 0..<count {
                buffer.append(UInt8(truncatingIfNeeded: number >> UInt64(8 * index)))
            }
        }

        var bytes: [UInt8] {
            var buffer = ByteBuffer(capacity: DetailRecord.headStart + body.count)
            buffer.append(DetailRecord.version)
            buffer.append(flags.rawValue)
            Self.append(UInt64(UInt32(bitPattern: sentDay)), 4, to: &buffer)
            Self.append(UInt64(bitPattern: sentTime), 8, to: &buffer)
            Self.append(size, 8, to: &buffer)
            buffer.append(table.bytes)
            buffer.append(body.bytes)
            return buffer.bytes
        }
    }
}
