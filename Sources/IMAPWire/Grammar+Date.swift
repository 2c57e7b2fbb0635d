import Bytes

extension Grammar {
    private static let months = Keywords<Int>([
        ("JAN", 1), ("FEB", 2), ("MAR", 3), ("APR", 4), ("MAY", 5), ("JUN", 6), ("JUL", 7),
        ("AUG", 8), ("SEP", 9), ("OCT", 10), ("NOV", 11), ("DEC", 12),
    ])

    //  date = date-text / DQUOTE date-text DQUOTE                            RFC 9051 §9
    static func date(_ cursor: inout ByteCursor) throws(SyntaxError) -> CalendarDate {
        let isQuoted = cursor.accept(.quote)
        let start = cursor.offset
        let digits = cursor.take(while: \.isDigit)
        guard (1...2).contains(digits.count) else {
            throw SyntaxError(at: start, expected: "a day of the month")
        }
        let date = try monthAndYear(day: value(digits, cursor), &cursor)
        if isQuoted { try expect(.quote, "a closing quote", &cursor) }
        return date
    }

    //  date-text  = date-day "-" date-month "-" date-year                    RFC 9051 §9
    //  date-month = "Jan" / "Feb" / … ; date-year = 4DIGIT
    //
    //  Called after the day.
    private static func monthAndYear(
        day: Int,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CalendarDate {
        try expect(UInt8(ascii: "-"), "a hyphen", &cursor)
        let start = cursor.offset
        guard let month = months[cursor.span, cursor.take(while: \.isLetter)] else {
            throw SyntaxError(at: start, expected: "the English abbreviation of a month")
        }
        try expect(UInt8(ascii: "-"), "a hyphen", &cursor)
        let year = cursor.take(while: \.isDigit)
        guard year.count == 4,
            let date = CalendarDate(year: value(year, cursor), month: month, day: day)
        else { throw SyntaxError(at: start, expected: "a day of the calendar") }
        return date
    }

    //  date-time      = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
    //                                                                        RFC 9051 §9
    //  date-day-fixed = (SP DIGIT) / 2DIGIT
    //  time           = 2DIGIT ":" 2DIGIT ":" 2DIGIT
    //  zone           = ("+" / "-") 4DIGIT
    //
    //  One digit without the space is accepted too. A leap second counts as the one before it.
    static func dateTime(_ cursor: inout ByteCursor) throws(SyntaxError) -> InternalDate {
        try expect(.quote, "a quoted date", &cursor)
        let start = cursor.offset
        _ = cursor.accept(.space)
        let digits = cursor.take(while: \.isDigit)
        guard digits.upperBound - start <= 2, !digits.isEmpty else {
            throw SyntaxError(at: start, expected: "a day of the month")
        }
        let date = try monthAndYear(day: value(digits, cursor), &cursor)
        try expect(.space, "a space", &cursor)
        let hour = try twoDigits(&cursor, max: 23)
        try expect(UInt8(ascii: ":"), "a colon", &cursor)
        let minute = try twoDigits(&cursor, max: 59)
        try expect(UInt8(ascii: ":"), "a colon", &cursor)
        let second = min(try twoDigits(&cursor, max: 60), 59)
        try expect(.space, "a space", &cursor)
        let isWest = cursor.accept(UInt8(ascii: "-"))
        if !isWest { try expect(UInt8(ascii: "+"), "a zone", &cursor) }
        let zoneHour = try twoDigits(&cursor, max: 99)
        let zone = zoneHour * 60 + (try twoDigits(&cursor, max: 59))
        try expect(.quote, "a closing quote", &cursor)
        let zoneMinutes = isWest ? -zone : zone
        let local = Int64(date.dayNumber * 86_400 + hour * 3_600 + minute * 60 + second)
        return InternalDate(
            unixSeconds: local - Int64(zoneMinutes * 60),
            zoneMinutes: zoneMinutes
        )
    }

    private static func twoDigits(
        _ cursor: inout ByteCursor,
        max: Int
    ) throws(SyntaxError) -> Int {
        guard let high = cursor.peek, high.isDigit, let low = cursor.peek(at: 1), low.isDigit
        else { throw SyntaxError(at: cursor.offset, expected: "two digits") }
        let value = Int(high &- 0x30) * 10 + Int(low &- 0x30)
        guard value <= max else {
            throw SyntaxError(at: cursor.offset, expected: "a time of the day")
        }
        cursor.offset += 2
        return value
    }

    /// The number in a range of at most four digits.
    private static func value(_ digits: Range<Int>, _ cursor: borrowing ByteCursor) -> Int {
        var value = 0
        for index in digits { value = value * 10 + Int(cursor.span[index] &- 0x30) }
        return value
    }
}
