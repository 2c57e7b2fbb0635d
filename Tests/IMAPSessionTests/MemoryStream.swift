import Posix

@testable import IMAPSession

/// A client's connection in memory: what the test sends is read by the session, what the session
/// writes is taken by the test.
@EventLoop
final class MemoryStream: ByteStream {
    /// Octets that one read gives: 1 for input that comes byte by byte.
    private let readBytesMax: Int
    private var input: [UInt8] = []
    private var inputStart = 0
    private var output: [UInt8] = []
    private var hasEnded = false
    private var isInterrupted = false
    private(set) var isClosed = false
    /// The client does not read: writes wait.
    var isStalled = false {
        didSet { room.fire() }
    }
    private let arrival = Signal()
    private let departure = Signal()
    private let room = Signal()
    private var compressor: Deflater?
    private var decompressor: Inflater?

    init(readBytesMax: Int = .max) { self.readBytesMax = readBytesMax }

    // MARK: The client's side

    func send(_ bytes: some Sequence<UInt8>) {
        input.append(contentsOf: compressor?.compress(Array(bytes)[...]) ?? Array(bytes))
        arrival.fire()
    }

    /// The client was told that COMPRESS is OK.
    func compress() {
        compressor = Deflater()
        decompressor = Inflater()
    }

    /// The client closes its end.
    func end() {
        hasEnded = true
        arrival.fire()
    }

    /// What was written and not taken, in front.
    var pending: [UInt8] { output }

    func take(_ count: Int) -> [UInt8] {
        let taken = Array(output[..<count])
        output.removeFirst(count)
        return taken
    }

    /// Waits for more output. False at the deadline, and where none can come any more.
    func waitForOutput(until deadline: Instant) async -> Bool {
        if isClosed { return false }
        return await departure.wait(until: deadline)
    }

    // MARK: ByteStream

    func waitForInput(until deadline: Instant?) async -> WaitOutcome {
        while true {
            if isInterrupted {
                isInterrupted = false
                return .interrupted
            }
            if inputStart < input.count || hasEnded || isClosed { return .ready }
            if await !arrival.wait(until: deadline) { return .timedOut }
        }
    }

    func read(into buffer: inout [UInt8], max: Int) throws(StreamClosed) -> Int {
        guard !isClosed else { throw StreamClosed() }
        let count = min(max, readBytesMax, input.count - inputStart)
        if count == 0, hasEnded { throw StreamClosed() }
        buffer.append(contentsOf: input[inputStart..<(inputStart + count)])
        inputStart += count
        if inputStart == input.count {
            input = []
            inputStart = 0
        }
        return count
    }

    func interrupt() {
        isInterrupted = true
        arrival.fire()
    }

    func write(_ bytes: [UInt8]) async throws(StreamClosed) {
        while isStalled, !isClosed { await room.wait() }
        guard !isClosed else { throw StreamClosed() }
        if let decompressor {
            var start = 0
            while start < bytes.count || decompressor.mayHaveMore {
                do throws(Inflater.Broken) {
                    _ = try decompressor.inflate(bytes, from: &start, into: &output, max: 4_096)
                } catch {
                    throw StreamClosed()
                }
            }
        } else {
            output.append(contentsOf: bytes)
        }
        departure.fire()
    }

    func close() {
        isClosed = true
        departure.fire()
        arrival.fire()
        room.fire()
    }
}
