import Bytes

//  Changes to a list. All of them happen in memory, under the lock; `UIDListFile` brings them to the
//  disk and only then may anybody be told. When that fails the list is thrown away and read again:
//  nothing here is undone step by step.

extension UIDList {
    /// Gives a new message the next UID and adds its record. The index is `recordCount - 1`.
    ///
    /// The base name must not be that of a live record. The keys are in their written form
    /// (`W2481 Gxyz`); usually there are none.
    package mutating func add(
        _ baseName: Span<UInt8>,
        keys: [UInt8] = []
    ) throws(UIDListError) -> UInt32 {
        guard nextUID <= Limits.uidMax else { throw UIDListError.exhausted }
        guard Self.isListable(baseName) else { throw UIDListError.unlistableName }
        guard index(of: baseName) == nil else { throw UIDListError.alreadyListed }
        precondition(keys.count <= Limits.recordKeysBytesMax && !keys.contains(.lf))

        let uid = nextUID
        var line = ByteBuffer(capacity: 16 + keys.count + baseName.count)
        Self.writeRecord(uid, keys[...], baseName, to: &line)
        guard omitted.bytes + arena.count + line.count <= Limits.uidListBytesMax else {
            throw UIDListError.tooLarge
        }
        arena.append(contentsOf: line.bytes)
        records.append(
            Record(
                uid: uid,
                nameOffset: UInt32(arena.count - 1 - baseName.count),
                nameCount: UInt16(baseName.count),
                keysCount: UInt16(keys.count)
            )
        )
        _ = table.insert(records.count - 1, arena, records)
        liveCount += 1
        nextUID += 1
        return uid
    }

    /// Forgets a record whose message is known to be expunged, not merely missing from one scan.
    ///
    /// The line stays in the file until enough are gone to make a rewrite due. The base name counts
    /// as new if it ever comes back.
    package mutating func remove(_ index: Int) {
        guard records[index].isLive else { return }
        records[index].nameCount = 0
        liveCount -= 1
    }

    /// Raises UIDNEXT, after a restore or when the index knows more than the file. Needs a rewrite.
    package mutating func raiseNextUID(to uid: UInt32) { nextUID = max(nextUID, uid) }

    /// Whether the next write has to replace the file instead of appending to it.
    ///
    /// A quarter of the records being dead is Dovecot's rule.
    package var needsRewrite: Bool {
        version != 3 || !damage.isEmpty || hasPartialLine || header.guid == nil
            || fileHeader != header || nextUID != writtenNextUID
            || (liveCount < recordCount && liveCount * 4 <= recordCount * 3)
    }

    /// What the file tells of UIDNEXT once the pending records are in it.
    private var writtenNextUID: UInt32 {
        guard hasPending, let last = records.last?.uid else { return fileNextUID }
        return max(fileNextUID, last + 1)
    }

    /// Whether anything is not yet in the file.
    package var isChanged: Bool { hasUncommitted || nextUID != fileNextUID }

    /// Whether there are records or a header that are not yet in the file.
    var hasUncommitted: Bool { hasPending || fileHeader != header }

    /// Records added since the list was read or written.
    package var pendingBytes: ArraySlice<UInt8> { arena[syncedCount...] }

    package var hasPending: Bool { syncedCount < arena.count }

    /// How many bytes of the file this list has taken in.
    package var fileBytes: Int { omitted.bytes + syncedCount }

    /// The first line, as it is in the file.
    package var headerBytes: ArraySlice<UInt8> {
        if !isWhole { return omitted.headerBytes[...] }
        return arena[..<(arena.span.firstIndex(of: .lf).map { $0 + 1 } ?? 0)]
    }

    /// What the list has of the end of the file, at most that many bytes.
    package func lastBytes(_ count: Int) -> ArraySlice<UInt8> {
        arena[..<syncedCount].suffix(count)
    }

    /// Says that the pending records are in the file, and durable.
    package mutating func markSynced() {
        syncedCount = arena.count
        fileHeader = header
        fileNextUID = nextUID
    }

    /// The list as a rewrite leaves it: no dead records, no damage, version 3. Its `arena` is the new
    /// file. Indexes change, UIDs do not.
    package func compacted() -> UIDList {
        precondition(isWhole, "only a whole list is written anew")
        var new = self
        new.version = 3
        new.damage = Damage()
        new.hasPartialLine = false
        if new.header.guid == nil { new.header.guid = Self.newGUID() }

        var buffer = ByteBuffer(capacity: arena.count + 128)
        new.writeHeader(to: &buffer)
        new.records = []
        new.records.reserveCapacity(liveCount)
        for record in records where record.isLive {
            let name = arena.span.extracting(record.nameRange)
            let keys = Self.recordKeys(arena[record.keysRange])
            Self.writeRecord(record.uid, keys, name, to: &buffer)
            new.records.append(
                Record(
                    uid: record.uid,
                    nameOffset: UInt32(buffer.count - 1 - Int(record.nameCount)),
                    nameCount: record.nameCount,
                    keysCount: UInt16(keys.count)
                )
            )
        }
        new.arena = buffer.bytes
        new.syncedCount = 0
        new.fileHeader = nil
        new.liveCount = new.records.count
        new.table = NameTable(capacity: new.records.count)
        for index in new.records.indices {
            _ = new.table.insert(index, new.arena, new.records)
        }
        return new
    }

    /// 32 random hex digits.
    package static func newGUID() -> [UInt8] {
        var buffer = ByteBuffer(capacity: 32)
        for _ in 0..<16 { buffer.append(hex: [UInt8.random(in: 0...255)]) }
        return buffer.bytes
    }

    /// Whether a record can carry the name, so that reading it gives the same name again.
    static func isListable(_ name: Span<UInt8>) -> Bool {
        guard !name.isEmpty, name.count <= Limits.fileNameBytesMax else { return false }
        for index in name.indices {
            switch name[index] {
            case UInt8(ascii: ":"), UInt8(ascii: "/"), .cr, .lf, 0: return false
            default: continue
            }
        }
        return true
    }

    /// "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1" LF
    private func writeHeader(to buffer: inout ByteBuffer) {
        buffer.append("3 V")
        buffer.append(decimal: header.uidValidity)
        buffer.append(" N")
        buffer.append(decimal: nextUID)
        buffer.append(" G")
        buffer.append(header.guid ?? [])
        buffer.append(header.otherKeys)
        buffer.append(.lf)
    }

    /// "25017 W2481 G0f3c.orig :1276533073.M242911P3632.host" LF
    private static func writeRecord(
        _ uid: UInt32,
        _ keys: ArraySlice<UInt8>,
        _ baseName: Span<UInt8>,
        to buffer: inout ByteBuffer
    ) {
        buffer.append(decimal: uid)
        if !keys.isEmpty {
            buffer.append(.space)
            buffer.append(keys)
        }
        buffer.append(" :")
        buffer.append(baseName)
        buffer.append(.lf)
    }

    /// The keys without those that no record has (anything but an upper-case letter first).
    private static func recordKeys(_ keys: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        if keys.isEmpty { return keys }
        let tokens = keys.split(separator: .space)
        if tokens.allSatisfy({ $0[$0.startIndex].isUppercase }) { return keys }
        let kept = tokens.filter { $0[$0.startIndex].isUppercase }
        return ArraySlice(kept.joined(separator: [.space]))
    }
}
