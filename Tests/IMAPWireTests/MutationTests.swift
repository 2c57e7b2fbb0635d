import Bytes
import Testing

@testable import IMAPWire

/// Broken input must end in a command, a refusal or an error: never in a trap, and never in a
/// result that depends on how the bytes were cut.
@Suite("random input")
struct MutationTests {
    static let seeds = [
        "a LOGIN {3}\nann {4+}\npass", "a ID (\"name\" \"x\" \"version\" NIL)",
        "a AUTHENTICATE PLAIN AGEAYg==", "a SELECT INBOX (QRESYNC (1 2 1:30 (5,9 10,20)))",
        "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"a\" b%) RETURN (STATUS (MESSAGES) CHILDREN)",
        "a CREATE foo (USE (\\Drafts))", "a STATUS x (UNSEEN MESSAGES)",
        "a UID FETCH 1:*,5 (UID BODY.PEEK[1.2.HEADER.FIELDS (From To)]<0.65536> PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED)",
        "a STORE 1:* (UNCHANGEDSINCE 12) -FLAGS.SILENT (\\Seen $Junk)",
        "a UID SEARCH RETURN (MIN PARTIAL 1:5) CHARSET UTF-8 OR (1:5 NOT SEEN) OR HEADER X {1}\ny SINCE 1-Jan-2020",
        "a SORT (REVERSE DATE) UTF-8 MODSEQ \"/flags/a\" all 5", "a THREAD REFS UTF-8 ALL",
        "a ESEARCH IN (mailboxes (a b) subtree c) RETURN (ALL) FUZZY BODY x",
        "a NOTIFY SET STATUS (selected (MessageNew (UID) MessageExpunge)) (inboxes NONE)",
        "a APPEND x (\\Seen) \"14-Nov-2023 22:13:20 +0000\" {3+}\nabc ~{2+}\nxy",
        "a APPEND {1+}\nx CATENATE (URL \"/a\" TEXT {2+}\nab URL {1+}\nc)",
        "a APPEND x UTF8 (~{2+}\nxy)", "a UID REPLACE 7 Drafts {3+}\nabc",
        "a SETMETADATA INBOX (/a {2}\nyz /b ~{1}\nx /c NIL)", "a SETACL a bob +lr",
        "a GETMETADATA (DEPTH 1 MAXSIZE 5) \"\" (/a /b)", "a SETQUOTA \"\" (STORAGE 5)",
        "a MOVE 1,2:$ x", "a LANGUAGE de", "a CANCELUPDATE \"a\"",
    ].map { wire($0) }

    /// What the bytes come to, fed in pieces of `step`.
    func outcomes(_ input: [UInt8], step: Int) -> [String] {
        var framer = CommandFramer(
            limits: FramingLimits(
                lineBytesMax: 400,
                literalBytesMax: 40,
                literalCountMax: 3,
                commandBytesMax: 450
            )
        )
        var append: AppendGrammar?
        var outcomes: [String] = []
        var pending: [UInt8] = []
        var rest = input[...]
        var streaming = 0
        func command(_ piece: [UInt8]) -> String {
            do {
                return "\(try Grammar.command(piece.span))"
            } catch {
                return "\(error)"
            }
        }
        while true {
            let count = min(streaming, pending.count)
            pending.removeFirst(count)
            streaming -= count
            let event = streaming > 0 ? .needsMore : framer.next(pending.span)
            switch event {
            case .needsMore:
                guard !rest.isEmpty else { return outcomes }
                pending += rest.prefix(step)
                rest = rest.dropFirst(step)
            case .command(let count):
                let piece = Array(pending[..<count])
                pending.removeFirst(count)
                if append != nil || AppendGrammar.handles(piece.span) {
                    var grammar = append ?? AppendGrammar()
                    do {
                        outcomes.append("\(try grammar.parse(piece.span))")
                    } catch {
                        outcomes.append("\(error)")
                    }
                    append = nil
                } else {
                    outcomes.append(command(piece))
                }
            case .literal(let header, let count):
                let piece = Array(pending[..<count])
                if append != nil || AppendGrammar.handles(piece.span) {
                    var grammar = append ?? AppendGrammar()
                    do {
                        let result = try grammar.parse(piece.span)
                        if case .events(let events) = result {
                            outcomes.append("\(events)")
                            #expect(events.last == .literal(header))
                            append = grammar
                            framer.streamLiteral()
                            pending.removeFirst(count)
                            streaming = min(header.count, 1_000)
                        } else if let refusal = framer.bufferLiteral() {
                            outcomes.append("\(refusal)")
                            pending.removeFirst(count)
                            append = nil
                        }
                    } catch {
                        outcomes.append("\(error)")
                        framer.refuseLiteral()
                        pending.removeFirst(count)
                        append = nil
                    }
                } else if let refusal = framer.bufferLiteral() {
                    outcomes.append("\(refusal)")
                    pending.removeFirst(count)
                }
            case .refused(let refusal, let count):
                outcomes.append("\(refusal)")
                pending.removeFirst(count)
                append = nil
            case .discard(let count):
                pending.removeFirst(count)
            }
        }
    }

    @Test("mutated commands", arguments: 1...8)
    func mutated(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let special = Array("(){}[]<>\"\\*%$+-.,:;/0123456789 \r\n\0~\u{7F}é".utf8)
        for _ in 0..<400 {
            var input: [UInt8] = []
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                input += Self.seeds[Int.random(in: Self.seeds.indices, using: &random)]
            }
            for _ in 0..<Int.random(in: 0...4, using: &random) {
                let place = Int.random(in: input.indices, using: &random)
                switch Int.random(in: 0...4, using: &random) {
                case 0: input[place] = UInt8.random(in: 0...255, using: &random)
                case 1: input.insert(special.randomElement(using: &random) ?? 0, at: place)
                case 2 where input.count > 1: input.remove(at: place)
                case 3:
                    let end = min(input.count, place + Int.random(in: 0...30, using: &random))
                    input.insert(contentsOf: input[place..<end], at: place)
                default: input[place] = special.randomElement(using: &random) ?? 0
                }
            }
            let whole = outcomes(input, step: .max)
            let byByte = outcomes(input, step: 1)
            if whole != byByte {
                Issue.record("seed \(seed): \(input.text) gives \(whole) and \(byByte)")
                return
            }
        }
    }

    @Test("every prefix and every single byte changed, of every command")
    func prefixes() {
        for seed in Self.seeds {
            for end in seed.indices {
                _ = outcomes(Array(seed[..<end]), step: .max)
                _ = outcomes(Array(seed[..<end]) + [0x0D, 0x0A], step: .max)
                for byte: UInt8 in [0, 0x0D, 0x0A, 0x20, 0x22, 0x28, 0x29, 0x7B, 0x7D, 0xFF] {
                    var changed = seed
                    changed[end] = byte
                    _ = outcomes(changed, step: .max)
                }
            }
        }
    }

    @Test("bytes of any kind to the grammar alone")
    func grammarAlone() {
        var random = SeededRandom(seed: 3)
        let words = Self.seeds.flatMap { $0.split(separator: 0x20).map(Array.init) }
        for _ in 0..<5_000 {
            var input = bytes("a ")
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                input += words.randomElement(using: &random) ?? []
                if Bool.random(using: &random) { input.append(0x20) }
            }
            var grammar = AppendGrammar()
            _ = try? grammar.parse(input.span)
            _ = try? grammar.parse(input.span)
            _ = try? Grammar.command(input.span)
            _ = Grammar.tag(of: input.span)
        }
    }
}
