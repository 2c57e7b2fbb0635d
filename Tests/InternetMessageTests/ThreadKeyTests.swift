import Bytes
import InternetMessage
import Testing

private func base(_ subject: String) -> (String, Bool) {
    let bytes = Array(subject.utf8)
    let base = BaseSubject(bytes.span, subject: 0..<bytes.count, decoder: HeaderDecoder())
    return (String(decoding: base.text, as: UTF8.self), base.isReply)
}

@Suite("what SORT and THREAD compare")
struct ThreadKeyTests {
    @Test(
        "base subject of RFC 5256 §2.1",
        arguments: [
            ("thing", "thing", false), ("Re: thing", "thing", true), ("RE : thing", "thing", true),
            ("fw: thing", "thing", true), ("FWD: thing", "thing", true),
            ("Re[2]: thing", "thing", true), ("Re: [list] Re: thing", "thing", true),
            ("[list] thing", "thing", false), ("[a][b] Re: thing", "thing", true),
            ("[a] [b] thing", "thing", false), ("[only]", "[only]", false),
            ("Re: [only]", "[only]", true), ("thing (fwd)", "thing", true),
            ("thing (FWD) (fwd) ", "thing", true), ("[fwd: thing]", "thing", true),
            ("[Fwd: Re: thing (fwd)]", "thing", true), ("[fwd: [fwd: x]]", "x", true),
            ("Re:", "", true), ("", "", false), ("  a \t\t b  ", "a b", false),
            ("Refund", "Refund", false),
            ("re thing", "re thing", false), ("=?utf-8?q?Re=3A_=C3=A9?=", "\u{e9}", true),
            ("a\r\n b", "a b", false), ("(fwd)", "", true), ("[a", "[a", false),
            ("[a[b] c", "[a[b] c", false),
        ]
    )
    func baseSubject(_ subject: String, _ expected: String, _ isReply: Bool) {
        let (text, reply) = base(subject)
        #expect(text == expected)
        #expect(reply == isReply)
    }

    @Test(
        "of a subject of a million blobs",
        arguments: ["[a]", "re:", "[fwd:", "(fwd)", "[", "re[a]"]
    )
    func longSubject(_ piece: String) {
        let (text, _) = base(String(repeating: piece, count: 100_000))
        #expect(text.utf8.count <= 500_000)
    }

    @Test(
        "message IDs without brackets and quoting",
        arguments: [
            ("<a@b>", ["a@b"]), ("<a@b> <c@d>", ["a@b", "c@d"]), ("<a@b><c@d>", ["a@b", "c@d"]),
            ("<\"01KF8\"@x.y>", ["01KF8@x.y"]), ("(<c@c>) <a@b>\r\n <c @d>", ["a@b", "c@d"]),
            ("a@b", []), ("<>", []), ("<a", []), ("<a <b@c>", ["b@c"]), ("", []),
            ("\"<x@y>\" wrote in <a@b>", ["a@b"]),
        ]
    )
    func messageIDs(_ value: String, _ expected: [String]) {
        let bytes = Array(value.utf8)
        let ids = MessageIDs.parse(bytes.span, in: 0..<bytes.count)
        #expect(ids.map { String(decoding: $0, as: UTF8.self) } == expected)
    }

    @Test(
        "first address",
        arguments: [
            ("Ann <a@b>, c@d", "a", "Ann"), ("a@b", "a", "a@b"), ("", "", ""), (";", "", ""),
            ("=?utf-8?q?=C3=89va?= <e@b>", "e", "Éva"), ("G: a@b;", "G", "G"),
            ("root", "root", "root@"),
        ]
    )
    func firstAddress(_ value: String, _ mailbox: String, _ display: String) {
        let bytes = Array(value.utf8)
        let key = AddressSortKey(bytes.span, field: 0..<bytes.count, decoder: HeaderDecoder())
        #expect(String(decoding: key.mailbox, as: UTF8.self) == mailbox)
        #expect(String(decoding: key.display, as: UTF8.self) == display)
    }
}
