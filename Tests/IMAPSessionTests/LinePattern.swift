/// A line as a transcript states it: exact, but for a `*` at its end, which stands for any text, and
/// `<name>`, which takes what is there at its first use and must be the same afterwards.
struct LinePattern {
    let text: [UInt8]

    init(_ text: [UInt8]) { self.text = text }

    /// Whether the line is like this; binds names as it goes.
    func matches(_ line: [UInt8], _ bindings: inout [String: [UInt8]]) -> Bool {
        var bound = bindings
        var position = 0
        var index = 0
        while index < text.count {
            if text[index] == UInt8(ascii: "*"), index == text.count - 1 {
                bindings = bound
                return true
            }
            if let (name, end) = Self.name(text, at: index) {
                let token = Self.token(line, from: position)
                if let value = bound[name] {
                    guard line[position...].starts(with: value) else { return false }
                    position += value.count
                } else {
                    guard !token.isEmpty else { return false }
                    bound[name] = Array(token)
                    position += token.count
                }
                index = end
                continue
            }
            guard position < line.count, line[position] == text[index] else { return false }
            position += 1
            index += 1
        }
        guard position == line.count else { return false }
        bindings = bound
        return true
    }

    /// `<name>` with letters, digits and hyphens, beginning with a letter.
    static func name(_ text: [UInt8], at start: Int) -> (String, end: Int)? {
        guard text[start] == UInt8(ascii: "<") else { return nil }
        var end = start + 1
        while end < text.count, isNameByte(text[end], isFirst: end == start + 1) { end += 1 }
        guard end < text.count, end > start + 1, text[end] == UInt8(ascii: ">") else { return nil }
        return (String(decoding: text[(start + 1)..<end], as: UTF8.self), end + 1)
    }

    private static func isNameByte(_ byte: UInt8, isFirst: Bool) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): !isFirst
        default: false
        }
    }

    /// What a name takes: up to white space, a bracket, a quote or a colon.
    private static func token(_ line: [UInt8], from start: Int) -> ArraySlice<UInt8> {
        let stops = Array(" ()[]{}\":\r\n".utf8)
        return line[start...].prefix { !stops.contains($0) }
    }

    /// The text with every `<name>` that is bound replaced.
    static func filled(_ text: [UInt8], _ bindings: [String: [UInt8]]) -> [UInt8] {
        var filled: [UInt8] = []
        var index = 0
        while index < text.count {
            if let (name, end) = name(text, at: index), let value = bindings[name] {
                filled += value
                index = end
            } else {
                filled.append(text[index])
                index += 1
            }
        }
        return filled
    }
}

/// A response as it is on the wire: text, and literals between pieces of it.
struct ResponseLine {
    /// Each text but the last ends in `{n}`.
    var texts: [[UInt8]] = []
    var literals: [[UInt8]] = []

    /// Takes the first whole response from the front of the bytes. Nil where none is whole.
    init?(_ bytes: [UInt8], count: inout Int) {
        var start = 0
        while true {
            guard let end = Self.lineEnd(bytes, from: start) else { return nil }
            let text = Array(bytes[start..<end])
            texts.append(text)
            start = end + 2
            guard let size = Self.literalSize(text) else { break }
            guard bytes.count >= start + size else { return nil }
            literals.append(Array(bytes[start..<(start + size)]))
            start += size
        }
        count = start
    }

    private static func lineEnd(_ bytes: [UInt8], from start: Int) -> Int? {
        var index = start
        while index + 1 < bytes.count {
            if bytes[index] == 13, bytes[index + 1] == 10 { return index }
            index += 1
        }
        return nil
    }

    /// The n of a final `{n}`.
    static func literalSize(_ text: [UInt8]) -> Int? {
        guard text.last == UInt8(ascii: "}"), let open = text.lastIndex(of: UInt8(ascii: "{"))
        else { return nil }
        return Int(String(decoding: text[(open + 1)...].dropLast(), as: UTF8.self))
    }

    var isContinuation: Bool { texts[0].first == UInt8(ascii: "+") }
    var isUntagged: Bool { texts[0].first == UInt8(ascii: "*") }
    func isTagged(_ tag: [UInt8]) -> Bool { texts[0].starts(with: tag + [32]) }

    var description: String {
        var text = Transcript.escaped(texts[0])
        for (literal, next) in zip(literals, texts.dropFirst()) {
            text += "\n" + Transcript.escaped(literal) + Transcript.escaped(next)
        }
        return text
    }
}

/// What a transcript states of a response.
struct ResponsePattern {
    /// As in the file, escapes undone. Each but the last ends in `{…}`.
    var texts: [[UInt8]]
    /// Nil where the content is not looked at: `{*}`, or `{n}` without a block.
    var literals: [[UInt8]?]

    func matches(_ line: ResponseLine, _ bindings: inout [String: [UInt8]]) -> Bool {
        var bound = bindings
        for (index, text) in texts.enumerated() {
            guard index < line.texts.count else { return false }
            var expected = text
            var actual = line.texts[index]
            if index < literals.count {
                guard index < line.literals.count else { return false }
                if text.hasSuffix("{*}") {
                    expected.removeLast(3)
                    guard let open = actual.lastIndex(of: UInt8(ascii: "{")) else { return false }
                    actual.removeSubrange(open...)
                } else if text.hasSuffix("{}") {
                    expected.removeLast(1)
                    expected += Array("\(literals[index]?.count ?? 0)}".utf8)
                }
                if let literal = literals[index], literal != line.literals[index] { return false }
            } else if index < line.literals.count, expected.last != UInt8(ascii: "*") {
                return false
            }
            guard LinePattern(expected).matches(actual, &bound) else { return false }
        }
        bindings = bound
        return true
    }
}

extension [UInt8] {
    func hasSuffix(_ text: String) -> Bool { suffix(text.utf8.count).elementsEqual(text.utf8) }
    func hasPrefix(_ text: String) -> Bool { starts(with: text.utf8) }
}
