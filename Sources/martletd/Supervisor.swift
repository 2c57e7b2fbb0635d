import Bytes
import Configuration
import Glibc
import Posix
import Privsep

//  martletd at work
//
//  Starts the children, keeps them alive, and joins approvals with connections. It parses nothing
//  but the frames of its children, and trusts none of them: a child that sends a wrong frame, or
//  does not read what it is sent, is killed, logged, and started anew.
//
//  Channels between children are socketpairs that martletd makes. When one side dies, it makes a
//  new pair and sends the living side its end; so nothing else has to be restarted, and a
//  session that is logged in does not notice (it has no channel to any of these processes).

@EventLoop
final class Supervisor {
    private let plan: Plan
    private let executables: Executables
    private let listeners: Listeners
    private let users: UserProcesses
    private var certificates: CertificateSource?
    private var pairs: [CertificatePair] = []
    private var isRenewing = false
    private var renewsAgain = false
    private var confinement = Confinement.landlock
    private var emptyDirectory: RuntimeDirectory?

    private var auth: Role<AuthRequest, AuthReport>?
    private var tls: [Role<TLSRequest, TLSReport>?]
    private var logins: [Role<LoginRequest, LoginReport>?]
    private var own: Account?
    private var tickets: Tickets?
    /// Approvals seen, by uid; see `AuthRequest.userEnded`.
    private var approvals: [UInt32: UInt64] = [:]
    private var isStopping = false
    /// Unknown tickets, by the pid of the martlet-login that sent them.
    private var noTicketCounts: [Int32: Int] = [:]

    /// A ticket can be late, or of a martlet-auth that died; so many are made up.
    private static let noTicketCountMax = 100
    /// A child that dies at once is started again ever more slowly.
    private static let restartMillisecondsMin = 100
    private static let restartMillisecondsMax = 10_000
    /// A child that ran for this long had a good start.
    private static let steadySeconds = 10
    private static let startSecondsMax = 20
    private static let stopMilliseconds = 4_500

    init(_ plan: Plan, _ executables: Executables, _ listeners: Listeners) {
        self.plan = plan
        self.executables = executables
        self.listeners = listeners
        users = UserProcesses(plan, executables)
        tls = Array(repeating: nil, count: plan.processCount)
        logins = Array(repeating: nil, count: plan.processCount)
        tickets = Tickets { account in self.noUser(account.uid) }
        users.lastEnded = { uid in self.noUser(uid) }
    }

    // MARK: Start

    /// Starts everything. Returns why that failed, or nil when it serves.
    func start() async -> String? {
        let isIdentified = Answer<(UInt32, UInt32)>()
        Task { await self.keepAuth(isIdentified) }
        guard
            let (uid, gid) = await isIdentified.wait(until: .after(seconds: Self.startSecondsMax))
        else { return "martlet-auth does not start" }
        if plan.isRoot {
            do throws(SystemError) {
                let directory = try RuntimeDirectory(plan)
                confinement = .chroot(directory: directory.empty, uid: uid, gid: gid)
                emptyDirectory = directory
            } catch {
                return "no empty directory to lock the children in: \(error)"
            }
        }
        let source = CertificateSource(
            plan: plan,
            executables: executables,
            identity: plan.isRoot ? .user(uid: uid, gid: gid, groups: []) : .unchanged
        )
        certificates = source
        let (pairs, errors) = await source.load()
        guard errors.isEmpty else {
            return errors.map { "\($0.setting): \($0.message)" }.joined(separator: "; ")
        }
        self.pairs = pairs
        for index in tls.indices {
            Task { await self.keepTLS(index) }
            Task { await self.keepLogin(index) }
        }
        let deadline = Instant.after(seconds: Self.startSecondsMax)
        while !isReady {
            guard deadline > .now else { return "martlet-tls or martlet-login does not start" }
            await EventLoop.sleep(milliseconds: 5)
        }
        return nil
    }

    private var isReady: Bool {
        auth?.isReady == true && tls.allSatisfy { $0?.isReady == true }
            && logins.allSatisfy { $0?.isReady == true }
    }

    /// The line that says that everything serves.
    var readyLine: String {
        var line = "ready: imap=\(Listeners.text(listeners.imap))"
        line += " imaps=\(Listeners.text(listeners.imaps))"
        if plan.isPersonal, let own { line += " user=\(own.name.text)" }
        return line
    }

    /// Reads the configured certificates again, for connections from now on. If anything is wrong
    /// with one of them, all stay as they were: a client that is turned away is worse than an old date.
    func renewCertificates() async {
        renewsAgain = true
        if isRenewing { return }
        isRenewing = true
        defer { isRenewing = false }
        while renewsAgain, !isStopping {
            renewsAgain = false
            guard !plan.settings.tlsCertificates.isEmpty else {
                Log.info("event=certificates-kept reason=\"none is configured\"")
                continue
            }
            guard let (pairs, errors) = await certificates?.load() else { continue }
            guard errors.isEmpty else {
                for error in errors {
                    let reason = Array("\(error.setting): \(error.message)".utf8).quotedForLog
                    Log.error("event=certificates-kept reason=\(reason)")
                }
                continue
            }
            self.pairs = pairs
            for role in tls {
                for pair in pairs { role?.tell(.certificate(chain: pair.chain, key: pair.key)) }
                role?.tell(.useCertificates)
            }
            Log.info("event=certificates-renewed count=\(pairs.count)")
        }
    }

    // MARK: Keeping children

    /// Runs one child after the other. `body` starts one and follows it to the end of its
    /// channel.
    private func keep<Request, Report>(
        _ name: String,
        _ body: @EventLoop (Role<Request, Report>) async -> Void
    ) async {
        var delay = Self.restartMillisecondsMin
        while !isStopping {
            let began = Instant.now
            do throws(SystemError) {
                let role: Role<Request, Report> = try executables.start(name)
                Log.info("event=started process=\(name) pid=\(role.child.pid)")
                await body(role)
                let end = await role.buried()
                if isStopping { return }
                Log.error("event=died process=\(name) pid=\(role.child.pid) \(end)")
            } catch {
                Log.error("event=start-failed process=\(name) \(error)")
            }
            let ranFor = Instant.now.milliseconds(since: began)
            if ranFor > Self.steadySeconds * 1_000 { delay = Self.restartMillisecondsMin }
            await EventLoop.sleep(milliseconds: delay)
            delay = min(delay * 2, Self.restartMillisecondsMax)
        }
    }

    private func keepAuth(_ isIdentified: Answer<(UInt32, UInt32)>) async {
        await keep("martlet-auth") { (role: Role<AuthRequest, AuthReport>) in
            auth = role
            approvals = [:]
            if let password = plan.personalPassword {
                role.tell(.configurePersonal(password: password, plan.authSettings))
            } else {
                role.tell(.configure(plan.authSettings))
            }
            for index in logins.indices { wireAuth(index) }
            role.tell(.start)
            while let received = await role.next() {
                switch received.message {
                case .identities(let uid, let gid, let own):
                    self.own = own
                    isIdentified.give((uid, gid))
                case .ready: role.becameReady()
                case .approved(let ticket, let account):
                    approvals[account.uid, default: 0] += 1
                    tickets?.approve(ticket, account)
                }
            }
            if auth === role { auth = nil }
        }
    }

    private func keepTLS(_ index: Int) async {
        await keep("martlet-tls") { (role: Role<TLSRequest, TLSReport>) in
            role.tell(.configure(confinement, logLevel: plan.settings.logLevel))
            for pair in pairs { role.tell(.certificate(chain: pair.chain, key: pair.key)) }
            for listener in listeners.imaps {
                role.tell(.listen, descriptor: listener.descriptor.raw)
            }
            tls[index] = role
            wireTLS(index)
            role.tell(.start)
            while await role.next() != nil { role.becameReady() }
            if tls[index] === role { tls[index] = nil }
        }
    }

    private func keepLogin(_ index: Int) async {
        await keep("martlet-login") { (role: Role<LoginRequest, LoginReport>) in
            role.tell(
                .configure(
                    confinement,
                    plaintextLogin: plan.plaintextLogin,
                    offersTLS: true,
                    plan.settings.logLevel
                )
            )
            for listener in listeners.imap {
                role.tell(.listen, descriptor: listener.descriptor.raw)
            }
            logins[index] = role
            wireTLS(index)
            wireAuth(index)
            role.tell(.start)
            while var received = await role.next() {
                switch received.message {
                case .ready: role.becameReady()
                case .startSession(let start):
                    let socket = PassedSocket(received.takeDescriptor())
                    Task { await self.startSession(start, socket, for: role) }
                }
            }
            noTicketCounts[role.child.pid] = nil
            if logins[index] === role { logins[index] = nil }
        }
    }

    // MARK: Channels between children

    private func wireTLS(_ index: Int) {
        guard let tls = tls[index], let login = logins[index],
            var pair = try? FrameChannel.makePair()
        else { return }
        let first = pair.takeFirst()
        let second = pair.takeSecond()
        tls.tell(.loginChannel, descriptor: first.raw)
        login.tell(.tlsChannel, descriptor: second.raw)
    }

    private func wireAuth(_ index: Int) {
        guard let auth, let login = logins[index], var pair = try? FrameChannel.makePair() else {
            return
        }
        let first = pair.takeFirst()
        let second = pair.takeSecond()
        auth.tell(.loginChannel(index: UInt32(index)), descriptor: first.raw)
        login.tell(.authChannel, descriptor: second.raw)
    }

    // MARK: Sessions

    private func startSession(
        _ start: SessionStart,
        _ socket: PassedSocket,
        for login: Role<LoginRequest, LoginReport>
    ) async {
        guard let account = await tickets?.spend(start.ticket) else {
            Log.warning("event=no-ticket session=\(start.connection.session)")
            noTicketCounts[login.child.pid, default: 0] += 1
            if noTicketCounts[login.child.pid, default: 0] > Self.noTicketCountMax {
                login.misbehaved("making up tickets")
            }
            return login.tell(.sessionFailed(request: start.request))
        }
        let isOpen = await users.open(account, start, socket)
        login.tell(
            isOpen
                ? .sessionStarted(request: start.request) : .sessionFailed(request: start.request)
        )
    }

    /// The user has no process (any more): martlet-auth may end a PAM session.
    private func noUser(_ uid: UInt32) {
        guard !users.hasProcess(of: uid) else { return }
        auth?.tell(.userEnded(uid: uid, approvals: approvals[uid, default: 0]))
    }

    // MARK: End

    /// Ends all children: first those that take new work, then the users' sessions.
    func stop() async {
        isStopping = true
        listeners.close()
        for role in tls { role?.tell(.stopListening) }
        for role in logins { role?.tell(.stopListening) }
        await users.shutDown(until: .after(milliseconds: Self.stopMilliseconds))
        // Last words go through martlet-tls, which copies what is there before its end.
        await EventLoop.sleep(milliseconds: 100)
        for role in logins { role?.channel.close() }
        for role in tls { role?.channel.close() }
        auth?.channel.close()
        let deadline = Instant.after(milliseconds: 400)
        while deadline > .now, hasChildren { await EventLoop.sleep(milliseconds: 5) }
        for role in logins { role?.child.signal(SIGKILL) }
        for role in tls { role?.child.signal(SIGKILL) }
        auth?.child.signal(SIGKILL)
        emptyDirectory?.remove()
    }

    private var hasChildren: Bool {
        let children = logins.map { $0?.child } + tls.map { $0?.child } + [auth?.child]
        return children.contains { $0?.hasEnded == false }
    }
}
