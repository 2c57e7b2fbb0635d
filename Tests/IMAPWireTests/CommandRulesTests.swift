import Testing

@testable import IMAPWire

@Suite("rules of the commands")
struct CommandRulesTests {
    /// Command, state, holds EXPUNGE back, UID form, names sequence numbers, changes the mailbox.
    static let table: [(String, RequiredState, Bool, Bool, Bool, Bool)] = [
        ("NOOP", .any, false, false, false, false),
        ("LANGUAGE", .any, false, false, false, false),
        ("LOGIN a b", .notAuthenticated, false, false, false, false),
        ("STARTTLS", .notAuthenticated, false, false, false, false),
        ("SELECT a", .authenticated, false, false, false, false),
        ("SELECT a (QRESYNC (1 2 (1 1)))", .authenticated, false, false, true, false),
        ("IDLE", .authenticated, false, false, false, false),
        ("CLOSE", .selected, false, false, false, false),
        ("EXPUNGE", .selected, false, false, false, true),
        ("UID EXPUNGE 1", .selected, false, true, false, true),
        ("FETCH 1 UID", .selected, true, false, true, false),
        ("UID FETCH 1 UID", .selected, false, true, false, false),
        ("STORE 1 FLAGS ()", .selected, true, false, true, true),
        ("UID STORE 1 FLAGS ()", .selected, false, true, false, true),
        ("SEARCH ALL", .selected, true, false, true, false),
        ("UID SEARCH ALL", .selected, false, true, false, false),
        ("UID SEARCH OR ALL NOT (1)", .selected, true, true, true, false),
        ("UID SEARCH FUZZY $", .selected, false, true, false, false),
        ("SORT (DATE) X ALL", .selected, true, false, true, false),
        ("UID SORT (DATE) X ALL", .selected, false, true, false, false),
        ("THREAD REFS X ALL", .selected, true, false, true, false),
        ("UID THREAD REFS X 5", .selected, true, true, true, false),
        ("ESEARCH IN (selected) 1", .selected, true, false, true, false),
        ("ESEARCH IN (selected) ALL", .selected, false, false, false, false),
        ("COPY 1 a", .selected, false, false, true, false),
        ("UID COPY 1 a", .selected, false, true, false, false),
        ("MOVE 1 a", .selected, false, false, true, true),
        ("UID MOVE 1 a", .selected, false, true, false, true),
    ]

    @Test("as the RFCs have them", arguments: table)
    func rules(
        _ row: (String, RequiredState, Bool, Bool, Bool, Bool)
    ) throws {
        let body = try parse(row.0)
        #expect(body.requiredState == row.1)
        #expect(body.forbidsExpunge == row.2)
        #expect(body.isUIDForm == row.3)
        #expect(body.namesSequenceNumbers == row.4)
        #expect(body.changesSelectedMailbox == row.5)
    }
}
