import Posix

/// A key of the index: what kind of record, of which mailbox, and which UID or block; big-endian, so
/// that their order is that of UIDs.
struct IndexKey: Sendable {
    enum Kind: UInt8 {
        /// Identity and version of the whole.
        case environment = 0x45  // E
        /// GUID and directory of a mailbox → its number, UIDVALIDITY and last use.
        case mailbox = 0x4D  // M
        /// The summary's header.
        case header = 0x48  // H
        /// One block of the summary: what changes often.
        case state = 0x53  // S
        /// One block of the summary: what stays.
        case fixed = 0x46  // F
        /// What the rows of a summary cannot say.
        case extra = 0x58  // X
        /// One message's details.
        case detail = 0x44  // D
        /// One column of one block: `IndexKey.column`.
        case column = 0x43  // C
    }

    /// Kind, GUID, device and inode: the longest there is.
    static let bytesMax = 33
    static let guidBytes = 16

    private(set) var bytes = InlineArray<33, UInt8>(repeating: 0)
    private(set) var count = 1

    init(_ kind: Kind) { bytes[0] = kind.rawValue }

    init(mailbox guid: [UInt8], _ directory: FileIdentity) {
        precondition(guid.count == Self.guidBytes, "a mailbox is named by its GUID")
        bytes[0] = Kind.mailbox.rawValue
        for index in guid.indices { bytes[1 + index] = guid[index] }
        for index in 0..<8 {
            let shift = UInt64(8 * index)
            bytes[17 + index] = UInt8(truncatingIfNeeded: directory.device >> shift)
            bytes[25 + index] = UInt8(truncatingIfNeeded: directory.inode >> shift)
        }
        count = Self.bytesMax
    }

    init(_ kind: Kind, mailbox: UInt32, _ number: UInt32 = 0) {
        bytes[0] = kind.rawValue
        put(mailbox, at: 1)
        put(number, at: 5)
        count = 9
    }

    /// A column's blocks lie side by side: 8 bits of column, 24 of block.
    init(column: UInt8, block: UInt32, mailbox: UInt32) {
        self.init(.column, mailbox: mailbox, UInt32(column) << 24 | block & 0xFF_FFFF)
    }

    /// Nil for a key that is none of ours.
    init?(_ found: InlineArray<64, UInt8>, _ count: Int) {
        guard (1...Self.bytesMax).contains(count) else { return nil }
        for index in 0..<count { bytes[index] = found[index] }
        self.count = count
    }

    func isBelow(_ other: IndexKey) -> Bool {
        for index in 0..<min(count, other.count) where bytes[index] != other.bytes[index] {
            return bytes[index] < other.bytes[index]
        }
        return count < other.count
    }

    /// Above the last key of a kind and mailbox.
    static func end(_ kind: Kind, mailbox: UInt32) -> IndexKey {
        if mailbox < .max { return IndexKey(kind, mailbox: mailbox + 1) }
        var key = IndexKey(kind, mailbox: 0)
        key.bytes[0] += 1
        return key
    }

    private mutating func put(_ number: UInt32, at start: Int) {
        for index in 0..<4 {
            bytes[start + index] = UInt8(truncatingIfNeeded: number >> UInt32(24 - 8 * index))
        }
    }

    /// The mailbox of a key that has one.
    var mailbox: UInt32 { number(at: 1) }
    /// The UID or block at the end of such a key.
    var number: UInt32 { number(at: 5) }

    private func number(at start: Int) -> UInt32 {
        var number: UInt32 = 0
        for index in start..<start + 4 { number = number << 8 | UInt32(bytes[index]) }
        return number
    }

    func withBytes<Result>(_ body: (UnsafePointer<UInt8>?) -> Result) -> Result {
        unsafe bytes.span.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
    }
}
