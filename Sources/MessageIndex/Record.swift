import Bytes

/// A record as numbers in a row, little-endian.
struct RecordWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(_ number: UInt32) { put(UInt64(number), 4) }
    mutating func append(_ number: UInt64) { put(number, 8) }
    mutating func append(_ number: Int64) { put(UInt64(bitPattern: number), 8) }
    mutating func append(_ data: [UInt8]) {
        append(UInt32(data.count))
        bytes.append(contentsOf: data)
    }

    private mutating func put(_ number: UInt64, _ count: Int) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * index))) }
    }
}

/// Reads what `RecordWriter` wrote. What is missing reads as 0; `isAtEnd` tells whether the record
/// was as long as what was read of it.
struct RecordReader {
    private let bytes: [UInt8]
    private var offset = 0
    private var isShort = false

    init() { bytes = [] }
    init(_ span: borrowing Span<UInt8>) {
        var copy: [UInt8] = []
        copy.reserveCapacity(span.count)
        for index in span.indices { copy.append(span[index]) }
        bytes = copy
    }

    var isAtEnd: Bool { !isShort && offset == bytes.count }

    mutating func uint32() -> UInt32 { UInt32(truncatingIfNeeded: take(4)) }
    mutating func uint64() -> UInt64 { take(8) }
    mutating func int64() -> Int64 { Int64(bitPattern: take(8)) }

    mutating func data() -> [UInt8] {
        let count = Int(uint32())
        guard count <= bytes.count - offset else {
            isShort = true
            return []
        }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    private mutating func take(_ count: Int) -> UInt64 {
        guard count <= bytes.count - offset else {
            isShort = true
            return 0
        }
        var number: UInt64 = 0
        for index in 0..<count { number |= UInt64(bytes[offset + index]) << (8 * index) }
        offset += count
        return number
    }
}
