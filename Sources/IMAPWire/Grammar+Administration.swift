import Bytes

//  ACL, QUOTA and METADATA.
extension Grammar {
    static func mailboxAndIdentifier(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> (MailboxName, [UInt8]) {
        let mailbox = try mailboxArgument(&cursor)
        return (mailbox, try astringArgument(&cursor))
    }

    //  setacl     = "SETACL" SP mailbox SP identifier SP mod-rights          RFC 4314 §5
    //  mod-rights = astring ; +rights to add, -rights to remove, rights to replace
    static func setACL(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        let (mailbox, identifier) = try mailboxAndIdentifier(&cursor)
        try space(&cursor)
        let start = cursor.offset
        var rights = try astring(&cursor)
        var operation = RightsChange.Operation.replace
        if rights.first == UInt8(ascii: "+") { operation = .add }
        if rights.first == UInt8(ascii: "-") { operation = .remove }
        if operation != .replace { rights.removeFirst() }
        guard rights.allSatisfy({ $0.isLowercase || $0.isDigit }) else {
            throw SyntaxError(at: start, expected: "rights, as lower-case letters")
        }
        return .setACL(
            mailbox: mailbox,
            identifier: identifier,
            change: RightsChange(operation: operation, rights: rights)
        )
    }

    //  setquota-list     = "(" [setquota-resource *(SP setquota-resource)] ")"
    //  setquota-resource = resource-name SP resource-limit                   RFC 9208 §7
    static func setQuota(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        let root = try astringArgument(&cursor)
        try space(&cursor)
        try open(&cursor)
        var limits: [QuotaLimit] = []
        if !acceptClose(&cursor) {
            repeat {
                try checkCount(limits.count, below: Limits.listCountMax, cursor)
                let resource = try atom(&cursor).uppercased
                try space(&cursor)
                limits.append(QuotaLimit(resource: resource, limit: try number64(&cursor)))
            } while acceptElement(&cursor)
            try close(&cursor)
        }
        return .setQuota(root: root, limits: limits)
    }

    //  entry = astring ; slash-separated path to entry, MUST NOT contain "*" or "%"
    //                                                                        RFC 5464 §5
    //
    //  Folded to lower case: names are case-insensitive (§3). More of §3: it begins with a slash,
    //  has no two in a row and none at its end, and is printable ASCII.
    static func metadataEntry(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        let start = cursor.offset
        let name = try astring(&cursor).lowercased
        let slash = UInt8(ascii: "/")
        guard name.first == slash, name.last != slash,
            name.allSatisfy({
                $0 > 0x1F && $0 < 0x7F && $0 != UInt8(ascii: "*") && $0 != UInt8(ascii: "%")
            }),
            !zip(name, name.dropFirst()).contains(where: { $0 == slash && $1 == slash })
        else { throw SyntaxError(at: start, expected: "the name of an annotation") }
        return name
    }

    //  getmetadata         = "GETMETADATA" [SP getmetadata-options] SP mailbox SP entries
    //                                                                        RFC 5464 §5
    //  getmetadata-options = "(" getmetadata-option *(SP getmetadata-option) ")"
    //  maxsize-opt         = "MAXSIZE" SP number
    //  scope-opt           = "DEPTH" SP ("0" / "1" / "infinity")
    //
    //  The examples of §4.2.1 and §4.2.2 put the options behind the mailbox, and clients follow
    //  one or the other: both are taken (erratum 2785). So are several entries without
    //  parentheses, as in the example of §4.4.1.
    static func getMetadata(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        var command = GetMetadataCommand(mailbox: MailboxName([]), entries: [])
        var hasOptions = false
        if cursor.peek == UInt8(ascii: "(") {
            try metadataOptions(into: &command, &cursor)
            hasOptions = true
            try space(&cursor)
        }
        command.mailbox = try mailbox(&cursor)
        try space(&cursor)
        let start = cursor.offset
        if !hasOptions, acceptOpen(&cursor) {
            let isOption = cursor.peek?.isLetter == true
            cursor.offset = start
            if isOption {
                try metadataOptions(into: &command, &cursor)
                try space(&cursor)
            }
        }
        if acceptOpen(&cursor) {
            repeat {
                try checkCount(command.entries.count, below: Limits.listCountMax, cursor)
                command.entries.append(try metadataEntry(&cursor))
            } while acceptElement(&cursor)
            try close(&cursor)
        } else {
            repeat {
                try checkCount(command.entries.count, below: Limits.listCountMax, cursor)
                command.entries.append(try metadataEntry(&cursor))
            } while acceptArgument(&cursor)
        }
        return .getMetadata(command)
    }

    private static func metadataOptions(
        into command: inout GetMetadataCommand,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) {
        try open(&cursor)
        repeat {
            if acceptWord("MAXSIZE", &cursor) {
                try space(&cursor)
                command.maxSize = UInt32(try number(&cursor))
            } else if acceptWord("DEPTH", &cursor) {
                try space(&cursor)
                if acceptWord("0", &cursor) {
                    command.depth = .zero
                } else if acceptWord("1", &cursor) {
                    command.depth = .one
                } else if acceptWord("INFINITY", &cursor) {
                    command.depth = .infinity
                } else {
                    throw SyntaxError(at: cursor.offset, expected: "0, 1 or infinity")
                }
            } else {
                throw SyntaxError(at: cursor.offset, expected: "MAXSIZE or DEPTH")
            }
        } while acceptElement(&cursor)
        try close(&cursor)
    }

    //  setmetadata  = "SETMETADATA" SP mailbox SP entry-values               RFC 5464 §5
    //  entry-values = "(" entry-value *(SP entry-value) ")"
    //  entry-value  = entry SP value
    //  value        = nstring / literal8
    static func setMetadata(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        var command = SetMetadataCommand(mailbox: try mailboxArgument(&cursor), entries: [])
        try space(&cursor)
        try open(&cursor)
        repeat {
            try checkCount(command.entries.count, below: Limits.listCountMax, cursor)
            let name = try metadataEntry(&cursor)
            try space(&cursor)
            let value =
                cursor.peek == UInt8(ascii: "~") ? try literal8(&cursor) : try nstring(&cursor)
            command.entries.append(SetMetadataCommand.Entry(name: name, value: value))
        } while acceptElement(&cursor)
        try close(&cursor)
        return .setMetadata(command)
    }
}
