import Bytes
import Maildir
import Posix

extension MailboxDisk {
    /// The names in `new/` and `cur/`, at one moment.
    struct Listing {
        struct Entry {
            var nameOffset: UInt32
            var nameCount: UInt16
            var baseCount: UInt16
            var isNew: Bool
            /// Whether the name follows from base name and flags (`Place`).
            var isRegular: Bool
            var flags: UInt32
        }
        private(set) var entries: [Entry] = []
        private var arena: [UInt8] = []
        private(set) var baseless: [FileLocation] = []

        /// `new/` first: a message that is moved meanwhile is then seen twice rather than never.
        init(new: Directory, cur: Directory) throws(MaildirError) {
            try read(new, isNew: true)
            try read(cur, isNew: false)
        }

        private mutating func read(_ directory: Directory, isNew: Bool) throws(MaildirError) {
            do throws(SystemError) {
                try directory.forEachName { name, kind throws(SystemError) in
                    // What is no regular file is no message; a link to one is.
                    guard kind == .regular || kind == .unknown || kind == .link else { return }
                    add(name, isNew: isNew, directory)
                }
            } catch {
                throw .system(error)
            }
        }

        private mutating func add(_ name: Span<UInt8>, isNew: Bool, _ directory: Directory) {
            let layout = MessageName.Layout(name)
            switch layout.kind {
            case .hidden: return
            case .unsafe:
                let path = directory.child(name.array)
                Log.warning("event=unsafe-file-name path=\(path.quotedForLog)")
                return
            case .baseless:
                baseless.append(FileLocation(isNew: isNew, name: name.array))
                return
            case .message: break
            }
            let flags = FlagLetters(fileName: name)
            var isRegular = isNew && !layout.hasInfo
            if !isNew, flags.rest.isEmpty, layout.baseCount == layout.stemCount {
                isRegular = Self.isCanonical(name, from: layout.baseCount)
            }
            entries.append(
                Entry(
                    nameOffset: UInt32(arena.count),
                    nameCount: UInt16(name.count),
                    baseCount: UInt16(layout.baseCount),
                    isNew: isNew,
                    isRegular: isRegular,
                    flags: flags.known.rawValue
                )
            )
            unsafe name.withUnsafeBufferPointer { unsafe arena.append(contentsOf: $0) }
        }

        /// Whether the info is `:2,` and letters in ascending order, each once.
        private static func isCanonical(_ name: Span<UInt8>, from start: Int) -> Bool {
            guard name.count >= start + 3, name[start] == UInt8(ascii: ":"),
                name[start + 1] == UInt8(ascii: "2"), name[start + 2] == UInt8(ascii: ",")
            else { return false }
            var last: UInt8 = 0
            for index in (start + 3)..<name.count {
                guard name[index] > last else { return false }
                last = name[index]
            }
            return true
        }

        func name(_ index: Int) -> [UInt8] {
            let start = Int(entries[index].nameOffset)
            return Array(arena[start..<(start + Int(entries[index].nameCount))])
        }

        func base(_ index: Int) -> [UInt8] {
            let start = Int(entries[index].nameOffset)
            return Array(arena[start..<(start + Int(entries[index].baseCount))])
        }

        @_lifetime(borrow self)
        func baseSpan(_ index: Int) -> Span<UInt8> {
            let start = Int(entries[index].nameOffset)
            return arena.span.extracting(start..<(start + Int(entries[index].baseCount)))
        }

        func location(_ index: Int) -> FileLocation {
            FileLocation(isNew: entries[index].isNew, name: name(index))
        }

        func message(_ index: Int, uid: UInt32) -> FoundMessage {
            let entry = entries[index]
            return FoundMessage(
                uid: uid,
                base: base(index),
                flags: FlagLetters.Known(rawValue: entry.flags),
                place: entry.isRegular ? (entry.isNew ? .new : .cur) : .irregular,
                location: entry.isRegular ? nil : location(index)
            )
        }

        /// The file lies in `cur/` under this name now.
        mutating func moveToCur(_ index: Int, _ name: [UInt8]) {
            entries[index].nameOffset = UInt32(arena.count)
            entries[index].nameCount = UInt16(name.count)
            entries[index].isNew = false
            entries[index].isRegular = Self.isCanonical(
                name.span,
                from: Int(entries[index].baseCount)
            )
            arena.append(contentsOf: name)
        }

        /// The first entry's file is the one that the second names.
        mutating func replace(_ index: Int, with other: Int) { entries[index] = entries[other] }

        /// Takes over an entry of a later listing.
        mutating func adopt(_ index: Int, of other: Listing) {
            var entry = other.entries[index]
            let name = other.name(index)
            entry.nameOffset = UInt32(arena.count)
            arena.append(contentsOf: name)
            entries.append(entry)
        }
    }

    /// Which record of the uidlist each file belongs to.
    struct Match {
        /// Entry of each record, -1 for none.
        private var entryOfRecord: [Int32]
        /// Entries without a record.
        private(set) var fresh: [Int] = []
        /// Two entries of one base name.
        private(set) var duplicates: [(Int, Int)] = []
        private var missingCount = 0

        init(_ listing: Listing, _ list: UIDList) {
            entryOfRecord = [Int32](repeating: -1, count: list.recordCount)
            for index in listing.entries.indices { add(index, listing, list) }
            countMissing(list)
        }

        var hasMissing: Bool { missingCount > 0 }

        private mutating func add(_ index: Int, _ listing: Listing, _ list: UIDList) {
            guard let record = list.index(of: listing.baseSpan(index)) else {
                fresh.append(index)
                return
            }
            if entryOfRecord[record] < 0 {
                entryOfRecord[record] = Int32(index)
            } else {
                duplicates.append((Int(entryOfRecord[record]), index))
            }
        }

        private mutating func countMissing(_ list: UIDList) {
            missingCount = 0
            for record in entryOfRecord.indices
            where entryOfRecord[record] < 0 && list.isLive(record) {
                missingCount += 1
            }
        }

        /// Looks for the missing ones in a later listing.
        mutating func fillGaps(with second: Listing, _ list: UIDList, into listing: inout Listing) {
            for index in second.entries.indices {
                guard let record = list.index(of: second.baseSpan(index)),
                    entryOfRecord[record] < 0
                else { continue }
                listing.adopt(index, of: second)
                entryOfRecord[record] = Int32(listing.entries.count - 1)
            }
            countMissing(list)
        }

        /// Records with a file, ascending.
        func present(_ list: UIDList) -> [Int] {
            entryOfRecord.indices.filter { entryOfRecord[$0] >= 0 }
        }

        /// Live records without a file.
        func missing(_ list: UIDList) -> [Int] {
            entryOfRecord.indices.filter { entryOfRecord[$0] < 0 && list.isLive($0) }
        }
    }
}
