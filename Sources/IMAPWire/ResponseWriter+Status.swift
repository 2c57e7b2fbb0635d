package import Bytes

/// The condition of a status response.                                       RFC 9051 §7.1
package enum StatusCondition: Hashable, Sendable {
    case ok
    case no
    case bad
    case preAuth
    case bye

    var name: StaticString {
        switch self {
        case .ok: "OK"
        case .no: "NO"
        case .bad: "BAD"
        case .preAuth: "PREAUTH"
        case .bye: "BYE"
        }
    }
}

extension ByteBuffer {
    //  response-tagged = tag SP resp-cond-state CRLF                         RFC 9051 §9
    //  resp-text       = ["[" resp-text-code "]" SP] [text]
    //
    //  The text is our own and never empty: clients fail on a code with nothing behind it.
    package mutating func append(
        tagged tag: [UInt8],
        _ condition: StatusCondition,
        _ code: ResponseCode?,
        _ text: StaticString
    ) {
        append(tag)
        append(.space)
        append(condition: condition, code, text)
    }

    //  response-data = "*" SP (resp-cond-state / resp-cond-bye / …) CRLF     RFC 9051 §9
    package mutating func append(
        untagged condition: StatusCondition,
        _ code: ResponseCode?,
        _ text: StaticString
    ) {
        append("* ")
        append(condition: condition, code, text)
    }

    package mutating func append(
        tagged tag: [UInt8],
        _ condition: StatusCondition,
        _ text: StaticString
    ) {
        append(tagged: tag, condition, nil, text)
    }

    package mutating func append(untagged condition: StatusCondition, _ text: StaticString) {
        append(untagged: condition, nil, text)
    }

    private mutating func append(
        condition: StatusCondition,
        _ code: ResponseCode?,
        _ text: StaticString
    ) {
        append(condition.name)
        append(.space)
        if let code, !code.namesNothing {
            code.write(to: &self)
            append(.space)
        }
        append(text)
        append("\r\n")
    }

    /// The answer to a command that is not one: `tag BAD expected …`, or untagged where the
    /// tag is not fit to be sent back.
    package mutating func append(_ error: SyntaxError) {
        if let tag = error.tag { append(tag) } else { append("*") }
        append(" BAD Expected ")
        append(error.expected)
        append("\r\n")
    }

    //  continue-req = "+" SP (resp-text / base64) CRLF                       RFC 9051 §9
    package mutating func append(continuation text: StaticString) {
        append("+ ")
        append(text)
        append("\r\n")
    }

    /// `+ ` and a challenge in base64.
    package mutating func append(challenge: [UInt8]) {
        append("+ ")
        append(Base64.encode(challenge))
        append("\r\n")
    }

    //  capability-data = "CAPABILITY" *(SP capability)                       RFC 9051 §9
    package mutating func append(capabilities: CapabilityList) {
        append("* CAPABILITY")
        capabilities.write(to: &self)
        append("\r\n")
    }

    //  enable-data = "ENABLED" *(SP capability)                              RFC 9051 §9
    package mutating func append(enabled: [Capability]) {
        append("* ENABLED")
        CapabilityList(enabled).write(to: &self)
        append("\r\n")
    }

    /// `* n NAME`: EXISTS, EXPUNGE, RECENT.
    package mutating func append(untagged number: UInt32, _ name: StaticString) {
        append("* ")
        append(decimal: number)
        append(.space)
        append(name)
        append("\r\n")
    }

    /// A word with its space, and a number.
    mutating func append<Number: FixedWidthInteger>(_ name: StaticString, _ number: Number) {
        append(name)
        append(decimal: number)
    }
}
