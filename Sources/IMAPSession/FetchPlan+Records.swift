import Bytes
import IMAPWire
import InternetMessage
import MailStore

//  FETCH answered from detail records
//
//  What is done for each message is decided once for all of them: names of items are written before, and
//  the loop looks at numbers only.

/// The items of a FETCH as they come out of a record.
struct RecordItems: Sendable {
    /// Which records answer for the items; none where an item is in no record.
    let records: DetailJob.Records
    private var parts: [Part] = []
    /// The name of each item as it is told, and a space.
    private var labels: [[UInt8]] = []
    /// Of the parts that are header fields.
    private var fields: [HeaderFieldSet?] = []
    private var needsHeaderEnd = false

    private enum Part {
        case envelope, structure, body, header, fields, otherFields
    }

    init(_ items: [(item: FetchItem, label: [UInt8], fields: HeaderFieldSet?)]) {
        var records = DetailJob.Records.ofHeader
        for (item, label, fields) in items {
            guard let part = Self.part(of: item, &records) else {
                self.records = .none
                return
            }
            if part == .fields { needsHeaderEnd = true }
            parts.append(part)
            labels.append(label)
            self.fields.append(fields)
        }
        self.records = records
    }

    /// Nil where no record has it.
    private static func part(of item: FetchItem, _ records: inout DetailJob.Records) -> Part? {
        switch item {
        case .envelope: return .envelope
        case .bodyStructure, .body:
            records.formUnion(.ofStructure)
            return item == .body ? .body : .structure
        case .rfc822Header:
            records.formUnion(.ofWholeHeader)
            return .header
        case .bodySection(let section, partial: nil, _) where section.part.isEmpty:
            switch section.kind {
            case .header, .headerFieldsNot:
                records.formUnion(.ofWholeHeader)
                return section.kind == .header ? .header : .otherFields
            case .headerFields(let names):
                // Every record has these.
                let areKept = names.allSatisfy { DetailRecord.keptFields.contains($0.span) }
                if !areKept { records.formUnion(.ofWholeHeader) }
                return .fields
            case .entire, .text, .mime: return nil
            }
        default: return nil
        }
    }

    /// Whether a record has all of them.
    func areIn(_ record: borrowing DetailRecord) -> Bool {
        if records == .none { return false }
        if records.isSuperset(of: .ofStructure), !record.hasStructure { return false }
        if records.isSuperset(of: .ofWholeHeader), !record.headerIsWhole { return false }
        return !needsHeaderEnd || record.headerHasEnd
    }

    /// Appends them from a record that has them, with a space before each but the first of all.
    func write(
        _ record: borrowing DetailRecord,
        isFirst: Bool,
        utf8: Bool,
        _ scratch: inout ByteBuffer,
        to output: inout ByteBuffer
    ) {
        for index in parts.indices {
            if index > 0 || !isFirst { output.append(.space) }
            output.append(labels[index])
            switch parts[index] {
            case .envelope: record.appendEnvelope(utf8: utf8, to: &output)
            case .structure: output.append(record.structure(utf8: utf8))
            case .body: record.appendBody(utf8: utf8, to: &output)
            case .header:
                let header = record.header
                output.append(literalHeader: header.count)
                output.append(header)
            case .fields, .otherFields:
                scratch.removeAll()
                let header = record.header
                fields[index]?.append(
                    from: header,
                    header: 0..<header.count,
                    excluding: parts[index] == .otherFields,
                    to: &scratch
                )
                output.append(literalHeader: scratch.count)
                output.append(scratch.bytes)
            }
        }
    }
}

extension FetchPlan {
    /// Whether a record has all that is asked for.
    func answers(_ record: borrowing DetailRecord, sizeIsKnown: Bool) -> Bool {
        if wantsSize, !sizeIsKnown, record.size == nil { return false }
        return recordItems.areIn(record)
    }
}
