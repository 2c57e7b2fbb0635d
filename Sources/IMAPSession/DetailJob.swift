import Bytes
import InternetMessage
import MailStore
import Posix

//  Looking into messages
//
//  A message is looked at in its detail record where it has one that is enough. Otherwise its file is
//  read, as much of it as is needed, a record is made, and the message is looked at in that: so the
//  answer is the same whether there was a record or not.

/// What a job is to look at.
struct DetailJob: Sendable {
    var names: NameList
    let details: (any DetailStore)?
    /// What is needed of a file that has to be read.
    let extent: MessageExtent
    /// Whether records are made of what is read, and how deep.
    let makes: Records

    struct Records: OptionSet {
        let rawValue: UInt8
        static let none: Records = []
        static let ofHeader = Records(rawValue: 1)
        static let ofWholeHeader = Records(rawValue: 3)
        static let ofStructure = Records(rawValue: 5)

        var depth: DetailRecord.Depth {
            var depth: DetailRecord.Depth = []
            if isSuperset(of: .ofWholeHeader) { depth.insert(.wholeHeader) }
            if isSuperset(of: .ofStructure) { depth.insert(.structure) }
            return depth
        }
    }

    /// A record of the message, found or made; and where its file was read, what was read.
    struct Message: ~Escapable {
        let record: DetailRecord?
        let content: MessageInMemory?

        @_lifetime(copy record, copy content)
        init(record: DetailRecord?, content: MessageInMemory?) {
            self.record = record
            self.content = content
        }
    }

    /// Looks at messages in their order until `look` has no more room.
    ///
    /// - Parameters:
    ///   - budget: bytes of files to read; at least one message is looked at.
    ///   - isEnough: whether the record answers for the message with this offset.
    ///   - look: called with each message; without record and content where its file was not found.
    ///     Returns whether to go on.
    /// - Returns: the records that were made, and how many bytes were read.
    func run(
        _ reader: MessageReader,
        budget: Int,
        size: (Int) -> Int?,
        isEnough: (Int, borrowing DetailRecord) -> Bool,
        look: (Int, borrowing Message) -> Bool
    ) -> (made: DetailBatch, read: Int) {
        var made = DetailBatch()
        var read = 0
        var found = Found(names, details, reader)
        defer { found.giveBack(reader) }
        for (offset, entry) in names.entries.enumerated() {
            let bytes = found.span(offset)
            let old = DetailRecord(bytes)
            if let old, isEnough(offset, old) {
                guard look(offset, Message(record: old, content: nil)) else { break }
                continue
            }
            let oldSize = old?.size
            let oldDepth = old?.depth
            var goesOn = true
            var isMade = false
            let isThere = reader.read(
                entry,
                of: names,
                extent,
                hasHeader: { HeaderBlock.endIfComplete(in: $0) != nil }
            ) { span, facts in
                read += span.count
                var size = size(offset) ?? oldSize ?? facts.namedSize
                guard makes != .none else {
                    if size == nil, facts.isWhole, extent == .whole {
                        size = MessageText.crlfSize(of: span)
                    }
                    let content = MessageInMemory(span, size: size, facts)
                    goesOn = look(offset, Message(record: nil, content: content))
                    return
                }
                // What the record there told is told by the next one as well.
                var depth = makes.depth.union(oldDepth ?? [])
                if !facts.isWhole { depth.remove(.structure) }
                // Whoever finds the structure counts on the way.
                if size == nil, facts.isWhole, !depth.contains(.structure) {
                    size = MessageText.crlfSize(of: span)
                }
                let start = made.bytes.count
                size = DetailRecord.append(span, depth, size: size, to: &made.bytes)
                let content = MessageInMemory(span, size: size, facts)
                let bytes = made.bytes.bytes
                let record = DetailRecord(bytes.span.extracting(start..<bytes.count))
                let newDepth = record?.depth ?? []
                goesOn = look(offset, Message(record: record, content: content))
                let isBetter =
                    newDepth.isSuperset(of: oldDepth ?? [])
                    && (newDepth != oldDepth || size != nil && oldSize == nil)
                isMade = details != nil && isBetter
            }
            if isMade { made.close(entry.uid) } else { made.drop() }
            if !isThere { goesOn = look(offset, Message(record: nil, content: nil)) }
            guard goesOn, read < budget else { break }
        }
        return (made, read)
    }

    /// The records that were there, copied out of the store at once.
    private struct Found: ~Copyable {
        private var bytes: [UInt8] = []
        private var ranges: [Range<Int>] = []

        init(_ names: NameList, _ details: (any DetailStore)?, _ reader: MessageReader) {
            guard let details else { return }
            bytes = exchange(&reader.records, with: [])
            bytes.removeAll(keepingCapacity: true)
            let uids = names.entries.map(\.uid)
            ranges = Array(repeating: 0..<0, count: uids.count)
            var next = 0
            details.readDetails(uids) { uid, record in
                while next < uids.count, uids[next] != uid { next += 1 }
                guard next < uids.count else { return }
                let start = bytes.count
                bytes.append(copying: record)
                ranges[next] = start..<bytes.count
            }
        }

        /// The room is used again.
        mutating func giveBack(_ reader: MessageReader) {
            reader.records = exchange(&bytes, with: [])
        }

        @_lifetime(borrow self)
        func span(_ offset: Int) -> Span<UInt8> {
            let range = ranges.isEmpty ? 0..<0 : ranges[offset]
            return bytes.span.extracting(range)
        }
    }
}
