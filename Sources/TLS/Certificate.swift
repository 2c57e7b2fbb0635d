import COpenSSL

/// Why a certificate and key cannot be used; for the administrator.
package struct CertificateError: Error, Equatable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

/// A chain of certificates with the key of the first, as OpenSSL holds it.
@safe
package final class Certificate {
    let context: OpaquePointer
    private let leaf: OpaquePointer

    /// Reads PEM: the server's own certificate first, then its issuers; and its key.
    package init(chain: [UInt8], key: [UInt8]) throws(CertificateError) {
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else {
            throw CertificateError("no memory for a TLS context")
        }
        unsafe martlet_ssl_context_init(context)
        do throws(CertificateError) {
            unsafe leaf = try Self.load(chain, into: context)
            do throws(CertificateError) {
                unsafe try Self.load(key: key, into: context)
            } catch {
                unsafe X509_free(leaf)
                throw error
            }
        } catch {
            unsafe SSL_CTX_free(context)
            throw error
        }
        unsafe self.context = context
    }

    deinit {
        unsafe X509_free(leaf)
        unsafe SSL_CTX_free(context)
    }

    /// Puts the chain into the context; returns the first certificate, which the caller frees.
    private static func load(
        _ chain: [UInt8],
        into context: OpaquePointer
    ) throws(CertificateError) -> OpaquePointer {
        let bio = unsafe BIO_new_mem_buf(chain, CInt(chain.count))
        defer { unsafe BIO_free(bio) }
        guard let leaf = unsafe PEM_read_bio_X509(bio, nil, refusePassphrase, nil) else {
            throw CertificateError("holds no certificate (PEM): \(lastError())")
        }
        guard unsafe SSL_CTX_use_certificate(context, leaf) == 1 else {
            unsafe X509_free(leaf)
            throw CertificateError("the certificate cannot be used: \(lastError())")
        }
        for _ in 0..<TLSLimits.chainCountMax {
            guard let issuer = unsafe PEM_read_bio_X509(bio, nil, refusePassphrase, nil) else {
                break
            }
            unsafe martlet_ssl_context_add_chain(context, issuer)
            unsafe X509_free(issuer)
        }
        ERR_clear_error()
        return unsafe leaf
    }

    private static func load(
        key: [UInt8],
        into context: OpaquePointer
    ) throws(CertificateError) {
        let bio = unsafe BIO_new_mem_buf(key, CInt(key.count))
        defer { unsafe BIO_free(bio) }
        guard let pkey = unsafe PEM_read_bio_PrivateKey(bio, nil, refusePassphrase, nil) else {
            throw CertificateError("holds no key without a passphrase (PEM): \(lastError())")
        }
        defer { unsafe EVP_PKEY_free(pkey) }
        guard unsafe SSL_CTX_use_PrivateKey(context, pkey) == 1,
            unsafe SSL_CTX_check_private_key(context) == 1
        else {
            throw CertificateError("the key is not that of the certificate")
        }
    }

    /// Whether the certificate is for a server of this name.
    func isFor(_ name: UnsafePointer<CChar>, count: Int) -> Bool {
        unsafe martlet_ssl_is_for(leaf, name, count) == 1
    }

    /// What an administrator should know of the dates, or nil.
    package var complaint: String? {
        switch unsafe martlet_ssl_validity(leaf) {
        case -1: "the certificate is not valid yet"
        case 1: "the certificate has expired"
        default: nil
        }
    }
}

/// A daemon has nobody to ask.
private func refusePassphrase(
    _: UnsafeMutablePointer<CChar>?,
    _: CInt,
    _: CInt,
    _: UnsafeMutableRawPointer?
) -> CInt { 0 }

/// OpenSSL's reason for the last failure; its queue is emptied.
func lastError() -> String {
    let code = ERR_peek_last_error()
    ERR_clear_error()
    guard code != 0 else { return "no reason given" }
    return unsafe String(cString: ERR_reason_error_string(code) ?? ERR_lib_error_string(code))
}
