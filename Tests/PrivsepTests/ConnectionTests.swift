import Testing

@testable import Posix
@testable import Privsep

@Suite("connections")
struct ConnectionTests {
    @Test("the end of the line for each attempt to log in is frozen")
    func logFields() {
        var connection = ConnectionInfo(
            session: SessionID(0x4f1c),
            remote: Array("192.0.2.7:51234".utf8),
            local: Array("198.51.100.1:993".utf8),
            security: .implicitTLS,
            tlsVersion: Array("TLSv1.3".utf8),
            isLoopback: false
        )
        #expect(
            connection.logFields
                == "remote=192.0.2.7:51234 local=198.51.100.1:993 tls=TLSv1.3 session=4f1c"
        )
        connection.tlsVersion = []
        connection.remote = Array("a b\"\n".utf8)
        #expect(
            connection.logFields
                == #"remote="a b\"\x0a" local=198.51.100.1:993 tls=none session=4f1c"#
        )
    }

    @Test(
        "the address without the port",
        arguments: [
            ("192.0.2.7:51234", "192.0.2.7"), ("[2001:db8::7]:51234", "2001:db8::7"),
            ("unknown", "unknown"), ("", ""), (":", ""), ("[", "["), ("[]:1", ""),
        ]
    )
    func remoteAddress(_ text: String, _ expected: String) {
        let connection = ConnectionInfo(
            session: SessionID(1),
            remote: Array(text.utf8),
            local: [],
            isLoopback: false
        )
        #expect(connection.remoteAddress == Array(expected.utf8))
    }

    @Test(
        "addresses as text, and what is this host itself",
        arguments: [
            ([127, 0, 0, 1], "127.0.0.1:143", true),
            ([127, 255, 0, 9], "127.255.0.9:143", true),
            ([192, 0, 2, 7], "192.0.2.7:143", false),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "[::1]:143", true),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "[::]:143", false),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1], "127.0.0.1:143", true),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 7], "192.0.2.7:143", false),
            ([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], "[2001:db8::7]:143", false),
            ([], "unknown", false),
        ] as [([UInt8], String, Bool)]
    )
    func addresses(_ bytes: [UInt8], _ text: String, _ isLoopback: Bool) {
        let address = SocketAddress(bytes: bytes, port: 143)
        #expect(address.text == Array(text.utf8))
        #expect(address.isLoopback == isLoopback)
    }
}
