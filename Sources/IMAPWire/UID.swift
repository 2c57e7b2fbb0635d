/// A message's permanent name within one UIDVALIDITY of a mailbox; never reused.
package struct UID: Hashable, Comparable, Sendable {
    package let value: UInt32

    package init(_ value: UInt32) { self.value = value }

    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}

/// The life of a mailbox within which its UIDs mean something; never 0.
package struct UIDValidity: Hashable, Sendable {
    package let value: UInt32

    package init(_ value: UInt32) { self.value = value }
}
