import Bytes
import Maildir
import Testing

@Suite("Subscriptions")
struct SubscriptionsTests {
    func path(_ name: String) -> MailboxPath {
        MailboxPath(name == "INBOX" ? [] : name.split(separator: "/").map { Array($0.utf8) })
    }

    func read(_ text: String) throws -> Subscriptions {
        try #require(Subscriptions(file: Array(text.utf8)))
    }

    @Test(
        "reads",
        arguments: [
            ("V\t2\n\nINBOX\nWork\t2024\nEntw&APw-rfe\n", ["INBOX", "Work/2024", "Entwürfe"]),
            ("INBOX\nWork.2024\nEntwürfe", ["INBOX", "Work/2024", "Entwürfe"]),
            ("", []), ("V\t2\n\n", []), ("\n\n", []),
            ("a\nb\na\n", ["a", "b"]), ("inbox\n", ["INBOX"]),
            ("a..b\n.c\nd\n", ["d"]),
            ("V\t2\n\na.b\nc\t\td\n\u{1}x\n\u{1}\ne\u{1}1\nf\n", ["e\u{FFFD}", "f"]),
        ]
    )
    func reads(_ text: String, _ names: [String]) throws {
        #expect(try read(text).mailboxes == names.map(path))
    }

    @Test("an unknown version is left alone", arguments: ["V\t3\n\na\n", "V\t2\na\n", "V\t"])
    func unknownVersion(_ text: String) {
        #expect(Subscriptions(file: Array(text.utf8)) == nil)
    }

    @Test(
        "changes its own lines only, and keeps the version",
        arguments: [
            ("", "V\t2\n\nb\tc\nEntw&APw-rfe\n"),
            ("V\t2\n\nx\t\ty\na\nz\n", "V\t2\n\nx\t\ty\nz\nb\tc\nEntw&APw-rfe\n"),
            ("x..y\na\nz", "x..y\nz\nb.c\nEntw&APw-rfe\n"),
            ("a\nV\t9\n", "b.c\nEntw&APw-rfe\n"),
            ("a\nb.c\na\n", "b.c\nEntw&APw-rfe\n"),
        ]
    )
    func changes(_ text: String, _ changed: String) throws {
        var list = try read(text)
        let had = list.contains(path("b/c"))
        #expect(list.remove(path("a")) == text.contains("a"))
        #expect(!list.contains(path("a")))
        #expect(list.remove(path("a")) == false)
        #expect(try list.add(path("b/c"), encoding: .modifiedUTF7) == !had)
        #expect(try list.add(path("Entwürfe"), encoding: .modifiedUTF7))
        #expect(try list.add(path("Entwürfe"), encoding: .utf8) == false)
        #expect(list.file.text == changed)
        #expect(try read(changed) == list || text.isEmpty)
    }

    @Test("takes the name that the directory has") func directoryName() throws {
        var list = Subscriptions()
        let directory: [UInt8] = [0x2E, 0x61, 0xFF, 0x09, 0x2E, 0x62]
        let path = try #require(MailboxPath(storageName: directory.dropFirst()))
        #expect(try list.add(path, directoryName: directory, encoding: .modifiedUTF7))
        #expect(list.file == Array("V\t2\n\na".utf8) + [0xFF, 1, 0x74, 9, 0x62, 10])
        #expect(Subscriptions(file: list.file)?.contains(path) == true)
        #expect(try list.add(.inbox, encoding: .utf8))
        #expect(list.file.text.hasSuffix("\nINBOX\n"))
    }
}

@Suite("CourierFiles")
struct CourierFilesTests {
    @Test("keyword list") func keywordList() {
        let file =
            "Work\nto do\n$Junk\n\u{e9}\n\n1.h,S=3:0 2\n2.h:1 1 9 x\n3.h:3\nbroken\n:0\n4:5.h:2\n"
        let messages = CourierFiles.keywordList(Array(file.utf8))
        #expect(
            messages.map { "\($0.key.text) \($0.value.map(\.text))" }.sorted() == [
                "1.h,S=3 [\"Work\", \"$Junk\"]", "2.h [\"to_do\"]", "4:5.h [\"$Junk\"]",
            ]
        )
        #expect(CourierFiles.keywordList([]).isEmpty)
    }

    @Test("the newest update of a message counts") func updates() {
        let files = [
            ("a", "x\ny\n"), (".5.a", "old\n"), (".10.b", "new\n"), (".9.b", "older\n"), ("c", ""),
            (":list", "z\n"), (".tmp.1", "z\n"), (".5.", "z\n"), (".x.d", "z\n"),
        ]
        for order in [files, files.reversed()] {
            var messages: CourierFiles.MessageKeywords = [
                Array("c".utf8): [Array("gone".utf8)], Array("e".utf8): [Array("kept".utf8)],
            ]
            CourierFiles.apply(
                updates: order.map { (Array($0.0.utf8), Array($0.1.utf8)) },
                to: &messages
            )
            #expect(
                messages.map { "\($0.key.text) \($0.value.map(\.text))" }.sorted() == [
                    "a [\"x\", \"y\"]", "b [\"new\"]", "e [\"kept\"]",
                ]
            )
        }
    }

    @Test("subscriptions") func subscriptions() {
        let file =
            "INBOX\ninbox.Work.2024\nINBOX.Entw&APw-rfe\nINBOX.Entwürfe\nshared.x\nINBOXy\nINBOX.\n"
        let names = CourierFiles.subscriptions(Array(file.utf8)).map {
            $0.components.map(\.text).joined(separator: "/")
        }
        #expect(names == ["", "Work/2024", "Entwürfe"])
    }

    @Test("a mailbox that Courier left keeps its UIDs and keywords") func loading() throws {
        let scratch = try Scratch()
        #expect(try CourierFiles.loadUIDList(in: scratch.directory)?.recordCount == nil)
        #expect(try CourierFiles.loadKeywords(in: scratch.directory).isEmpty)
        #expect(try CourierFiles.loadSubscriptions(root: scratch.directory) == nil)
        try scratch.write("courierimapuiddb", "1 1275660208 8\n5 1.h,S=3\n7 2.h\n")
        try scratch.write("courierimapsubscribed", "INBOX.Work\n")
        try scratch.directory.makeDirectory(Array("courierimapkeywords".utf8), mode: 0o700)
        try scratch.write("courierimapkeywords/:list", "Work\n\n1.h,S=3:0\n2.h:0\n")
        try scratch.write("courierimapkeywords/2.h", "home\n")
        try scratch.write("courierimapkeywords/.tmp.1", "x\n")

        var file = UIDListFile()
        #expect(try file.refresh(in: scratch.directory) == .missing)
        file.list = try CourierFiles.loadUIDList(in: scratch.directory)
        try file.commit(scratch.lock())
        let guid = try #require(file.list?.header.guid)
        #expect(
            scratch.read("dovecot-uidlist")
                == "3 V1275660208 N8 G\(guid.text)\n5 :1.h,S=3\n7 :2.h\n"
        )
        let messages = try CourierFiles.loadKeywords(in: scratch.directory)
        #expect(messages[Array("1.h,S=3".utf8)]?.map(\.text) == ["Work"])
        #expect(messages[Array("2.h".utf8)]?.map(\.text) == ["home"])
        let subscribed = try CourierFiles.loadSubscriptions(root: scratch.directory)
        #expect(subscribed?.map(\.components) == [[Array("Work".utf8)]])
    }
}
