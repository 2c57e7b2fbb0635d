import Bytes
import InternetMessage

/// Short forms for tests: text in, text out.
func envelope(_ message: [UInt8], utf8: Bool = false) -> String {
    var buffer = ByteBuffer()
    let bytes = message.span
    let end = HeaderBlock.end(in: bytes)
    Envelope.write(bytes, header: 0..<end, utf8: utf8, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
}

func envelope(_ message: String, utf8: Bool = false) -> String {
    envelope(Array(message.utf8), utf8: utf8)
}

func bodyStructure(_ message: [UInt8], extended: Bool = true, utf8: Bool = false) -> String {
    var buffer = ByteBuffer()
    let bytes = message.span
    let structure = MessageStructure.parse(bytes)
    BodyStructure.write(structure, of: bytes, extended: extended, utf8: utf8, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
}

func bodyStructure(_ message: String, extended: Bool = true, utf8: Bool = false) -> String {
    bodyStructure(Array(message.utf8), extended: extended, utf8: utf8)
}

/// The CRLF form of a section, or nil where there is no such part.
func section(_ path: [UInt32], _ text: SectionText, of message: String) -> String? {
    let message = Array(message.utf8)
    let bytes = message.span
    let structure = MessageStructure.parse(bytes)
    guard let range = structure.range(of: path, text) else { return nil }
    var buffer = ByteBuffer()
    MessageText.appendCRLF(of: bytes, in: range, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
}

/// The address list of a To field, as ENVELOPE has it.
func addresses(_ value: [UInt8], utf8: Bool = false) -> String {
    let text = envelope(Array("To: ".utf8) + value + Array("\n\n".utf8), utf8: utf8)
    let prefix = "(NIL NIL NIL NIL NIL "
    let suffix = " NIL NIL NIL NIL)"
    return String(text.dropFirst(prefix.count).dropLast(suffix.count))
}

/// Checks that bytes are one value of IMAP's data grammar: a list of strings, numbers, NIL and
/// lists, with single spaces, and nothing behind it.
struct WireChecker {
    private let bytes: [UInt8]
    private var offset = 0
    private(set) var atoms = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// What is wrong, or nil.
    static func fault(in bytes: [UInt8]) -> String? {
        var checker = WireChecker(bytes)
        if let fault = checker.value(depth: 0) { return fault }
        return checker.offset == bytes.count ? nil : "more after the value"
    }

    private mutating func value(depth: Int) -> String? {
        guard offset < bytes.count else { return "ends early" }
        guard depth < 1_000 else { return "too deep" }
        switch bytes[offset] {
        case UInt8(ascii: "("):
            offset += 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: ")") { return "empty list" }
            while true {
                if let fault = value(depth: depth + 1) { return fault }
                guard offset < bytes.count else { return "list not closed" }
                if bytes[offset] == UInt8(ascii: ")") {
                    offset += 1
                    return nil
                }
                if bytes[offset] == .space {
                    offset += 1
                } else if bytes[offset] != UInt8(ascii: "(")
                    || bytes[offset - 1] != UInt8(ascii: ")")
                {
                    return "no space at \(offset)"
                }
            }
        case .quote:
            offset += 1
            while offset < bytes.count, bytes[offset] != .quote {
                let byte = bytes[offset]
                if byte == .cr || byte == .lf || byte == 0 { return "\(byte) in a quoted string" }
                offset += byte == .backslash ? 2 : 1
            }
            guard offset < bytes.count else { return "string not closed" }
            offset += 1
            return nil
        case UInt8(ascii: "{"):
            offset += 1
            var count = 0
            while offset < bytes.count, bytes[offset].isDigit {
                count = count * 10 + Int(bytes[offset] - 0x30)
                offset += 1
            }
            guard bytes[offset...].starts(with: Array("}\r\n".utf8)) else { return "bad literal" }
            offset += 3
            guard bytes.count - offset >= count else { return "literal past the end" }
            if bytes[offset..<(offset + count)].contains(0) { return "NUL in a literal" }
            offset += count
            return nil
        case UInt8(ascii: "N"):
            guard bytes[offset...].starts(with: Array("NIL".utf8)) else { return "bad atom" }
            offset += 3
            return nil
        case let byte where byte.isDigit:
            while offset < bytes.count, bytes[offset].isDigit { offset += 1 }
            return nil
        default:
            return "byte \(bytes[offset]) at \(offset)"
        }
    }
}

/// A generator whose numbers are the same in each run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
