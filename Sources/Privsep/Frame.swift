//  A frame
//
//  One message is one packet of a SOCK_SEQPACKET socketpair, so the kernel keeps its bounds and a
//  frame is never partial. Its bytes are: the version of the channels, the number of the message,
//  its fields. Numbers are big-endian; a run of bytes is preceded by its count in 32 bits. All
//  executables come from one package; the version catches an upgrade that replaced the files of a
//  running server, after which a freshly spawned child would be newer than its parent.

/// What is wrong with a frame. Whoever sent it is ended.
package enum FrameError: Error, Equatable {
    case version(UInt8)
    case unknownMessage(UInt8)
    /// The frame ends inside a field.
    case truncated
    /// Bytes are left over.
    case trailing
    /// A field is longer than its limit, or a count larger.
    case tooLarge
    /// A number that names nothing.
    case invalid
    /// More or fewer descriptors rode along than the message carries.
    case descriptors
}

/// A message of one channel. Each channel has one such enum for either direction.
package protocol ChannelMessage: Sendable {
    /// The largest frame a receiver reads; a longer one ends the sender.
    static var frameSizeMax: Int { get }

    /// How many descriptors ride along with this message; not one more or less is accepted.
    var descriptorCount: Int { get }

    /// The frame of this message.
    func frame() -> [UInt8]

    /// Reads a frame. Everything in it is hostile.
    init(frame: [UInt8]) throws(FrameError)
}

extension ChannelMessage {
    package var descriptorCount: Int { 0 }
}

/// The version of all channels; counted up when any message changes.
package let channelVersion: UInt8 = 1

/// Writes the fields of a frame in order.
struct FrameWriter {
    private(set) var bytes: [UInt8]

    init(message: UInt8) { bytes = [channelVersion, message] }

    mutating func write(_ value: UInt8) { bytes.append(value) }
    mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }

    mutating func write(_ value: UInt16) { write(bigEndian: value) }
    mutating func write(_ value: UInt32) { write(bigEndian: value) }
    mutating func write(_ value: UInt64) { write(bigEndian: value) }

    private mutating func write<Number: FixedWidthInteger>(bigEndian value: Number) {
        var shift = Number.bitWidth
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: value >> Number(shift)))
        }
    }

    /// A run of bytes. Longer than its limit is a bug of ours: what comes from strangers was
    /// bounded when it was read.
    mutating func write(_ value: [UInt8], max: Int) {
        precondition(value.count <= max, "a field is longer than its limit")
        write(UInt32(value.count))
        bytes.append(contentsOf: value)
    }

    mutating func write(_ value: [UInt8]?, max: Int) {
        write(value != nil)
        if let value { write(value, max: max) }
    }

    mutating func write(_ values: [UInt32], countMax: Int) {
        precondition(values.count <= countMax, "a list is longer than its limit")
        write(UInt32(values.count))
        for value in values { write(value) }
    }

    mutating func write(_ values: [[UInt8]], countMax: Int, max: Int) {
        precondition(values.count <= countMax, "a list is longer than its limit")
        write(UInt32(values.count))
        for value in values { write(value, max: max) }
    }
}

/// Reads the fields of a frame in order, and finds every way in which one can be wrong.
struct FrameReader {
    private let bytes: [UInt8]
    private var offset = 2
    /// Which message it is.
    let message: UInt8

    init(_ frame: [UInt8]) throws(FrameError) {
        guard frame.count >= 2 else { throw .truncated }
        guard frame[0] == channelVersion else { throw .version(frame[0]) }
        bytes = frame
        message = frame[1]
    }

    mutating func number<Number: FixedWidthInteger & UnsignedInteger>(
        _: Number.Type = Number.self
    ) throws(FrameError) -> Number {
        let width = Number.bitWidth / 8
        guard bytes.count - offset >= width else { throw .truncated }
        var value: Number = 0
        for index in offset..<offset + width { value = value << 8 | Number(bytes[index]) }
        offset += width
        return value
    }

    mutating func flag() throws(FrameError) -> Bool {
        switch try number(UInt8.self) {
        case 0: false
        case 1: true
        default: throw .invalid
        }
    }

    private mutating func count(max: Int) throws(FrameError) -> Int {
        let count = try number(UInt32.self)
        guard count <= UInt32(max) else { throw .tooLarge }
        return Int(count)
    }

    mutating func bytes(max: Int) throws(FrameError) -> [UInt8] {
        let count = try count(max: max)
        guard bytes.count - offset >= count else { throw .truncated }
        defer { offset += count }
        return Array(bytes[offset..<offset + count])
    }

    mutating func optionalBytes(max: Int) throws(FrameError) -> [UInt8]? {
        try flag() ? try bytes(max: max) : nil
    }

    mutating func numbers(countMax: Int) throws(FrameError) -> [UInt32] {
        let count = try count(max: countMax)
        guard bytes.count - offset >= count * 4 else { throw .truncated }
        var numbers: [UInt32] = []
        numbers.reserveCapacity(count)
        for _ in 0..<count { numbers.append(try number()) }
        return numbers
    }

    mutating func list(countMax: Int, max: Int) throws(FrameError) -> [[UInt8]] {
        let count = try count(max: countMax)
        var list: [[UInt8]] = []
        for _ in 0..<count { list.append(try bytes(max: max)) }
        return list
    }

    /// The frame must end here.
    consuming func end() throws(FrameError) {
        guard offset == bytes.count else { throw .trailing }
    }
}
