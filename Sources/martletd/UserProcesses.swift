import Bytes
import Glibc
import Posix
import Privsep

//  The users' processes
//
//  One for each uid and Maildir. It is started for the first session, ends by itself some time
//  after the last, and may die at any moment; a session that it has not reported opened is then
//  answered by martlet-login, because nothing was written to the client yet.
//
//  The race at its end: it says how many sessions it was given (`idle`). If we sent more, one is
//  on its way and we say nothing; else we take it out of the table and tell it to exit, and a
//  session that comes now waits for its end: the lock on the Maildir is still held by it.

/// A socket on its way through tasks, which cannot carry what cannot be copied.
final class PassedSocket: Sendable {
    let descriptor: OwnedDescriptor

    init(_ descriptor: consuming OwnedDescriptor) { self.descriptor = descriptor }
}

/// What became of a session that was given to a process.
enum OpeningResult: Sendable {
    case opened
    /// The process will not have it.
    case declined
    /// The process ended before it reported; it has read nothing from the client and written nothing.
    case lost
}

/// What a process is found by.
struct UserProcessKey: Hashable {
    let uid: UInt32
    let mailLocation: [UInt8]
}

/// One user's process.
@EventLoop
final class UserProcess {
    let key: UserProcessKey
    let role: Role<UserRequest, UserReport>
    let started = Instant.now
    private var sentCount: UInt32 = 0
    private var openings: [UInt32: Answer<OpeningResult>] = [:]
    /// Sessions given and not reported ended.
    private var live: Set<UInt32> = []
    /// Takes no more sessions: told to exit, refused, or dead.
    private(set) var isLeaving = false
    private let ended = Answer<Bool>()
    private var startTimer: TimerID?

    /// How long the start may take: a large Maildir on a slow disk, and its lock.
    static let startSecondsMax = 30
    /// How long it may take to exit when it has said that it will.
    static let exitSecondsMax = 10

    init(_ key: UserProcessKey, _ role: Role<UserRequest, UserReport>) {
        self.key = key
        self.role = role
        startTimer = EventLoop.schedule(at: .after(seconds: Self.startSecondsMax)) {
            guard !role.isReady else { return }
            Log.error("event=start-timeout process=martlet-user pid=\(role.child.pid)")
            role.child.signal(SIGKILL)
        }
    }

    /// Gives it a session, and waits until it has said what it makes of it.
    func open(_ start: SessionStart, _ socket: PassedSocket) async -> OpeningResult {
        sentCount &+= 1
        let number = sentCount
        let answer = Answer<OpeningResult>()
        openings[number] = answer
        live.insert(number)
        role.tell(
            .openSession(
                SessionOpening(
                    number: number,
                    connection: start.connection,
                    method: start.method,
                    tag: start.tag,
                    leftover: start.leftover
                )
            ),
            descriptor: socket.descriptor.raw
        )
        return await answer.wait() ?? .lost
    }

    func waitForEnd() async { _ = await ended.wait() }

    func shutDown() {
        isLeaving = true
        role.tell(.shutDown)
    }

    /// Hears what it reports until its end, and buries it.
    func follow() async -> ChildEnd {
        while let received = await role.next() { take(received.message) }
        isLeaving = true
        for answer in openings.values { answer.give(.lost) }
        openings.removeAll()
        if let startTimer { EventLoop.cancel(startTimer) }
        let end = await role.buried()
        ended.give(true)
        return end
    }

    private func take(_ report: UserReport) {
        switch report {
        case .ready: role.becameReady()
        case .refused(let reason):
            leave()
            Log.error("event=user-refused uid=\(key.uid) reason=\(reason.quotedForLog)")
            for answer in openings.values { answer.give(.declined) }
            openings.removeAll()
        case .opened(let session): openings.removeValue(forKey: session)?.give(.opened)
        case .declined(let session):
            live.remove(session)
            openings.removeValue(forKey: session)?.give(.declined)
        case .ended(let session): live.remove(session)
        case .idle(let received):
            // Both, because a session may begin between the thought and the sending.
            guard received == sentCount, live.isEmpty else { return }
            leave()
            role.tell(.exit)
        }
    }

    /// Sessions that come now wait for its end, so that must come.
    private func leave() {
        isLeaving = true
        let child = role.child
        EventLoop.schedule(at: .after(seconds: Self.exitSecondsMax)) { child.signal(SIGKILL) }
    }
}

/// All of them.
@EventLoop
final class UserProcesses {
    private let plan: Plan
    private let executables: Executables
    private var processes: [UserProcessKey: UserProcess] = [:]
    /// Whose last process crashed soon after its start: the next one does without the old index.
    private var crashedSoon: Set<UserProcessKey> = []
    /// How soon: an index that is broken shows when it is first used.
    private static let soonSeconds = 60
    private let changed = Signal()
    private var isStopping = false
    /// Told when the last process of a uid has ended.
    var lastEnded: (@EventLoop (UInt32) -> Void)?

    init(_ plan: Plan, _ executables: Executables) {
        self.plan = plan
        self.executables = executables
    }

    /// Opens a session in the account's process. False where that cannot be.
    func open(_ account: Account, _ start: SessionStart, _ socket: PassedSocket) async -> Bool {
        guard plan.isPersonal ? account.uid == getuid() : account.uid != 0 else {
            Log.error("event=refused uid=\(account.uid) user=\(account.name.quotedForLog)")
            return false
        }
        guard let settings = plan.userSettings(for: account) else {
            Log.error(
                "event=no-mail-location user=\(account.name.quotedForLog)"
                    + " home=\(account.home.quotedForLog)"
            )
            return false
        }
        let key = UserProcessKey(uid: account.uid, mailLocation: settings.mailLocation)
        // A process that died, and was not buried yet when the session came, is not the end of it.
        for _ in 0..<2 {
            while let process = processes[key], process.isLeaving {
                await process.waitForEnd()
                // Whoever follows it takes it out; another session may have started the next one.
                await EventLoop.yield()
            }
            guard !isStopping, let process = processes[key] ?? begin(key, account, settings) else {
                return false
            }
            switch await process.open(start, socket) {
            case .opened: return true
            case .declined: return false
            case .lost: continue
            }
        }
        return false
    }

    func hasProcess(of uid: UInt32) -> Bool { processes.keys.contains { $0.uid == uid } }

    /// Tells all to end; returns when they have, or the deadline has passed.
    func shutDown(until deadline: Instant) async {
        isStopping = true
        for process in processes.values { process.shutDown() }
        while !processes.isEmpty, deadline > .now {
            guard await changed.wait(until: deadline) else { break }
        }
        for process in processes.values { process.role.child.signal(SIGKILL) }
    }

    private func begin(
        _ key: UserProcessKey,
        _ account: Account,
        _ settings: UserSettings
    ) -> UserProcess? {
        let identity: ChildIdentity =
            plan.isPersonal
            ? .unchanged
            : .user(uid: account.uid, gid: account.gid, groups: account.groups)
        let variables = [
            "HOME=\(settings.home.text)", "USER=\(account.name.text)",
            "LOGNAME=\(account.name.text)",
        ]
        let role: Role<UserRequest, UserReport>
        do throws(SystemError) {
            role = try executables.start(
                "martlet-user",
                identity: identity,
                environment: variables
            )
        } catch {
            Log.error("event=start-failed process=martlet-user uid=\(key.uid) \(error)")
            return nil
        }
        let process = UserProcess(key, role)
        processes[key] = process
        var settings = settings
        settings.setsIndexAside = crashedSoon.remove(key) != nil
        if let shared = plan.sharedCache {
            do throws(SystemError) {
                try shared.prepare(uid: account.uid, gid: account.gid)
            } catch {
                // The user's process finds that it is not there, or not its own.
                Log.warning("event=no-cache-directory uid=\(account.uid) \(error)")
            }
        }
        role.tell(.configure(settings))
        Log.info(
            "event=user-started user=\(account.name.quotedForLog) uid=\(key.uid)"
                + " pid=\(role.child.pid)"
        )
        Task { await self.follow(process) }
        return process
    }

    private func follow(_ process: UserProcess) async {
        let end = await process.follow()
        if processes[process.key] === process { processes[process.key] = nil }
        if end.isCrash, Instant.now < process.started.adding(milliseconds: 1_000 * Self.soonSeconds)
        {
            crashedSoon.insert(process.key)
        }
        let line = "event=user-ended uid=\(process.key.uid) pid=\(process.role.child.pid) \(end)"
        if end.code == 0, !end.wasSignalled { Log.info(line) } else { Log.error(line) }
        if !hasProcess(of: process.key.uid) { lastEnded?(process.key.uid) }
        changed.fire()
    }
}
