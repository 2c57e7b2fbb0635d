import Glibc
import Testing

@testable import Posix
@testable import Privsep

@Suite("channels")
struct ChannelTests {
    @Test("a message arrives with its descriptor, which is the same file")
    func descriptor() async throws {
        try await EventLoop.test {
            var pair = try FrameChannel.makePair()
            let near = try Channel<TLSDelivery, TLSUpgrade>(pair.takeFirst())
            let far = try Channel<TLSUpgrade, TLSDelivery>(pair.takeSecond())
            var passed = try makeSocketPair(sequencedPackets: false)
            let (mine, other) = (passed.takeFirst().release(), passed.takeSecond().release())
            defer {
                close(mine)
                close(other)
            }
            let info = ConnectionInfo(
                session: SessionID(9),
                remote: [1],
                local: [2],
                isLoopback: true
            )
            try await near.send(TLSDelivery(connection: info), descriptor: other)
            var received = try await far.receive()
            #expect(received.message.connection == info)
            let descriptor = received.takeDescriptor()
            #expect(write(descriptor.raw, "x", 1) == 1)
            var byte: UInt8 = 0
            #expect(read(mine, &byte, 1) == 1)
            #expect(byte == UInt8(ascii: "x"))
            #expect(fcntl(descriptor.raw, F_GETFD) & FD_CLOEXEC != 0)
        }
    }

    @Test("a descriptor too few or too many, a wrong frame and a long one are misbehaviour")
    func misbehaviour() async throws {
        try await EventLoop.test {
            let info = ConnectionInfo(
                session: SessionID(9),
                remote: [1],
                local: [2],
                isLoopback: true
            )
            let delivery = TLSDelivery(connection: info).frame()
            let long = [UInt8](repeating: 1, count: TLSDelivery.frameSizeMax + 1)
            let limit = [channelVersion, 99] + long.dropLast(3)
            let cases: [([UInt8], CInt?, ChannelFailure)] = [
                (delivery, nil, .misbehaviour(.descriptors)),
                ([channelVersion, 99], nil, .misbehaviour(.unknownMessage(99))),
                (limit, nil, .misbehaviour(.unknownMessage(99))),
                (long, nil, .misbehaviour(.tooLarge)),
            ]
            for (frame, descriptor, expected) in cases {
                var pair = try FrameChannel.makePair()
                let raw = try FrameChannel(pair.takeFirst(), frameSizeMax: 64)
                let far = try Channel<TLSUpgrade, TLSDelivery>(pair.takeSecond())
                try await raw.send(frame, descriptor: descriptor)
                await #expect(throws: expected) { _ = try await far.receive().message }
            }
            // One that no message of the channel carries.
            var pair = try FrameChannel.makePair()
            let raw = try FrameChannel(pair.takeFirst(), frameSizeMax: 64)
            let far = try Channel<UserRequest, UserReport>(pair.takeSecond())
            try await raw.send(UserReport.ready.frame(), descriptor: 0)
            await #expect(throws: ChannelFailure.misbehaviour(.descriptors)) {
                _ = try await far.receive().message
            }
        }
    }

    @Test("the end of the other process is the end of the channel")
    func closed() async throws {
        try await EventLoop.test {
            var pair = try FrameChannel.makePair()
            let near = try Channel<TLSDelivery, TLSUpgrade>(pair.takeFirst())
            do { _ = pair.takeSecond() }
            await #expect(throws: ChannelFailure.closed) { _ = try await near.receive().message }
        }
    }
}
