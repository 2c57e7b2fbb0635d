import Bytes
import Testing

@testable import IMAPWire

func written(_ write: (inout ByteBuffer) -> Void) -> String {
    var buffer = ByteBuffer()
    write(&buffer)
    return String(decoding: buffer.bytes, as: UTF8.self).replacing("\r\n", with: "\n")
}

@Suite("status responses")
struct StatusResponseTests {
    @Test("tagged, untagged, continuation")
    func status() {
        #expect(
            written { $0.append(tagged: bytes("a1"), .ok, "NOOP completed") }
                == "a1 OK NOOP completed\n"
        )
        #expect(
            written { $0.append(tagged: bytes("a1"), .no, .tryCreate, "No such mailbox") }
                == "a1 NO [TRYCREATE] No such mailbox\n"
        )
        #expect(written { $0.append(untagged: .bye, "Bye") } == "* BYE Bye\n")
        #expect(written { $0.append(continuation: "idling") } == "+ idling\n")
        #expect(written { $0.append(challenge: []) } == "+ \n")
        #expect(written { $0.append(challenge: bytes("User Name\0")) } == "+ VXNlciBOYW1lAA==\n")
        #expect(written { $0.append(untagged: 23, "EXISTS") } == "* 23 EXISTS\n")
        #expect(
            written { $0.append(SyntaxError(at: 3, expected: "a space", tag: bytes("x"))) }
                == "x BAD Expected a space\n"
        )
        #expect(
            written { $0.append(SyntaxError(at: 3, expected: "a tag")) } == "* BAD Expected a tag\n"
        )
    }

    @Test(
        "codes",
        arguments: [
            (.badCharset([]), "BADCHARSET"),
            (.badCharset([bytes("US-ASCII"), bytes("UTF-8")]), "BADCHARSET (US-ASCII UTF-8)"),
            (.capability(CapabilityList([.imap4rev1, .idle])), "CAPABILITY IMAP4rev1 IDLE"),
            (
                .permanentFlags([.seen, .keyword(bytes("Junk"))], allowsNew: true),
                "PERMANENTFLAGS (\\Seen Junk \\*)"
            ),
            (.permanentFlags([], allowsNew: true), "PERMANENTFLAGS (\\*)"),
            (.permanentFlags([], allowsNew: false), "PERMANENTFLAGS ()"),
            (.readOnly, "READ-ONLY"), (.uidNext(UID(4_392)), "UIDNEXT 4392"),
            (.uidValidity(UIDValidity(3_857_529_045)), "UIDVALIDITY 3857529045"),
            (.unseen(SequenceNumber(12)), "UNSEEN 12"), (.unknownCTE, "UNKNOWN-CTE"),
            (.appendUID(UIDValidity(38_505), [3_955...3_955]), "APPENDUID 38505 3955"),
            (.appendUID(UIDValidity(1), [2...4, 9...9]), "APPENDUID 1 2:4,9"),
            (
                .copyUID(UIDValidity(1), from: [304...304, 319...320], to: [3_956...3_958]),
                "COPYUID 1 304,319:320 3956:3958"
            ),
            (.noPermission, "NOPERM"),
            (.highestModSeq(ModSeq(715_194_045_007)), "HIGHESTMODSEQ 715194045007"),
            (.modified([7...7, 9...9]), "MODIFIED 7,9"), (.useAttribute, "USEATTR"),
            (.badURL(bytes("/a]\r\nb")), "BADURL /a???b"),
            (.metadataLongEntries(2_199), "METADATA LONGENTRIES 2199"),
            (.metadataMaxSize(1_024), "METADATA MAXSIZE 1024"),
            (.metadataTooMany, "METADATA TOOMANY"),
            (
                .inProgress(tag: bytes("A\"1"), done: 454, goal: 1_000),
                "INPROGRESS (\"A\\\"1\" 454 1000)"
            ),
            (.inProgress(tag: bytes("A"), done: 5, goal: 0), "INPROGRESS (\"A\" 5 NIL)"),
            (.inProgress(tag: bytes("A"), done: nil, goal: 9), "INPROGRESS (\"A\" NIL NIL)"),
            (.inProgress(tag: bytes("A"), done: 9, goal: 9), "INPROGRESS (\"A\" 9 NIL)"),
            (.inProgress(tag: bytes("A]"), done: 1, goal: 9), "INPROGRESS (NIL 1 9)"),
            (.mailboxID(bytes("F2212ea87")), "MAILBOXID (F2212ea87)"),
            (.noUpdate(tag: bytes("B02")), "NOUPDATE \"B02\""),
        ] as [(ResponseCode, String)]
    )
    func codes(_ code: ResponseCode, _ text: String) {
        #expect(written { code.write(to: &$0) } == "[" + text + "]")
    }

    @Test("capabilities before and after login")
    func capabilities() {
        func line(_ list: CapabilityList) -> String { written { $0.append(capabilities: list) } }
        #expect(
            line(.beforeLogin(offersStartTLS: true, allowsLogin: false))
                == "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE STARTTLS LOGINDISABLED\n"
        )
        #expect(
            line(.beforeLogin(offersStartTLS: false, allowsLogin: true))
                == "* CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE AUTH=PLAIN AUTH=LOGIN\n"
        )
        let after = CapabilityList.afterLogin(appendLimit: 1_000)
        #expect(line(after).hasSuffix(" APPENDLIMIT=1000\n"))
        #expect(!after.contains(.startTLS))
        #expect(!after.contains(.authPlain))
        #expect(written { $0.append(enabled: [.condStore]) } == "* ENABLED CONDSTORE\n")
        #expect(written { $0.append(enabled: []) } == "* ENABLED\n")
    }
}

@Suite("strings on the wire")
struct StringWriterTests {
    @Test(
        "string",
        arguments: [
            ("", "\"\"", "\"\""), ("a b", "\"a b\"", "\"a b\""),
            ("a\"b\\", "\"a\\\"b\\\\\"", "\"a\\\"b\\\\\""),
            ("a\r\nb", "{4}\na\nb", "{4}\na\nb"), ("a\rb", "{3}\na\rb", "{3}\na\rb"),
            ("ä", "{2}\nä", "\"ä\""), ("a\tb", "\"a\tb\"", "\"a\tb\""),
        ]
    )
    func string(_ text: String, _ ascii: String, _ utf8: String) {
        #expect(written { $0.append(string: bytes(text), .ascii) } == ascii)
        #expect(written { $0.append(string: bytes(text), .utf8) } == utf8)
    }

    @Test("NUL becomes 0x80, and the length stays")
    func nul() {
        var buffer = ByteBuffer()
        buffer.append(string: [0, 0x61, 0, 0], .utf8)
        #expect(buffer.bytes == bytes("{4}\r\n") + [0x80, 0x61, 0x80, 0x80])
    }

    @Test("broken UTF-8 is never quoted")
    func broken() {
        var buffer = ByteBuffer()
        buffer.append(string: [0x61, 0xFF], .utf8)
        #expect(buffer.bytes == bytes("{2}\r\n") + [0x61, 0xFF])
    }

    @Test("quoted up to the limit, a literal above")
    func limit() {
        let fits = Array(repeating: UInt8(ascii: "x"), count: ByteBuffer.quotedBytesMax)
        #expect(written { $0.append(string: fits, .ascii) }.hasPrefix("\""))
        #expect(written { $0.append(string: fits + fits[..<1], .ascii) }.hasPrefix("{4097}\n"))
    }

    @Test(
        "astring",
        arguments: [
            ("abc", "abc"), ("a]b", "a]b"), ("", "\"\""), ("nil", "\"nil\""), ("a b", "\"a b\""),
            ("a*", "\"a*\""), ("a{", "\"a{\""),
        ]
    )
    func astring(_ text: String, _ expected: String) {
        #expect(written { $0.append(astring: bytes(text), .ascii) } == expected)
    }

    @Test(
        "mailbox names",
        arguments: [
            ("INBOX", "\"INBOX\"", "\"INBOX\""), ("Entwürfe", "\"Entw&APw-rfe\"", "\"Entwürfe\""),
            ("R&D", "\"R&-D\"", "\"R&D\""), ("a\"b", "\"a\\\"b\"", "\"a\\\"b\""),
        ]
    )
    func mailbox(_ name: String, _ ascii: String, _ utf8: String) {
        #expect(written { $0.append(mailbox: bytes(name), .ascii) } == ascii)
        #expect(written { $0.append(mailbox: bytes(name), .utf8) } == utf8)
    }

    @Test("what is written is read back the same")
    func roundTrip() throws {
        var random = SeededRandom(seed: 11)
        let alphabet: [UInt8] = [0x61, 0x22, 0x5C, 0x0D, 0x0A, 0xC3, 0xA4, 0x20, 0x7B, 0x31, 0x7D]
        for _ in 0..<5_000 {
            let text = (0..<Int.random(in: 0...6, using: &random)).map { _ in
                alphabet[Int.random(in: alphabet.indices, using: &random)]
            }
            for mode in [TextMode.ascii, .utf8] {
                var buffer = ByteBuffer()
                buffer.append("a DELETE ")
                buffer.append(astring: text, mode)
                buffer.append("\r\n")
                #expect(try parse(bytes: buffer.bytes).body == .delete(MailboxName(text)))
            }
        }
    }
}

@Suite("sets on the wire")
struct SetWriterTests {
    @Test(
        "numbers",
        arguments: [
            ([1], "1"), ([1, 2], "1:2"), ([1, 2, 3, 5, 7, 8], "1:3,5,7:8"),
            ([4_294_967_294, 4_294_967_295], "4294967294:4294967295"), ([3, 1], "3,1"),
        ] as [([UInt32], String)]
    )
    func numbers(_ numbers: [UInt32], _ text: String) {
        #expect(written { $0.append(set: RangeBuilder(numbers).ranges) } == text)
    }

    @Test("an empty set has no form: what would hold it is left out")
    func empty() {
        #expect(written { $0.append(set: [ClosedRange<UInt32>]()) } == "")
        #expect(written { $0.append(vanished: [], isEarlier: true) } == "")
        let validity = UIDValidity(7)
        for code in [
            ResponseCode.appendUID(validity, []), .copyUID(validity, from: [], to: []),
            .copyUID(validity, from: [1...1], to: []), .modified([]),
        ] {
            #expect(written { $0.append(untagged: .ok, code, "Done") } == "* OK Done\n")
        }
        var response = ESearchResponse(tag: nil, isUID: true)
        response.all = []
        response.addTo = [.init(position: 0, set: [])]
        #expect(written { $0.append(response, .ascii) } == "* ESEARCH UID\n")
    }

    @Test("ranges keep their order for COPYUID")
    func builder() {
        let builder = RangeBuilder([1, 2, 3, 9, 5, 6, .max, 0])
        #expect(builder.ranges == [1...3, 9...9, 5...6, .max ... .max, 0...0])
    }
}

@Suite("untagged data")
struct DataWriterTests {
    @Test("flags")
    func flags() {
        #expect(
            written { $0.append(flagsResponse: [.answered, .keyword(bytes("$Junk"))]) }
                == "* FLAGS (\\Answered $Junk)\n"
        )
        #expect(written { $0.append(flagList: [], with: "\\Recent") } == "(\\Recent)")
    }

    @Test("LIST")
    func list() {
        var response = ListResponse(
            attributes: [.noSelect, .use(.sent)],
            separator: 0x2E,
            name: bytes("Gesendet ü")
        )
        #expect(
            written { $0.append("LIST", response, .ascii) }
                == "* LIST (\\Noselect \\Sent) \".\" \"Gesendet &APw-\"\n"
        )
        response = ListResponse(attributes: [], separator: nil, name: [])
        response.childInfo = [.subscribed, .specialUse]
        response.oldName = bytes("a")
        #expect(
            written { $0.append("LIST", response, .utf8) }
                == "* LIST () NIL \"\" (\"CHILDINFO\" (\"SUBSCRIBED\" \"SPECIAL-USE\") \"OLDNAME\" (\"a\"))\n"
        )
        response = ListResponse(attributes: [], separator: 0x5C, name: bytes("b"))
        response.childInfo = .specialUse
        #expect(
            written { $0.append("LSUB", response, .utf8) }
                == "* LSUB () \"\\\\\" \"b\" (\"CHILDINFO\" (\"SPECIAL-USE\"))\n"
        )
    }

    @Test("STATUS, NAMESPACE, ID")
    func status() {
        #expect(
            written {
                $0.append(
                    status: bytes("a b"),
                    [
                        (.messages, .number(231)), (.appendLimit, .nilValue),
                        (.mailboxID, .objectID(bytes("F1"))),
                    ],
                    .ascii
                )
            } == "* STATUS \"a b\" (MESSAGES 231 APPENDLIMIT NIL MAILBOXID (F1))\n"
        )
        #expect(
            written { $0.append(namespacePrefix: bytes("INBOX."), separator: 0x2E, .ascii) }
                == "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\n"
        )
        #expect(
            written {
                $0.append(id: [IDField(name: bytes("name"), value: bytes("Martlet"))])
            } == "* ID (\"name\" \"Martlet\")\n"
        )
        #expect(
            written {
                $0.append(id: [
                    IDField(name: bytes("a"), value: nil),
                    IDField(name: bytes("b"), value: bytes("c")),
                ])
            } == "* ID (\"a\" NIL \"b\" \"c\")\n"
        )
        #expect(written { $0.append(id: []) } == "* ID NIL\n")
    }

    @Test("SEARCH and SORT")
    func search() {
        #expect(written { $0.append("SEARCH", numbers: [2, 3, 6]) } == "* SEARCH 2 3 6\n")
        #expect(written { $0.append("SEARCH", numbers: []) } == "* SEARCH\n")
        #expect(
            written { $0.append("SORT", numbers: [2, 5], modSeq: ModSeq(917)) }
                == "* SORT 2 5 (MODSEQ 917)\n"
        )
        #expect(
            written { $0.append(vanished: [300...310, 405...405], isEarlier: true) }
                == "* VANISHED (EARLIER) 300:310,405\n"
        )
        #expect(
            written { $0.append(vanished: [5...5], isEarlier: false) } == "* VANISHED 5\n"
        )
    }

    @Test("ESEARCH")
    func eSearch() {
        var response = ESearchResponse(tag: bytes("A282"), isUID: false)
        #expect(written { $0.append(response, .ascii) } == "* ESEARCH (TAG \"A282\")\n")
        response.all = []
        response.count = 0
        #expect(written { $0.append(response, .ascii) } == "* ESEARCH (TAG \"A282\") COUNT 0\n")
        response = ESearchResponse(tag: bytes("A"), isUID: true)
        response.min = 2
        response.max = 47
        response.count = 25
        response.all = [2...2, 10...11]
        response.modSeq = ModSeq(917)
        response.mailbox = (bytes("ü"), UIDValidity(1))
        #expect(
            written { $0.append(response, .utf8) }
                == "* ESEARCH (TAG \"A\" MAILBOX \"ü\" UIDVALIDITY 1) UID MIN 2 MAX 47 COUNT 25 ALL 2,10:11 MODSEQ 917\n"
        )
        response = ESearchResponse(tag: nil, isUID: true)
        response.partial = .init(
            range: PartialRange(first: 1, last: 500, isFromEnd: true),
            result: []
        )
        response.addTo = [
            .init(position: 1, set: [2_733...2_733]), .init(position: 0, set: [9...10]),
        ]
        response.removeFrom = [.init(position: 0, set: [32_768...32_768])]
        response.relevancy = [4, 99]
        #expect(
            written { $0.append(response, .ascii) }
                == "* ESEARCH UID PARTIAL (-1:-500 NIL) ADDTO (1 2733 0 9:10) REMOVEFROM (0 32768) RELEVANCY (4 99)\n"
        )
    }

    @Test("FETCH names are those asked for, without PEEK")
    func fetch() throws {
        for (item, expected) in [
            ("BODY.PEEK[]<5.10>", "BODY[]<5>"), ("BODY[1.2.MIME]", "BODY[1.2.MIME]"),
            ("BODY.PEEK[TEXT]", "BODY[TEXT]"), ("BODY[3]", "BODY[3]"),
            ("BODY[HEADER]", "BODY[HEADER]"),
            (
                "BODY[HEADER.FIELDS (From \"X Y\" nil)]",
                "BODY[HEADER.FIELDS (From \"X Y\" \"nil\")]"
            ),
            ("body[2.header.fields.not (a b)]<0.1>", "BODY[2.HEADER.FIELDS.NOT (a b)]<0>"),
        ] {
            guard case .fetch(let command) = try parse("FETCH 1 " + item),
                case .bodySection(let section, let partial, _) = command.items.first
            else {
                Issue.record("not a section")
                return
            }
            #expect(
                written { $0.append(section: section, offset: partial?.offset) } == expected
            )
        }
        #expect(
            written { $0.append("BINARY", binaryPart: [1, 2], offset: 7) } == "BINARY[1.2]<7>"
        )
        #expect(written { $0.append("BINARY.SIZE", binaryPart: []) } == "BINARY.SIZE[]")
        #expect(written { $0.append(modSeq: ModSeq(65_402)) } == "MODSEQ (65402)")
        #expect(written { $0.append("EMAILID", objectID: bytes("M1")) } == "EMAILID (M1)")
        #expect(written { $0.appendFetch(3) } == "* 3 FETCH (")
        #expect(written { $0.appendFetch(3, isUIDOnly: true) } == "* 3 UIDFETCH (")
    }

    @Test("ACL, QUOTA, METADATA, LANGUAGE")
    func administration() {
        #expect(
            written {
                $0.append(
                    acl: bytes("INBOX"),
                    [(bytes("ann"), bytes("lr")), (bytes("a b"), [])],
                    .ascii
                )
            } == "* ACL \"INBOX\" ann lr \"a b\" \"\"\n"
        )
        #expect(
            written {
                $0.append(
                    listRights: bytes("x"),
                    identifier: bytes("ann"),
                    required: bytes("la"),
                    optional: [bytes("r"), bytes("swicd")],
                    .ascii
                )
            } == "* LISTRIGHTS \"x\" ann la r swicd\n"
        )
        #expect(
            written { $0.append(myRights: bytes("x"), bytes("rwi"), .ascii) }
                == "* MYRIGHTS \"x\" rwi\n"
        )
        #expect(
            written {
                $0.append(
                    quota: [],
                    [
                        (QuotaLimit(resource: bytes("STORAGE"), limit: 512), 10),
                        (QuotaLimit(resource: bytes("MESSAGE"), limit: 9), 1),
                    ],
                    .ascii
                )
            } == "* QUOTA \"\" (STORAGE 10 512 MESSAGE 1 9)\n"
        )
        #expect(
            written { $0.append(quotaRoot: bytes("INBOX"), roots: [[]], .ascii) }
                == "* QUOTAROOT \"INBOX\" \"\"\n"
        )
        #expect(
            written {
                $0.append(
                    metadata: [],
                    [
                        .init(name: bytes("/shared/comment"), value: bytes("x")),
                        .init(name: bytes("/b"), value: nil), .init(name: bytes("/c"), value: [0]),
                    ],
                    .ascii
                )
            } == "* METADATA \"\" (/shared/comment \"x\" /b NIL /c ~{1}\n\0)\n"
        )
        #expect(
            written {
                $0.append(metadata: bytes("x"), changed: [bytes("/a"), bytes("/b")], .ascii)
            }
                == "* METADATA \"x\" /a /b\n"
        )
        #expect(
            written { $0.append(languages: [bytes("de"), bytes("i-default")]) }
                == "* LANGUAGE (\"de\" \"i-default\")\n"
        )
    }
}
