import Testing

@testable import TLS

@Suite("certificates")
struct CertificateTests {
    @Test("one that we made can be used, is for its names, and is valid now")
    func made() throws {
        let pem = try Certificate.make(names: ["localhost", "mail.example.org"])
        let certificate = try Certificate(chain: pem, key: pem)
        #expect(certificate.complaint == nil)
        for (name, expected) in [
            ("localhost", true), ("mail.example.org", true), ("MAIL.example.org", true),
            ("example.org", false), ("", false),
        ] {
            #expect(certificate.isFor(name, count: name.utf8.count) == expected, "\(name)")
        }
    }

    @Test("names that are no host names are left out")
    func strangeNames() throws {
        let long = String(repeating: "x", count: 65)
        let pem = try Certificate.make(names: ["a b", "x,DNS:evil.example", "", long, "ok.example"])
        let certificate = try Certificate(chain: pem, key: pem)
        #expect(certificate.isFor("ok.example", count: 10))
        #expect(!certificate.isFor("evil.example", count: 12))
    }

    @Test("what cannot be used is refused with a reason")
    func refused() throws {
        let one = try Certificate.make(names: ["localhost"])
        let other = try Certificate.make(names: ["localhost"])
        let cases: [([UInt8], [UInt8])] = [
            (one, other), ([], one), (one, []), (Array("x".utf8), Array("y".utf8)),
            (Array(one.dropLast(400)), Array(one.dropLast(400))),
        ]
        for (chain, key) in cases {
            #expect { try Certificate(chain: chain, key: key) } throws: { error in
                (error as? CertificateError)?.description.isEmpty == false
            }
        }
    }
}
