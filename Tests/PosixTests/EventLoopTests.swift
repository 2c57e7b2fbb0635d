import Bytes
import Foundation
import Glibc
import Posix
import Testing

@Suite("EventLoop")
struct EventLoopTests {
    @Test("timers fire in the order of their deadlines, cancelled ones not at all")
    func timers() async throws {
        let order = try await EventLoop.test {
            var order: [Int] = []
            let done = Signal()
            let start = Instant.now
            EventLoop.schedule(at: start.adding(milliseconds: 30)) {
                order.append(3)
                done.fire()
            }
            EventLoop.schedule(at: start.adding(milliseconds: 10)) { order.append(1) }
            let cancelled = EventLoop.schedule(at: start.adding(milliseconds: 15)) {
                order.append(9)
            }
            EventLoop.schedule(at: start.adding(milliseconds: 20)) { order.append(2) }
            EventLoop.cancel(cancelled)
            await done.wait()
            return order
        }
        #expect(order == [1, 2, 3])
    }

    @Test("a job runs beside the loop and comes back to it")
    func jobs() async throws {
        try await EventLoop.test {
            let pool = JobPool(threads: 2)
            let sum = await pool.run { () throws(Never) -> Int in
                #expect(!LoopExecutor.shared.isOnLoop)
                return (1...100).reduce(0, +)
            }
            #expect(LoopExecutor.shared.isOnLoop)
            #expect(sum == 5050)
            await #expect(throws: SystemError("open", ENOENT)) {
                try await pool.run { () throws(SystemError) -> Void in
                    throw SystemError("open", ENOENT)
                }
            }
        }
    }

    @Test("a signal's wait ends by fire or by time")
    func signals() async throws {
        try await EventLoop.test {
            let signal = Signal()
            EventLoop.schedule(at: .after(milliseconds: 5)) { signal.fire() }
            #expect(await signal.wait(until: .after(seconds: 30)))
            #expect(await !signal.wait(until: .after(milliseconds: 5)))
        }
    }

    @Test("a turnstile lets one in at a time, in order")
    func turnstile() async throws {
        let order = try await EventLoop.test {
            let turnstile = Turnstile()
            var order: [Int] = []
            await turnstile.enter()
            let tasks = (0..<3).map { number in
                Task {
                    await turnstile.enter()
                    order.append(number)
                    await EventLoop.yield()
                    order.append(number)
                    turnstile.leave()
                }
            }
            await EventLoop.yield()
            turnstile.leave()
            for task in tasks { await task.value }
            return order
        }
        #expect(order == [0, 0, 1, 1, 2, 2])
    }
}

@Suite("Streams and frames")
struct StreamTests {
    @Test("a stream carries bytes, waits for room, and ends")
    func stream() async throws {
        try await EventLoop.test {
            var pair = try makeSocketPair(sequencedPackets: false)
            let left = try SocketStream(pair.takeFirst())
            let right = try SocketStream(pair.takeSecond())
            let sent = [UInt8](repeating: 7, count: 3_000_000)
            let writer = Task { try await left.write(sent) }
            var received: [UInt8] = []
            while received.count < sent.count {
                #expect(await right.waitForInput(until: .after(seconds: 30)) == .ready)
                while try right.read(into: &received, max: 100_000) > 0 {}
            }
            try await writer.value
            #expect(received == sent)
            #expect(await right.waitForInput(until: .after(milliseconds: 5)) == .timedOut)
            right.interrupt()
            #expect(await right.waitForInput(until: nil) == .interrupted)
            left.close()
            #expect(await right.waitForInput(until: .after(seconds: 30)) == .ready)
            #expect(throws: StreamClosed.self) { _ = try right.read(into: &received, max: 10) }
        }
    }

    @Test("a frame carries a descriptor; one byte too long is refused")
    func frames() async throws {
        try await EventLoop.test {
            var pair = try FrameChannel.makePair()
            let left = try FrameChannel(pair.takeFirst(), frameSizeMax: 64)
            let right = try FrameChannel(pair.takeSecond(), frameSizeMax: 64)
            try await left.send(Array("hello".utf8), descriptor: 2)
            var frame = try await right.receive()
            #expect(frame.bytes == Array("hello".utf8))
            guard let passed = frame.takeDescriptor() else {
                Issue.record("no descriptor came")
                return
            }
            #expect(try passed.status().inode == OwnedDescriptor(dup(2)).status().inode)
            try await left.send([UInt8](repeating: 1, count: 64))
            #expect(try await right.receive().bytes.count == 64)
            try await left.send([UInt8](repeating: 1, count: 65))
            await #expect(throws: ChannelEnd.frameTooLong) { _ = try await right.receive().bytes }
            left.close()
            await #expect(throws: ChannelEnd.closed) { _ = try await right.receive().bytes }
        }
    }
}

@Suite("Files")
struct FileTests {
    static func scratch() throws -> Directory {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
        return try Directory(path: Array(path.path.utf8))
    }

    @Test("inotify tells deliveries and renames in order")
    func inotify() async throws {
        let directory = try Self.scratch()
        let events = try await EventLoop.test {
            let inotify = try Inotify()
            var events: [FileEvent] = []
            let seen = Signal()
            let id = try inotify.add(directory) { event in
                events.append(event)
                seen.fire()
            }
            let file = try directory.open(Array("a".utf8), O_WRONLY | O_CREAT)
            try file.writeAll(Array("x".utf8))
            try file.close()
            try directory.rename(Array("a".utf8), to: directory, Array("b".utf8))
            try directory.unlink(Array("b".utf8))
            while events.count < 5, await seen.wait(until: .after(seconds: 5)) {}
            inotify.remove(id)
            return events
        }
        #expect(events.map(\.kind) == [.created, .written, .movedFrom, .movedTo, .deleted])
        #expect(events.map(\.name.text) == ["a", "a", "a", "b", "b"])
    }

    @Test("replacing a file leaves the old or the new, whichever call fails")
    func replace() throws {
        let directory = try Self.scratch()
        let name = Array("list".utf8)
        let temporary = Array("list.tmp".utf8)
        let old = Array("old".utf8)
        let new = Array("newer".utf8)
        for call in 0..<5 {
            try directory.replaceFile(name, via: temporary, with: old, mode: 0o600)
            Faults.$current.withValue(Faults(failing: call, with: ENOSPC)) {
                #expect(throws: SystemError.self) {
                    try directory.replaceFile(name, via: temporary, with: new, mode: 0o600)
                }
            }
            // Only the sync of the directory comes after the rename.
            #expect(try directory.readFile(name, max: 100) == (call < 4 ? old : new))
        }
    }

    @Test("a file larger than the limit is refused, one at the limit is read")
    func limit() throws {
        let directory = try Self.scratch()
        let name = Array("f".utf8)
        try directory.replaceFile(
            name,
            via: Array("t".utf8),
            with: [UInt8](repeating: 1, count: 10),
            mode: 0o600
        )
        #expect(try directory.readFile(name, max: 10).count == 10)
        #expect(throws: SystemError.self) { try directory.readFile(name, max: 9) }
    }

    @Test("a name with a NUL is an error, not a shorter name")
    func nul() throws {
        let directory = try Self.scratch()
        #expect(throws: SystemError.self) { try directory.status([0x61, 0]) }
    }

    @Test(
        "log words are quoted when odd",
        arguments: [
            ("ann", "ann"), ("", "\"\""), ("a b", "\"a b\""), ("a\"\\", "\"a\\\"\\\\\""),
            ("a\nb=c", "\"a\\x0ab=c\""),
        ]
    )
    func quoting(_ raw: String, _ quoted: String) {
        #expect(Array(raw.utf8).quotedForLog == quoted)
    }
}
