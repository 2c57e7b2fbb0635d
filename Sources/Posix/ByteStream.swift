/// The stream has ended: the other side closed it, it failed, or nobody read for too long.
package struct StreamClosed: Error, Equatable {
    package init() {}
}

/// A two-way stream of bytes, as a conversation sees it: never a descriptor. Tests give memory.
@EventLoop
package protocol ByteStream: AnyObject {
    /// Waits until there may be input (or the end of it), the deadline, or `interrupt()`.
    func waitForInput(until deadline: Instant?) async -> WaitOutcome

    /// Appends what has arrived, at most `max` bytes, without waiting. Returns how many; 0 where
    /// nothing is there now. Throws at the end of the stream.
    func read(into buffer: inout [UInt8], max: Int) throws(StreamClosed) -> Int

    /// Makes the current or the next `waitForInput` return `.interrupted`.
    func interrupt()

    /// Sends all of the bytes, waiting while the other side does not read. Throws where it is
    /// gone, or has taken nothing for `writeStallSeconds`.
    func write(_ bytes: [UInt8]) async throws(StreamClosed)

    /// Ends the stream at once. Later calls throw.
    func close()
}

/// How long a client may leave its window shut before the connection is given up.
package let writeStallSeconds = 600
