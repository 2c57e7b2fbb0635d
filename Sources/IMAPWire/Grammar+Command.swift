import Bytes

extension Grammar {
    static let appendIsElsewhere: StaticString = "a message"

    //  command = tag SP (command-any / command-auth / command-nonauth / command-select) CRLF
    //                                                                        RFC 9051 §9
    static func commandBody(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        switch try keyword(CommandName.all, "a known command", &cursor) {
        case .append, .replace:
            throw SyntaxError(at: cursor.offset, expected: appendIsElsewhere)
        case .authenticate: return try authenticate(&cursor)
        case .cancelUpdate: return try cancelUpdate(&cursor)
        case .capability: return .capability
        case .check: return .check
        case .close: return .close
        case .compress: return try compress(&cursor)
        case .copy: return try copy(.sequenceNumber, &cursor)
        case .create: return try create(&cursor)
        case .delete: return .delete(try mailboxArgument(&cursor))
        case .deleteACL:
            let (mailbox, identifier) = try mailboxAndIdentifier(&cursor)
            return .deleteACL(mailbox: mailbox, identifier: identifier)
        case .enable: return try enable(&cursor)
        case .esearch: return try multiSearch(&cursor)
        case .examine: return try select(isReadOnly: true, &cursor)
        case .expunge: return .expunge
        case .fetch: return try fetch(.sequenceNumber, &cursor)
        case .getACL: return .getACL(try mailboxArgument(&cursor))
        case .getMetadata: return try getMetadata(&cursor)
        case .getQuota: return .getQuota(root: try astringArgument(&cursor))
        case .getQuotaRoot: return .getQuotaRoot(try mailboxArgument(&cursor))
        case .id: return try id(&cursor)
        case .idle: return .idle
        case .language: return try language(&cursor)
        case .list: return try list(&cursor)
        case .listRights:
            let (mailbox, identifier) = try mailboxAndIdentifier(&cursor)
            return .listRights(mailbox: mailbox, identifier: identifier)
        case .login:
            //  login = "LOGIN" SP userid SP password                         RFC 9051 §9
            let user = try astringArgument(&cursor)
            return .login(user: user, password: try astringArgument(&cursor))
        case .logout: return .logout
        case .lsub: return try lsub(&cursor)
        case .move: return try move(.sequenceNumber, &cursor)
        case .myRights: return .myRights(try mailboxArgument(&cursor))
        case .namespace: return .namespace
        case .noop: return .noop
        case .notify: return try notify(&cursor)
        case .rename:
            //  rename = "RENAME" SP mailbox SP mailbox                       RFC 9051 §9
            let from = try mailboxArgument(&cursor)
            return .rename(from: from, to: try mailboxArgument(&cursor))
        case .search: return try search(.sequenceNumber, &cursor)
        case .select: return try select(isReadOnly: false, &cursor)
        case .setACL: return try setACL(&cursor)
        case .setMetadata: return try setMetadata(&cursor)
        case .setQuota: return try setQuota(&cursor)
        case .sort: return try sort(.sequenceNumber, &cursor)
        case .startTLS: return .startTLS
        case .status: return try status(&cursor)
        case .store: return try store(.sequenceNumber, &cursor)
        case .subscribe: return .subscribe(try mailboxArgument(&cursor))
        case .thread: return try thread(.sequenceNumber, &cursor)
        case .uid: return try uid(&cursor)
        case .unauthenticate: return .unauthenticate
        case .unselect: return .unselect
        case .unsubscribe: return .unsubscribe(try mailboxArgument(&cursor))
        }
    }

    //  uid = "UID" SP (copy / move / fetch / search / store / uid-expunge)   RFC 9051 §9
    //  uid =/ "UID" SP (sort / thread / replace)                             RFC 5256, RFC 8508
    private static func uid(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let start = cursor.offset
        switch try keyword(CommandName.all, "a command with a UID form", &cursor) {
        case .copy: return try copy(.uid, &cursor)
        case .expunge:
            //  uid-expunge = "EXPUNGE" SP sequence-set                       RFC 9051 §9
            try space(&cursor)
            return .uidExpunge(try sequenceSet(&cursor))
        case .fetch: return try fetch(.uid, &cursor)
        case .move: return try move(.uid, &cursor)
        case .replace: throw SyntaxError(at: cursor.offset, expected: appendIsElsewhere)
        case .search: return try search(.uid, &cursor)
        case .sort: return try sort(.uid, &cursor)
        case .store: return try store(.uid, &cursor)
        case .thread: return try thread(.uid, &cursor)
        case .append, .authenticate, .cancelUpdate, .capability, .check, .close, .compress,
            .create, .delete, .deleteACL, .enable, .esearch, .examine, .getACL, .getMetadata,
            .getQuota, .getQuotaRoot, .id, .idle, .language, .list, .listRights, .login, .logout,
            .lsub, .myRights, .namespace, .noop, .notify, .rename, .select, .setACL,
            .setMetadata, .setQuota, .startTLS, .status, .subscribe, .uid, .unauthenticate,
            .unselect, .unsubscribe:
            throw SyntaxError(at: start, expected: "a command with a UID form")
        }
    }

    static func mailboxArgument(_ cursor: inout ByteCursor) throws(SyntaxError) -> MailboxName {
        try space(&cursor)
        return try mailbox(&cursor)
    }

    static func astringArgument(_ cursor: inout ByteCursor) throws(SyntaxError) -> [UInt8] {
        try space(&cursor)
        return try astring(&cursor)
    }

    //  copy = "COPY" SP sequence-set SP mailbox                              RFC 9051 §9
    private static func copy(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let set = try sequenceSet(&cursor)
        return .copy(kind: kind, set: set, mailbox: try mailboxArgument(&cursor))
    }

    //  move = "MOVE" SP sequence-set SP mailbox                              RFC 9051 §9
    private static func move(
        _ kind: NumberKind,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let set = try sequenceSet(&cursor)
        return .move(kind: kind, set: set, mailbox: try mailboxArgument(&cursor))
    }

    //  id             ::= "ID" SPACE id_params_list                          RFC 2971 §4
    //  id_params_list ::= "(" #(string SPACE nstring) ")" / nil
    private static func id(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        if acceptWord("NIL", &cursor) { return .id(nil) }
        var fields: [IDField] = []
        try open(&cursor)
        while true {
            _ = acceptSpace(&cursor)
            if acceptClose(&cursor) { break }
            try checkCount(fields.count, below: Limits.idFieldCountMax, cursor)
            let start = cursor.offset
            let name = try astring(&cursor)
            try space(&cursor)
            let value = try nstring(&cursor)
            guard name.count <= Limits.idNameBytesMax,
                value?.count ?? 0 <= Limits.idValueBytesMax
            else { throw SyntaxError(at: start, expected: "a shorter field") }
            fields.append(IDField(name: name, value: value))
        }
        return .id(fields)
    }

    //  authenticate = "AUTHENTICATE" SP auth-type [SP initial-resp] *(CRLF base64)
    //                                                                        RFC 9051 §9
    //  initial-resp = base64 / "="
    private static func authenticate(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        let mechanism = try atom(&cursor).uppercased
        guard acceptArgument(&cursor) else {
            return .authenticate(mechanism: mechanism, initialResponse: nil)
        }
        let range = cursor.take { $0 > .space && $0 < 0x7F }
        let encoded = cursor.bytes(range)
        if encoded == [UInt8(ascii: "=")] {
            return .authenticate(mechanism: mechanism, initialResponse: [])
        }
        guard !encoded.isEmpty, let response = Base64.decode(encoded) else {
            throw SyntaxError(at: range.lowerBound, expected: "base64")
        }
        return .authenticate(mechanism: mechanism, initialResponse: response)
    }

    //  enable = "ENABLE" 1*(SP capability)                                   RFC 9051 §9
    private static func enable(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        var names: [[UInt8]] = []
        try space(&cursor)
        repeat {
            try checkCount(names.count, below: Limits.listCountMax, cursor)
            names.append(try atom(&cursor).uppercased)
        } while acceptArgument(&cursor)
        return .enable(names)
    }

    //  compress = "COMPRESS" SP algorithm ; algorithm = "DEFLATE"            RFC 4978 §5
    private static func compress(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        return .compress(algorithm: try atom(&cursor).uppercased)
    }

    //  language-cmd = "LANGUAGE" *(SP lang-range-quoted)                     RFC 5255 §3.7
    private static func language(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        var ranges: [[UInt8]] = []
        while acceptArgument(&cursor) {
            try checkCount(ranges.count, below: Limits.listCountMax, cursor)
            ranges.append(try astring(&cursor))
        }
        return .language(ranges)
    }

    //  command-select =/ "CANCELUPDATE" 1*(SP quoted)                        RFC 5267 §5
    private static func cancelUpdate(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        var tags: [[UInt8]] = []
        try space(&cursor)
        repeat {
            try checkCount(tags.count, below: Limits.listCountMax, cursor)
            tags.append(try astring(&cursor))
        } while acceptArgument(&cursor)
        return .cancelUpdate(tags)
    }
}
