/// When something about a message last changed, in the order of the mailbox; at most 63 bits.
///
/// 0 never names a change, but clients send it (`CHANGEDSINCE 0`, `UNCHANGEDSINCE 0`).
package struct ModSeq: Hashable, Comparable, Sendable {
    package let value: UInt64

    /// RFC 7162 §7: mod-sequence-value is below 2^63.
    package static let valueMax: UInt64 = 1 << 63 - 1

    package init(_ value: UInt64) { self.value = value }

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}
