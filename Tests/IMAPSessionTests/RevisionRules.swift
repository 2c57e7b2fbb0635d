import Bytes
import Foundation
import IMAPWire

//  What a transcript's expectations are in rev2
//
//  A transcript states what a rev1 session is told. In rev2 it is told the same but for what RFC 9051
//  changed; these rules are those changes, so that each transcript shows them. They hold for lines
//  that are not marked for a revision, in transcripts that are run in both.
//
//  - RECENT, `\Recent` and UNSEEN are left out                               Appendix E 11, 12
//  - SEARCH is ESEARCH with ALL                                              §6.4.4
//  - SELECT and EXAMINE are answered with one LIST of the mailbox            §6.3.2
//  - FETCH that nobody asked for names the UID; one that was asked for may   §7.5.2
//  - a parent that is no mailbox is \NonExistent, not only \Noselect         §6.3.9.5

/// One session's expectations as they are in rev2.
struct RevisionRules {
    /// The command whose answers are expected.
    struct Context {
        var tag: String
        /// In capitals, without the tag.
        var command: String

        var isSelect: Bool { command.hasPrefix("SELECT ") || command.hasPrefix("EXAMINE ") }
        /// Its FETCH responses may be what was asked for.
        var fetches: Bool {
            let words = command.split(separator: " ").prefix(2)
            return words.contains("FETCH") || words.contains("STORE")
        }
        var isUID: Bool { command.hasPrefix("UID ") }
    }

    /// LIST lines since the command that selects.
    private var listCount = 0

    /// Nil where rev2 has no such response.
    static func expected(_ pattern: ResponsePattern, _ context: Context) -> ResponsePattern? {
        let first = pattern.texts[0]
        guard first.hasPrefix("* ") else { return pattern }
        if first.hasSuffix(" RECENT") || first.hasPrefix("* OK [UNSEEN ") { return nil }
        var pattern = pattern.withoutRecent
        let text = String(decoding: pattern.texts[0], as: UTF8.self)
        if text == "* SEARCH" || text.hasPrefix("* SEARCH ") {
            pattern.texts[0] = Array(esearch(text, context).utf8)
        } else if text.hasPrefix("* LIST (\\Noselect"), !text.hasSuffix(" \"\"") {
            pattern.texts[0] = Array(
                ("* LIST (\\NonExistent" + text.dropFirst("* LIST (\\Noselect".count)).utf8
            )
        }
        return pattern
    }

    /// `* SEARCH 2 3 5 (MODSEQ 9)` is `* ESEARCH (TAG "a1") ALL 2:3,5 MODSEQ 9`.
    private static func esearch(_ text: String, _ context: Context) -> String {
        var answer = "* ESEARCH (TAG \"\(context.tag)\")"
        if context.isUID { answer += " UID" }
        var rest = text.dropFirst("* SEARCH".count)
        if rest == " *" { return answer + "*" }
        var modSeq = ""
        if let open = rest.range(of: " (MODSEQ ") {
            modSeq = " MODSEQ " + rest[open.upperBound...].dropLast()
            rest = rest[..<open.lowerBound]
        }
        let numbers = rest.split(separator: " ").compactMap { UInt32($0) }
        if !numbers.isEmpty {
            var set = ByteBuffer()
            set.append(set: RangeBuilder(numbers).ranges)
            answer += " ALL " + String(decoding: set.bytes, as: UTF8.self)
        }
        return answer + modSeq
    }

    /// Whether a line is one that the transcript does not state: SELECT's LIST.
    mutating func takes(
        _ line: ResponseLine,
        _ pattern: ResponsePattern,
        _ context: Context
    ) -> Bool {
        guard context.isSelect, line.texts[0].hasPrefix("* LIST "),
            !pattern.texts[0].hasPrefix("* LIST ")
        else { return false }
        listCount += 1
        return true
    }

    /// What is wrong with a line, apart from what the transcript states of it.
    mutating func complaint(_ line: ResponseLine, _ context: Context) -> String? {
        let text = line.texts[0]
        if context.isSelect, text.hasPrefix("* LIST ") { listCount += 1 }
        if context.isSelect, text.hasPrefix(context.tag + " ") {
            defer { listCount = 0 }
            if text.hasPrefix(context.tag + " OK"), listCount != 1 {
                return "\(listCount) LIST lines for the mailbox"
            }
        }
        if !context.fetches, Self.isFetch(text), !Self.hasUID(text) { return "no UID in it" }
        if text.hasPrefix("* "), text.hasSuffix(" RECENT") { return "RECENT" }
        return nil
    }

    /// The line without a UID that stands where the server puts those that nobody asked for.
    static func withoutUID(_ line: ResponseLine) -> ResponseLine? {
        guard isFetch(line.texts[0]), hasUID(line.texts[0]) else { return nil }
        let text = String(decoding: line.texts[0], as: UTF8.self)
        guard
            let range = text.range(of: "\\(UID [0-9]+ ", options: .regularExpression),
            text.utf8.elementsEqual(line.texts[0])
        else { return nil }
        var line = line
        line.texts[0] = Array(text.replacingCharacters(in: range, with: "(").utf8)
        return line
    }

    private static func isFetch(_ text: [UInt8]) -> Bool {
        let words = text.prefix(40).split(separator: 32)
        return words.count > 2 && words[0] == [42] && words[2].elementsEqual("FETCH".utf8)
    }

    private static func hasUID(_ text: [UInt8]) -> Bool {
        let words = text.split(separator: 32)
        return words.contains { $0.elementsEqual("(UID".utf8) || $0.elementsEqual("UID".utf8) }
    }
}

extension Transcript {
    /// The command whose answer a step is a part of: that whose tagged answer comes next.
    func context(_ index: Int, _ session: String, _ revision: Revision) -> RevisionRules.Context? {
        for step in steps[index...] where step.revision == nil || step.revision == revision {
            guard case .expect(session, let pattern) = step.kind else { continue }
            let text = pattern.texts[0]
            guard !text.hasPrefix("* "), !text.hasPrefix("+") else { continue }
            let tag = String(decoding: text.prefix { $0 != 32 }, as: UTF8.self)
            for earlier in steps where earlier.revision == nil || earlier.revision == revision {
                guard case .send(session, let texts, _) = earlier.kind,
                    texts[0].hasPrefix(tag + " ")
                else { continue }
                let line = String(decoding: texts[0], as: UTF8.self)
                return RevisionRules.Context(
                    tag: tag,
                    command: line.dropFirst(tag.count + 1).uppercased()
                )
            }
            return nil
        }
        // An open IDLE, or nothing.
        return RevisionRules.Context(tag: "", command: "")
    }
}
