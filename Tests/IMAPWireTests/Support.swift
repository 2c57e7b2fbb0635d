@testable import IMAPWire

/// The bytes of a text in which `\n` stands for CRLF and the line end is left out.
func wire(_ text: String) -> [UInt8] {
    Array(text.replacing("\n", with: "\r\n").utf8) + [0x0D, 0x0A]
}

/// A command without its tag and line end.
func parse(_ text: String) throws(SyntaxError) -> CommandBody {
    let bytes = wire("a " + text)
    return try Grammar.command(bytes.span).body
}

func parse(bytes: [UInt8]) throws(SyntaxError) -> Command {
    try Grammar.command(bytes.span)
}

/// What a parse that must fail expected, or nil where it did not fail.
func expected(_ text: String) -> String? {
    do {
        _ = try parse(text)
        return nil
    } catch {
        return error.expected.description
    }
}

extension MailboxName: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(Array(value.utf8)) }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// A set such as `1:4,9:*`, with `*` as 0.
func set(_ ranges: (UInt32, UInt32)...) -> SequenceSet {
    func bound(_ number: UInt32) -> SetBound { number == 0 ? .largest : .number(number) }
    return SequenceSet(ranges.map { SetRange(first: bound($0.0), last: bound($0.1)) })
}

/// A generator with a seed, so that a failure can be had again.
struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
