import Bytes
import CLinux
import Configuration
import Glibc
import Posix
import Privsep

/// The listening sockets. martletd keeps them, so that a child that is started anew gets the
/// same ones, and nobody's connection is refused meanwhile.
@EventLoop
final class Listeners {
    final class Listener {
        let descriptor: OwnedDescriptor
        let address: SocketAddress

        init(_ descriptor: consuming OwnedDescriptor) {
            address = SocketAddress.of(descriptor.raw, peer: false)
            self.descriptor = descriptor
        }
    }

    private(set) var imap: [Listener] = []
    private(set) var imaps: [Listener] = []

    /// Binds all; or says everything that cannot be bound.
    init(_ settings: Settings, errors: inout [String]) {
        imap = Self.bind(settings.listenIMAP, "listen_imap", &errors)
        imaps = Self.bind(settings.listenIMAPS, "listen_imaps", &errors)
    }

    private static func bind(
        _ addresses: [ListenAddress],
        _ setting: String,
        _ errors: inout [String]
    ) -> [Listener] {
        var listeners: [Listener] = []
        for address in addresses {
            let bytes: [UInt8]
            switch address {
            case .any: bytes = []
            case .ipv4(let number, _), .ipv6(let number, _): bytes = number
            }
            let raw = unsafe martlet_listen(bytes, bytes.count, address.port)
            if raw >= 0 {
                listeners.append(Listener(OwnedDescriptor(raw)))
            } else {
                let name =
                    bytes.isEmpty
                    ? "*:\(address.port)"
                    : SocketAddress(bytes: bytes, port: address.port).text.text
                errors.append("\(setting): cannot listen on \(name): \(SystemError("bind"))")
            }
        }
        return listeners
    }

    func close() {
        imap.removeAll()
        imaps.removeAll()
    }

    /// For the line `ready:`.
    static func text(_ listeners: [Listener]) -> String {
        listeners.isEmpty
            ? "none" : listeners.map { $0.address.text.text }.joined(separator: ",")
    }
}
