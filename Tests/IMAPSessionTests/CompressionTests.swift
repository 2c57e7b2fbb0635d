import Foundation
import Posix
import Testing

@testable import IMAPSession

//  What compression must stand: clients that flush in odd ways, that lie, and sessions that rest

@Suite("compression", .serialized)
struct CompressionTests {
    /// Text that compresses like commands do, and differs from place to place.
    static func text(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        var number: UInt32 = 1
        while bytes.count < count {
            number = number &* 1_664_525 &+ 1_013_904_223
            bytes += Array("a\(bytes.count) UID FETCH \(number >> 12) (FLAGS)\r\n".utf8)
        }
        return Array(bytes.prefix(count))
    }

    static func inflate(_ bytes: [UInt8], with inflater: Inflater) throws -> [UInt8] {
        var output: [UInt8] = []
        var start = 0
        while start < bytes.count || inflater.mayHaveMore {
            _ = try inflater.inflate(bytes, from: &start, into: &output, max: 1_000)
        }
        return output
    }

    @Test("a reader that rested knows what the next block refers to")
    func inflaterRests() throws {
        let deflater = try #require(Deflater())
        var inflater = try #require(Inflater())
        let text = Self.text(100_000)
        for start in stride(from: 0, to: text.count, by: 777) {
            let piece = text[start..<min(start + 777, text.count)]
            let came = try Self.inflate(deflater.compress(piece), with: inflater)
            #expect(came == Array(piece))
            let rest = try #require(inflater.rest)
            #expect(rest.window.count == min(start + piece.count, 32 << 10))
            inflater = try #require(Inflater(rest))
        }
    }

    @Test("a reader rests between blocks that do not end with a byte")
    func inflaterRestsWithBits() throws {
        // Three times an "a" and Z_PARTIAL_FLUSH, from Python's zlib.
        let bytes: [UInt8] = [0x4A, 0x04, 0x08, 0xA0, 0x44, 0x80, 0x00, 0x4A, 0x04, 0x08]
        var inflater = try #require(Inflater())
        var output: [UInt8] = []
        var rested = 0
        for byte in bytes {
            output += try Self.inflate([byte], with: inflater)
            if let rest = inflater.rest {
                if rest.bitCount > 0 { rested += 1 }
                inflater = try #require(Inflater(rest))
            }
        }
        #expect(output == Array("aaa".utf8))
        #expect(rested > 0)
    }

    @Test("writers that come one after the other are one stream to the reader")
    func deflaterIsReplaced() throws {
        let inflater = try #require(Inflater())
        let text = Self.text(50_000)
        var output: [UInt8] = []
        for start in stride(from: 0, to: text.count, by: 5_000) {
            let deflater = try #require(Deflater())
            for half in [start..<(start + 2_500), (start + 2_500)..<(start + 5_000)] {
                output += try Self.inflate(deflater.compress(text[half]), with: inflater)
            }
        }
        #expect(output == text)
    }

    @Test("incompressible and empty input")
    func sizes() throws {
        let deflater = try #require(Deflater())
        let inflater = try #require(Inflater())
        for count in [0, 1, 255, 256, 257, 65_536] {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255) }
            let came = try Self.inflate(deflater.compress(bytes[...]), with: inflater)
            #expect(came == bytes)
        }
    }

    @Test("what the client sent behind COMPRESS in one go is taken as compressed")
    func pipelined() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench()
            let client = bench.client()
            let deflater = try #require(Deflater())
            client.stream.send(
                Array("c1 COMPRESS DEFLATE\r\n".utf8)
                    + deflater.compress(Array("c2 NOOP\r\n".utf8)[...])
            )
            // The first write is plain, what follows is not.
            let plain = try await bench.answer(client, "c1")
            #expect(plain == ["c1 OK DEFLATE active"])
            client.stream.end()
            #expect(await client.waitForEnd())
            let inflater = try #require(Inflater())
            let rest = try Self.inflate(client.stream.pending, with: inflater)
            #expect(rest == Array("c2 OK Done\r\n".utf8))
            bench.store.close()
        }
    }

    @Test(
        "what is no stream, or ends it, ends the connection",
        arguments: [Array("c2 NOOP\r\n".utf8), [0x03, 0x00], [0xFF, 0xFF, 0xFF]]
    )
    func broken(_ bytes: [UInt8]) async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench()
            let client = bench.client()
            try await bench.ask(client, "c1 COMPRESS DEFLATE")
            client.stream.send(bytes)
            client.stream.send([])
            #expect(await client.waitForEnd())
            #expect(CompressedStream.activeCount == 0)
            bench.store.close()
        }
    }

    @Test("a bomb is inflated no faster than it is used")
    func bomb() async throws {
        try await EventLoop.test {
            let stream = MemoryStream()
            let compressed = CompressedStream(stream, leftover: [])
            let deflater = try #require(Deflater())
            // 64 MB of one letter are 300 KB.
            let piece = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
            for _ in 0..<64 { stream.send(deflater.compress(piece[...])) }
            var count = 0
            while count < 64 << 20 {
                var buffer: [UInt8] = []
                let came = try compressed.read(into: &buffer, max: 10_000)
                #expect(came <= 10_000 && came == buffer.count)
                count += came
                if came == 0 { break }
            }
            #expect(count == 64 << 20)
            compressed.close()
        }
    }

    @Test("blocks with nothing in them do not keep the loop")
    func emptyBlocks() async throws {
        try await EventLoop.test {
            let stream = MemoryStream()
            let compressed = CompressedStream(stream, leftover: [])
            let empty: [UInt8] = [0x00, 0x00, 0x00, 0xFF, 0xFF]
            let block = Array(repeatElement(empty, count: 100_000).joined())
            stream.send(block)
            var buffer: [UInt8] = []
            let came = try compressed.read(into: &buffer, max: 10_000)
            #expect(came == 0)
            // Some is left, and it is told that more is there.
            #expect(await compressed.waitForInput(until: .after(seconds: 5)) == .ready)
            compressed.close()
        }
    }

    @Test("a session that waits gives up what it compresses with, and goes on")
    func rests() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench()
            let client = bench.client()
            try await bench.ask(client, "c1 COMPRESS DEFLATE")
            client.stream.compress()
            for round in 0..<2 {
                try await bench.ask(client, "c\(round)a SELECT INBOX")
                #expect(CompressedStream.activeCount == 2)
                await EventLoop.sleep(milliseconds: Limits.compressionRestSeconds * 1_000 + 300)
                #expect(CompressedStream.activeCount == 0)
                try await bench.ask(client, "c\(round)b NOOP")
            }
            client.stream.end()
            #expect(await client.waitForEnd())
            #expect(CompressedStream.activeCount == 0)
            bench.store.close()
        }
    }

    @Test("where many are in use, those that wait give up theirs at once")
    func crowd() async throws {
        try await EventLoop.test {
            let bench = try await SessionTests.Bench()
            var clients: [TranscriptRun.Client] = []
            for number in 0..<(Limits.activeCompressionsMax + 8) {
                let client = bench.client()
                clients.append(client)
                try await bench.ask(client, "c\(number) COMPRESS DEFLATE")
                client.stream.compress()
                try await bench.ask(client, "d\(number) NOOP")
                await EventLoop.sleep(milliseconds: 2)
            }
            #expect(CompressedStream.activeCount <= Limits.activeCompressionsMax + 2)
            for client in clients {
                client.stream.end()
                #expect(await client.waitForEnd())
            }
            bench.store.close()
        }
    }
}
