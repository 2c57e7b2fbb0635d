import Testing

@testable import IMAPWire

@Suite("URLs of CATENATE")
struct MessageURLTests {
    private func parse(_ url: String, base: String? = nil) -> MessageURL? {
        MessageURL(Array(url.utf8), base: base.map { Array($0.utf8) })
    }

    private func check(
        _ url: String,
        base: String? = nil,
        mailbox: String?,
        validity: UInt32? = nil,
        uid: UInt32,
        section: SectionSpecifier = SectionSpecifier(),
        partial: OctetRange? = nil
    ) {
        guard let parsed = parse(url, base: base) else {
            Issue.record("refused: \(url)")
            return
        }
        #expect(parsed.mailbox == mailbox.map { Array($0.utf8) })
        #expect(parsed.uidValidity == validity)
        #expect(parsed.uid == uid)
        #expect(parsed.section == section)
        #expect(parsed.partial == partial)
    }

    @Test("of RFC 4469 and RFC 5092")
    func accepts() {
        check(
            "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
            mailbox: "Drafts",
            validity: 385_759_045,
            uid: 20,
            section: SectionSpecifier(kind: .header)
        )
        check(
            "/Drafts/;UID=20/;Section=1.2.MIME",
            mailbox: "Drafts",
            uid: 20,
            section: SectionSpecifier(part: [1, 2], kind: .mime)
        )
        check("/Drafts;uidvalidity=1/;uid=4294967295", mailbox: "Drafts", validity: 1, uid: .max)
        check("/a/b%20c/;UID=1", mailbox: "a/b c", uid: 1)
        check("/Entw%C3%BCrfe/;UID=1", mailbox: "Entwürfe", uid: 1)
        check(
            "/x/;UID=1/;PARTIAL=10",
            mailbox: "x",
            uid: 1,
            partial: OctetRange(offset: 10, count: .max)
        )
        check(
            "/x/;UID=1/;SECTION=TEXT/;PARTIAL=0.1024",
            mailbox: "x",
            uid: 1,
            section: SectionSpecifier(kind: .text),
            partial: OctetRange(offset: 0, count: 1_024)
        )
        check(
            "/x/;UID=1/;SECTION=HEADER.FIELDS%20(Subject%20To)",
            mailbox: "x",
            uid: 1,
            section: SectionSpecifier(
                kind: .headerFields([Array("Subject".utf8), Array("To".utf8)])
            )
        )
    }

    @Test("relative to the selected mailbox")
    func relative() {
        check(";UID=20/;SECTION=1", base: "a", mailbox: nil, uid: 20, section: .init(part: [1]))
        check("/;UID=20", base: "a", mailbox: nil, uid: 20)
        check("b/;UID=20", base: "a", mailbox: "b", uid: 20)
        check("c/;UID=20", base: "a/b", mailbox: "a/c", uid: 20)
        check("c/;UID=20", mailbox: "c", uid: 20)
    }

    @Test(
        "names nothing",
        arguments: [
            "", "/", "/x", "/x/", ";UID=1", "/;UID=1", "/x/;UID=0", "/x/;UID=",
            "/x/;UID=4294967296",
            "/x/;UID=1a", "/x/;UID=1/;UID=2", "/x/;SECTION=1", "/x/;UID=1/;SECTION=0",
            "/x/;UID=1/;SECTION=1]x[", "/x/;UID=1/;SECTION=", "/x/;UID=1/;PARTIAL=1.0",
            "/x/;UID=1/;PARTIAL=1/;SECTION=1", "/x;UIDVALIDITY=0/;UID=1", "/x/;UID=1;UIDVALIDITY=1",
            "/x/;UID=1;URLAUTH=anonymous", "/x%2/;UID=1", "/x%zz/;UID=1",
            "/x/;UID=1;;",
        ]
    )
    func rejects(_ url: String) {
        #expect(parse(url) == nil)
    }
}
