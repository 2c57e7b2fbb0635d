import Bytes
import Maildir
import Posix

//  What lies in `new/` and `cur/`, and which record of the uidlist each file belongs to. Only read here:
//  a crash leaves nothing. What a scan then writes stands in MailboxDisk.swift.

extension MailboxDisk {
    /// The names in `new/` and `cur/`, at one moment.
    struct Listing {
        struct Entry {
            var nameOffset: UInt32
            var nameCount: UInt16
            var isNew: Bool
            /// Whether the name follows from base name and flags (`Place`).
            var isRegular: Bool
            /// Whether it is, or may be, a symbolic link.
            var isLink: Bool
            var flags: UInt32
        }
        private(set) var entries: [Entry] = []
        /// Where the base names lie, in the order of `entries`.
        private(set) var bases: [UIDList.NameRange] = []
        private(set) var arena: [UInt8] = []
        private(set) var baseless: [FileLocation] = []

        /// `new/` first: a message that is moved meanwhile is then seen twice rather than never.
        ///
        /// - Parameter capacity: how many names are to be expected.
        init(new: Directory, cur: Directory, capacity: Int = 0) throws(MaildirError) {
            entries.reserveCapacity(capacity)
            bases.reserveCapacity(capacity)
            arena.reserveCapacity(capacity * 48)
            try read(new, isNew: true)
            try read(cur, isNew: false)
        }

        private mutating func read(_ directory: Directory, isNew: Bool) throws(MaildirError) {
            do throws(SystemError) {
                try directory.forEachName { name, kind throws(SystemError) in
                    // What is no regular file is no message; a link to one is.
                    guard kind == .regular || kind == .unknown || kind == .link else { return }
                    add(name, isNew: isNew, isLink: kind != .regular, directory)
                }
            } catch {
                throw .system(error)
            }
        }

        private mutating func add(
            _ name: Span<UInt8>,
            isNew: Bool,
            isLink: Bool,
            _ directory: Directory
        ) {
            let listed = MessageName.Listed(name)
            let layout = listed.layout
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
            let offset = UInt32(arena.count)
            entries.append(
                Entry(
                    nameOffset: offset,
                    nameCount: UInt16(name.count),
                    isNew: isNew,
                    isRegular: isNew ? !layout.hasInfo : listed.isCanonical,
                    isLink: isLink,
                    flags: listed.flags.rawValue
                )
            )
            bases.append(.init(offset: offset, count: UInt16(layout.baseCount)))
            unsafe name.withUnsafeBufferPointer { unsafe arena.append(contentsOf: $0) }
        }

        func name(_ index: Int) -> [UInt8] {
            let start = Int(entries[index].nameOffset)
            return Array(arena[start..<(start + Int(entries[index].nameCount))])
        }

        func base(_ index: Int) -> [UInt8] { baseSpan(index).array }

        @_lifetime(borrow self)
        func baseSpan(_ index: Int) -> Span<UInt8> {
            let start = Int(bases[index].offset)
            return arena.span.extracting(start..<(start + Int(bases[index].count)))
        }

        func location(_ index: Int) -> FileLocation {
            FileLocation(isNew: entries[index].isNew, name: name(index))
        }

        /// The first entry's file is the one that the second names.
        mutating func replace(_ index: Int, with other: Int) {
            entries[index] = entries[other]
            bases[index] = bases[other]
        }

        /// Takes over an entry of a later listing.
        mutating func adopt(_ index: Int, of other: Listing) {
            var entry = other.entries[index]
            let name = other.name(index)
            entry.nameOffset = UInt32(arena.count)
            bases.append(.init(offset: entry.nameOffset, count: other.bases[index].count))
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
            let records = list.indexes(of: listing.bases, in: listing.arena)
            for (index, record) in records.enumerated() {
                if record < 0 {
                    fresh.append(index)
                } else if entryOfRecord[Int(record)] < 0 {
                    entryOfRecord[Int(record)] = Int32(index)
                } else {
                    duplicates.append((Int(entryOfRecord[Int(record)]), index))
                }
            }
            countMissing(list)
        }

        var hasMissing: Bool { missingCount > 0 }

        /// The entry of a record, or nil.
        func entry(_ record: Int) -> Int? {
            let entry = Int(entryOfRecord[record])
            return entry < 0 ? nil : entry
        }

        /// A fresh entry has got the last record.
        mutating func assign(_ entry: Int, _ record: Int) {
            while entryOfRecord.count < record { entryOfRecord.append(-1) }
            entryOfRecord.append(Int32(entry))
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
            let records = list.indexes(of: second.bases, in: second.arena)
            for (index, record) in records.enumerated()
            where record >= 0 && entryOfRecord[Int(record)] < 0 {
                listing.adopt(index, of: second)
                entryOfRecord[Int(record)] = Int32(listing.entries.count - 1)
            }
            countMissing(list)
        }

        /// Records with a file, ascending.
        func present(_ list: UIDList) -> [Int] {
            entryOfRecord.indices.filter { entryOfRecord[$0] >= 0 }
        }

        /// Live records without a file.
        func missing(_ list: UIDList) -> [Int] {
            guard hasMissing else { return [] }
            return entryOfRecord.indices.filter { entryOfRecord[$0] < 0 && list.isLive($0) }
        }

        /// The UIDs that have a file, ascending, each with its entry.
        func rows(_ list: UIDList) -> [(uid: UInt32, entry: Int32)] {
            var rows: [(uid: UInt32, entry: Int32)] = []
            rows.reserveCapacity(entryOfRecord.count)
            for record in entryOfRecord.indices
            where entryOfRecord[record] >= 0 && list.isLive(record) {
                rows.append((list.uid(record), entryOfRecord[record]))
            }
            return rows
        }
    }
}
