import Bytes

extension Grammar {
    //  esearch             = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP
    //                        search-program                                  RFC 7377 §4
    //  esearch-source-opts = "IN" SP "(" source-mbox [SP "(" scope-options ")"] ")"
    //  source-mbox         = filter-mailboxes *(SP filter-mailboxes)
    //
    //  No scope options are defined; any are refused.
    static func multiSearch(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        var sources: [MailboxFilter] = []
        if acceptWord("IN", &cursor) {
            try space(&cursor)
            try open(&cursor)
            repeat {
                try checkCount(sources.count, below: Limits.listCountMax, cursor)
                let start = cursor.offset
                let filter = try mailboxFilter(&cursor)
                guard filter != .selectedDelayed else {
                    throw SyntaxError(at: start, expected: "a source of messages")
                }
                sources.append(filter)
            } while acceptElement(&cursor)
            try close(&cursor)
            try space(&cursor)
        }
        let returns = try searchReturns(&cursor)
        let (charset, key) = try searchProgram(&cursor)
        return .multiSearch(
            MultiSearchCommand(sources: sources, returns: returns, charset: charset, key: key)
        )
    }

    private enum FilterWord: Sendable {
        case plain(MailboxFilter)
        case subtree
        case subtreeOne
        case mailboxes
    }

    private static let filterWords = Keywords<FilterWord>([
        ("SELECTED", .plain(.selected)), ("SELECTED-DELAYED", .plain(.selectedDelayed)),
        ("INBOXES", .plain(.inboxes)), ("PERSONAL", .plain(.personal)),
        ("SUBSCRIBED", .plain(.subscribed)), ("SUBTREE", .subtree),
        ("SUBTREE-ONE", .subtreeOne), ("MAILBOXES", .mailboxes),
    ])

    //  filter-mailboxes          = filter-mailboxes-selected / filter-mailboxes-other
    //                                                                        RFC 5465 §8
    //  filter-mailboxes-other    = "inboxes" / "personal" / "subscribed" /
    //                              ("subtree" SP one-or-more-mailbox) /
    //                              ("mailboxes" SP one-or-more-mailbox)
    //  filter-mailboxes-selected = "selected" / "selected-delayed"
    private static func mailboxFilter(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> MailboxFilter {
        switch try keyword(filterWords, "a known mailbox filter", &cursor) {
        case .plain(let filter): return filter
        case .subtree: return .subtree(try oneOrMoreMailboxes(&cursor))
        case .subtreeOne: return .subtreeOne(try oneOrMoreMailboxes(&cursor))
        case .mailboxes: return .mailboxes(try oneOrMoreMailboxes(&cursor))
        }
    }

    //  one-or-more-mailbox = mailbox / many-mailboxes                        RFC 5465 §8
    //  many-mailboxes      = "(" mailbox *(SP mailbox) ")"
    private static func oneOrMoreMailboxes(
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [MailboxName] {
        try space(&cursor)
        guard acceptOpen(&cursor) else { return [try mailbox(&cursor)] }
        var names: [MailboxName] = []
        repeat {
            try checkCount(names.count, below: Limits.listCountMax, cursor)
            names.append(try mailbox(&cursor))
        } while acceptElement(&cursor)
        try close(&cursor)
        return names
    }

    //  notify      = "NOTIFY" SP (notify-set / notify-none)                  RFC 5465 §8
    //  notify-set  = "SET" [status-indicator] SP event-groups
    //  notify-none = "NONE"
    //  event-group = "(" filter-mailboxes SP events ")"
    static func notify(_ cursor: inout ByteCursor) throws(SyntaxError) -> CommandBody {
        try space(&cursor)
        if acceptWord("NONE", &cursor) { return .notify(.none) }
        guard acceptWord("SET", &cursor) else {
            throw SyntaxError(at: cursor.offset, expected: "SET or NONE")
        }
        try space(&cursor)
        let status = acceptWord("STATUS", &cursor)
        if status { try space(&cursor) }
        var groups: [NotifyCommand.EventGroup] = []
        var selectedCount = 0
        repeat {
            try checkCount(groups.count, below: Limits.listCountMax, cursor)
            try open(&cursor)
            let start = cursor.offset
            let filter = try mailboxFilter(&cursor)
            let isSelected = filter == .selected || filter == .selectedDelayed
            if isSelected { selectedCount += 1 }
            if case .subtreeOne = filter {
                throw SyntaxError(at: start, expected: "a known mailbox filter")
            }
            guard selectedCount <= 1 else {
                throw SyntaxError(at: start, expected: "the selected mailbox once")
            }
            try space(&cursor)
            let events = try notifyEvents(isSelected: isSelected, &cursor)
            try close(&cursor)
            groups.append(NotifyCommand.EventGroup(filter: filter, events: events))
        } while acceptArgument(&cursor)
        return .notify(.set(status: status, groups: groups))
    }

    private static let eventWords = Keywords<NotifyCommand.Event>([
        ("MESSAGENEW", .messageNew([])), ("MESSAGEEXPUNGE", .messageExpunge),
        ("FLAGCHANGE", .flagChange), ("ANNOTATIONCHANGE", .annotationChange),
        ("MAILBOXNAME", .mailboxName), ("SUBSCRIPTIONCHANGE", .subscriptionChange),
        ("MAILBOXMETADATACHANGE", .mailboxMetadataChange),
        ("SERVERMETADATACHANGE", .serverMetadataChange),
    ])

    //  events        = ("(" event *(SP event) ")") / "NONE"                  RFC 5465 §8
    //  message-event = ("MessageNew" [SP "(" fetch-att *(SP fetch-att) ")"]) / "MessageExpunge" /
    //                  "FlagChange" / "AnnotationChange"
    //  event-ext     = atom
    //
    //  MessageNew and MessageExpunge come together, and with FlagChange or AnnotationChange they
    //  both do; "otherwise, the server MUST respond with the tagged BAD response" (§5; the
    //  examples of §3.1 do not keep to it). The selected mailbox has message events only.
    private static func notifyEvents(
        isSelected: Bool,
        _ cursor: inout ByteCursor
    ) throws(SyntaxError) -> [NotifyCommand.Event] {
        var events: [NotifyCommand.Event] = []
        let start = cursor.offset
        if acceptWord("NONE", &cursor) { return events }
        try open(&cursor)
        var hasNew = false
        var hasExpunge = false
        var hasChange = false
        var hasOther = false
        repeat {
            try checkCount(events.count, below: Limits.listCountMax, cursor)
            let range = cursor.take(while: \.isAtomChar)
            guard !range.isEmpty else {
                throw SyntaxError(at: cursor.offset, expected: "an event")
            }
            switch eventWords[cursor.span, range] ?? .unknown {
            case .messageNew:
                hasNew = true
                var items: [FetchItem] = []
                if isSelected, cursor.peek == .space, cursor.peek(at: 1) == UInt8(ascii: "(") {
                    cursor.offset += 1
                    items = try fetchItemList(&cursor)
                }
                events.append(.messageNew(items))
            case .messageExpunge:
                hasExpunge = true
                events.append(.messageExpunge)
            case .flagChange:
                hasChange = true
                events.append(.flagChange)
            case .annotationChange:
                hasChange = true
                events.append(.annotationChange)
            case .mailboxName:
                hasOther = true
                events.append(.mailboxName)
            case .subscriptionChange:
                hasOther = true
                events.append(.subscriptionChange)
            case .mailboxMetadataChange:
                hasOther = true
                events.append(.mailboxMetadataChange)
            case .serverMetadataChange:
                hasOther = true
                events.append(.serverMetadataChange)
            case .unknown: events.append(.unknown)
            }
        } while acceptElement(&cursor)
        try close(&cursor)
        guard hasNew == hasExpunge, !hasChange || hasNew else {
            throw SyntaxError(at: start, expected: "MessageNew and MessageExpunge together")
        }
        guard !isSelected || !hasOther else {
            throw SyntaxError(at: start, expected: "message events for the selected mailbox")
        }
        return events
    }
}
