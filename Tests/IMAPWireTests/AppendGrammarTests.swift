import Testing

@testable import IMAPWire

@Suite("APPEND and REPLACE")
struct AppendGrammarTests {
    /// A whole conversation: `\n` is CRLF, literals inline. Their octets come back with the events.
    enum Step: Equatable {
        case event(AppendGrammar.Event)
        case octets([UInt8])
    }

    func run(_ text: String, step: Int = .max) throws -> [Step] {
        var framer = CommandFramer(limits: .afterLogin)
        var grammar = AppendGrammar()
        var steps: [Step] = []
        var pending: [UInt8] = []
        var rest = wire(text)[...]
        while true {
            var streaming: LiteralHeader?
            switch framer.next(pending.span) {
            case .needsMore:
                guard !rest.isEmpty else { return steps }
                pending += rest.prefix(step)
                rest = rest.dropFirst(step)
            case .literal(let header, let count):
                let piece = Array(pending[..<count])
                switch try grammar.parse(piece.span) {
                case .needsLiteral: #expect(framer.bufferLiteral() == nil)
                case .events(let events):
                    steps += events.map(Step.event)
                    guard events.last == .literal(header) else {
                        Issue.record("no literal at the end of \(events)")
                        return steps
                    }
                    framer.streamLiteral()
                    pending.removeFirst(count)
                    streaming = header
                }
            case .command(let count):
                let piece = Array(pending[..<count])
                guard case .events(let events) = try grammar.parse(piece.span) else {
                    Issue.record("literal missing")
                    return steps
                }
                steps += events.map(Step.event)
                pending.removeFirst(count)
            case .refused, .discard:
                Issue.record("refused")
                return steps
            }
            guard let streaming else { continue }
            while pending.count < streaming.count {
                pending += rest.prefix(step)
                rest = rest.dropFirst(step)
            }
            steps.append(.octets(Array(pending[..<streaming.count])))
            pending.removeFirst(streaming.count)
        }
    }

    static func header(_ count: Int, plus: Bool = false, binary: Bool = false) -> Step {
        .event(
            .literal(LiteralHeader(count: count, isSynchronizing: !plus, isBinary: binary))
        )
    }

    static func append(_ mailbox: MailboxName) -> Step {
        .event(.command(Command(tag: bytes("a"), body: .append(mailbox: mailbox))))
    }

    static func begin(
        _ flags: [Flag] = [],
        _ date: InternalDate? = nil,
        _ kind: AppendGrammar.MessageKind = .plain
    ) -> Step {
        .event(.beginMessage(flags: flags, date: date, kind: kind))
    }

    static let end: [Step] = [.event(.endMessage), .event(.end)]

    @Test(
        "accepts, whole and in pieces",
        arguments: [
            (
                "a APPEND x {3}\nabc",
                [append("x"), begin(), header(3), .octets(bytes("abc"))] + end
            ),
            (
                "a append \"Sent\" (\\Seen $label3) {3+}\nabc ",
                [
                    append("Sent"), begin([.seen, .keyword(bytes("$label3"))]),
                    header(3, plus: true), .octets(bytes("abc")),
                ] + end
            ),
            (
                "a APPEND x () \"14-Nov-2023 22:13:20 +0000\" ~{3}\na\0c",
                [
                    append("x"), begin([], InternalDate(unixSeconds: 1_700_000_000)),
                    header(3, binary: true), .octets([0x61, 0, 0x63]),
                ] + end
            ),
            (
                "a APPEND {3}\nf{o (\\Draft) {0+}\n",
                [append("f{o"), begin([.draft]), header(0, plus: true), .octets([])] + end
            ),
            (
                "a APPEND x (\\Seen) UTF8 (~{2+}\nxy)",
                [
                    append("x"), begin([.seen], nil, .utf8), header(2, plus: true, binary: true),
                    .octets(bytes("xy")),
                ] + end
            ),
            (
                "a APPEND x {1}\nm (\\Seen) {2+}\nno {1}\np",
                [
                    append("x"), begin(), header(1), .octets(bytes("m")), .event(.endMessage),
                    begin([.seen]), header(2, plus: true), .octets(bytes("no")),
                    .event(.endMessage), begin(), header(1), .octets(bytes("p")),
                ] + end
            ),
            (
                "a APPEND x CATENATE (URL \"/a;UID=1\" TEXT {2}\nab URL {2+}\nyz TEXT {1+}\nc)",
                [
                    append("x"), begin([], nil, .catenate), .event(.url(bytes("/a;UID=1"))),
                    header(2), .octets(bytes("ab")), .event(.url(bytes("yz"))),
                    header(1, plus: true), .octets(bytes("c")),
                ] + end
            ),
            (
                "a APPEND x CATENATE (URL a URL b) CATENATE (URL c)",
                [
                    append("x"), begin([], nil, .catenate), .event(.url(bytes("a"))),
                    .event(.url(bytes("b"))), .event(.endMessage), begin([], nil, .catenate),
                    .event(.url(bytes("c"))),
                ] + end
            ),
            (
                "a UID REPLACE 7 Drafts (\\Draft) {3}\nabc",
                [
                    .event(
                        .command(
                            Command(
                                tag: bytes("a"),
                                body: .replace(
                                    kind: .uid,
                                    message: .number(7),
                                    mailbox: "Drafts"
                                )
                            )
                        )
                    ),
                    begin([.draft]), header(3), .octets(bytes("abc")),
                ] + end
            ),
            (
                "a replace * Drafts {3}\nabc",
                [
                    .event(
                        .command(
                            Command(
                                tag: bytes("a"),
                                body: .replace(
                                    kind: .sequenceNumber,
                                    message: .largest,
                                    mailbox: "Drafts"
                                )
                            )
                        )
                    ),
                    begin(), header(3), .octets(bytes("abc")),
                ] + end
            ),
        ] as [(String, [Step])]
    )
    func accepts(_ text: String, _ steps: [Step]) throws {
        for step in [1, 2, 5, .max] {
            #expect(try run(text, step: step) == steps)
        }
    }

    @Test(
        "rejects",
        arguments: [
            "a APPEND", "a APPEND x", "a APPEND x abc", "a APPEND x (\\Seen)", "a APPEND x \"abc\"",
            "a APPEND x (\\Seen {1}\nx", "a APPEND x (\\Foo) {1}\nx", "a APPEND x \"bad\" {1}\nx",
            "a APPEND x {1}\nxx", "a APPEND x {1}\nx)", "a APPEND x UTF8 ({1}\nx)",
            "a APPEND x UTF8 ~{1}\nx", "a APPEND x UTF8 (~{1}\nx", "a APPEND x UTF8 (~{1}\nx) y",
            "a APPEND x CATENATE ()", "a APPEND x CATENATE (TEXT x)", "a APPEND x CATENATE (FOO x)",
            "a APPEND x CATENATE (TEXT {1}\nx", "a APPEND x CATENATE (URL a",
            "a APPEND x CATENATE (TEXT ~{1x}\nx)", "a REPLACE 0 x {1}\nx", "a REPLACE 1:2 x {1}\nx",
            "a REPLACE 1 x {1}\nx {1}\ny", "a UID APPEND x {1}\nx", "a APPEND (x {1}\nx",
            "a APPEND x ANNOTATION (/a (b \"c\")) {1}\nx", "a APPEND x foo{1}\nx",
            "a APPEND x{1}\nx", "a APPEND x \"a {1}\nx",
        ]
    )
    func rejects(_ text: String) {
        do {
            var framer = CommandFramer(limits: .afterLogin)
            var grammar = AppendGrammar()
            var pending = wire(text)
            while true {
                switch framer.next(pending.span) {
                case .literal(let header, let count):
                    let piece = Array(pending[..<count])
                    let result = try grammar.parse(piece.span)
                    if result == .needsLiteral {
                        _ = framer.bufferLiteral()
                    } else {
                        framer.streamLiteral()
                        pending.removeFirst(count + header.count)
                    }
                case .command(let count):
                    let piece = Array(pending[..<count])
                    let result = try grammar.parse(piece.span)
                    Issue.record("accepted: \(result)")
                    return
                case .needsMore, .refused, .discard:
                    Issue.record("not framed")
                    return
                }
            }
        } catch let error as SyntaxError {
            #expect(error.tag == bytes("a"))
        } catch {
            Issue.record("another error")
        }
    }

    @Test("knows its commands")
    func handles() {
        for (text, expected) in [
            ("a APPEND x", true), ("a uid replace 1", true), ("a REPLACE 1", true),
            ("a UID APPEND x", false), ("a APPENDX x", false), ("a NOOP", false),
            ("APPEND x", false),
            ("", false), ("+ APPEND x", false),
        ] {
            let line = wire(text)
            let handles = AppendGrammar.handles(line.span)
            #expect(handles == expected)
        }
    }
}
