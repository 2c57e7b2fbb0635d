import Bytes
import CZlib
import Glibc

//  Raw DEFLATE as two streams that never end                                 RFC 1951
//
//  What is sent is flushed to a byte boundary each time, in blocks that are not the last one. So a
//  compressor can be dropped between two flushes, and a new one, which knows no history and refers to
//  none, goes on in the same stream: the reader sees nothing but blocks. A reader must keep its
//  history, up to 32 KB, as the other side may refer to it; between two blocks that is all it needs.

/// The memory of one zlib stream: pages of its own, which go back to the system as a whole.
///
/// From the heap they would stay with the process, in pieces between what lives longer.
@safe
private final class ZlibMemory {
    private let start: UnsafeMutableRawPointer
    private var used = 0

    /// Twice what zlib 1.2.13 takes for either direction; pages that are not touched cost nothing.
    private static let byteCount = 160 << 10

    /// Nil where there is no memory.
    init?() {
        let map = unsafe mmap(
            nil,
            Self.byteCount,
            PROT_READ | PROT_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS,
            -1,
            0
        )
        guard let map = unsafe map, unsafe map != MAP_FAILED else { return nil }
        unsafe start = map
    }

    deinit { unsafe munmap(start, Self.byteCount) }

    private func take(_ count: Int) -> UnsafeMutableRawPointer? {
        let rounded = (count + 15) & ~15
        guard rounded <= Self.byteCount - used else { return nil }
        defer { used += rounded }
        return unsafe start + used
    }

    /// The stream allocates from here. It must not outlive this.
    func serve(_ stream: UnsafeMutablePointer<z_stream>) {
        unsafe stream.pointee.opaque = Unmanaged.passUnretained(self).toOpaque()
        unsafe stream.pointee.zalloc = { opaque, count, size in
            guard let opaque = unsafe opaque else { return nil }
            let memory = unsafe Unmanaged<ZlibMemory>.fromOpaque(opaque).takeUnretainedValue()
            return unsafe memory.take(Int(count) * Int(size))
        }
        unsafe stream.pointee.zfree = { _, _ in }
    }
}

/// Compresses one direction of a connection.
@safe
final class Deflater {
    private let stream: UnsafeMutablePointer<z_stream>
    private let memory: ZlibMemory

    /// 8 KB of window, a fourth of what zlib takes by default for 5 % more output: 64 KB while in use.
    private static let windowBits: Int32 = 13
    private static let memoryLevel: Int32 = 6
    /// Higher levels take twice the time for 10 % less output on ENVELOPEs, nothing on base64.
    private static let level: Int32 = 3

    /// Nil where there is no memory.
    init?() {
        guard let memory = ZlibMemory() else { return nil }
        self.memory = memory
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe memory.serve(stream)
        let result = unsafe deflateInit2_(
            stream,
            Self.level,
            Z_DEFLATED,
            -Self.windowBits,
            Self.memoryLevel,
            Z_DEFAULT_STRATEGY,
            ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size)
        )
        guard result == Z_OK else {
            unsafe stream.deallocate()
            return nil
        }
    }

    deinit {
        unsafe deflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// The bytes compressed, with all that the reader needs to have them.
    func compress(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var output: [UInt8] = []
        unsafe bytes.withUnsafeBufferPointer { input in
            unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
            unsafe stream.pointee.avail_in = UInt32(input.count)
            var isFull = true
            while isFull {
                let room = unsafe max(256, Int(stream.pointee.avail_in) / 2)
                let piece = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
                    unsafe stream.pointee.next_out = buffer.baseAddress
                    unsafe stream.pointee.avail_out = UInt32(room)
                    _ = unsafe deflate(stream, Z_SYNC_FLUSH)
                    count = unsafe room - Int(stream.pointee.avail_out)
                }
                isFull = piece.count == room
                if output.isEmpty { output = piece } else { output += piece }
            }
            unsafe stream.pointee.next_in = nil
        }
        return output
    }
}

/// Decompresses one direction of a connection.
@safe
final class Inflater {
    /// The other side sent what is no DEFLATE stream, or ended it.
    struct Broken: Error {}

    /// Between two blocks: all that the next ones can refer to.
    struct Rest {
        var window: [UInt8]
        /// Bits of the last byte that belong to the next block.
        var bitCount: Int32
        var bits: Int32
    }

    private let stream: UnsafeMutablePointer<z_stream>
    private let memory: ZlibMemory
    private var lastByte: UInt8 = 0
    /// The room was filled: there may be more without more input.
    private(set) var mayHaveMore = false

    private static let windowBits: Int32 = 15
    private static let windowBytesMax = 32 << 10
    private static let roomBytesMax = 16 << 10

    /// Nil where there is no memory.
    init?(_ rest: Rest? = nil) {
        guard let memory = ZlibMemory() else { return nil }
        self.memory = memory
        unsafe stream = .allocate(capacity: 1)
        unsafe stream.initialize(to: z_stream())
        unsafe memory.serve(stream)
        let size = unsafe Int32(MemoryLayout<z_stream>.size)
        guard unsafe inflateInit2_(stream, -Self.windowBits, ZLIB_VERSION, size) == Z_OK else {
            unsafe stream.deallocate()
            return nil
        }
        guard let rest else { return }
        unsafe rest.window.withUnsafeBufferPointer {
            _ = unsafe inflateSetDictionary(stream, $0.baseAddress, UInt32($0.count))
        }
        if rest.bitCount > 0 { _ = unsafe inflatePrime(stream, rest.bitCount, rest.bits) }
    }

    deinit {
        unsafe inflateEnd(stream)
        unsafe stream.deallocate()
    }

    /// Appends at most `max` bytes of what `input` holds from `start` on, and moves `start` behind
    /// what was used. Returns how many came.
    func inflate(
        _ input: [UInt8],
        from start: inout Int,
        into output: inout [UInt8],
        max: Int
    ) throws(Broken) -> Int {
        let room = min(max, Self.roomBytesMax)
        var result = Z_OK
        let piece = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            unsafe input.withUnsafeBufferPointer { bytes in
                let rest = unsafe bytes[start...]
                unsafe stream.pointee.next_in = UnsafeMutablePointer(
                    mutating: UnsafeBufferPointer(rebasing: rest).baseAddress
                )
                unsafe stream.pointee.avail_in = UInt32(rest.count)
                unsafe stream.pointee.next_out = buffer.baseAddress
                unsafe stream.pointee.avail_out = UInt32(room)
                result = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
                let used = unsafe rest.count - Int(stream.pointee.avail_in)
                if used > 0 { lastByte = unsafe bytes[start + used - 1] }
                start += used
                unsafe stream.pointee.next_in = nil
                count = unsafe room - Int(stream.pointee.avail_out)
            }
        }
        mayHaveMore = piece.count == room
        // A buffer error is no error: there was nothing to do.
        guard result == Z_OK || result == Z_BUF_ERROR else { throw Broken() }
        output.append(contentsOf: piece)
        return piece.count
    }

    /// What to keep of it; nil in the middle of a block.
    var rest: Rest? {
        // zlib.h, inflate(): 128 between blocks, 64 in the last one, and the number of unused bits.
        let state = unsafe stream.pointee.data_type
        let bitCount = state & 63
        guard state & 128 != 0, state & 64 == 0, bitCount < 8, !mayHaveMore else { return nil }
        let window = unsafe [UInt8](unsafeUninitializedCapacity: Self.windowBytesMax) {
            var count: UInt32 = 0
            _ = unsafe inflateGetDictionary(stream, $0.baseAddress, &count)
            $1 = Int(count)
        }
        // As large as what is in it.
        var compact: [UInt8] = []
        compact.reserveCapacity(window.count)
        compact += window
        let bits = bitCount == 0 ? 0 : Int32(lastByte >> UInt8(8 - bitCount))
        return Rest(window: compact, bitCount: bitCount, bits: bits)
    }
}
