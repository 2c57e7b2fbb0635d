import Glibc
import PAM
import Posix
import Privsep

//  martlet-auth
//
//  Root, and reached by strangers only through the fields of an `AuthQuery`. Each attempt is a
//  task: the limiter, a worker, the approval to martletd, the verdict to martlet-login, one line
//  in the log. Whatever is not `ok` is answered after the same delay from the attempt's beginning,
//  so that neither words nor time tell a wrong password from a user who does not exist.

enum AuthProcessLimits {
    /// Attempts of one martlet-login at the same time: as many as it has connections, and more
    /// only if it was taken over.
    static let attemptCountMax = 4_096
}

@EventLoop
final class AuthProcess {
    private let control: Channel<AuthReport, AuthRequest>
    private var settings = AuthSettings()
    private var personalPassword: Password?
    private var own: Account?
    private var logins: [UInt32: Channel<AuthVerdict, AuthQuery>] = [:]
    private var pool: WorkerPool?
    private var limiter = FailureLimiter()
    private var attemptCount = 0
    /// Workers that hold a PAM session, by uid; and approvals sent, which tells a late
    /// `userEnded` from one that is about the user's last process.
    private var heldSessions: [UInt32: Worker] = [:]
    private var approvals: [UInt32: UInt64] = [:]

    init() throws(SystemError) { control = try Channel(OwnedDescriptor(channelDescriptor)) }

    /// Does what martletd says until the channel ends.
    func obey() async throws(SystemError) {
        while true {
            guard var received = try? await control.receive() else { return }
            switch received.message {
            case .configure(let settings): await configure(settings)
            case .configurePersonal(let password, let settings):
                personalPassword = password
                await configure(settings)
            case .loginChannel(let index):
                logins[index]?.close()
                let channel = try Channel<AuthVerdict, AuthQuery>(received.takeDescriptor())
                logins[index] = channel
                Task { await self.serve(channel, index) }
            case .start:
                if personalPassword == nil { pool = WorkerPool(service: settings.pamService) }
                try? await control.send(.ready)
            case .userEnded(let uid, let count): userEnded(uid, count)
            }
        }
    }

    private func configure(_ settings: AuthSettings) async {
        unsafe Log.level = settings.logLevel
        self.settings = settings
        let own =
            (try? AccountLookup.of(uid: getuid()))
            ?? Account(
                name: Array("user".utf8),
                uid: getuid(),
                gid: getgid(),
                groups: [],
                home: []
            )
        self.own = own
        let login = loginUser()
        let report = AuthReport.identities(loginUID: login.uid, loginGID: login.gid, own: own)
        try? await control.send(report)
    }

    /// The account of martlet-login and martlet-tls. Root can never be it.
    private func loginUser() -> (uid: UInt32, gid: UInt32) {
        for name in [settings.loginUser, Array("nobody".utf8)] {
            guard let account = try? AccountLookup.named(name), account.uid != 0, account.gid != 0
            else { continue }
            // Somebody's own run needs no user of its own.
            if name != settings.loginUser, getuid() == 0, personalPassword == nil {
                Log.warning(
                    "event=login-user-missing login_user=\(settings.loginUser.quotedForLog)"
                        + " using=\(account.name.quotedForLog)"
                )
            }
            return (account.uid, account.gid)
        }
        return (65_534, 65_534)
    }

    // MARK: Attempts

    private func serve(_ channel: Channel<AuthVerdict, AuthQuery>, _ index: UInt32) async {
        do throws(ChannelFailure) {
            while true {
                let query = try await channel.receive().message
                if attemptCount >= AuthProcessLimits.attemptCountMax {
                    try await channel.send(AuthVerdict(request: query.request, result: .limited))
                    continue
                }
                attemptCount += 1
                Task {
                    await self.answer(query, on: channel)
                    self.attemptCount -= 1
                }
            }
        } catch {
            if error != .closed {
                Log.error("event=misbehaviour process=martlet-login index=\(index) \(error)")
            }
            channel.close()
            if logins[index] === channel { logins[index] = nil }
        }
    }

    private func answer(
        _ query: AuthQuery,
        on channel: Channel<AuthVerdict, AuthQuery>
    ) async {
        let began = Instant.now
        let user = LoginName.withoutDomain(query.user, domains: settings.loginDomains)
        let (result, name) = await check(query, user)
        Log.info(
            "event=auth result=\(result.name) user=\(name.quotedForLog)"
                + " method=\(query.method.name) service=imap \(query.connection.logFields)"
        )
        if case .approved = result {
            limiter.succeeded(user: user, query.connection)
        } else {
            let delay = limiter.delayMilliseconds(user: user, query.connection)
            await EventLoop.sleep(until: began.adding(milliseconds: delay))
        }
        try? await channel.send(AuthVerdict(request: query.request, result: result))
    }

    /// The result, and the name for the log: the canonical one where the user was approved.
    private func check(_ query: AuthQuery, _ user: [UInt8]) async -> (AuthResult, [UInt8]) {
        let account: Account
        switch await report(on: query, user) {
        case .approved(let approved): account = approved
        case .failed, .sessionOpened:
            limiter.failed(user: user, query.connection)
            return (.failed, query.user)
        case .expired: return (.expired, query.user)
        case .unavailable: return (.unavailable, query.user)
        case nil: return (.limited, query.user)
        }
        let ticket = Ticket.random
        approvals[account.uid, default: 0] += 1
        do throws(ChannelFailure) {
            try await control.send(.approved(ticket, account))
        } catch {
            return (.unavailable, query.user)
        }
        return (.approved(ticket), account.name)
    }

    /// What PAM says, or in personal mode the comparison; nil where nobody was asked because of
    /// too many failures.
    private func report(on query: AuthQuery, _ user: [UInt8]) async -> WorkerReport? {
        if let personalPassword {
            guard limiter.allows(user: user, query.connection) else { return nil }
            guard let own else { return .unavailable }
            // Both are looked at, whatever the first says.
            let isPassword = personalPassword == query.password
            let isUser = own.name == user
            return isPassword && isUser && !query.password.isEmpty ? .approved(own) : .failed
        }
        guard let pool else { return .unavailable }
        let report = await pool.withWorker { worker -> WorkerReport? in
            // Looked at now and not when the query came: see FailureLimiter.
            guard self.limiter.allows(user: user, query.connection) else { return nil }
            let report = await worker.ask(
                .check(
                    user: user,
                    password: query.password,
                    remoteAddress: query.connection.remoteAddress,
                    minimumUID: self.settings.minimumUID
                )
            )
            guard case .approved(let account) = report, self.settings.pamSession else {
                return report
            }
            return await self.holdSession(worker, account)
        }
        // No worker to be had, as against no answer wanted.
        guard let report else { return .unavailable }
        return report
    }

    // MARK: PAM sessions

    /// Has the worker open a session for the user, if none is held yet; it is then no more of
    /// the pool.
    private func holdSession(_ worker: Worker, _ account: Account) async -> WorkerReport {
        guard heldSessions[account.uid] == nil else { return .approved(account) }
        guard await worker.ask(.openSession) == .sessionOpened else { return .unavailable }
        worker.leavePool()
        if heldSessions[account.uid] == nil {
            heldSessions[account.uid] = worker
        } else {
            // Another login of the same user was faster.
            worker.dismiss()
        }
        return .approved(account)
    }

    private func userEnded(_ uid: UInt32, _ count: UInt64) {
        guard approvals[uid, default: 0] == count else { return }
        heldSessions.removeValue(forKey: uid)?.dismiss()
    }
}
