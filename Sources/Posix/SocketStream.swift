import Glibc

/// A byte stream over a connected socket.
@EventLoop
package final class SocketStream: ByteStream {
    private let descriptor: OwnedDescriptor
    private let watch: DescriptorWatch
    private var isClosed = false

    /// Takes the socket over and makes it non-blocking.
    package init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        let raw = descriptor.raw
        guard fcntl(raw, F_SETFL, fcntl(raw, F_GETFL) | O_NONBLOCK) == 0 else {
            throw SystemError("fcntl")
        }
        watch = try DescriptorWatch(raw)
        self.descriptor = descriptor
    }

    package func waitForInput(until deadline: Instant?) async -> WaitOutcome {
        isClosed ? .ready : await watch.waitReadable(until: deadline)
    }

    package func read(into buffer: inout [UInt8], max: Int) throws(StreamClosed) -> Int {
        guard !isClosed, max > 0 else { throw StreamClosed() }
        return try unsafe withUnsafeTemporaryAllocation(
            of: UInt8.self,
            capacity: min(max, 16_384)
        ) { room throws(StreamClosed) -> Int in
            while true {
                let count = unsafe recv(descriptor.raw, room.baseAddress, room.count, 0)
                if count > 0 {
                    unsafe buffer.append(contentsOf: UnsafeBufferPointer(rebasing: room[0..<count]))
                    return count
                }
                if count < 0, errno == EINTR { continue }
                if count < 0, errno == EAGAIN || errno == EWOULDBLOCK {
                    watch.didBlockReading()
                    return 0
                }
                throw StreamClosed()
            }
        }
    }

    package func interrupt() { watch.interruptRead() }

    package func write(_ bytes: [UInt8]) async throws(StreamClosed) {
        var sent = 0
        while sent < bytes.count {
            guard !isClosed else { throw StreamClosed() }
            let count = unsafe bytes.withUnsafeBytes {
                unsafe send(
                    descriptor.raw,
                    $0.baseAddress.map { unsafe $0 + sent },
                    $0.count - sent,
                    Int32(MSG_NOSIGNAL)
                )
            }
            if count > 0 {
                sent += count
            } else if errno == EAGAIN || errno == EWOULDBLOCK {
                watch.didBlockWriting()
                let outcome = await watch.waitWritable(until: .after(seconds: writeStallSeconds))
                guard outcome == .ready else {
                    close()
                    throw StreamClosed()
                }
            } else if errno != EINTR {
                throw StreamClosed()
            }
        }
    }

    /// The socket, for passing a duplicate of it to another process.
    package var raw: CInt { descriptor.raw }

    /// Gives the socket up as it is, without ending the connection. Later calls throw.
    package func detach() throws(SystemError) -> OwnedDescriptor {
        if !isClosed {
            isClosed = true
            watch.stop()
        }
        return try descriptor.duplicate()
    }

    /// Tells the other side that nothing more comes; it may go on sending.
    package func endOutput() { _ = shutdown(descriptor.raw, Int32(SHUT_WR)) }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        watch.stop()
        _ = shutdown(descriptor.raw, Int32(SHUT_RDWR))
    }
}
