import Foundation

/// Writes a transcript anew with what the server said. Its diff is to be read: what is there
/// afterwards is what the server does, not what it should do.
final class TranscriptRewriting {
    private let transcript: Transcript
    private(set) var output: [String]
    /// Lines of the file before this one are written.
    private var next: Int
    private var actual: [(session: String, line: ResponseLine)] = []
    private var patterns: [(pattern: ResponsePattern, text: [String])] = []
    /// Lines for the other revision, and behind how many expectations they stood.
    private var others: [(place: Int, text: [String])] = []
    private var bindings: [String: [UInt8]] = [:]
    private var validities: [String: String] = [:]

    init(_ transcript: Transcript) {
        self.transcript = transcript
        next = transcript.steps.first?.lines.lowerBound ?? transcript.lines.count
        output = Array(transcript.lines[..<next])
    }

    private func copy(upTo line: Int) {
        if line > next { output += transcript.lines[next..<line] }
        next = max(next, line)
    }

    func keep(_ step: Transcript.Step) { copy(upTo: step.lines.upperBound) }

    func old(_ pattern: ResponsePattern, _ step: Transcript.Step) {
        patterns.append((pattern, Array(transcript.lines[step.lines])))
        next = max(next, step.lines.upperBound)
    }

    /// A line for the other revision stays where it is among the others.
    func other(_ step: Transcript.Step) {
        others.append((patterns.count, Array(transcript.lines[step.lines])))
        next = max(next, step.lines.upperBound)
    }

    func add(_ session: String, _ line: ResponseLine) { actual.append((session, line)) }

    /// Writes what came since the last command.
    func flush() {
        for (index, entry) in actual.enumerated() {
            while let other = others.first, other.place <= index {
                output += others.removeFirst().text
            }
            if index < patterns.count, patterns[index].pattern.matches(entry.line, &bindings) {
                output += patterns[index].text
            } else {
                output += format(entry.session, entry.line)
            }
        }
        for other in others { output += other.text }
        others = []
        actual = []
        patterns = []
    }

    func disk(_ directory: String, _ names: [String], _ step: Transcript.Step) {
        if case .disk(_, let old) = step.kind, old.count == names.count,
            zip(old, names).allSatisfy({ LinePattern($0).matches(Array($1.utf8), &bindings) })
        {
            return keep(step)
        }
        copy(upTo: step.lines.lowerBound)
        next = step.lines.upperBound
        output.append((["disk", directory] + names).joined(separator: " "))
    }

    func finish() -> String {
        flush()
        copy(upTo: transcript.lines.count)
        return output.joined(separator: "\n") + "\n"
    }

    private func format(_ session: String, _ line: ResponseLine) -> [String] {
        var lines: [String] = []
        for (index, text) in line.texts.enumerated() {
            var shown = Transcript.escaped(text)
            let isLast = index == line.literals.count
            if !isLast, let open = shown.lastIndex(of: "{") { shown = shown[..<open] + "{}" }
            if index == 0 { shown = generalised(shown) }
            lines.append(session + (index == 0 ? "< " : "<... ") + shown)
            if !isLast { lines += block(line.literals[index]) }
        }
        return lines
    }

    private func block(_ literal: [UInt8]) -> [String] {
        if literal.isEmpty { return ["|\\"] }
        var lines: [String] = []
        var rest = literal[...]
        while !rest.isEmpty {
            var end = rest.startIndex
            while end < rest.endIndex, !rest[end...].starts(with: [13, 10]) { end += 1 }
            let text = Transcript.escaped(rest[..<end])
            let mark = text.isEmpty ? "|" : "| "
            lines.append(mark + text + (end == rest.endIndex ? "\\" : ""))
            rest = end == rest.endIndex ? [] : rest[(end + 2)...]
        }
        return lines
    }

    /// Text that is free, and numbers that differ between runs.
    private func generalised(_ text: String) -> String {
        var text = text
        for pattern in ["UIDVALIDITY ([0-9]{6,})", "APPENDUID ([0-9]+)", "COPYUID ([0-9]+)"] {
            guard
                let match = text.range(of: pattern, options: .regularExpression),
                let number = text[match].split(separator: " ").last.map(String.init)
            else { continue }
            if validities[number] == nil {
                validities[number] = "<v\(validities.count + 1)>"
            }
            text = text.replacingOccurrences(of: number, with: validities[number] ?? number)
        }
        for pattern in [
            "^\\+ ", "^(\\S+) (OK|NO|BAD|BYE) (\\[.*\\] )?",
        ] {
            if let match = text.range(of: pattern, options: .regularExpression) {
                return text[match] + "*"
            }
        }
        return text
    }
}
