import Bytes
import Glibc
import Posix
import TLS

/// What martletd has an unprivileged martlet-tls do for it, so that OpenSSL never runs as root.
enum CertificateTool {
    private static let inputBytesMax = 1 << 20

    /// Prints a certificate and key made for these names.
    static func make(names: [String]) -> Never {
        do throws(CertificateError) {
            let pem = try Certificate.make(names: names)
            write(pem, to: 1)
            exit(0)
        } catch {
            write(Array("\(error)\n".utf8), to: 2)
            exit(1)
        }
    }

    /// Reads a certificate chain and key; prints what is wrong with them. Status 1 where they
    /// cannot be used, 0 where they can, with or without a warning.
    static func check(chainCount: Int) -> Never {
        var pem: [UInt8] = []
        let input = OwnedDescriptor(dup(0))
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while pem.count < inputBytesMax {
            let count = unsafe read(input.raw, &chunk, chunk.count)
            if count <= 0 { break }
            pem += chunk[..<count]
        }
        do throws(CertificateError) {
            let chain = Array(pem.prefix(max(chainCount, 0)))
            let certificate = try Certificate(chain: chain, key: Array(pem[chain.count...]))
            if let complaint = certificate.complaint {
                write(Array("\(complaint)\n".utf8), to: 1)
            }
            exit(0)
        } catch {
            write(Array("\(error)\n".utf8), to: 1)
            exit(1)
        }
    }

    private static func write(_ bytes: [UInt8], to descriptor: CInt) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(
                    descriptor,
                    $0.baseAddress.map { unsafe $0 + written },
                    bytes.count - written
                )
            }
            guard count > 0 else { exit(1) }
            written += count
        }
    }
}
