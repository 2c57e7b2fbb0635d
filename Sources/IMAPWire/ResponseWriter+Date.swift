package import Bytes

extension ByteBuffer {
    private static let months: [StaticString] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    //  date-time      = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE
    //  date-day-fixed = (SP DIGIT) / 2DIGIT                                  RFC 9051 §9
    package mutating func append(date: InternalDate) {
        let (day, second) = date.localDayAndSecond
        let calendar = CalendarDate(dayNumber: day)
        append(.quote)
        if calendar.day < 10 { append(.space) }
        append(decimal: calendar.day)
        append(UInt8(ascii: "-"))
        append(Self.months[calendar.month - 1])
        append(UInt8(ascii: "-"))
        append(decimal: calendar.year, width: 4)
        append(.space)
        append(decimal: second / 3_600, width: 2)
        append(UInt8(ascii: ":"))
        append(decimal: second / 60 % 60, width: 2)
        append(UInt8(ascii: ":"))
        append(decimal: second % 60, width: 2)
        append(date.zoneMinutes < 0 ? " -" : " +")
        let zone = abs(date.zoneMinutes)
        append(decimal: zone / 60, width: 2)
        append(decimal: zone % 60, width: 2)
        append(.quote)
    }
}
