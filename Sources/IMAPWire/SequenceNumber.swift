/// A message's position in one session's view of a mailbox; shifts on every EXPUNGE.
package struct SequenceNumber: Hashable, Comparable, Sendable {
    package let value: UInt32

    package init(_ value: UInt32) { self.value = value }

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}
