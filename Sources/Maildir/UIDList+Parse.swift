import Bytes

extension UIDList {
    /// The first line of a file.
    struct ParsedHeader {
        var version: UInt8 = 3
        var header = Header(uidValidity: 0)
        /// Nil where the line does not tell it.
        var nextUID: UInt32?
        /// Where the records begin.
        var end: Int
        var damage = Damage()

        /// v3 header: "3" *(SP key value) LF        v1 header: "1" SP uidvalidity SP nextuid LF
        ///
        /// A line that is not there in full tells nothing: a number that is cut off is another number.
        init(_ file: Span<UInt8>) throws(UIDListError) {
            guard let lineEnd = file.firstIndex(of: .lf), lineEnd <= Limits.uidListHeaderBytesMax
            else {
                end = file.firstIndex(of: .lf).map { $0 + 1 } ?? 0
                damage.isHeaderDamaged = true
                return
            }
            end = lineEnd + 1
            var cursor = ByteCursor(file.extracting(..<lineEnd))
            let number = cursor.decimal()
            let isNumberWhole = cursor.isAtEnd || cursor.peek == .space
            switch number {
            case 3 where isNumberWhole: parseKeys(&cursor)
            case 1 where isNumberWhole: parseVersion1(&cursor)
            case .some where isNumberWhole: throw UIDListError.unsupportedVersion
            default: damage.isHeaderDamaged = true
            }
            if header.uidValidity == 0 || nextUID == nil { damage.isHeaderDamaged = true }
        }

        @_lifetime(cursor: copy cursor)
        private mutating func parseKeys(_ cursor: inout ByteCursor) {
            while cursor.accept(.space) {
                let range = cursor.take { $0 != .space }
                guard let key = range.isEmpty ? nil : cursor.span[range.lowerBound] else {
                    continue
                }
                let valueRange = range.dropFirst()
                let value = cursor.span.extracting(valueRange.startIndex..<valueRange.endIndex)
                switch key {
                case UInt8(ascii: "V"): header.uidValidity = Self.number(value) ?? 0
                case UInt8(ascii: "N"): nextUID = Self.number(value)
                case UInt8(ascii: "G"): header.guid = Self.guid(value)
                default:
                    header.otherKeys.append(.space)
                    header.otherKeys.append(contentsOf: cursor.bytes(range))
                }
            }
        }

        @_lifetime(cursor: copy cursor)
        private mutating func parseVersion1(_ cursor: inout ByteCursor) {
            version = 1
            guard cursor.accept(.space) else { return }
            let validity = cursor.take { $0 != .space }
            guard let validity = Self.number(cursor.span.extracting(validity)) else { return }
            header.uidValidity = validity
            guard cursor.accept(.space) else { return }
            let next = cursor.take { $0 != .space }
            nextUID = Self.number(cursor.span.extracting(next))
        }

        /// A non-zero number of 32 bits, and nothing behind it.
        private static func number(_ text: Span<UInt8>) -> UInt32? {
            var cursor = ByteCursor(text)
            guard let value = cursor.decimal(max: UInt64(UInt32.max)), value > 0, cursor.isAtEnd
            else { return nil }
            return UInt32(value)
        }

        private static func guid(_ text: Span<UInt8>) -> [UInt8]? {
            guard text.count == 32 else { return nil }
            for index in text.indices where text[index].hexValue == nil { return nil }
            return text.array.lowercased
        }
    }

    /// Record lines, appended to `records` as they are found.
    struct RecordParser {
        let isVersion1: Bool
        var records: [Record] = []
        var lastUID: UInt32 = 0
        /// What an offset in the parsed bytes must grow by to be one in the arena.
        var base = 0
        /// Behind the last complete line.
        var end = 0
        var brokenLines = 0
        /// Whether some UID was not above all before it.
        var hasDisorder = false

        init(isVersion1: Bool) { self.isVersion1 = isVersion1 }

        /// v3 record: uid *(SP KEY value) SP ":" basename LF        v1 record: uid SP basename LF
        ///
        /// A line whose UID can be read but not its name still takes part, as a dead record: its UID
        /// was given out.
        mutating func parse(_ file: Span<UInt8>, from start: Int) {
            // An estimate: it only saves the growing.
            records.reserveCapacity((file.count - start) / 48)
            end = start
            while end < file.count, let lineEnd = file.firstIndex(of: .lf, from: end) {
                parseLine(file.extracting(end..<lineEnd), at: end + base)
                end = lineEnd + 1
            }
        }

        @inline(__always)
        private mutating func parseLine(_ line: Span<UInt8>, at start: Int) {
            var uid: UInt64 = 0
            var index = 0
            while index < line.count, line[index].isDigit, uid <= UInt64(UInt32.max) {
                uid = uid * 10 + UInt64(line[index] &- 0x30)
                index += 1
            }
            guard index < line.count, line[index] == .space, uid > 0, uid <= Limits.uidMax else {
                brokenLines += 1
                return
            }
            let keysStart = index + 1
            let nameStart = isVersion1 ? keysStart : findName(line, from: index)
            let nameCount = nameStart.map { baseNameCount(line, from: $0) } ?? 0
            var keysCount = isVersion1 ? 0 : max(0, (nameStart ?? 0) - 2 - keysStart)
            if keysCount > Limits.recordKeysBytesMax {
                keysCount = 0
                brokenLines += 1
            }
            if nameCount == 0 { brokenLines += 1 }
            if uid <= lastUID { hasDisorder = true }
            lastUID = UInt32(truncatingIfNeeded: uid)
            records.append(
                Record(
                    uid: lastUID,
                    nameOffset: UInt32(truncatingIfNeeded: start + (nameStart ?? line.count)),
                    nameCount: UInt16(nameCount),
                    keysCount: UInt16(keysCount)
                )
            )
        }

        /// Where the name begins: behind the first ` :`. Nil if there is none.
        @inline(__always)
        private mutating func findName(_ line: Span<UInt8>, from start: Int) -> Int? {
            var index = start
            while index + 1 < line.count {
                if line[index] == .space {
                    if line[index + 1] == UInt8(ascii: ":") { return index + 2 }
                    // The key is dropped at the next rewrite, the record stays.
                    if !line[index + 1].isUppercase { brokenLines += 1 }
                }
                index += 1
            }
            return nil
        }

        /// The length of the name up to its info, which older writers left there; 0 for one that no
        /// file can have.
        @inline(__always)
        private func baseNameCount(_ line: Span<UInt8>, from start: Int) -> Int {
            var index = start
            while index < line.count {
                let byte = line[index]
                if byte <= UInt8(ascii: ":") {
                    if byte == UInt8(ascii: ":") { break }
                    if byte == UInt8(ascii: "/") || byte == .cr || byte == 0 { return 0 }
                }
                index += 1
            }
            return index - start <= Limits.fileNameBytesMax ? index - start : 0
        }

        /// Drops as few records as possible so that the UIDs ascend; returns how many.
        ///
        /// One wrong UID among right ones costs one record, wherever it stands; dropping whatever is
        /// not above its predecessor would drop all records behind one that is too large. Of two
        /// with the same UID the first stays.
        mutating func keepAscending() -> Int {
            // tails[n]: the record with the lowest UID that ends an ascending run of n + 1 records.
            var tails: [Int] = []
            var previous: [Int] = []
            previous.reserveCapacity(records.count)
            for index in records.indices {
                var low = 0
                var high = tails.count
                while low < high {
                    let middle = (low + high) / 2
                    if records[tails[middle]].uid < records[index].uid {
                        low = middle + 1
                    } else {
                        high = middle
                    }
                }
                previous.append(low > 0 ? tails[low - 1] : -1)
                if low == tails.count {
                    tails.append(index)
                } else if records[tails[low]].uid != records[index].uid {
                    tails[low] = index
                }
            }
            var kept: [Record] = []
            kept.reserveCapacity(tails.count)
            var index = tails.last ?? -1
            while index >= 0 {
                kept.append(records[index])
                index = previous[index]
            }
            let dropped = records.count - kept.count
            records = kept.reversed()
            return dropped
        }
    }
}
