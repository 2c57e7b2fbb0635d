import COpenSSL
import Glibc

//  One IMAP connection, with blocking calls
//
//  It knows as little of IMAP as it can: it counts bytes, finds line ends with memchr, skips
//  literals without looking at them, and waits for the line that begins with its tag. So the
//  client costs a few nanoseconds a line, and what is measured is the server.

/// What went wrong, in words for a person.
struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// A server, and who logs in there.
struct Target: Sendable {
    var host = "127.0.0.1"
    var port: UInt16 = 143
    var isTLS = false
    var users: [String] = []
    var password = ""
}

/// What came in answer to one command.
struct Reply {
    var isOK = false
    var lines = 0
    var bytes = 0
    var tagLine: [UInt8] = []
}

final class Connection {
    private static let inputBytes = 256 * 1024
    /// Longer than the SEARCH that finds a million messages.
    private static let lineBytesMax = 16 << 20
    /// No server is silent for longer than this and well.
    private static let silenceSecondsMax = 180

    let descriptor: CInt
    private var tls: OpaquePointer?
    private var input: UnsafeMutablePointer<UInt8>
    /// What `input` holds.
    private var room = Connection.inputBytes
    private var start = 0
    private var end = 0
    private var tagNumber = 0
    private(set) var received = 0
    /// Whether the line read last ended with a literal, so that the next one goes on with it.
    private var continuesLine = false
    private(set) var capabilities = ""

    /// Connects, with the handshake where it is TLS, and reads the greeting.
    init(_ target: Target) throws(BenchError) {
        descriptor = try Self.connect(target)
        input = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.inputBytes)
        if target.isTLS { tls = try TLSClient.handshake(descriptor) }
        let greeting = try line()
        guard greeting.starts(with: Array("* OK".utf8)) else {
            throw BenchError("greeting: \(String(decoding: greeting, as: UTF8.self))")
        }
    }

    deinit {
        if let tls { SSL_free(tls) }
        close(descriptor)
        input.deallocate()
    }

    private static func connect(_ target: Target) throws(BenchError) -> CInt {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(target.host, String(target.port), &hints, &list) == 0 else {
            throw BenchError("\(target.host): no such host")
        }
        defer { freeaddrinfo(list) }
        var entry = list
        while let address = entry {
            let raw = socket(
                address.pointee.ai_family,
                address.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue),
                address.pointee.ai_protocol
            )
            if Glibc.connect(raw, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 {
                var one: CInt = 1
                let size = socklen_t(MemoryLayout<CInt>.size)
                setsockopt(raw, Int32(IPPROTO_TCP), TCP_NODELAY, &one, size)
                var patience = timeval(tv_sec: silenceSecondsMax, tv_usec: 0)
                let patienceSize = socklen_t(MemoryLayout<timeval>.size)
                setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &patience, patienceSize)
                return raw
            }
            close(raw)
            entry = address.pointee.ai_next
        }
        throw BenchError("\(target.host):\(target.port): \(String(cString: strerror(errno)))")
    }

    // MARK: Commands

    /// Logs in and asks what the server can do.
    func login(_ user: String, _ password: String) throws(BenchError) {
        try require("LOGIN \(Self.quoted(user)) \(Self.quoted(password))")
        send("c CAPABILITY\r\n")
        while true {
            let text = String(decoding: try line(), as: UTF8.self)
            if text.hasPrefix("* CAPABILITY ") { capabilities = text.uppercased() + " " }
            if text.hasPrefix("c ") { return }
        }
    }

    func can(_ name: String) -> Bool { capabilities.contains(" \(name) ") }

    static func quoted(_ text: String) -> String {
        "\"" + text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined() + "\""
    }

    /// Sends a command and reads everything up to its tagged line.
    func run(_ command: String) throws(BenchError) -> Reply {
        try reply(to: begin(command))
    }

    /// The same, for commands that have to succeed.
    @discardableResult
    func require(_ command: String) throws(BenchError) -> Reply {
        let reply = try run(command)
        guard reply.isOK else {
            let answer = String(decoding: reply.tagLine, as: UTF8.self)
            throw BenchError("\(command.prefix(60)): \(answer)")
        }
        return reply
    }

    /// Sends a command; its tag.
    func begin(_ command: String) -> [UInt8] {
        tagNumber += 1
        let tag = "b\(tagNumber)"
        send("\(tag) \(command)\r\n")
        return Array("\(tag) ".utf8)
    }

    /// Sends `APPEND` with its literal, without waiting for the answer where the server takes
    /// LITERAL+; its tag.
    func beginAppend(_ mailbox: String, _ message: [UInt8]) throws(BenchError) -> [UInt8] {
        tagNumber += 1
        let tag = "b\(tagNumber)"
        let isPlus = can("LITERAL+") || can("IMAP4REV2") && message.count <= 4_096
        var bytes = Array("\(tag) APPEND \(mailbox) (\\Seen) {\(message.count)".utf8)
        bytes += Array((isPlus ? "+}\r\n" : "}\r\n").utf8)
        if isPlus {
            bytes += message
            bytes += [13, 10]
            send(bytes)
        } else {
            send(bytes)
            let go = try line()
            guard go.first == UInt8(ascii: "+") else {
                throw BenchError("APPEND: \(String(decoding: go, as: UTF8.self))")
            }
            send(message + [13, 10])
        }
        return Array("\(tag) ".utf8)
    }

    /// Reads everything up to the line with this tag.
    func reply(to tag: [UInt8]) throws(BenchError) -> Reply {
        var reply = Reply()
        let before = received - (end - start)
        while true {
            let isContinuation = continuesLine
            let count = try nextLine()
            reply.lines += 1
            let line = UnsafeBufferPointer(start: input + start, count: count)
            let isTagged =
                !isContinuation && count > tag.count
                && memcmp(tag, input + start, tag.count) == 0
            if isTagged {
                reply.tagLine = Array(line)
                reply.isOK = line.dropFirst(tag.count).starts(with: Array("OK".utf8))
            }
            try pass(count)
            if isTagged {
                reply.bytes = received - (end - start) - before
                return reply
            }
        }
    }

    /// The next line, without its end.
    func line() throws(BenchError) -> [UInt8] {
        let count = try nextLine()
        let line = Array(UnsafeBufferPointer(start: input + start, count: count))
        try pass(count)
        return line
    }

    /// Whether a whole line may be had without waiting for the network.
    var hasInput: Bool { start < end }

    func logout() {
        if (try? run("LOGOUT")) != nil { while (try? fill()) != nil { start = end } }
    }

    // MARK: Bytes

    /// Makes the next line, up to its CRLF or LF, stand at `start`; how long it is without.
    private func nextLine() throws(BenchError) -> Int {
        var searched = 0
        while true {
            let from = input + start + searched
            if let found = memchr(from, 10, end - start - searched) {
                let position = found.assumingMemoryBound(to: UInt8.self) - (input + start)
                lineEndBytes = position > 0 && input[start + position - 1] == 13 ? 2 : 1
                return position + 1 - lineEndBytes
            }
            searched = end - start
            try fill()
        }
    }

    private var lineEndBytes = 2

    /// Goes past a line and the literal that it announces.
    private func pass(_ count: Int) throws(BenchError) {
        var literal = 0
        continuesLine = false
        if count >= 3, input[start + count - 1] == UInt8(ascii: "}") {
            var position = start + count - 2
            var place = 1
            while position > start, input[position] >= 48, input[position] <= 57, place < 1 << 40 {
                literal += Int(input[position] - 48) * place
                place *= 10
                position -= 1
            }
            continuesLine = input[position] == UInt8(ascii: "{") && place > 1
            if !continuesLine { literal = 0 }
        }
        start += count + lineEndBytes
        while literal > end - start {
            literal -= end - start
            start = end
            try fill()
        }
        start += literal
    }

    /// Reads more; an error where there is no more.
    private func fill() throws(BenchError) {
        if start == end { (start, end) = (0, 0) }
        if end == room {
            if start == 0 { try grow() }
            memmove(input, input + start, end - start)
            (start, end) = (0, end - start)
        }
        let count =
            tls.map { Int(SSL_read($0, input + end, CInt(room - end))) }
            ?? recv(descriptor, input + end, room - end, 0)
        guard count > 0 else { throw BenchError("the server closed the connection") }
        end += count
        received += count
    }

    private func grow() throws(BenchError) {
        guard room < Self.lineBytesMax else { throw BenchError("a line of \(end) bytes") }
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: 4 * room)
        memcpy(larger, input, end)
        input.deallocate()
        input = larger
        room *= 4
    }

    func send(_ text: String) { send(Array(text.utf8)) }

    /// Sends all of it. An error shows at the next read.
    func send(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            var sent = 0
            while sent < buffer.count {
                let left = buffer.count - sent
                let count =
                    tls.map { Int(SSL_write($0, base + sent, CInt(left))) }
                    ?? Glibc.send(descriptor, base + sent, left, Int32(MSG_NOSIGNAL))
                guard count > 0 else { return }
                sent += count
            }
        }
    }
}

/// TLS as a client that trusts everybody: it measures, it does not read mail.
enum TLSClient {
    private struct Context: @unchecked Sendable { let pointer: OpaquePointer? }
    private static let context = Context(pointer: SSL_CTX_new(TLS_client_method()))

    static func handshake(_ descriptor: CInt) throws(BenchError) -> OpaquePointer {
        guard let context = context.pointer, let tls = SSL_new(context) else {
            throw BenchError("no memory for TLS")
        }
        SSL_set_fd(tls, descriptor)
        guard SSL_connect(tls) == 1 else {
            SSL_free(tls)
            throw BenchError("no TLS handshake")
        }
        return tls
    }
}
