import Posix
import Privsep

/// Approvals and the sessions that ask for them, whichever comes first; each is used once.
@EventLoop
final class Tickets {
    /// How long an approval waits for its session.
    static let approvalSecondsMax = 30
    /// How long a session waits for its approval, which martlet-auth sent first, but on another
    /// channel.
    static let sessionSecondsMax = 5
    /// Sessions that wait, of all martlet-login: a hostile one makes up tickets.
    static let waitingCountMax = 256

    private var approved: [Ticket: Account] = [:]
    private var waiting: [Ticket: Answer<Account>] = [:]
    private let expired: @EventLoop @Sendable (Account) -> Void

    /// - Parameter expired: told of an approval that nobody used.
    init(expired: @escaping @EventLoop @Sendable (Account) -> Void) { self.expired = expired }

    func approve(_ ticket: Ticket, _ account: Account) {
        if let answer = waiting.removeValue(forKey: ticket) { return answer.give(account) }
        approved[ticket] = account
        EventLoop.schedule(at: .after(seconds: Self.approvalSecondsMax)) {
            guard let account = self.approved.removeValue(forKey: ticket) else { return }
            self.expired(account)
        }
    }

    /// The account of a ticket, which is spent then; nil where there is none.
    func spend(_ ticket: Ticket) async -> Account? {
        if let account = approved.removeValue(forKey: ticket) { return account }
        guard waiting.count < Self.waitingCountMax, waiting[ticket] == nil else { return nil }
        let answer = Answer<Account>()
        waiting[ticket] = answer
        let account = await answer.wait(until: .after(seconds: Self.sessionSecondsMax))
        if waiting[ticket] === answer { waiting[ticket] = nil }
        return account
    }
}
