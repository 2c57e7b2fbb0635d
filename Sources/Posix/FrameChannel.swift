import CLinux
import Glibc

//  Messages between our own processes: one frame is one packet of a SOCK_SEQPACKET pair, so a
//  frame arrives whole or not at all, and the kernel bounds what is queued. At most one
//  descriptor rides on a frame.

/// One message and the descriptor that came with it.
package struct Frame: ~Copyable {
    package let bytes: [UInt8]
    private var descriptor: OwnedDescriptor?

    init(_ bytes: [UInt8], _ descriptor: consuming OwnedDescriptor?) {
        self.bytes = bytes
        self.descriptor = descriptor
    }

    /// The descriptor, once; one that nobody takes is closed.
    package mutating func takeDescriptor() -> OwnedDescriptor? { descriptor.take() }
}

/// Why no frame comes any more.
package enum ChannelEnd: Error, Equatable {
    /// The other process closed its end, or died.
    case closed
    /// It sent a frame longer than this channel allows.
    case frameTooLong
}

@EventLoop
package final class FrameChannel {
    private let descriptor: OwnedDescriptor
    private let watch: DescriptorWatch
    private let frameSizeMax: Int
    private let writers = Turnstile()
    private var isClosed = false

    /// - Parameter frameSizeMax: the largest frame accepted from the other side.
    package init(_ descriptor: consuming OwnedDescriptor, frameSizeMax: Int) throws(SystemError) {
        let raw = descriptor.raw
        guard fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK) == 0 else {
            throw SystemError("fcntl")
        }
        watch = try DescriptorWatch(raw)
        self.descriptor = descriptor
        self.frameSizeMax = frameSizeMax
    }

    /// Two connected ends for one channel, both close-on-exec.
    package nonisolated static func makePair() throws(SystemError) -> DescriptorPair {
        try makeSocketPair(sequencedPackets: true)
    }

    /// The next frame, waiting for it. Throws when there will be none.
    package func receive() async throws(ChannelEnd) -> Frame {
        while true {
            if let frame = try receiveNow() { return frame }
            _ = await watch.waitReadable()
        }
    }

    /// The next frame if it is there already, else nil.
    package func receiveNow() throws(ChannelEnd) -> Frame? {
        guard !isClosed else { throw .closed }
        var passed: CInt = -1
        var passedCount: CInt = 1
        var count = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: frameSizeMax) { room, filled in
            count = unsafe martlet_receive(
                self.descriptor.raw,
                room.baseAddress,
                frameSizeMax,
                &passed,
                &passedCount
            )
            filled = max(count, 0)
        }
        if count < 0 {
            if errno == EAGAIN || errno == EWOULDBLOCK {
                watch.didBlockReading()
                return nil
            }
            throw errno == EMSGSIZE ? .frameTooLong : .closed
        }
        let descriptor: OwnedDescriptor? = passedCount == 1 ? OwnedDescriptor(passed) : nil
        // An empty packet is how the end shows; we send none.
        guard count > 0 else { throw .closed }
        return Frame(Array(bytes), descriptor)
    }

    /// Sends a frame, waiting while the other side's queue is full. Frames go out in the order
    /// of the calls. The descriptor stays the caller's.
    package func send(_ bytes: [UInt8], descriptor passed: CInt? = nil) async throws(ChannelEnd) {
        precondition(!bytes.isEmpty, "an empty frame would read as the end")
        await writers.enter()
        defer { writers.leave() }
        while true {
            if try trySend(bytes, descriptor: passed) { return }
            _ = await watch.waitWritable()
        }
    }

    /// Sends a frame if it can go out at once. Returns false where the other side's queue is full.
    package func trySend(
        _ bytes: [UInt8],
        descriptor passed: CInt? = nil
    ) throws(ChannelEnd) -> Bool {
        guard !isClosed else { throw .closed }
        var list = passed ?? -1
        let count = unsafe bytes.withUnsafeBytes {
            unsafe martlet_send(
                self.descriptor.raw,
                $0.baseAddress,
                $0.count,
                &list,
                passed == nil ? 0 : 1
            )
        }
        if count == bytes.count { return true }
        if count < 0, errno == EAGAIN || errno == EWOULDBLOCK {
            watch.didBlockWriting()
            return false
        }
        throw .closed
    }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        watch.stop()
        _ = shutdown(descriptor.raw, Int32(SHUT_RDWR))
    }
}

/// A pair of connected Unix sockets, close-on-exec and non-blocking.
package func makeSocketPair(sequencedPackets: Bool) throws(SystemError) -> DescriptorPair {
    var pair: (CInt, CInt) = (-1, -1)
    let result = unsafe withUnsafeMutableBytes(of: &pair) {
        unsafe martlet_socketpair(
            sequencedPackets ? 1 : 0,
            $0.baseAddress?.assumingMemoryBound(to: CInt.self)
        )
    }
    guard result == 0 else { throw SystemError("socketpair") }
    return DescriptorPair(first: OwnedDescriptor(pair.0), second: OwnedDescriptor(pair.1))
}

/// The two ends of something.
package struct DescriptorPair: ~Copyable {
    private var first: OwnedDescriptor?
    private var second: OwnedDescriptor?

    init(first: consuming OwnedDescriptor, second: consuming OwnedDescriptor) {
        self.first = consume first
        self.second = consume second
    }

    /// Each end can be taken once; one that is not taken is closed.
    package mutating func takeFirst() -> OwnedDescriptor { Self.taken(first.take()) }
    package mutating func takeSecond() -> OwnedDescriptor { Self.taken(second.take()) }

    private static func taken(_ end: consuming OwnedDescriptor?) -> OwnedDescriptor {
        guard let end else { preconditionFailure("an end of a pair was taken twice") }
        return end
    }
}
