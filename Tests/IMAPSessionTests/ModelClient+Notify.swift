import Posix

@testable import IMAPSession

extension ModelClient {
    /// What a STATUS of NOTIFY tells.                                              RFC 5465 §4
    struct Status: Equatable {
        var messages: Int
        var unseen: Int
    }

    /// Asks for whatever happens in both mailboxes, and for how they are now.
    func notify(_ seed: UInt64) async {
        guard modes.hasNotify else { return }
        var random = SeededGenerator(state: seed)
        let isFetching = Bool.random(using: &random)
        let new = isFetching ? "MessageNew (UID FLAGS)" : "MessageNew"
        let name = modes.contains(.notify) ? "SELECTED" : "SELECTED-DELAYED"
        statuses = [:]
        send(
            "NOTIFY SET STATUS (\(name) (\(new) MessageExpunge FlagChange)) "
                + "(MAILBOXES (INBOX Other) (MessageNew MessageExpunge FlagChange))",
            .free
        )
        await finish()
    }

    func status(_ text: String) {
        if !modes.hasNotify { violation("STATUS, not asked for: \(text)") }
        let name = text.contains("STATUS \"INBOX\"") ? "INBOX" : "Other"
        guard let messages = text.number(after: "MESSAGES "),
            let unseen = text.number(after: "UNSEEN ")
        else { return violation("STATUS without what was asked for: \(text)") }
        statuses[name] = Status(messages: Int(messages), unseen: Int(unseen))
    }
}
