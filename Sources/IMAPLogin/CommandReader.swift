import Bytes

/// Cuts what a client sends into commands; holds at most `heldBytesMax`.
///
/// A command is its lines and literals up to the line that announces no literal. A bare LF ends a
/// line as CRLF does.
struct CommandReader {
    /// What comes next.
    enum Step: Equatable {
        /// Nothing whole is there.
        case needsInput
        /// The client waits to be told to send its literal.
        case wantsContinuation
        /// One command, without its last line end.
        case command([UInt8])
        /// A synchronizing literal larger than is taken. The client does not send it.
        case literalRefused(command: [UInt8])
        /// Too long to stay in step with: close.
        case tooLong
    }

    private var held: [UInt8] = []
    /// Where the line that is not whole yet begins; what is before it belongs to the command.
    private var lineStart = 0
    /// How far that line has been searched for its end.
    private var searched = 0
    /// The end of the literal that is being received, and of the command if nothing follows.
    private var literalEnd: Int?

    /// How many bytes may be added now.
    var room: Int { max(0, LoginLimits.heldBytesMax - held.count) }

    mutating func append(_ bytes: [UInt8]) { held.append(contentsOf: bytes) }

    /// Everything not yet taken; the reader is empty afterwards.
    mutating func takeRest() -> [UInt8] {
        defer { self = CommandReader() }
        return held
    }

    var isEmpty: Bool { held.isEmpty }

    mutating func next() -> Step {
        if let end = literalEnd {
            guard held.count >= end else { return needsInputOrTooLong() }
            literalEnd = nil
            lineStart = end
            searched = end
        }
        guard let end = held[searched...].firstIndex(of: .lf) else {
            searched = held.count
            if held.count - lineStart > LoginLimits.lineBytesMax { return .tooLong }
            return needsInputOrTooLong()
        }
        guard end - lineStart <= LoginLimits.lineBytesMax else { return .tooLong }
        var textEnd = end
        if textEnd > lineStart, held[textEnd - 1] == .cr { textEnd -= 1 }

        guard let literal = Self.literal(atEndOf: held[lineStart..<textEnd]) else {
            let command = Array(held[..<textEnd])
            drop(through: end)
            return .command(command)
        }
        guard literal.count <= LoginLimits.literalBytesMax else {
            guard literal.isSynchronizing else { return .tooLong }
            let command = Array(held[..<textEnd])
            drop(through: end)
            return .literalRefused(command: command)
        }
        guard end + 1 + literal.count <= LoginLimits.heldBytesMax else { return .tooLong }
        literalEnd = end + 1 + literal.count
        // A client that has sent it already does not wait.
        if literal.isSynchronizing, held.count == end + 1 { return .wantsContinuation }
        return next()
    }

    private func needsInputOrTooLong() -> Step { room > 0 ? .needsInput : .tooLong }

    private mutating func drop(through end: Int) {
        held.removeSubrange(...end)
        lineStart = 0
        searched = 0
        literalEnd = nil
    }

    //  literal = "{" number ["+"] "}" CRLF *CHAR8                       RFC 3501 §9, RFC 7888 §4
    private static func literal(atEndOf line: ArraySlice<UInt8>) -> (
        count: Int, isSynchronizing: Bool
    )? {
        guard line.last == UInt8(ascii: "}") else { return nil }
        var index = line.endIndex - 2
        var isSynchronizing = true
        if index >= line.startIndex, line[index] == UInt8(ascii: "+") {
            isSynchronizing = false
            index -= 1
        }
        let digitsEnd = index + 1
        while index >= line.startIndex, line[index].isDigit { index -= 1 }
        guard index >= line.startIndex, line[index] == UInt8(ascii: "{"), index + 1 < digitsEnd
        else { return nil }
        var count = 0
        for digit in line[(index + 1)..<digitsEnd] {
            // Saturates far above every limit.
            count = min(count * 10 + Int(digit & 15), 1 << 40)
        }
        return (count, isSynchronizing)
    }
}
