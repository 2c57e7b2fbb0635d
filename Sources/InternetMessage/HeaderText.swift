import Bytes

//  Header values as people read them: unfolded, encoded words decoded, in UTF-8.
//
//  Encoded words are decoded wherever they stand, also where RFC 2047 §5 forbids them (within a
//  quoted string, glued to other text): that is how they are displayed. Blanks between two of them
//  go (§6.2). Neighbours in one charset are joined before they are converted, because senders
//  split characters between them.

/// Decodes header values. Keeps its buffers and descriptors for the next value; one thread at a
/// time.
package final class HeaderDecoder {
    package let converter: CharsetConverter
    private var line: [UInt8] = []
    private var pending: [UInt8] = []
    private var pendingCharset: Charset?

    package init(_ converter: CharsetConverter = CharsetConverter()) {
        self.converter = converter
    }

    /// Appends the value in UTF-8.
    package func append(_ bytes: Span<UInt8>, in value: Range<Int>, to output: inout [UInt8]) {
        line.removeAll(keepingCapacity: true)
        bytes.unfold(value, into: &line)
        // Out of the class while it is read, so that nothing copies it.
        let line = exchange(&self.line, with: [])
        defer { self.line = line }
        decode(line.span, to: &output)
    }

    /// The value in UTF-8.
    package func text(_ bytes: Span<UInt8>, in value: Range<Int>) -> [UInt8] {
        var output: [UInt8] = []
        append(bytes, in: value, to: &output)
        return output
    }

    /// Appends text that is unfolded already.
    package func decode(_ line: Span<UInt8>, to output: inout [UInt8]) {
        var plain = 0
        var index = 0
        while let mark = line.offset(of: UInt8(ascii: "="), in: index..<line.count) {
            guard let word = EncodedWord(line, at: mark) else {
                index = mark + 1
                continue
            }
            if !isBlank(line, plain..<mark) || pendingCharset == nil {
                flush(to: &output)
                append(plain: line, plain..<mark, to: &output)
            } else if word.charset != pendingCharset {
                flush(to: &output)
            }
            pendingCharset = word.charset
            word.decode(line, to: &pending)
            index = word.end
            plain = index
        }
        flush(to: &output)
        append(plain: line, plain..<line.count, to: &output)
    }

    private func isBlank(_ line: Span<UInt8>, _ range: Range<Int>) -> Bool {
        for index in range where !line[index].isBlank { return false }
        return true
    }

    private func flush(to output: inout [UInt8]) {
        guard let charset = pendingCharset else { return }
        converter.append(pending.span, in: charset, to: &output)
        pending.removeAll(keepingCapacity: true)
        pendingCharset = nil
    }

    /// Text outside encoded words: UTF-8 (RFC 6532), or else ISO-8859-1, the usual mistake.
    private func append(plain line: Span<UInt8>, _ range: Range<Int>, to output: inout [UInt8]) {
        let text = line.extracting(range)
        guard !text.isASCII(in: 0..<text.count) else {
            output.append(contentsOf: text)
            return
        }
        let isUTF8 = (try? UTF8Span(validating: text)) != nil
        converter.append(text, in: isUTF8 ? .utf8 : .latin1, to: &output)
    }
}

/// Puts a new value in the place of the old one, which is returned.
func exchange<Value>(_ place: inout Value, with value: Value) -> Value {
    var value = value
    swap(&place, &value)
    return value
}

/// Where the pieces of an encoded word are.
///
///     encoded-word = "=?" charset "?" encoding "?" encoded-text "?="       RFC 2047 §2
struct EncodedWord {
    let charset: Charset
    private let isBase64: Bool
    private let text: Range<Int>
    let end: Int

    /// Nil where none begins at the offset, or its charset is not known: it then stays as it is.
    /// Blanks in the text are let pass.
    init?(_ line: Span<UInt8>, at start: Int) {
        let mark = UInt8(ascii: "?")
        let limit = min(line.count, start + Limits.encodedWordBytesMax)
        guard limit - start >= 8, line[start + 1] == mark,
            let nameEnd = line.offset(of: mark, in: (start + 2)..<limit),
            nameEnd > start + 2, nameEnd + 2 < limit, line[nameEnd + 2] == mark
        else { return nil }
        switch line[nameEnd + 1].lowercased {
        case UInt8(ascii: "b"): isBase64 = true
        case UInt8(ascii: "q"): isBase64 = false
        default: return nil
        }
        let textStart = nameEnd + 3
        guard let textEnd = line.offset(of: mark, in: textStart..<limit), textEnd + 1 < limit,
            line[textEnd + 1] == UInt8(ascii: "="),
            let charset = Charset(line.extracting((start + 2)..<nameEnd).array)
        else { return nil }
        self.charset = charset
        text = textStart..<textEnd
        end = textEnd + 2
    }

    func decode(_ line: Span<UInt8>, to output: inout [UInt8]) {
        guard !isBase64 else {
            var buffer = ByteBuffer(exchange(&output, with: []))
            TransferEncoding.base64.decode(line, in: text, crlf: false, to: &buffer)
            output = buffer.take()
            return
        }
        var index = text.lowerBound
        while index < text.upperBound {
            let byte = line[index]
            index += 1
            if byte == UInt8(ascii: "_") {
                output.append(.space)
            } else if byte == UInt8(ascii: "="), text.upperBound - index >= 2,
                let high = line[index].hexValue, let low = line[index + 1].hexValue
            {
                output.append(high << 4 | low)
                index += 2
            } else {
                output.append(byte)
            }
        }
    }
}
