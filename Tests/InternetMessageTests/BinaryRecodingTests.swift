import Bytes
import InternetMessage
import Testing

@Suite("Messages with binary parts")
struct BinaryRecodingTests {
    private func rewrite(_ message: [UInt8], piece: Int) -> (text: [UInt8], largest: Int) {
        var text: [UInt8] = []
        var largest = 0
        BinaryRecoding.rewrite(message.span, pieceBytesMax: piece) { (output: inout ByteBuffer) in
            largest = max(largest, output.count)
            text += output.bytes
        }
        return (text, largest)
    }

    private func rewrite(_ message: String) -> String {
        String(decoding: rewrite(Array(message.utf8), piece: 1_000).text, as: UTF8.self)
    }

    @Test("what is not binary stays as it is")
    func stays() {
        for message in [
            "", "\n", "Subject: x\r\n\r\nbody\nline\r\n", "Content-Transfer-Encoding: 8bit\n\nx\0y",
            "Content-Transfer-Encoding: binaryx\n\nx",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\nAA==\n",
        ] {
            #expect(rewrite(message) == message)
        }
    }

    @Test("a leaf becomes base64, a container 8bit")
    func recodes() {
        #expect(
            rewrite("Content-Transfer-Encoding: Binary (so)\r\nSubject: y\r\n\r\na\0b")
                == "Content-Transfer-Encoding: base64 (so)\r\nSubject: y\r\n\r\nYQBi"
        )
        #expect(
            rewrite(
                """
                Content-Type: multipart/mixed; boundary=b
                Content-Transfer-Encoding: binary

                --b
                Content-Type: message/rfc822
                Content-Transfer-Encoding: binary

                Subject: inner
                Content-Transfer-Encoding: binary

                in\0ner
                --b

                text
                --b--
                after
                """
            )
                == """
                Content-Type: multipart/mixed; boundary=b
                Content-Transfer-Encoding: 8bit

                --b
                Content-Type: message/rfc822
                Content-Transfer-Encoding: 8bit

                Subject: inner
                Content-Transfer-Encoding: base64

                aW4AbmVy
                --b

                text
                --b--
                after
                """
        )
        #expect(
            rewrite("Content-Transfer-Encoding: binary\n\n")
                == "Content-Transfer-Encoding: base64\n\n"
        )
    }

    @Test("any bytes come back, in lines of 76, in pieces", arguments: [1, 56, 57, 58, 114, 5_000])
    func comesBack(_ count: Int) {
        let body = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let head = Array("Content-Transfer-Encoding: binary\r\n\r\n".utf8)
        let (text, largest) = rewrite(head + body, piece: 300)
        #expect(largest < 300 + 78)
        let lines = text.split(separator: .lf, omittingEmptySubsequences: false).dropFirst(2)
        #expect(lines.allSatisfy { $0.count <= 77 })
        var decoded = ByteBuffer()
        let end = HeaderBlock.end(in: text.span)
        TransferEncoding.base64.decode(text.span, in: end..<text.count, crlf: true, to: &decoded)
        #expect(decoded.bytes == body)
    }
}
