/// A day of the calendar, without a zone: what the date keys of SEARCH compare.
package struct CalendarDate: Hashable, Comparable, Sendable {
    /// 0 to 9999, as four digits can say.
    package let year: Int
    /// 1 to 12.
    package let month: Int
    /// 1 to 31, and one that the month has.
    package let day: Int

    /// Nil where there is no such day.
    package init?(year: Int, month: Int, day: Int) {
        guard (0...9999).contains(year), (1...12).contains(month), day >= 1,
            day <= Self.dayCount(year: year, month: month)
        else { return nil }
        self.year = year
        self.month = month
        self.day = day
    }

    /// The day that many days after 1 January 1970, held to the years 0 to 9999.
    package init(dayNumber: Int) {
        // Days are counted from 1 March of year 0, so that the leap day ends its year.
        let shifted = min(max(dayNumber, -719_528), 2_932_896) + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    }

    /// Days since 1 January 1970.
    package var dayNumber: Int {
        let marchYear = month <= 2 ? year - 1 : year
        let era = (marchYear >= 0 ? marchYear : marchYear - 399) / 400
        let yearOfEra = marchYear - era * 400
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    package static func < (left: Self, right: Self) -> Bool {
        (left.year, left.month, left.day) < (right.year, right.month, right.day)
    }

    static func dayCount(year: Int, month: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

/// An instant and the zone it is told in: INTERNALDATE, SAVEDATE, the date of APPEND.
package struct InternalDate: Hashable, Sendable {
    /// Seconds since 1970, UTC.
    package let unixSeconds: Int64
    /// East of UTC; −5,999 to 5,999, as four digits can say.
    package let zoneMinutes: Int

    package init(unixSeconds: Int64, zoneMinutes: Int = 0) {
        self.unixSeconds = unixSeconds
        self.zoneMinutes = min(max(zoneMinutes, -5_999), 5_999)
    }

    /// The day at that zone: what BEFORE, ON and SINCE compare.
    package var localDate: CalendarDate { CalendarDate(dayNumber: localDayAndSecond.day) }

    /// The day number at the zone, and the seconds since its midnight.
    var localDayAndSecond: (day: Int, second: Int) {
        // Held to the years 0 to 9999 first, so that nothing below can overflow.
        let bounded = min(max(unixSeconds, -62_167_219_200), 253_402_300_799)
        let local = Int(bounded) + zoneMinutes * 60
        let day = local >= 0 ? local / 86_400 : (local - 86_399) / 86_400
        return (day, local - day * 86_400)
    }
}
