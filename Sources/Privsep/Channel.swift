package import Posix

/// Where a child of martletd finds the channel to it: after standard input, output and error.
package let channelDescriptor: Int32 = 3

/// Why a channel gives no more messages.
package enum ChannelFailure: Error, Equatable, CustomStringConvertible {
    /// The process at the other end is gone.
    case closed
    /// It sent what it must not send. Whoever is the parent kills it.
    case misbehaviour(FrameError)

    package var description: String {
        switch self {
        case .closed: "closed"
        case .misbehaviour(let error): "misbehaviour(\(error))"
        }
    }
}

/// A message and the descriptor that the message carries, if it carries one.
package struct Received<Message: ChannelMessage>: ~Copyable {
    package let message: Message
    private var descriptor: OwnedDescriptor?

    init(_ message: Message, _ descriptor: consuming OwnedDescriptor?) {
        self.message = message
        self.descriptor = descriptor
    }

    /// The descriptor of a message whose `descriptorCount` is 1, once.
    package mutating func takeDescriptor() -> OwnedDescriptor {
        guard let taken = descriptor.take() else {
            preconditionFailure("this message carries no descriptor, or it was taken")
        }
        return taken
    }
}

/// One end of a channel: typed messages over a `FrameChannel`.
@EventLoop
package final class Channel<Outgoing: ChannelMessage, Incoming: ChannelMessage> {
    private let frames: FrameChannel

    package init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        frames = try FrameChannel(descriptor, frameSizeMax: Incoming.frameSizeMax)
    }

    /// The next message, checked.
    package func receive() async throws(ChannelFailure) -> Received<Incoming> {
        var frame: Frame
        do throws(ChannelEnd) {
            frame = try await frames.receive()
        } catch {
            throw error == .closed ? .closed : .misbehaviour(.tooLarge)
        }
        let message: Incoming
        do throws(FrameError) {
            message = try Incoming(frame: frame.bytes)
        } catch {
            throw .misbehaviour(error)
        }
        let descriptor = frame.takeDescriptor()
        let count = descriptor == nil ? 0 : 1
        guard count == message.descriptorCount else { throw .misbehaviour(.descriptors) }
        return Received(message, descriptor)
    }

    /// Sends a message, waiting while the other side does not read. The descriptor stays ours.
    package func send(_ message: Outgoing, descriptor: CInt? = nil) async throws(ChannelFailure) {
        precondition(message.descriptorCount == (descriptor == nil ? 0 : 1))
        do throws(ChannelEnd) {
            try await frames.send(message.frame(), descriptor: descriptor)
        } catch {
            throw .closed
        }
    }

    /// Sends a message if the other side has room for it. Returns whether it had.
    package func trySend(
        _ message: Outgoing,
        descriptor: CInt? = nil
    ) throws(ChannelFailure) -> Bool {
        precondition(message.descriptorCount == (descriptor == nil ? 0 : 1))
        do throws(ChannelEnd) {
            return try frames.trySend(message.frame(), descriptor: descriptor)
        } catch {
            throw .closed
        }
    }

    package func close() { frames.close() }
}
