// What martlet-tls uses of OpenSSL 3. Macros, which Swift cannot see, become functions here.
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

/// A key for a certificate of our own: the curve that every client knows.
static inline EVP_PKEY *martlet_ssl_generate_key(void) {
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
}

static inline void martlet_ssl_context_init(SSL_CTX *context) {
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    // Partial writes from buffers that move: the relay keeps what is left in one of its own.
    // Released buffers make an idle connection cost 14 kB instead of 24.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    // Resumption by tickets, which the client keeps; no memory here.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

static inline void martlet_ssl_context_add_chain(SSL_CTX *context, X509 *certificate) {
    SSL_CTX_add1_chain_cert(context, certificate);
}

/// Calls `choose` with the name that the client wants to reach.
static inline void martlet_ssl_context_on_name(SSL_CTX *context, int (*choose)(SSL *, int *, void *),
                                               void *argument) {
    SSL_CTX_set_tlsext_servername_callback(context, choose);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}

/// Whether the certificate is for this name: its subject alternative names, or its common name
/// where it has none; with wildcards.
static inline int martlet_ssl_is_for(X509 *certificate, const char *name, size_t count) {
    return X509_check_host(certificate, name, count, 0, NULL) == 1;
}

static inline const char *martlet_ssl_cipher_name(const SSL *ssl) { return SSL_get_cipher_name(ssl); }

/// Whether the certificate may be used now: -1 not yet, 1 no more, 0 it may.
static inline int martlet_ssl_validity(X509 *certificate) {
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) return -1;
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0) return 1;
    return 0;
}

/// Makes a certificate for a key of its own, for these names (`DNS:a,DNS:b`) and so many seconds.
static inline X509 *martlet_ssl_self_signed(EVP_PKEY *key, const char *common_name, const char *names,
                                            long seconds) {
    X509 *certificate = X509_new();
    X509V3_CTX context;
    X509_NAME *subject;
    BIGNUM *serial = BN_new();
    if (!certificate || !serial) goto failed;
    X509_set_version(certificate, 2);
    // Random and unique: Firefox and Thunderbird refuse a second certificate with the same one.
    if (!BN_rand(serial, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY)) goto failed;
    if (!BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(certificate))) goto failed;
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), seconds);
    X509_set_pubkey(certificate, key);
    subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    {
        const struct {
            int id;
            const char *value;
        } extensions[] = {{NID_basic_constraints, "critical,CA:FALSE"},
                          {NID_key_usage, "critical,digitalSignature"},
                          {NID_ext_key_usage, "serverAuth"},
                          {NID_subject_alt_name, names}};
        for (unsigned i = 0; i < sizeof extensions / sizeof *extensions; i++) {
            X509_EXTENSION *extension =
                X509V3_EXT_conf_nid(NULL, &context, extensions[i].id, extensions[i].value);
            if (!extension) goto failed;
            X509_add_ext(certificate, extension, -1);
            X509_EXTENSION_free(extension);
        }
    }
    if (!X509_sign(certificate, key, EVP_sha256())) goto failed;
    BN_free(serial);
    return certificate;
failed:
    BN_free(serial);
    X509_free(certificate);
    return NULL;
}

/// The bytes that a memory BIO holds; they stay its own.
static inline long martlet_ssl_bio_bytes(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }
