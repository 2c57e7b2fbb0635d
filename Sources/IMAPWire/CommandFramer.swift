import Bytes

//  Where a command ends
//
//  A command is a line, but a line that ends in `{n}` goes on after n octets of anything. The
//  framer is shown the bytes that have come and are not consumed, from the start of the command,
//  again and again as they grow; it remembers how far it has looked, so that input that comes
//  byte by byte costs no more than input that comes whole.
//
//  Lines end in CRLF; a bare LF is taken as well (telnet, old scripts), a bare CR is not an end.
//  Only the last characters before the end tell whether a literal follows: `{n}`, `{n+}`, `~{n}`
//  or `~{n+}`. A quoted string cannot end a line in `}`, so only broken input is ambiguous:
//  `"foo {5}` with no second quote. It is taken for a literal, as most servers do. Then a client
//  that forgot the quote waits for the continuation it is given, while the opposite would let the
//  octets of a literal be read as commands.
//
//  Refusing a command must not lose its end: what a client has already sent, or will send without
//  waiting (`{n+}`), is discarded as it comes. After a refused `{n}` nothing follows, since the
//  client waits; so the line was the end.

/// A literal announced at the end of a line.                                 RFC 9051 §4.3, RFC 7888
package struct LiteralHeader: Hashable, Sendable {
    /// Saturated, where the digits say more than an `Int` holds.
    package let count: Int
    /// The client waits for `+ ` before it sends the octets.
    package let isSynchronizing: Bool
    /// `~{n}`: octets may be NUL.                                            RFC 3516 §4.4
    package let isBinary: Bool

    package init(count: Int, isSynchronizing: Bool, isBinary: Bool) {
        self.count = count
        self.isSynchronizing = isSynchronizing
        self.isBinary = isBinary
    }
}

/// Finds the end of each command in what a client sends.
package struct CommandFramer: Sendable {
    /// Why a command is not taken.
    package enum Refusal: Hashable, Sendable {
        /// Answered BAD.
        case lineTooLong
        /// Answered NO [TOOBIG] (RFC 7888 §4); BAD is as good before login.
        case literalTooBig
        case tooManyLiterals
        case commandTooLong
    }

    package enum Event: Hashable, Sendable {
        /// Nothing to do before more bytes have come.
        case needsMore
        /// The first `count` bytes are a whole command with its line end and literals inline (or
        /// the last piece of one whose literals were streamed). Consume them.
        case command(count: Int)
        /// The first `count` bytes end in this literal's header and line end. Answer with
        /// `bufferLiteral`, `streamLiteral` or `refuseLiteral` before calling `next` again.
        case literal(LiteralHeader, count: Int)
        /// The command is too large. Its tag is within the first `count` bytes (`Grammar.tag`).
        /// Answer it, consume those bytes and go on calling `next`.
        case refused(Refusal, count: Int)
        /// Consume that many bytes of a command that was refused.
        case discard(count: Int)
    }

    private enum State: Sendable {
        /// Within a line, looked at up to `scanned`.
        case line
        /// A header was reported; the session has to decide.
        case announced(LiteralHeader)
        /// Octets of a literal come until `scanned` bytes are there.
        case literal
        /// That many octets of a refused literal are still to come, then the rest of its line.
        case discarding(Int)
        /// The line of a refused command, up to its end; `tail` holds its last bytes.
        case discardingLine
    }

    package var limits: FramingLimits
    private var state = State.line
    /// Everything before it has been looked at.
    private var scanned = 0
    /// Octets outside literals in the lines that are complete.
    private var lineBytes = 0
    /// Where the present line begins: at the start, or behind a literal.
    private var lineStart = 0
    private var literalCount = 0
    /// The last bytes of a line that is being discarded, as much as a literal header can have.
    private var tail: [UInt8] = []
    private static let tailBytesMax = 32

    package init(limits: FramingLimits) { self.limits = limits }

    /// Whether a command has begun and not ended.
    package var isInsideCommand: Bool {
        switch state {
        case .line: scanned > 0
        case .announced, .literal, .discarding, .discardingLine: true
        }
    }

    /// What the bytes mean that have come and have not been consumed.
    package mutating func next(_ input: Span<UInt8>) -> Event {
        switch state {
        case .line: return nextInLine(input)
        case .announced(let header): return .literal(header, count: scanned)
        case .literal:
            guard input.count >= scanned else { return .needsMore }
            state = .line
            lineStart = scanned
            return nextInLine(input)
        case .discarding(let left):
            guard !input.isEmpty else { return .needsMore }
            let count = min(left, input.count)
            if count == left {
                state = .discardingLine
                tail.removeAll(keepingCapacity: true)
            } else {
                state = .discarding(left - count)
            }
            return .discard(count: count)
        case .discardingLine: return discardLine(input)
        }
    }

    /// Keeps the announced literal in the input: the command goes on behind it. Where it is
    /// synchronizing, send `+ ` now. Otherwise the result says why not, and it is refused.
    package mutating func bufferLiteral() -> Refusal? {
        guard case .announced(let header) = state else {
            preconditionFailure("no literal is announced")
        }
        let refusal: Refusal? =
            if literalCount >= limits.literalCountMax {
                .tooManyLiterals
            } else if header.count > limits.literalBytesMax {
                .literalTooBig
            } else if header.count > limits.commandBytesMax - scanned {
                .commandTooLong
            } else {
                nil
            }
        if let refusal {
            refuseLiteral()
            return refusal
        }
        literalCount += 1
        state = .literal
        scanned += header.count
        return nil
    }

    /// Leaves the announced literal to the session. Consume the header's bytes; where it is
    /// synchronizing, send `+ `; take its octets from the input; then call `next` with what
    /// follows them. The rest of the command is framed as a piece of its own.
    package mutating func streamLiteral() {
        guard case .announced = state else { preconditionFailure("no literal is announced") }
        restart()
    }

    /// Ends the command here. Answer it and consume the header's bytes. What the client sends
    /// of it without having waited is discarded.
    package mutating func refuseLiteral() {
        guard case .announced(let header) = state else {
            preconditionFailure("no literal is announced")
        }
        restart()
        if !header.isSynchronizing { state = .discarding(header.count) }
    }

    private mutating func restart() {
        state = .line
        scanned = 0
        lineBytes = 0
        lineStart = 0
        literalCount = 0
    }

    private mutating func nextInLine(_ input: Span<UInt8>) -> Event {
        // Looks no further than the limit, so that a line is refused at the same byte however
        // it comes in.
        let room = min(
            limits.lineBytesMax - lineBytes + lineStart,
            limits.commandBytesMax
        )
        let bound = min(input.count, room)
        var index = scanned
        while index < bound, input[index] != .lf { index += 1 }
        guard index < bound else {
            scanned = index
            if index < room { return .needsMore }
            let refusal: Refusal =
                room == limits.commandBytesMax ? .commandTooLong : .lineTooLong
            // The discarded line may end in a header that began before the limit.
            tail = input.extracting(max(lineStart, index - Self.tailBytesMax)..<index).array
            restart()
            state = .discardingLine
            return .refused(refusal, count: index)
        }
        let end = index + 1
        var textEnd = index
        if textEnd > lineStart, input[textEnd - 1] == .cr { textEnd -= 1 }
        if let header = Self.literalHeader(input.extracting(lineStart..<textEnd)) {
            state = .announced(header)
            lineBytes += end - lineStart
            scanned = end
            return .literal(header, count: end)
        }
        restart()
        return .command(count: end)
    }

    private mutating func discardLine(_ input: Span<UInt8>) -> Event {
        guard !input.isEmpty else { return .needsMore }
        guard let end = input.firstIndex(of: .lf) else {
            keepTail(input)
            return .discard(count: input.count)
        }
        keepTail(input.extracting(0..<end))
        if tail.last == .cr { tail.removeLast() }
        let header = Self.literalHeader(tail.span)
        tail.removeAll(keepingCapacity: true)
        state = .line
        if let header, !header.isSynchronizing { state = .discarding(header.count) }
        return .discard(count: end + 1)
    }

    private mutating func keepTail(_ bytes: Span<UInt8>) {
        tail += bytes.extracting(max(0, bytes.count - Self.tailBytesMax)..<bytes.count).array
        if tail.count > Self.tailBytesMax { tail.removeFirst(tail.count - Self.tailBytesMax) }
    }

    //  literal  = "{" number64 ["+"] "}" CRLF *CHAR8                         RFC 9051 §9
    //  literal8 = "~{" number64 ["+"] "}" CRLF *OCTET                        RFC 3516 §7, RFC 7888 §8
    static func literalHeader(_ line: Span<UInt8>) -> LiteralHeader? {
        var index = line.count - 1
        guard index >= 2, line[index] == UInt8(ascii: "}") else { return nil }
        index -= 1
        let isSynchronizing = line[index] != UInt8(ascii: "+")
        if !isSynchronizing { index -= 1 }
        let digitsEnd = index + 1
        while index >= 0, line[index].isDigit { index -= 1 }
        guard index >= 0, line[index] == UInt8(ascii: "{"), digitsEnd > index + 1 else {
            return nil
        }
        var count = 0
        for position in index + 1..<digitsEnd {
            let (product, overflowed) = count.multipliedReportingOverflow(by: 10)
            let (sum, carried) = product.addingReportingOverflow(Int(line[position] &- 0x30))
            if overflowed || carried {
                count = .max
                break
            }
            count = sum
        }
        let isBinary = index > 0 && line[index - 1] == UInt8(ascii: "~")
        return LiteralHeader(
            count: count,
            isSynchronizing: isSynchronizing,
            isBinary: isBinary
        )
    }
}
