import Bytes
import InternetMessage
import Testing

@Suite("HEADER.FIELDS")
struct HeaderFieldSetTests {
    static let header =
        "Received: a\n b\nSubject : x\nreceived: c\nX-Y: z\n\tzz\nno field\n\nbody: x\n"

    private func fields(_ names: [String], excluding: Bool = false, of message: String) -> String {
        let set = HeaderFieldSet(names.map { Array($0.utf8) })
        let bytes = Array(message.utf8)
        let end = HeaderBlock.end(in: bytes.span)
        var buffer = ByteBuffer()
        set.append(from: bytes.span, header: 0..<end, excluding: excluding, to: &buffer)
        return String(decoding: buffer.bytes, as: UTF8.self)
    }

    @Test("in the order of the message, duplicates and folds as they are")
    func order() {
        #expect(
            fields(["subject", "RECEIVED"], of: Self.header)
                == "Received: a\r\n b\r\nSubject : x\r\nreceived: c\r\n\r\n"
        )
        #expect(fields(["X-Y"], of: Self.header) == "X-Y: z\r\n\tzz\r\n\r\n")
    }

    @Test("NOT gives all the others, also what is no field")
    func excluding() {
        #expect(
            fields(["subject", "received"], excluding: true, of: Self.header)
                == "X-Y: z\r\n\tzz\r\nno field\r\n\r\n"
        )
    }

    @Test("an empty line, also where there is no field, but where the message has none")
    func emptyLine() {
        #expect(fields(["to"], of: Self.header) == "\r\n")
        #expect(fields(["to"], of: "") == "\r\n")
        #expect(fields(["to"], of: "To: x") == "To: x\r\n")
        #expect(fields([], excluding: true, of: "To: x\n") == "To: x\r\n")
        #expect(fields([], of: "To: x\n") == "")
        #expect(fields([], of: "To: x\n\n") == "\r\n")
    }

    @Test("names match whole: no prefix, nor a longer name", arguments: ["Sub", "Subjects", "x"])
    func wholeNames(_ name: String) {
        #expect(fields([name], of: "Subject: x\n\n") == "\r\n")
    }

    @Test("names of 62 to 65 bytes, and of one", arguments: [1, 62, 63, 64, 65, 500])
    func lengths(_ count: Int) {
        let name = String(repeating: "n", count: count)
        #expect(fields([name, "to"], of: "\(name): x\nTo: y\n\n") == "\(name): x\r\nTo: y\r\n\r\n")
    }
}
