import Bytes

extension UIDList {
    /// Where a name lies among others.
    package struct NameRange: Sendable {
        package var offset: UInt32
        package var count: UInt16

        package init(offset: UInt32, count: UInt16) {
            self.offset = offset
            self.count = count
        }

        var range: Range<Int> { Int(offset)..<Int(offset) + Int(count) }
    }

    /// Finds the record of a base name: open addressing, probed in sequence.
    ///
    /// A slot is 0 when empty, otherwise the upper half of the name's hash and the record's index
    /// plus one. A dead record keeps its slot, so that names behind it stay in reach.
    struct NameTable: Sendable {
        private var slots: [UInt64]
        private var usedCount = 0
        private let seed: UInt64

        init(capacity: Int) {
            slots = Array(repeating: 0, count: Self.slotCount(for: capacity))
            seed = UInt64.random(in: .min ... .max)
        }

        /// Three quarters full at most.
        private static func slotCount(for capacity: Int) -> Int {
            var count = 16
            while count / 4 * 3 < capacity { count *= 2 }
            return count
        }

        /// Enters the record; returns the older live one of the same name, whose place it takes.
        mutating func insert(_ index: Int, _ arena: [UInt8], _ records: [Record]) -> Int? {
            if usedCount >= slots.count / 4 * 3 { grow() }
            let name = arena.span.extracting(records[index].nameRange)
            let hash = name.hash(seed: seed)
            let entry = hash & 0xFFFF_FFFF_0000_0000 | UInt64(index + 1)
            let mask = slots.count - 1
            var slot = Self.place(hash, mask)
            while slots[slot] != 0 {
                if slots[slot] >> 32 == entry >> 32 {
                    let other = Int(slots[slot] & 0xFFFF_FFFF) - 1
                    if records[other].isLive,
                        arena.span.extracting(records[other].nameRange).equals(name)
                    {
                        slots[slot] = entry
                        return other
                    }
                }
                slot = (slot + 1) & mask
            }
            slots[slot] = entry
            usedCount += 1
            return nil
        }

        func find(_ name: Span<UInt8>, _ arena: [UInt8], _ records: [Record]) -> Int? {
            let hash = name.hash(seed: seed)
            let mask = slots.count - 1
            var slot = Self.place(hash, mask)
            while slots[slot] != 0 {
                if slots[slot] >> 32 == hash >> 32 {
                    let index = Int(slots[slot] & 0xFFFF_FFFF) - 1
                    if records[index].isLive,
                        arena.span.extracting(records[index].nameRange).equals(name)
                    {
                        return index
                    }
                }
                slot = (slot + 1) & mask
            }
            return nil
        }

        /// The live record of each of many names, -1 for none.
        ///
        /// Each step waits for memory in places that follow from nothing; a block takes the steps
        /// together, so that the waits overlap: a fifth of the time of as many calls of `find`.
        func find(
            _ names: [NameRange],
            in nameArena: [UInt8],
            _ arena: [UInt8],
            _ records: [Record]
        ) -> [Int32] {
            var found = [Int32](repeating: -1, count: names.count)
            let mask = slots.count - 1
            var candidates = InlineArray<64, Int32>(repeating: -1)
            var places = InlineArray<64, UInt32>(repeating: 0)
            var hashes = InlineArray<64, UInt64>(repeating: 0)
            var start = 0
            while start < names.count {
                let count = min(64, names.count - start)
                for index in 0..<count {
                    hashes[index] = nameArena.span.extracting(names[start + index].range)
                        .hash(seed: seed)
                }
                for index in 0..<count {
                    let hash = hashes[index]
                    var slot = Self.place(hash, mask)
                    while slots[slot] != 0, slots[slot] >> 32 != hash >> 32 {
                        slot = (slot + 1) & mask
                    }
                    candidates[index] = Int32(truncatingIfNeeded: slots[slot] & 0xFFFF_FFFF) - 1
                }
                for index in 0..<count where candidates[index] >= 0 {
                    places[index] = records[Int(candidates[index])].nameOffset
                }
                for index in 0..<count where candidates[index] >= 0 {
                    let name = nameArena.span.extracting(names[start + index].range)
                    let record = records[Int(candidates[index])]
                    let from = Int(places[index])
                    if record.isLive, Int(record.nameCount) == name.count,
                        arena.span.extracting(from..<(from + name.count)).equals(name)
                    {
                        found[start + index] = candidates[index]
                    } else if let other = find(name, arena, records) {
                        found[start + index] = Int32(other)
                    }
                }
                start += count
            }
            return found
        }

        /// The place depends on the half of the hash that the slot keeps, so that a table can grow
        /// without looking at a name.
        private static func place(_ hash: UInt64, _ mask: Int) -> Int {
            Int(truncatingIfNeeded: (hash >> 32) &* 0x9E37_79B9) & mask
        }

        private mutating func grow() {
            let old = slots
            slots = Array(repeating: 0, count: old.count * 2)
            let mask = slots.count - 1
            for entry in old where entry != 0 {
                var slot = Self.place(entry, mask)
                while slots[slot] != 0 { slot = (slot + 1) & mask }
                slots[slot] = entry
            }
        }
    }
}
