import Glibc

/// One end of a connection: an address and port, or a Unix socket.
package struct SocketAddress: Equatable, Sendable {
    /// As in the log: `192.0.2.7:51234`, `[2001:db8::7]:51234`.
    package let text: [UInt8]
    /// 4 or 16 bytes; empty for what is no internet address. An IPv4 address in IPv6's clothes
    /// (`::ffff:192.0.2.7`) is the IPv4 address.
    package let bytes: [UInt8]
    package let port: UInt16

    package var isLoopback: Bool {
        switch bytes.count {
        case 4: bytes[0] == 127
        case 16: bytes[15] == 1 && bytes[..<15].allSatisfy { $0 == 0 }
        default: false
        }
    }

    /// - Parameters:
    ///   - bytes: 4 or 16 of them.
    ///   - port: the port.
    package init(bytes: [UInt8], port: UInt16) {
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        let isMapped = bytes.count == 16 && Array(bytes[..<12]) == mapped
        let bytes = isMapped ? Array(bytes[12...]) : bytes
        self.bytes = bytes
        self.port = port
        guard bytes.count == 4 || bytes.count == 16 else {
            text = Array("unknown".utf8)
            return
        }
        var room = [CChar](repeating: 0, count: 64)
        _ = unsafe inet_ntop(
            bytes.count == 4 ? AF_INET : AF_INET6,
            bytes,
            &room,
            socklen_t(room.count)
        )
        let address = room.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let digits = Array(":\(port)".utf8)
        text = bytes.count == 4 ? address + digits : [0x5B] + address + [0x5D] + digits
    }

    /// The address of this end of a socket, or of the other.
    package static func of(_ descriptor: CInt, peer: Bool) -> SocketAddress {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = unsafe withUnsafeMutableBytes(of: &storage) { raw in
            let address = unsafe raw.baseAddress?.assumingMemoryBound(to: sockaddr.self)
            return unsafe peer
                ? getpeername(descriptor, address, &size) : getsockname(descriptor, address, &size)
        }
        guard result == 0 else { return SocketAddress(bytes: [], port: 0) }
        let family = CInt(storage.ss_family)
        return unsafe withUnsafeBytes(of: &storage) { raw in
            switch family {
            case AF_INET:
                let address = unsafe raw.load(as: sockaddr_in.self)
                let bytes = unsafe withUnsafeBytes(of: address.sin_addr) { unsafe Array($0) }
                return SocketAddress(bytes: bytes, port: UInt16(bigEndian: address.sin_port))
            case AF_INET6:
                let address = unsafe raw.load(as: sockaddr_in6.self)
                let bytes = unsafe withUnsafeBytes(of: address.sin6_addr) { unsafe Array($0) }
                return SocketAddress(bytes: bytes, port: UInt16(bigEndian: address.sin6_port))
            default: return SocketAddress(bytes: [], port: 0)
            }
        }
    }
}
