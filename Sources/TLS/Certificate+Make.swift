import COpenSSL

extension Certificate {
    /// Makes a key and a certificate for it, signed by itself, as PEM: certificate, then key.
    ///
    /// - Parameter names: what clients will connect to; the first is the common name.
    package static func make(names: [String]) throws(CertificateError) -> [UInt8] {
        // What is no plain host name has no place in a certificate.
        let usable = names.filter { name in
            !name.isEmpty && name.utf8.count <= 64
                && name.utf8.allSatisfy {
                    $0.isLetterOrDigit || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-")
                }
        }
        let common = usable.first ?? "localhost"
        let list = usable.map { "DNS:\($0)" } + ["IP:127.0.0.1", "IP:::1"]
        guard let key = unsafe martlet_ssl_generate_key() else {
            throw CertificateError("no key: \(lastError())")
        }
        defer { unsafe EVP_PKEY_free(key) }
        let seconds = TLSLimits.madeCertificateDays * 86_400
        guard
            let certificate = unsafe martlet_ssl_self_signed(
                key,
                common,
                list.joined(separator: ","),
                seconds
            )
        else { throw CertificateError("no certificate: \(lastError())") }
        defer { unsafe X509_free(certificate) }

        let bio = unsafe BIO_new(BIO_s_mem())
        defer { unsafe BIO_free(bio) }
        guard unsafe PEM_write_bio_X509(bio, certificate) == 1,
            unsafe PEM_write_bio_PrivateKey(bio, key, nil, nil, 0, nil, nil) == 1
        else { throw CertificateError("cannot write PEM: \(lastError())") }
        var start: UnsafeMutablePointer<CChar>?
        let count = unsafe martlet_ssl_bio_bytes(bio, &start)
        return unsafe UnsafeBufferPointer(start: start, count: count).map {
            UInt8(bitPattern: $0)
        }
    }
}

extension UInt8 {
    fileprivate var isLetterOrDigit: Bool {
        (self | 0x20) &- 0x61 < 26 || self &- 0x30 < 10
    }
}
