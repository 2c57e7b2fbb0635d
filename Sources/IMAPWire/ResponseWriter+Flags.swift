package import Bytes

extension ByteBuffer {
    package mutating func append(flag: Flag) {
        switch flag {
        case .system(let flag): append(flag.name)
        case .keyword(let name): append(name)
        }
    }

    //  flag-list = "(" [flag *(SP flag)] ")"                                 RFC 9051 §9
    //
    //  `with` is one more at the end: `\Recent` or `\*`.
    package mutating func append(flagList flags: [Flag], with last: StaticString? = nil) {
        append(UInt8(ascii: "("))
        var isFirst = true
        for flag in flags {
            if !isFirst { append(.space) }
            isFirst = false
            append(flag: flag)
        }
        if let last {
            if !isFirst { append(.space) }
            append(last)
        }
        append(UInt8(ascii: ")"))
    }

    /// `* FLAGS (…)`.                                                        RFC 9051 §7.3.5
    package mutating func append(flagsResponse flags: [Flag]) {
        append("* FLAGS ")
        append(flagList: flags)
        append("\r\n")
    }
}
