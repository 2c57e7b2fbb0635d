import Bytes
import InternetMessage
import Testing

private func parse(_ text: String) -> MessageDate? {
    let bytes = Array(text.utf8)
    return MessageDate(bytes.span, in: 0..<bytes.count)
}

@Suite("Date fields")
struct MessageDateTests {
    /// 2026-03-02 10:00:00 UTC.
    static let monday = 1_772_445_600

    @Test(
        "one moment in many spellings",
        arguments: [
            "Mon, 2 Mar 2026 10:00:00 +0000", "2 Mar 2026 10:00 GMT", "2 Mar 26 10:00:00 UT",
            "Mon, 02 Mar 2026 11:00:00 +0100 (CET)", "2 (two) Mar (ch) 2026 05:00 (x) EST",
            "Mon, 2 March 2026 06:00:00 EDT", "Mon Mar  2 10:00:00 2026", "2-Mar-2026 10:00:00",
            "Monday, 2-Mar-26 10:00:00 Z", "2026-03-02T10:00:00Z", "2026-03-02T10:00:00.123+00:00",
            "2 Mar 126 02:00:00 PST", "Mon,2 Mar 2026 10:00:00 XYZ", "2 Mar 2026 10:00:00 A",
            "\r\n Mon,\r\n 2 Mar 2026\r\n 10:00:00 -0000", "Mon, 2 Mar 2026 15:30:00 +0530",
            "2 Mar 2026 10:00:00 +9999", "2 Mar 2026 10:00:00 +00000", "(a(b)) 2 Mar 2026 10:00",
        ]
    )
    func spellings(_ text: String) throws {
        let date = try #require(parse(text))
        #expect(date.seconds == Self.monday)
        #expect(date.day == MessageDate.day(year: 2026, month: 3, day: 2))
    }

    @Test("the day is the one that was written, whatever the zone")
    func writtenDay() throws {
        let date = try #require(parse("31 Dec 2000 16:01:33 -0800"))
        #expect(date.day == MessageDate.day(year: 2000, month: 12, day: 31))
        #expect(date.seconds == 978_307_293)
    }

    @Test("no time, or one that is none, is midnight")
    func noTime() {
        #expect(parse("2 Mar 2026")?.seconds == Self.monday - 36_000)
        #expect(parse("2 Mar 2026 25:00:00")?.seconds == Self.monday - 36_000)
    }

    @Test(
        "no date",
        arguments: [
            "", "yesterday", "10:00:00", "2 Mar", "Mar 2026", "32 Mar 2026", "0 Mar 2026",
            "29 Feb 2026", "30 Feb 2024", "2 Foo 2026", "2 Mar 99999999999", "-1 -1 -1",
            "(2 Mar 2026)",
            "2026-13-02", "99999999999999999999 Mar 2026",
        ]
    )
    func none(_ text: String) {
        #expect(parse(text) == nil)
    }

    @Test("days are numbered from 1970 on, leap years and all")
    func days() {
        #expect(MessageDate.day(year: 1970, month: 1, day: 1) == 0)
        #expect(MessageDate.day(year: 1969, month: 12, day: 31) == -1)
        #expect(MessageDate.day(year: 2000, month: 2, day: 29) == 11_016)
        #expect(MessageDate.day(year: 2000, month: 3, day: 1) == 11_017)
        #expect(MessageDate.day(year: 2100, month: 3, day: 1) == 47_541)
        #expect(MessageDate.day(year: 1, month: 1, day: 1) == -719_162)
    }
}
