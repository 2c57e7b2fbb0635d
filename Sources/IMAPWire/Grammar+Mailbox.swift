import Bytes

//  The commands about mailboxes.
extension Grammar {
    private static let specialUses = Keywords<SpecialUse>([
        ("ALL", .all), ("ARCHIVE", .archive), ("DRAFTS", .drafts), ("FLAGGED", .flagged),
        ("IMPORTANT", .important), ("JUNK", .junk), ("SENT", .sent), ("TRASH", .trash),
    ])

    //  create       = "CREATE" SP mailbox [SP "(" create-param *(SP create-param) ")"]
    //                                                                        RFC 4466 §6
    //  create-param =/ "USE" SP "(" [use-attr *(SP use-attr)] ")"            RFC 6154 §6
    //
    //  Any atom is a use-attr; one that nobody knows is refused by name (§3), not as syntax.
    static func create(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        let mailbox = try mailboxArgument(&cursor)
        var uses: [SpecialUse?] = []
        guard acceptArgument(&cursor) else { return .create(mailbox: mailbox, uses: uses) }
        try open(&cursor)
        guard acceptWord("USE", &cursor) else {
            throw SyntaxError(at: cursor.offset, expected: "USE")
        }
        try space(&cursor)
        try open(&cursor)
        while !acceptClose(&cursor) {
            try checkCount(uses.count, below: Limits.listCountMax, cursor)
            if !uses.isEmpty { try space(&cursor) }
            try expect(.backslash, "a special use", &cursor)
            let start = cursor.offset
            _ = try atom(&cursor)
            uses.append(specialUses[cursor.span, start..<cursor.offset])
        }
        try close(&cursor)
        return .create(mailbox: mailbox, uses: uses)
    }

    //  select       = "SELECT" SP mailbox [SP "(" select-param *(SP select-param) ")"]
    //                                                                        RFC 4466 §6
    //  select-param =/ "CONDSTORE"                                           RFC 7162 §7
    //  select-param =/ "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids]
    //                  [SP seq-match-data] ")"
    static func select(
        isReadOnly: Bool,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> CommandBody {
        var command = SelectCommand(
            mailbox: try mailboxArgument(&cursor),
            isReadOnly: isReadOnly
        )
        guard acceptArgument(&cursor) else { return .select(command) }
        try open(&cursor)
        repeat {
            if !command.condStore, acceptWord("CONDSTORE", &cursor) {
                command.condStore = true
            } else if command.quickResync == nil, acceptWord("QRESYNC", &cursor) {
                try space(&cursor)
                command.quickResync = try quickResync(&cursor)
            } else {
                throw SyntaxError(at: cursor.offset, expected: "CONDSTORE or QRESYNC")
            }
        } while acceptElement(&cursor)
        try close(&cursor)
        return .select(command)
    }

    //  seq-match-data = "(" known-sequence-set SP known-uid-set ")"          RFC 7162 §7
    //
    //  `mod-sequence-value` is at least 1, but 0 is harmless: everything changed since.
    private static func quickResync(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> SelectCommand.QuickResync {
        try open(&cursor)
        let uidValidity = UIDValidity(try nonZeroNumber(&cursor))
        try space(&cursor)
        let modSeq = try modSeq(&cursor)
        var knownUIDs: SequenceSet?
        var matchSequence: SequenceSet?
        var matchUIDs: SequenceSet?
        if acceptSpace(&cursor) {
            if cursor.peek != UInt8(ascii: "(") {
                knownUIDs = try knownSet(&cursor)
            }
            if knownUIDs == nil || acceptSpace(&cursor) {
                try open(&cursor)
                matchSequence = try knownSet(&cursor)
                try space(&cursor)
                matchUIDs = try knownSet(&cursor)
                try close(&cursor)
            }
        }
        try close(&cursor)
        return SelectCommand.QuickResync(
            uidValidity: uidValidity,
            modSeq: modSeq,
            knownUIDs: knownUIDs,
            matchSequence: matchSequence,
            matchUIDs: matchUIDs
        )
    }

    private static let statusItems = Keywords<StatusItem>(
        StatusItem.allCases.map { ($0.name, $0) }
    )

    //  status = "STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"   RFC 9051 §9
    static func status(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        let mailbox = try mailboxArgument(&cursor)
        try space(&cursor)
        return .status(mailbox: mailbox, items: try statusItemList(&cursor))
    }

    private static func statusItemList(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [StatusItem] {
        var items: [StatusItem] = []
        try open(&cursor)
        repeat {
            let item = try keyword(statusItems, "a known status item", &cursor)
            // Asking twice is answered once: `(` 100,000 × `SIZE ` is not an amplifier.
            if !items.contains(item) { items.append(item) }
        } while acceptElement(&cursor)
        try close(&cursor)
        return items
    }

    //  lsub = "LSUB" SP mailbox SP list-mailbox                              RFC 3501 §9
    static func lsub(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        let reference = try mailboxArgument(&cursor)
        try space(&cursor)
        return .lsub(reference: reference, pattern: try listMailbox(&cursor))
    }

    //  list        = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat
    //                [SP list-return-opts]                                   RFC 9051 §9
    //  mbox-or-pat = list-mailbox / patterns
    //  patterns    = "(" list-mailbox *(SP list-mailbox) ")"
    static func list(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        var selection: ListCommand.Selection = []
        var isExtended = false
        if acceptOpen(&cursor) {
            isExtended = true
            selection = try listSelection(&cursor)
            try space(&cursor)
        }
        let reference = try mailbox(&cursor)
        try space(&cursor)
        var patterns: [MailboxName] = []
        if acceptOpen(&cursor) {
            isExtended = true
            repeat {
                try checkCount(patterns.count, below: Limits.listCountMax, cursor)
                patterns.append(try listMailbox(&cursor))
            } while acceptElement(&cursor)
            try close(&cursor)
        } else {
            patterns.append(try listMailbox(&cursor))
        }
        var command = ListCommand(
            reference: reference,
            patterns: patterns,
            selection: selection,
            isExtended: isExtended
        )
        if acceptArgument(&cursor) {
            guard acceptWord("RETURN", &cursor) else {
                throw SyntaxError(at: cursor.offset, expected: "RETURN")
            }
            command.isExtended = true
            try space(&cursor)
            try open(&cursor)
            try listReturns(into: &command, &cursor)
        }
        return .list(command)
    }

    private static let listSelections = Keywords<ListCommand.Selection>([
        ("SUBSCRIBED", .subscribed), ("REMOTE", .remote), ("SPECIAL-USE", .specialUse),
        ("RECURSIVEMATCH", .recursiveMatch),
    ])

    //  list-select-opts = "(" [list-select-opt *(SP list-select-opt)] ")"    RFC 9051 §9
    //
    //  "If a list-select-mod-opt appears, then a list-select-base-opt must also appear."
    private static func listSelection(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> ListCommand.Selection {
        var selection: ListCommand.Selection = []
        let start = cursor.offset
        if acceptClose(&cursor) { return selection }
        repeat {
            selection.insert(try keyword(listSelections, "a known selection option", &cursor))
        } while acceptElement(&cursor)
        try close(&cursor)
        guard
            !selection.contains(.recursiveMatch)
                || !selection.isDisjoint(with: [.subscribed, .specialUse])
        else {
            throw SyntaxError(at: start, expected: "an option for RECURSIVEMATCH to modify")
        }
        return selection
    }

    private enum ListReturn: Sendable {
        case option(ListCommand.Returns)
        case status
        case metadata
    }

    private static let listReturns = Keywords<ListReturn>([
        ("SUBSCRIBED", .option(.subscribed)), ("CHILDREN", .option(.children)),
        ("SPECIAL-USE", .option(.specialUse)), ("MYRIGHTS", .option(.myRights)),
        ("STATUS", .status), ("METADATA", .metadata),
    ])

    //  list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
    //                                                                        RFC 9051 §9
    //  return-option =/ "METADATA" SP "(" entry *(SP entry) ")"              RFC 9590 §5
    //
    //  Called after the opening parenthesis.
    private static func listReturns(
        into command: inout ListCommand,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) {
        if acceptClose(&cursor) { return }
        repeat {
            switch try keyword(listReturns, "a known return option", &cursor) {
            case .option(let option): command.returns.insert(option)
            case .status:
                try space(&cursor)
                command.status = try statusItemList(&cursor)
            case .metadata:
                try space(&cursor)
                try open(&cursor)
                command.metadata = []
                repeat {
                    try checkCount(command.metadata.count, below: Limits.listCountMax, cursor)
                    command.metadata.append(try metadataEntry(&cursor))
                } while acceptElement(&cursor)
                try close(&cursor)
            }
        } while acceptElement(&cursor)
        try close(&cursor)
    }
}
