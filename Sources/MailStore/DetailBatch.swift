package import Bytes

/// Detail records that were made together, one after the other.
package struct DetailBatch: Sendable {
    package var bytes = ByteBuffer()
    package private(set) var ends: [(uid: UInt32, end: Int)] = []

    package init() {}

    package var isEmpty: Bool { ends.isEmpty }

    /// Keeps what stands behind the last record as one of a message; UIDs ascend.
    package mutating func close(_ uid: UInt32) { ends.append((uid, bytes.count)) }

    /// Drops what stands behind the last record.
    package mutating func drop() {
        bytes.bytes.removeSubrange((ends.last?.end ?? 0)...)
    }
}
