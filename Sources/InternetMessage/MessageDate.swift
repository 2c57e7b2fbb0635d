import Bytes

/// A date as it stands in a Date field.
///
///     date-time = [day-of-week ","] date time [CFWS]              RFC 5322 §3.3, §4.3
///
/// Read with what is met in mail: comments anywhere, zones by name, years of two digits, the order
/// of ctime (`Mar 2 10:00:00 2026`), hyphens (`2-Mar-2026`), ISO 8601. A time or zone that makes
/// no sense is midnight or UTC (RFC 5256 §2.2); without a day there is no date.
package struct MessageDate: Sendable, Equatable {
    /// Seconds since 1970-01-01 00:00:00 UTC.
    package let seconds: Int
    /// The day as it was written where the sender is, whatever its zone, as days since 1970-01-01.
    /// SENTON, SENTBEFORE and SENTSINCE compare it.
    package let day: Int

    /// The day number of a date of the Gregorian calendar, to compare `day` with.
    package static func day(year: Int, month: Int, day: Int) -> Int {
        // Counted in years that begin in March, so that a leap day is the last day of its year.
        let shifted = month > 2 ? year : year - 1
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    /// Nil if the value has no day, month and year, or not one of the calendar.
    package init?(_ bytes: Span<UInt8>, in value: Range<Int>) {
        var fields = DateFields()
        var offset = value.lowerBound
        fields.read(bytes, &offset, end: value.upperBound)
        guard var year = fields.year, let month = fields.month, let day = fields.day else {
            return nil
        }
        // RFC 5322 §4.3.
        if fields.yearDigits <= 2 { year += year < 50 ? 2000 : 1900 }
        if fields.yearDigits == 3 { year += 1900 }
        let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
        let lengths = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        guard (1...9999).contains(year), (1...lengths[month - 1]).contains(day) else { return nil }
        self.day = Self.day(year: year, month: month, day: day)
        seconds = self.day * 86_400 + (fields.time ?? 0) - (fields.zone ?? 0) * 60
    }
}

/// What has been found of a date.
private struct DateFields {
    var year: Int?
    var yearDigits = 0
    /// 1 to 12.
    var month: Int?
    var day: Int?
    /// Seconds since midnight.
    var time: Int?
    /// Minutes east of UTC.
    var zone: Int?

    mutating func read(_ bytes: Span<UInt8>, _ offset: inout Int, end: Int) {
        while offset < end {
            bytes.skipCommentsAndSpace(&offset, end: end)
            guard offset < end else { return }
            let byte = bytes[offset]
            if byte.isDigit {
                readNumber(bytes, &offset, end: end)
            } else if byte.isLetter {
                readWord(bytes, &offset, end: end)
            } else {
                offset += 1
                if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-"), time != nil {
                    readZone(bytes, &offset, end: end, sign: byte == UInt8(ascii: "-") ? -1 : 1)
                }
            }
        }
    }

    /// Reads digits; the value of the first nine.
    private func digits(
        _ bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int
    ) -> (value: Int, count: Int) {
        var value = 0
        let start = offset
        while offset < end, bytes[offset].isDigit {
            if offset - start < 9 { value = value * 10 + Int(bytes[offset] - 0x30) }
            offset += 1
        }
        return (value, offset - start)
    }

    private mutating func readNumber(_ bytes: Span<UInt8>, _ offset: inout Int, end: Int) {
        let (value, count) = digits(bytes, &offset, end: end)
        if offset < end, bytes[offset] == UInt8(ascii: ":"), time == nil {
            readTime(bytes, &offset, end: end, hour: value)
        } else if count >= 3 {
            if year == nil { (year, yearDigits) = (value, count) }
        } else if month == nil, year != nil, day == nil {
            // ISO 8601.
            if (1...12).contains(value) { month = value }
        } else if day == nil {
            day = value
        } else if year == nil {
            (year, yearDigits) = (value, count)
        }
    }

    ///     time-of-day = hour ":" minute [":" second]
    private mutating func readTime(
        _ bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int,
        hour: Int
    ) {
        offset += 1
        let minute = digits(bytes, &offset, end: end).value
        var second = 0
        if offset < end, bytes[offset] == UInt8(ascii: ":") {
            offset += 1
            second = digits(bytes, &offset, end: end).value
            // Fractions of seconds.
            if offset < end, bytes[offset] == UInt8(ascii: ".") {
                offset += 1
                _ = digits(bytes, &offset, end: end)
            }
        }
        let isValid = hour < 24 && minute < 60 && second <= 60
        time = isValid ? hour * 3600 + minute * 60 + second : 0
    }

    ///     zone = (FWS ( "+" / "-" ) 4DIGIT) / (FWS obs-zone)
    private mutating func readZone(
        _ bytes: Span<UInt8>,
        _ offset: inout Int,
        end: Int,
        sign: Int
    ) {
        var (value, count) = digits(bytes, &offset, end: end)
        if count == 2, offset < end, bytes[offset] == UInt8(ascii: ":") {
            offset += 1
            value = value * 100 + min(digits(bytes, &offset, end: end).value, 99)
            count = 4
        }
        guard zone == nil, count == 4, value % 100 < 60, value / 100 <= 24 else { return }
        zone = sign * (value / 100 * 60 + value % 100)
    }

    private mutating func readWord(_ bytes: Span<UInt8>, _ offset: inout Int, end: Int) {
        let start = offset
        while offset < end, bytes[offset].isLetter { offset += 1 }
        let word = bytes.extracting(start..<offset)
        if month == nil, let number = Self.month(word) {
            month = number
        } else if time != nil, zone == nil {
            zone = Self.zone(word)
        }
    }

    private static let months = Array("janfebmaraprmayjunjulaugsepoctnovdec".utf8)

    private static func month(_ word: Span<UInt8>) -> Int? {
        guard word.count >= 3 else { return nil }
        for number in 0..<12 {
            var matches = true
            for index in 0..<3 where word[index].lowercased != months[number * 3 + index] {
                matches = false
            }
            if matches { return number + 1 }
        }
        return nil
    }

    /// The zones of RFC 5322 §4.3 in hours; all others are UTC, as it says.
    private static func zone(_ word: Span<UInt8>) -> Int? {
        guard word.count == 3 else { return nil }
        let hours: Int
        switch word[0].lowercased {
        case UInt8(ascii: "e"): hours = -5
        case UInt8(ascii: "c"): hours = -6
        case UInt8(ascii: "m"): hours = -7
        case UInt8(ascii: "p"): hours = -8
        default: return nil
        }
        guard word[2].lowercased == UInt8(ascii: "t") else { return nil }
        switch word[1].lowercased {
        case UInt8(ascii: "s"): return hours * 60
        case UInt8(ascii: "d"): return (hours + 1) * 60
        default: return nil
        }
    }
}
