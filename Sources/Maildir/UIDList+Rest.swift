import Bytes

//  A list at rest: its end only
//
//  A mailbox that nobody works on needs no records: what they say the mailbox's own rows say. What is
//  kept tells whether the file is still the one that was read (`UIDListFile.refresh`), and is enough to
//  append to it: the header, UIDNEXT, how long the file is, its last bytes, and how many records it has.
//  Whoever asks for records reads the file.
//
//  A record that was removed (`remove`) and is still in the file lives again once it is read: who reads
//  the list to compact it says which are gone (`removeGone`).

extension UIDList {
    /// What of the file is not held.
    struct Omitted: Sendable {
        var bytes = 0
        var recordCount = 0
        var lastUID: UInt32 = 0
        /// The first line of the file, with its LF.
        var headerBytes: [UInt8] = []
    }

    /// Whether all records are here.
    package var isWhole: Bool { omitted.bytes == 0 }

    /// More than one record. By these bytes a file that grew is told from another one.
    package static let restingBytes = 512

    /// A shorter file stays as it is.
    static let restingFileBytesMin = 4_096

    /// Drops the records. Nothing may be pending, and nothing wrong with the file.
    mutating func rest() {
        precondition(!isChanged && !needsRewrite, "a list at rest is that of the file")
        guard fileBytes >= Self.restingFileBytesMin else { return }
        omitted = Omitted(
            bytes: fileBytes,
            recordCount: recordCount,
            lastUID: lastUID,
            headerBytes: Array(headerBytes)
        )
        arena = Array(lastBytes(Self.restingBytes))
        omitted.bytes -= arena.count
        syncedCount = arena.count
        records = []
        table = NameTable(capacity: 0)
    }

    /// A list at rest of which the caller knows the messages from elsewhere. Nil where the file is not
    /// as we leave it.
    ///
    /// - Parameters:
    ///   - head: the file's first line, with its LF.
    ///   - end: its last bytes, one whole line at least.
    package init?(head: [UInt8], end: [UInt8], fileBytes: Int, liveCount: Int) {
        guard end.last == .lf, fileBytes > head.count + end.count,
            let file = try? UIDList(file: head), file.damage.isEmpty, file.version == 3,
            file.header.guid != nil
        else { return nil }
        let lineStart = end.dropLast().lastIndex(of: .lf).map { $0 + 1 } ?? end.count
        var last = RecordParser(isVersion1: false)
        last.parse(end.span, from: lineStart)
        guard last.brokenLines == 0, let uid = last.lastUID == 0 ? nil : last.lastUID,
            uid < Limits.uidMax
        else { return nil }
        self = file
        omitted = Omitted(
            bytes: fileBytes - end.count,
            recordCount: liveCount,
            lastUID: uid,
            headerBytes: head
        )
        arena = end
        syncedCount = end.count
        self.liveCount = liveCount
        fileNextUID = max(file.fileNextUID, uid + 1)
        nextUID = fileNextUID
    }

    /// Whether a whole list begins with what this one, at rest, knows of the file. Then the index of
    /// the first record that is new; nil where it is another file.
    func firstNewRecord(of whole: UIDList) -> Int? {
        let known = arena[..<syncedCount].suffix(Self.restingBytes)
        guard whole.isWhole, whole.damage.isEmpty, whole.version == 3,
            whole.fileBytes >= fileBytes, whole.headerBytes.elementsEqual(headerBytes),
            whole.arena[(fileBytes - known.count)..<fileBytes].elementsEqual(known)
        else { return nil }
        var low = 0
        var high = whole.records.count
        while low < high {
            let middle = (low + high) / 2
            if Int(whole.records[middle].nameOffset) < fileBytes {
                low = middle + 1
            } else {
                high = middle
            }
        }
        return low
    }

    /// A message of the mailbox was expunged. Its record stays until a rewrite.
    package mutating func noteRemoved(_ baseName: Span<UInt8>) {
        if let index = index(of: baseName) {
            remove(index)
        } else if !isWhole {
            liveCount = max(0, liveCount - 1)
        }
    }

    /// Removes the records of messages that are gone: below a UID, and not among these, which ascend.
    package mutating func removeGone(below end: UInt32, keeping uids: [UInt32]) {
        var next = 0
        for index in records.indices where records[index].isLive {
            let uid = records[index].uid
            if uid >= end { break }
            while next < uids.count, uids[next] < uid { next += 1 }
            if next == uids.count || uids[next] != uid { remove(index) }
        }
    }
}
