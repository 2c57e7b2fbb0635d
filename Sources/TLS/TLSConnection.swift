import COpenSSL
import Glibc
package import Posix

/// How a step of TLS ended.
package enum TLSStep: Equatable, Sendable {
    /// So many bytes.
    case moved(Int)
    /// The socket gives or takes nothing more now.
    case wantsRead
    case wantsWrite
    /// The other side said that it sends nothing more.
    case ended
    case failed
}

/// The server's end of a TLS connection, on a non-blocking socket.
@safe
@EventLoop
package final class TLSConnection {
    private let ssl: OpaquePointer
    /// Its contexts point back to it, and newer ones may have taken its place.
    private let certificates: CertificateSet
    private let socket: OwnedDescriptor
    let watch: DescriptorWatch
    private var isClosed = false

    package init(
        _ socket: consuming OwnedDescriptor,
        _ certificates: CertificateSet
    ) throws(SystemError) {
        guard let ssl = unsafe SSL_new(certificates.context),
            unsafe SSL_set_fd(ssl, socket.raw) == 1
        else { throw SystemError("SSL_new", ENOMEM) }
        unsafe self.ssl = ssl
        self.certificates = certificates
        unsafe SSL_set_accept_state(ssl)
        watch = try DescriptorWatch(socket.raw)
        self.socket = socket
    }

    isolated deinit { unsafe SSL_free(ssl) }

    /// Runs the handshake. Returns nil when it is done, else why not.
    package func handshake(until deadline: Instant) async -> String? {
        while !isClosed {
            ERR_clear_error()
            let result = unsafe SSL_do_handshake(ssl)
            if result == 1 { return nil }
            let outcome: WaitOutcome
            switch step(result) {
            case .wantsRead:
                watch.didBlockReading()
                outcome = await watch.waitReadable(until: deadline)
            case .wantsWrite:
                watch.didBlockWriting()
                outcome = await watch.waitWritable(until: deadline)
            case .moved, .ended, .failed:
                return lastError()
            }
            if outcome == .timedOut { return "too slow" }
        }
        return "dropped"
    }

    /// `TLSv1.3`.
    package var version: [UInt8] { unsafe Array(String(cString: SSL_get_version(ssl)).utf8) }

    package var cipher: [UInt8] {
        guard let name = unsafe martlet_ssl_cipher_name(ssl) else { return [] }
        return unsafe Array(String(cString: name).utf8)
    }

    /// Decrypts into the room.
    func read(into room: UnsafeMutableRawBufferPointer) -> TLSStep {
        guard !isClosed else { return .failed }
        ERR_clear_error()
        return step(unsafe SSL_read(ssl, room.baseAddress, CInt(room.count)))
    }

    /// Encrypts and sends, perhaps not all.
    func write(_ bytes: UnsafeRawBufferPointer) -> TLSStep {
        guard !isClosed else { return .failed }
        ERR_clear_error()
        return step(unsafe SSL_write(ssl, bytes.baseAddress, CInt(bytes.count)))
    }

    /// Says that nothing more comes, if the socket takes it at once, and that is all: whoever
    /// closes has no use for the answer.
    func endOutput() {
        guard !isClosed else { return }
        ERR_clear_error()
        _ = unsafe SSL_shutdown(ssl)
        ERR_clear_error()
        _ = shutdown(socket.raw, Int32(SHUT_WR))
    }

    package func close() {
        guard !isClosed else { return }
        isClosed = true
        watch.stop()
        _ = shutdown(socket.raw, Int32(SHUT_RDWR))
    }

    private func step(_ result: CInt) -> TLSStep {
        if result > 0 { return .moved(Int(result)) }
        return switch unsafe SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: .wantsRead
        case SSL_ERROR_WANT_WRITE: .wantsWrite
        case SSL_ERROR_ZERO_RETURN: .ended
        default: .failed
        }
    }
}
