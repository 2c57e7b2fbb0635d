package import Bytes

/// An attribute in a LIST response.                                          RFC 9051 §7.3.1
package enum ListAttribute: Hashable, Sendable {
    case noSelect
    case nonExistent
    case noInferiors
    case hasChildren
    case hasNoChildren
    case marked
    case unmarked
    case subscribed
    case remote
    case noAccess
    case use(SpecialUse)

    package var name: StaticString {
        switch self {
        case .noSelect: "\\Noselect"
        case .nonExistent: "\\NonExistent"
        case .noInferiors: "\\Noinferiors"
        case .hasChildren: "\\HasChildren"
        case .hasNoChildren: "\\HasNoChildren"
        case .marked: "\\Marked"
        case .unmarked: "\\Unmarked"
        case .subscribed: "\\Subscribed"
        case .remote: "\\Remote"
        case .noAccess: "\\NoAccess"
        case .use(let use): use.name
        }
    }
}

/// One LIST or LSUB response.
package struct ListResponse: Hashable, Sendable {
    package var attributes: [ListAttribute]
    /// Nil for a flat name.
    package var separator: UInt8?
    /// In UTF-8.
    package var name: [UInt8]
    /// CHILDINFO of RFC 5258 §4: a child matches the selection, though this one may not.
    package var childInfo: ListCommand.Selection = []
    /// OLDNAME of RFC 9051 §6.3.9.7.
    package var oldName: [UInt8]?

    package init(attributes: [ListAttribute], separator: UInt8?, name: [UInt8]) {
        self.attributes = attributes
        self.separator = separator
        self.name = name
    }
}

/// The value of one STATUS item.
package enum StatusValue: Hashable, Sendable {
    case number(UInt64)
    /// MAILBOXID, in parentheses.
    case objectID([UInt8])
    /// APPENDLIMIT without one.
    case nilValue
}

extension ByteBuffer {
    //  mailbox-list = "(" [mbx-list-flags] ")" SP (DQUOTE QUOTED-CHAR DQUOTE / nil) SP mailbox
    //                 [SP mbox-list-extended]                                RFC 9051 §9
    package mutating func append(
        _ name: StaticString,
        _ response: ListResponse,
        _ mode: TextMode
    ) {
        append("* ")
        append(name)
        append(" (")
        for (index, attribute) in response.attributes.enumerated() {
            if index > 0 { append(.space) }
            append(attribute.name)
        }
        append(") ")
        if let separator = response.separator {
            append(quoted: [separator])
        } else {
            append("NIL")
        }
        append(.space)
        append(mailbox: response.name, mode)
        if !response.childInfo.isEmpty || response.oldName != nil {
            append(" (")
            if !response.childInfo.isEmpty {
                append("\"CHILDINFO\" (")
                var isFirst = true
                if response.childInfo.contains(.subscribed) {
                    append("\"SUBSCRIBED\"")
                    isFirst = false
                }
                if response.childInfo.contains(.specialUse) {
                    append(isFirst ? "\"SPECIAL-USE\"" : " \"SPECIAL-USE\"")
                }
                append(UInt8(ascii: ")"))
                if response.oldName != nil { append(.space) }
            }
            if let oldName = response.oldName {
                append("\"OLDNAME\" (")
                append(mailbox: oldName, mode)
                append(UInt8(ascii: ")"))
            }
            append(UInt8(ascii: ")"))
        }
        append("\r\n")
    }

    //  "STATUS" SP mailbox SP "(" [status-att-list] ")"                      RFC 9051 §9
    package mutating func append(
        status name: [UInt8],
        _ values: [(item: StatusItem, value: StatusValue)],
        _ mode: TextMode
    ) {
        append("* STATUS ")
        append(mailbox: name, mode)
        append(" (")
        for (index, entry) in values.enumerated() {
            if index > 0 { append(.space) }
            append(entry.item.name)
            append(.space)
            switch entry.value {
            case .number(let number): append(decimal: number)
            case .objectID(let id):
                append(UInt8(ascii: "("))
                append(id)
                append(UInt8(ascii: ")"))
            case .nilValue: append("NIL")
            }
        }
        append(")\r\n")
    }

    //  namespace-response = "NAMESPACE" SP namespace SP namespace SP namespace
    //                                                                        RFC 9051 §9
    /// One personal namespace; no others' and no shared ones.
    package mutating func append(
        namespacePrefix prefix: [UInt8],
        separator: UInt8,
        _ mode: TextMode
    ) {
        append("* NAMESPACE ((")
        append(mailbox: prefix, mode)
        append(.space)
        append(quoted: [separator])
        append(")) NIL NIL\r\n")
    }

    /// `* ID (…)`, or NIL.                                                   RFC 2971 §3.2
    package mutating func append(id fields: [IDField]) {
        append("* ID ")
        guard !fields.isEmpty else {
            append("NIL\r\n")
            return
        }
        for (index, field) in fields.enumerated() {
            append(index == 0 ? UInt8(ascii: "(") : .space)
            append(string: field.name, .ascii)
            append(.space)
            append(nstring: field.value, .ascii)
        }
        append(")\r\n")
    }
}
