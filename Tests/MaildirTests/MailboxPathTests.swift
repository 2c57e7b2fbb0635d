import Bytes
import Maildir
import Testing

@Suite("MailboxPath")
struct MailboxPathTests {
    /// Storage name, components, storage name as made anew in either encoding.
    static let names: [(String, [String], String, String)] = [
        ("Work", ["Work"], "Work", "Work"),
        ("Work.2024", ["Work", "2024"], "Work.2024", "Work.2024"),
        ("Entw&APw-rfe", ["Entwürfe"], "Entw&APw-rfe", "Entwürfe"),
        ("Entwürfe.a", ["Entwürfe", "a"], "Entw&APw-rfe.a", "Entwürfe.a"),
        ("a&-b", ["a&b"], "a&-b", "a&-b"),
        ("&2D3eAA-", ["😀"], "&2D3eAA-", "😀"),
        // What is not canonical modified UTF-7 is what it says.
        ("a&b", ["a&b"], "a&-b", "a&-b"),
        ("&AGE-", ["&AGE-"], "&-AGE-", "&-AGE-"),
        ("é&b", ["é&b"], "&AOk-&-b", "é&b"),
        // Decoded, these would be harmful: a line feed.
        ("&AAo-", ["&AAo-"], "&-AAo-", "&-AAo-"),
        ("&,,8-", ["\u{FFFF}"], "&,,8-", "\u{FFFF}"),
        ("INBOX.a", ["INBOX", "a"], "INBOX.a", "INBOX.a"),
    ]

    @Test("names on disk", arguments: names)
    func storage(_ name: String, _ components: [String], _ utf7: String, _ utf8: String) throws {
        let path = try #require(MailboxPath(storageName: Array(name.utf8)))
        #expect(path.components.map(\.text) == components)
        #expect(try path.storageName(.modifiedUTF7).text == utf7)
        #expect(try path.storageName(.utf8).text == utf8)
        for encoding in [NameEncoding.utf8, .modifiedUTF7] {
            #expect(MailboxPath(storageName: try path.storageName(encoding)) == path)
        }
    }

    @Test("bytes that are no text become text") func noText() {
        let path = MailboxPath(storageName: [0x61, 0xFF, 0x0A, 0x2E, 0xC3, 0xA9])
        #expect(path?.components.map(\.text) == ["a\u{FFFD}\u{FFFD}", "é"])
    }

    @Test("no mailbox", arguments: ["", ".a", "a.", "a..b", "."])
    func noMailbox(_ name: String) {
        #expect(MailboxPath(storageName: Array(name.utf8)) == nil)
    }

    @Test("below and moved") func hierarchy() {
        func path(_ name: String) -> MailboxPath {
            MailboxPath(name.split(separator: "/").map { Array($0.utf8) })
        }
        #expect(path("a/b").isBelow(path("a")))
        #expect(!path("a").isBelow(path("a")))
        #expect(!path("ab").isBelow(path("a")))
        #expect(!path("a").isBelow(.inbox))
        #expect(path("a/b/c").moved(from: path("a/b"), to: path("x")) == path("x/c"))
        #expect(path("a").moved(from: path("a"), to: path("x/y")) == path("x/y"))
    }
}

@Suite("MailboxNaming")
struct MailboxNamingTests {
    static let dot = MailboxNaming(separator: UInt8(ascii: "."))
    static let slash = MailboxNaming(separator: UInt8(ascii: "/"))
    static let courier = MailboxNaming(separator: UInt8(ascii: "."), prefix: Array("INBOX.".utf8))

    /// Naming, name, components, the name as clients see it.
    static let accepted: [(MailboxNaming, String, [String], String)] = [
        (dot, "inbox", [], "INBOX"), (slash, "INBOX", [], "INBOX"), (courier, "Inbox", [], "INBOX"),
        (dot, "Work.2024", ["Work", "2024"], "Work.2024"),
        (slash, "Work/2024", ["Work", "2024"], "Work/2024"),
        (courier, "INBOX.Work", ["Work"], "INBOX.Work"),
        (courier, "inbox.Work", ["Work"], "INBOX.Work"),
        (courier, "INBOX.INBOX", ["INBOX"], "INBOX.INBOX"),
        (slash, "inbox/a", ["INBOX", "a"], "INBOX/a"),
        (slash, "Entwürfe", ["Entwürfe"], "Entwürfe"),
        (dot, "inboxes", ["inboxes"], "inboxes"),
        (slash, "a b~*%", ["a b~*%"], "a b~*%"),
    ]

    @Test("accepts", arguments: accepted)
    func accepts(
        _ naming: MailboxNaming,
        _ name: String,
        _ components: [String],
        _ shown: String
    ) throws {
        let path = try naming.path(of: Array(name.utf8))
        #expect(path.components.map(\.text) == components)
        #expect(naming.name(of: path).text == shown)
        #expect(naming.isReachable(path))
    }

    static let refused: [(MailboxNaming, String, MailboxNameRefusal)] = [
        (slash, "a.b", .dot), (dot, "a/b", .slash), (courier, "INBOX.a/b", .slash),
        (dot, "", .emptyComponent), (dot, "a..b", .emptyComponent), (dot, "a.", .emptyComponent),
        (dot, ".a", .emptyComponent), (slash, "/a", .emptyComponent), (slash, "..", .dot),
        (slash, "../x", .dot), (courier, "INBOX.", .emptyComponent), (courier, "a", .outsidePrefix),
        (courier, "INBO", .outsidePrefix), (courier, "INBOXxWork", .outsidePrefix),
        (dot, "a\nb", .controlCharacter), (dot, "a\u{0}", .controlCharacter),
        (dot, "a\u{7F}", .controlCharacter), (dot, "a\u{85}", .controlCharacter),
        (dot, "a\u{2028}", .controlCharacter),
    ]

    @Test("refuses", arguments: refused)
    func refuses(_ naming: MailboxNaming, _ name: String, _ refusal: MailboxNameRefusal) {
        #expect(throws: refusal) { try naming.path(of: Array(name.utf8)) }
    }

    @Test("refuses what is not UTF-8") func notUTF8() {
        #expect(throws: MailboxNameRefusal.notUTF8) { try Self.dot.path(of: [0x61, 0xFF]) }
        #expect(throws: MailboxNameRefusal.notUTF8) { try Self.dot.path(of: [0xED, 0xA0, 0x80]) }
    }

    @Test("a directory name at the limit and above", arguments: [254, 255])
    func long(_ count: Int) throws {
        let name = Array(repeating: UInt8(ascii: "a"), count: count)
        if count == 254 {
            #expect(try Self.dot.path(of: name).storageName(.modifiedUTF7).count == 254)
        } else {
            #expect(throws: MailboxNameRefusal.tooLong) { try Self.dot.path(of: name) }
        }
    }

    @Test(
        "directories that no name reaches",
        arguments: [
            (dot, "INBOX", false), (dot, "inbox", false), (dot, "inbox.a", false),
            (dot, "INBOX.a", true), (courier, "INBOX", true), (courier, "inbox.a", true),
            (slash, "a&-b", true), (slash, "a/b", false), (dot, "a/b", true),
        ]
    )
    func reachable(_ naming: MailboxNaming, _ storage: String, _ isReachable: Bool) throws {
        let path = try #require(MailboxPath(storageName: Array(storage.utf8)))
        #expect(naming.isReachable(path) == isReachable)
    }
}
