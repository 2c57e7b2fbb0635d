package import Bytes

//  ACL, QUOTA, METADATA and LANGUAGE.
extension ByteBuffer {
    //  acl-data = "ACL" SP mailbox *(SP identifier SP rights)                RFC 4314 §5
    package mutating func append(
        acl mailbox: [UInt8],
        _ entries: [(identifier: [UInt8], rights: [UInt8])],
        _ mode: TextMode
    ) {
        append("* ACL ")
        append(mailbox: mailbox, mode)
        for entry in entries {
            append(.space)
            append(astring: entry.identifier, mode)
            append(.space)
            append(astring: entry.rights, mode)
        }
        append("\r\n")
    }

    //  listrights-data = "LISTRIGHTS" SP mailbox SP identifier SP rights *(SP rights)
    //                                                                        RFC 4314 §5
    package mutating func append(
        listRights mailbox: [UInt8],
        identifier: [UInt8],
        required: [UInt8],
        optional: [[UInt8]],
        _ mode: TextMode
    ) {
        append("* LISTRIGHTS ")
        append(mailbox: mailbox, mode)
        append(.space)
        append(astring: identifier, mode)
        append(.space)
        append(astring: required, mode)
        for rights in optional {
            append(.space)
            append(astring: rights, mode)
        }
        append("\r\n")
    }

    //  myrights-data = "MYRIGHTS" SP mailbox SP rights                       RFC 4314 §5
    package mutating func append(
        myRights mailbox: [UInt8],
        _ rights: [UInt8],
        _ mode: TextMode
    ) {
        append("* MYRIGHTS ")
        append(mailbox: mailbox, mode)
        append(.space)
        append(astring: rights, mode)
        append("\r\n")
    }

    //  quota-response = "QUOTA" SP quota-root-name SP quota-list             RFC 9208 §7
    package mutating func append(
        quota root: [UInt8],
        _ resources: [(limit: QuotaLimit, usage: UInt64)],
        _ mode: TextMode
    ) {
        append("* QUOTA ")
        append(string: root, mode)
        append(" (")
        for (index, resource) in resources.enumerated() {
            if index > 0 { append(.space) }
            append(resource.limit.resource)
            append(" ", resource.usage)
            append(" ", resource.limit.limit)
        }
        append(")\r\n")
    }

    //  quotaroot-response = "QUOTAROOT" SP mailbox *(SP quota-root-name)     RFC 9208 §7
    package mutating func append(
        quotaRoot mailbox: [UInt8],
        roots: [[UInt8]],
        _ mode: TextMode
    ) {
        append("* QUOTAROOT ")
        append(mailbox: mailbox, mode)
        for root in roots {
            append(.space)
            append(string: root, mode)
        }
        append("\r\n")
    }

    //  metadata-resp = "METADATA" SP mailbox SP (entry-values / entry-list)  RFC 5464 §5
    //  value         = nstring / literal8
    package mutating func append(
        metadata mailbox: [UInt8],
        _ entries: [SetMetadataCommand.Entry],
        _ mode: TextMode
    ) {
        append("* METADATA ")
        append(mailbox: mailbox, mode)
        append(" (")
        for (index, entry) in entries.enumerated() {
            if index > 0 { append(.space) }
            append(astring: entry.name, mode)
            append(.space)
            if let value = entry.value, value.contains(0) {
                append(binaryLiteralHeader: value.count)
                append(value)
            } else {
                append(nstring: entry.value, mode)
            }
        }
        append(")\r\n")
    }

    /// The unsolicited form: names of what changed.                          RFC 5464 §4.4.2
    package mutating func append(
        metadata mailbox: [UInt8],
        changed names: [[UInt8]],
        _ mode: TextMode
    ) {
        append("* METADATA ")
        append(mailbox: mailbox, mode)
        for name in names {
            append(.space)
            append(astring: name, mode)
        }
        append("\r\n")
    }

    //  language-data = "LANGUAGE" SP "(" lang-tag-quoted *(SP lang-tag-quoted) ")"
    //                                                                        RFC 5255 §3.7
    package mutating func append(languages: [[UInt8]]) {
        append("* LANGUAGE (")
        for (index, tag) in languages.enumerated() {
            if index > 0 { append(.space) }
            append(quoted: tag)
        }
        append(")\r\n")
    }
}
