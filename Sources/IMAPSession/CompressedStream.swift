import Bytes
import IMAPWire
import Posix

//  COMPRESS=DEFLATE                                                          RFC 4978
//
//  A stream over another one. Each `write` is flushed, so that the client can read it. What is
//  inflated is bounded by what the session asks for: a bomb waits in its compressed form, 16 KB of it.
//
//  Memory: a direction in use takes 64 KB to compress and up to 42 KB to decompress. A session that
//  waits gives both up after `Limits.compressionRestSeconds`, at once where many are in use: what is
//  left is the history that the client may refer to, which is what it has sent, at most 32 KB.

@EventLoop
final class CompressedStream: ByteStream {
    private let base: any ByteStream
    private var input: [UInt8]
    private var inputStart = 0
    private var deflater: Deflater?
    private var inflater: Inflater?
    private var rest: Inflater.Rest?
    /// The client sends blocks with nothing in them: others come first.
    private var isFlooded = false

    /// Compressors and decompressors in use in this process.
    private(set) static var activeCount = 0

    /// - Parameter leftover: compressed input that has come already.
    init(_ base: any ByteStream, leftover: [UInt8]) {
        self.base = base
        input = leftover
    }

    isolated deinit { giveUp() }

    func waitForInput(until deadline: Instant?) async -> WaitOutcome {
        if isFlooded {
            isFlooded = false
            await EventLoop.yield()
            return .ready
        }
        if inputStart < input.count || inflater?.mayHaveMore == true { return .ready }
        if deflater != nil || inflater != nil {
            let isCrowded = Self.activeCount > Limits.activeCompressionsMax
            let restAt = Instant.after(seconds: isCrowded ? 0 : Limits.compressionRestSeconds)
            if deadline.map({ restAt < $0 }) ?? true {
                let outcome = await base.waitForInput(until: restAt)
                guard outcome == .timedOut else { return outcome }
                takeRest()
            }
        }
        return await base.waitForInput(until: deadline)
    }

    /// Keeps nothing but what the next blocks can refer to.
    private func takeRest() {
        if deflater.take() != nil { Self.activeCount -= 1 }
        guard let inflater, let rest = inflater.rest else { return }
        self.rest = rest
        self.inflater = nil
        Self.activeCount -= 1
    }

    func read(into buffer: inout [UInt8], max: Int) throws(StreamClosed) -> Int {
        for _ in 0..<Limits.emptyReadsMax {
            if inputStart == input.count, inflater?.mayHaveMore != true {
                input = []
                inputStart = 0
                if try base.read(into: &input, max: Limits.compressedBytesMax) == 0 { return 0 }
            }
            let inflater = try activeInflater()
            do throws(Inflater.Broken) {
                let count = try inflater.inflate(input, from: &inputStart, into: &buffer, max: max)
                if count > 0 { return count }
            } catch {
                close()
                throw StreamClosed()
            }
        }
        isFlooded = true
        return 0
    }

    private func activeInflater() throws(StreamClosed) -> Inflater {
        if let inflater { return inflater }
        guard let inflater = Inflater(rest) else { throw StreamClosed() }
        rest = nil
        self.inflater = inflater
        Self.activeCount += 1
        return inflater
    }

    func interrupt() { base.interrupt() }

    func write(_ bytes: [UInt8]) async throws(StreamClosed) {
        var start = 0
        while start < bytes.count {
            if deflater == nil {
                deflater = Deflater()
                guard deflater != nil else { throw StreamClosed() }
                Self.activeCount += 1
            }
            // A few milliseconds of work at most, then the loop is given back.
            let end = min(bytes.count, start + Limits.outputBytesMax)
            guard let compressed = deflater?.compress(bytes[start..<end]) else { return }
            try await base.write(compressed)
            start = end
            if start < bytes.count { await EventLoop.yield() }
        }
    }

    func close() {
        base.close()
        giveUp()
    }

    private func giveUp() {
        if deflater.take() != nil { Self.activeCount -= 1 }
        if inflater.take() != nil { Self.activeCount -= 1 }
        rest = nil
        input = []
        inputStart = 0
    }
}

extension Session {
    //  compress = "COMPRESS" SP algorithm                                    RFC 4978 §5
    func compress(_ algorithm: [UInt8]) throws(CommandFailure) -> Completion {
        guard algorithm.equalsIgnoringCase("DEFLATE") else { throw .bad("Unknown algorithm") }
        // BAD, not NO [COMPRESSIONACTIVE], which tells of another layer: TLS never compresses here.
        if stream is CompressedStream { throw .bad("Compression is already active") }
        wantsCompression = true
        return Completion("DEFLATE active")
    }

    /// Behind the tagged OK: all that follows it in either direction is compressed.
    func beginCompression() async throws(CommandFailure) {
        wantsCompression = false
        try await flush()
        stream = CompressedStream(stream, leftover: Array(input[consumed...]))
        input = []
        consumed = 0
    }
}
