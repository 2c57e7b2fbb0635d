import Bytes
import IMAPWire
import InternetMessage
import MailStore
import Posix

/// What a FETCH asks for, prepared once for all its messages. Its renderer is a pure function of a
/// message's content, so that it runs in jobs.
struct FetchPlan: Sendable {
    /// Items that need the content of the message, in the order asked for, each with its name as it is
    /// told, a space behind it, and what HEADER.FIELDS was made into.
    private let items: [(item: FetchItem, label: [UInt8], fields: HeaderFieldSet?)]
    /// The same as they come out of a record.
    let recordItems: RecordItems
    /// Which records answer for the items; none where an item is in no record.
    var records: DetailJob.Records { recordItems.records }
    let isUTF8: Bool
    let wantsFlags: Bool
    let wantsModseq: Bool
    let wantsUID: Bool
    let wantsDate: Bool
    let wantsSize: Bool
    let wantsSaveDate: Bool
    let setsSeen: Bool

    init(_ command: FetchCommand, isUTF8: Bool, _ telling: SelectedMailbox.Telling = .init()) {
        self.isUTF8 = isUTF8
        wantsFlags = command.items.contains(.flags)
        // A client that knows CONDSTORE gets MODSEQ wherever it gets flags.
        wantsModseq =
            command.items.contains(.modSeq) || command.changedSince != nil
            || telling.modseqs && wantsFlags
        // UIDFETCH has the UID in front.                                     RFC 9586 §3.3
        wantsUID =
            command.items.contains(.uid) || command.kind == .uid && !telling.uidOnly
        wantsDate = command.items.contains(.internalDate)
        wantsSize = command.items.contains(.rfc822Size)
        wantsSaveDate = command.items.contains(.saveDate)
        setsSeen = command.items.contains(where: \.setsSeen)
        var items: [(item: FetchItem, label: [UInt8], fields: HeaderFieldSet?)] = []
        var told: Set<FetchItem> = []
        for item in command.items where told.insert(item).inserted {
            switch item {
            case .flags, .uid, .internalDate, .rfc822Size, .modSeq, .saveDate: continue
            case .preview(let isLazy):
                // Asked for in both ways it is told once.
                if told.contains(.preview(lazy: !isLazy)) { continue }
            default: break
            }
            var fields: HeaderFieldSet?
            if case .bodySection(let section, _, _) = item {
                switch section.kind {
                case .headerFields(let names), .headerFieldsNot(let names):
                    fields = HeaderFieldSet(names)
                default: break
                }
            }
            items.append((item, Self.label(of: item), fields))
        }
        self.items = items
        recordItems = RecordItems(items)
    }

    /// Flags, as SELECT tells a client what it missed.                        RFC 7162 §3.2.5.1
    init(changesFor telling: SelectedMailbox.Telling) {
        self.init(
            FetchCommand(kind: .uid, set: .saved, items: [.flags, .modSeq]),
            isUTF8: false,
            telling
        )
    }

    /// Whether a message's file has to be read.
    var needsContent: Bool { !items.isEmpty }

    /// The one item that needs content, where it is a piece of a section: the next command will
    /// ask for the next one.
    var piece: (section: SectionSpecifier, partial: OctetRange)? {
        guard items.count == 1, case .bodySection(let section, let partial?, _) = items[0].item
        else { return nil }
        return (section, partial)
    }

    private var needsStructure: Bool {
        items.contains { entry in
            switch entry.item {
            case .bodyStructure, .body, .binary, .binarySize, .preview: true
            case .bodySection(let section, _, _): !section.part.isEmpty
            default: false
            }
        }
    }

    /// Whether all of a message is needed for the items, and not its header alone.
    var needsWhole: Bool {
        items.contains { entry in
            switch entry.item {
            case .envelope, .rfc822Header, .threadID: false
            case .bodySection(let section, _, _):
                switch section.kind {
                case .header, .headerFields, .headerFieldsNot: !section.part.isEmpty
                case .entire, .text, .mime: true
                }
            default: true
            }
        }
    }

    /// What stands before the value of an item; empty for those whose value brings it.
    private static func label(of item: FetchItem) -> [UInt8] {
        var label = ByteBuffer()
        switch item {
        case .envelope: label.append("ENVELOPE ")
        case .body: label.append("BODY ")
        case .bodyStructure: label.append("BODYSTRUCTURE ")
        case .rfc822: label.append("RFC822 ")
        case .rfc822Header: label.append("RFC822.HEADER ")
        case .rfc822Text: label.append("RFC822.TEXT ")
        case .preview: label.append("PREVIEW ")
        case .bodySection(let section, let partial, _):
            label.append(section: section, offset: partial?.offset)
            label.append(.space)
        default: break
        }
        return label.bytes
    }

    /// What a message's content makes of the plan.
    struct Rendered: Sendable {
        /// The items with a space before each.
        var bytes: [UInt8]
        var size: Int
        var date: Int64
        /// A BINARY item met an encoding that is not known. RFC 3516 §4.3
        var hasUnknownEncoding = false
    }

    func render(_ content: MessageContent) -> Rendered {
        let bytes = content.bytes
        let span = bytes.span
        var output = ByteBuffer()
        var message = MessageInMemory(
            span,
            size: MessageText.crlfSize(of: span),
            date: content.date.seconds,
            isWhole: true
        )
        let hasUnknownEncoding = write(&message, isFirst: false, to: &output)
        return Rendered(
            bytes: output.bytes,
            size: message.size ?? 0,
            date: message.date,
            hasUnknownEncoding: hasUnknownEncoding
        )
    }

    /// Appends the items with a space before each, but for the first of all. Where a size comes to
    /// light, the message has it then. Returns whether a BINARY item met an unknown encoding.
    func write(
        _ message: inout MessageInMemory,
        isFirst: Bool,
        to output: inout ByteBuffer
    ) -> Bool {
        let span = message.bytes
        let headerEnd = HeaderBlock.end(in: span)
        let structure = needsStructure ? MessageStructure.parse(span) : nil
        var hasUnknownEncoding = false
        var needsSpace = !isFirst
        for (item, label, fields) in items {
            let (start, hadSpace) = (output.count, needsSpace)
            func leaveOut() {
                hasUnknownEncoding = true
                output.bytes.removeSubrange(start...)
                needsSpace = hadSpace
            }
            if needsSpace { output.append(.space) }
            needsSpace = true
            output.append(label)
            switch item {
            case .envelope:
                Envelope.write(span, header: 0..<headerEnd, utf8: isUTF8, to: &output)
            case .body, .bodyStructure:
                guard let structure else { continue }
                BodyStructure.write(
                    structure,
                    of: span,
                    extended: item == .bodyStructure,
                    utf8: isUTF8,
                    to: &output
                )
            case .rfc822:
                Self.append(whole: &message, to: &output)
            case .rfc822Header:
                Self.append(0..<headerEnd, of: span, nil, to: &output)
            case .rfc822Text:
                Self.append(headerEnd..<span.count, of: span, nil, to: &output)
            case .bodySection(let section, let partial, _):
                if section.part.isEmpty, section.kind == .entire, partial == nil {
                    Self.append(whole: &message, to: &output)
                } else {
                    appendSection(section, partial, fields, structure, headerEnd, span, to: &output)
                }
            case .binary(let part, let partial, _):
                if !Self.appendBinary(part, partial, structure, span, to: &output) {
                    leaveOut()
                }
            case .binarySize(let part):
                if !Self.appendBinarySize(part, structure, span, to: &output) {
                    leaveOut()
                }
            case .emailID:
                let id = MessageIdentity.emailID(of: span, date: message.date)
                output.append("EMAILID", objectID: id)
            case .threadID:
                if let id = MessageIdentity.threadID(of: span) {
                    output.append("THREADID", objectID: id)
                } else {
                    output.append("THREADID NIL")
                }
            case .preview:
                // RFC 8970 §3.3 lets LAZY answer NIL where it would take long; it does not here.
                guard let structure else { continue }
                let text = Preview.text(of: structure, in: span, converter: CharsetConverter())
                output.append(nstring: text, utf8: isUTF8)
            case .flags, .uid, .internalDate, .rfc822Size, .modSeq, .saveDate: continue
            }
        }
        return hasUnknownEncoding
    }

    /// All of a message as a literal. Its size, where it is known, need not be counted first; should
    /// it be wrong, it is all done again.
    private static func append(
        whole message: inout MessageInMemory,
        to output: inout ByteBuffer
    ) {
        let start = output.count
        let span = message.bytes
        while true {
            let size = message.size ?? MessageText.crlfSize(of: span)
            output.append(literalHeader: size)
            let written = MessageText.appendCRLF(of: span, in: 0..<span.count, to: &output)
            message.size = written
            if written == size { return }
            output.bytes.removeSubrange(start...)
        }
    }

    private func appendSection(
        _ section: SectionSpecifier,
        _ partial: OctetRange?,
        _ fields: HeaderFieldSet?,
        _ structure: MessageStructure?,
        _ headerEnd: Int,
        _ span: Span<UInt8>,
        to output: inout ByteBuffer
    ) {
        switch text(of: section, fields, structure, headerEnd, span) {
        case .none: output.append("NIL")
        case .range(let range): Self.append(range, of: span, partial, to: &output)
        case .made(let text): Self.append(text, partial, to: &output)
        }
    }

    /// Where the text of a section is.
    enum Text {
        case none
        case range(Range<Int>)
        /// Put together, and with CRLF already.
        case made([UInt8])
    }

    private func text(
        of section: SectionSpecifier,
        _ fields: HeaderFieldSet?,
        _ structure: MessageStructure?,
        _ headerEnd: Int,
        _ span: Span<UInt8>
    ) -> Text {
        let range: Range<Int>?
        switch section.kind {
        case .entire: range = find(section.part, .whole, structure, headerEnd, span.count)
        case .header: range = find(section.part, .header, structure, headerEnd, span.count)
        case .text: range = find(section.part, .text, structure, headerEnd, span.count)
        case .mime: range = find(section.part, .mime, structure, headerEnd, span.count)
        case .headerFields, .headerFieldsNot:
            guard
                let header = find(section.part, .header, structure, headerEnd, span.count),
                let fields
            else { return .none }
            var excluding = false
            if case .headerFieldsNot = section.kind { excluding = true }
            var text = ByteBuffer()
            fields.append(from: span, header: header, excluding: excluding, to: &text)
            return .made(text.bytes)
        }
        return range.map { .range($0) } ?? .none
    }

    // MARK: Piece by piece

    /// A section in its CRLF form: made once, so that a message that is read in a thousand pieces is
    /// not looked through a thousand times.
    struct SectionContent: Sendable {
        let section: SectionSpecifier
        /// Nil where the message has no such section.
        let text: [UInt8]?
        let size: Int
        let date: Int64
    }

    /// Where the text of the plan's one section is.
    func text(of section: SectionSpecifier, _ content: MessageContent) -> Text {
        let span = content.bytes.span
        let headerEnd = HeaderBlock.end(in: span)
        let structure = needsStructure ? MessageStructure.parse(span) : nil
        return text(of: section, items[0].fields, structure, headerEnd, span)
    }

    func content(of section: SectionSpecifier, _ content: MessageContent) -> SectionContent {
        let span = content.bytes.span
        var made: [UInt8]?
        switch text(of: section, content) {
        case .none: break
        case .made(let text): made = text
        case .range(let range):
            var buffer = ByteBuffer()
            MessageText.appendCRLF(of: span, in: range, to: &buffer)
            made = buffer.bytes
        }
        return SectionContent(
            section: section,
            text: made,
            size: MessageText.crlfSize(of: span),
            date: content.date.seconds
        )
    }

    func render(_ content: SectionContent, _ partial: OctetRange) -> Rendered {
        var output = ByteBuffer()
        output.append(.space)
        output.append(section: content.section, offset: partial.offset)
        output.append(.space)
        if let text = content.text {
            Self.append(text, partial, to: &output)
        } else {
            output.append("NIL")
        }
        return Rendered(bytes: output.bytes, size: content.size, date: content.date)
    }

    private func find(
        _ part: [UInt32],
        _ text: SectionText,
        _ structure: MessageStructure?,
        _ headerEnd: Int,
        _ count: Int
    ) -> Range<Int>? {
        guard part.isEmpty else { return structure?.range(of: part, text) }
        return switch text {
        case .whole: 0..<count
        case .header, .mime: 0..<headerEnd
        case .text: headerEnd..<count
        }
    }

    /// A range in its CRLF form, as a literal.
    private static func append(
        _ range: Range<Int>,
        of span: Span<UInt8>,
        _ partial: OctetRange?,
        to output: inout ByteBuffer
    ) {
        let size = MessageText.crlfSize(of: span, in: range)
        let offset = Int(clamping: partial?.offset ?? 0)
        let count = min(Int(clamping: partial?.count ?? .max), max(size - offset, 0))
        output.append(literalHeader: count)
        guard count > 0 else { return }
        output.bytes.reserveCapacity(output.count + count + 64)
        MessageText.appendCRLF(of: span, in: range, to: &output, from: offset, count: count)
    }

    /// Text that is in its CRLF form already, as a literal.
    private static func append(
        _ text: [UInt8],
        _ partial: OctetRange?,
        to output: inout ByteBuffer
    ) {
        let start = min(Int(clamping: partial?.offset ?? 0), text.count)
        let count = min(Int(clamping: partial?.count ?? .max), text.count - start)
        output.append(literalHeader: count)
        output.appendLiteral(text.span.extracting(start..<(start + count)))
    }
}
