import CLinux
import Glibc
package import Posix

/// A listening socket that several processes share, each accepting for itself.
@EventLoop
package final class Acceptor {
    private let descriptor: OwnedDescriptor
    private let watch: DescriptorWatch
    private var isStopped = false

    package init(_ descriptor: consuming OwnedDescriptor) throws(SystemError) {
        watch = try DescriptorWatch(descriptor.raw, exclusive: true)
        self.descriptor = descriptor
    }

    package struct Accepted: ~Copyable {
        private var socket: OwnedDescriptor?
        package let connection: ConnectionInfo

        fileprivate init(_ socket: consuming OwnedDescriptor, _ connection: ConnectionInfo) {
            self.socket = consume socket
            self.connection = connection
        }

        package mutating func takeSocket() -> OwnedDescriptor? { socket.take() }
    }

    /// The next connection, or nil once stopped.
    package func accept() async -> Accepted? {
        while !isStopped {
            let raw = martlet_accept(descriptor.raw)
            if raw >= 0 { return Self.describe(OwnedDescriptor(raw)) }
            switch errno {
            case EAGAIN:
                watch.didBlockReading()
                _ = await watch.waitReadable()
            case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                // The others go on; this one is let in when there is room again.
                Log.warning("event=accept-failed \(SystemError("accept4"))")
                await EventLoop.sleep(milliseconds: 200)
            default:
                // The connection was gone before we had it.
                continue
            }
        }
        return nil
    }

    package func stop() {
        guard !isStopped else { return }
        isStopped = true
        watch.stop()
    }

    private static func describe(_ socket: consuming OwnedDescriptor) -> Accepted {
        let raw = socket.raw
        let remote = SocketAddress.of(raw, peer: true)
        let local = SocketAddress.of(raw, peer: false)
        let connection = ConnectionInfo(
            session: .random,
            remote: remote.text,
            local: local.text,
            isLoopback: remote.isLoopback || (!remote.bytes.isEmpty && remote.bytes == local.bytes)
        )
        return Accepted(socket, connection)
    }
}
