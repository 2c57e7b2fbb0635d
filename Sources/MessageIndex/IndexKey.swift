/// A key of the index: what kind of record, of which mailbox, and which UID or block; big-endian, so
/// that their order is that of UIDs.
struct IndexKey: Sendable {
    enum Kind: UInt8 {
        /// Identity and version of the whole.
        case environment = 0x45  // E
        /// GUID of a mailbox → its number, UIDVALIDITY and last use.
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
    }

    /// Kind and GUID: the longest there is.
    static let bytesMax = 17
    static let guidBytes = 16

    private(set) var bytes = InlineArray<17, UInt8>(repeating: 0)
    private(set) var count = 1

    init(_ kind: Kind) { bytes[0] = kind.rawValue }

    init(mailbox guid: [UInt8]) {
        precondition(guid.count == Self.guidBytes, "a mailbox is named by its GUID")
        bytes[0] = Kind.mailbox.rawValue
        for index in guid.indices { bytes[1 + index] = guid[index] }
        count = Self.bytesMax
    }

    init(_ kind: Kind, mailbox: UInt32, _ number: UInt32 = 0) {
        bytes[0] = kind.rawValue
        put(mailbox, at: 1)
        put(number, at: 5)
        count = 9
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

    /// The number at the end of a key of a UID or block.
    var number: UInt32 {
        var number: UInt32 = 0
        for index in 5..<9 { number = number << 8 | UInt32(bytes[index]) }
        return number
    }

    func withBytes<Result>(_ body: (UnsafePointer<UInt8>?) -> Result) -> Result {
        unsafe bytes.span.withUnsafeBufferPointer { unsafe body($0.baseAddress) }
    }
}
