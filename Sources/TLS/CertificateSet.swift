import COpenSSL

/// The certificates of this server, of which each client is shown the one for the name it asks
/// for (RFC 6066 §3), or the first.
@safe
package final class CertificateSet {
    private let certificates: [Certificate]

    /// - Parameter certificates: at least one. Each connection keeps its set alive.
    package init(_ certificates: [Certificate]) {
        precondition(!certificates.isEmpty, "a server needs a certificate")
        self.certificates = certificates
        for certificate in certificates {
            unsafe martlet_ssl_context_on_name(
                certificate.context,
                chooseByName,
                Unmanaged.passUnretained(self).toOpaque()
            )
            unsafe SSL_CTX_set_alpn_select_cb(certificate.context, chooseProtocol, nil)
        }
    }

    var context: OpaquePointer { unsafe certificates[0].context }

    fileprivate func choose(for ssl: OpaquePointer) {
        guard let name = unsafe SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else { return }
        let count = unsafe strlen(name)
        guard
            let fitting = certificates.first(where: { unsafe $0.isFor(name, count: count) })
        else { return }
        unsafe SSL_set_SSL_CTX(ssl, fitting.context)
    }
}

private func chooseByName(
    _ ssl: OpaquePointer?,
    _: UnsafeMutablePointer<CInt>?,
    _ argument: UnsafeMutableRawPointer?
) -> CInt {
    guard let ssl = unsafe ssl, let argument = unsafe argument else { return SSL_TLSEXT_ERR_NOACK }
    unsafe Unmanaged<CertificateSet>.fromOpaque(argument).takeUnretainedValue().choose(for: ssl)
    return SSL_TLSEXT_ERR_OK
}

/// `imap` where the client offers it. One that offers only other protocols believes to talk to another
/// server, perhaps because somebody in between leads it here: it is refused (RFC 7301 §3.2, RFC 9325
/// §3.7). One that offers nothing is served.
private func chooseProtocol(
    _: OpaquePointer?,
    _ chosen: UnsafeMutablePointer<UnsafePointer<UInt8>?>?,
    _ chosenCount: UnsafeMutablePointer<UInt8>?,
    _ offered: UnsafePointer<UInt8>?,
    _ offeredCount: CUnsignedInt,
    _: UnsafeMutableRawPointer?
) -> CInt {
    guard let chosen = unsafe chosen, let chosenCount = unsafe chosenCount,
        let offered = unsafe offered
    else { return SSL_TLSEXT_ERR_NOACK }
    // The list of length-prefixed names that OpenSSL hands over was checked by it; bounded anyway.
    let imap: [UInt8] = Array("imap".utf8)
    var index = 0
    let end = Int(offeredCount)
    while index < end {
        let count = Int(unsafe offered[index])
        guard index + 1 + count <= end else { break }
        let name = unsafe UnsafeBufferPointer(start: offered + index + 1, count: count)
        if unsafe name.elementsEqual(imap) {
            unsafe chosen.pointee = offered + index + 1
            unsafe chosenCount.pointee = UInt8(count)
            return SSL_TLSEXT_ERR_OK
        }
        index += 1 + count
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL
}
