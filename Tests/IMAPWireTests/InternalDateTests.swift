import Bytes
import Testing

@testable import IMAPWire

@Suite("dates")
struct InternalDateTests {
    func parseDate(_ text: String) throws(SyntaxError) -> InternalDate {
        let input = bytes("\"" + text + "\"")
        var cursor = ByteCursor(input.span)
        return try Grammar.dateTime(&cursor)
    }

    @Test(
        "round trip",
        arguments: [
            ("17-Jul-1996 02:44:25 -0700", 837_596_665, -420),
            (" 1-Jan-1970 00:00:00 +0000", 0, 0),
            ("31-Dec-1969 23:59:59 +0000", -1, 0),
            ("29-Feb-2000 12:00:00 +0530", 951_805_800, 330),
            ("29-Feb-2024 23:59:59 +0000", 1_709_251_199, 0),
            ("14-Nov-2023 22:13:20 +0000", 1_700_000_000, 0),
            ("19-Jan-2038 03:14:08 +0000", 2_147_483_648, 0),
            (" 1-Jan-0000 00:00:00 +0000", -62_167_219_200, 0),
            ("31-Dec-9999 23:59:59 +0000", 253_402_300_799, 0),
        ] as [(String, Int64, Int)]
    )
    func roundTrip(_ text: String, _ seconds: Int64, _ zone: Int) throws {
        let date = InternalDate(unixSeconds: seconds, zoneMinutes: zone)
        #expect(try parseDate(text) == date)
        var buffer = ByteBuffer()
        buffer.append(date: date)
        #expect(buffer.bytes.text == "\"" + text + "\"")
    }

    @Test("one digit without its space, any case, a leap second")
    func liberal() throws {
        #expect(try parseDate("1-jAN-1970 00:00:00 +0000").unixSeconds == 0)
        #expect(try parseDate("01-Jan-1970 00:00:00 +0000").unixSeconds == 0)
        #expect(try parseDate("31-Dec-2016 23:59:60 +0000").unixSeconds == 1_483_228_799)
    }

    @Test(
        "rejects",
        arguments: [
            "", "17-Jul-1996", "17-Jul-1996 02:44:25", "17-Jul-1996 02:44:25 0700",
            "17-Jul-1996 02:44:25 -07:00", "17-Jul-1996 24:00:00 +0000",
            "17-Jul-1996 02:60:00 +0000",
            "17-Jul-1996 02:44:61 +0000", "30-Feb-2024 00:00:00 +0000",
            "29-Feb-2023 00:00:00 +0000",
            "0-Jan-2023 00:00:00 +0000", "32-Jan-2023 00:00:00 +0000",
            " 17-Jul-1996 02:44:25 +0000",
            "17-Jul-96 02:44:25 +0000", "17-07-1996 02:44:25 +0000", "17-Jul-1996T02:44:25 +0000",
            "17-Jul-1996 2:44:25 +0000", "17-Jul-1996 02:44:25 +0060", "17-Jul-1996 02:44:25 UTC",
        ]
    )
    func rejects(_ text: String) {
        #expect(throws: SyntaxError.self) { try parseDate(text) }
    }

    @Test("any number of seconds can be written")
    func extremes() {
        for seconds in [Int64.min, Int64.max, 0] {
            for zone in [Int.min, -5_999, 5_999, Int.max] {
                var buffer = ByteBuffer()
                buffer.append(date: InternalDate(unixSeconds: seconds, zoneMinutes: zone))
                #expect(buffer.count == 28)
            }
        }
    }

    @Test("days and dates agree over ten thousand years")
    func days() {
        var previous = CalendarDate(dayNumber: -719_529 + 1)
        #expect(previous == CalendarDate(year: 0, month: 1, day: 1))
        for number in -719_527...2_932_896 {
            let date = CalendarDate(dayNumber: number)
            if date <= previous || date.dayNumber != number {
                Issue.record("day \(number)")
                return
            }
            previous = date
        }
        #expect(previous == CalendarDate(year: 9_999, month: 12, day: 31))
    }

    @Test("the local day is that of the zone")
    func local() {
        let date = InternalDate(unixSeconds: 1_700_000_000, zoneMinutes: 120)
        #expect(date.localDate == CalendarDate(year: 2_023, month: 11, day: 15))
    }
}
