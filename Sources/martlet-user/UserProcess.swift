import Bytes
import Glibc
import IMAPSession
import MailStore
import Posix
import Privsep

//  What martletd starts for one user
//
//  It is exec'd with the user's uid, gid and groups; it opens the Maildir, takes `martlet-lock` in it,
//  locks itself up (only the Maildir and the index can be reached from then on), says `ready`, and serves the
//  sessions that it is handed. When it has had none for the linger time it asks to leave.

@EventLoop
final class UserProcess {
    private let channel: Channel<UserReport, UserRequest>
    private let signals: SignalWatch
    private var sessions: [UInt32: Session] = [:]
    private var received: UInt32 = 0
    private var store: MailStore?
    private var settings: UserSettings?
    private var lock: MaildirLock?
    private var lingering: TimerID?
    private var isShuttingDown = false

    /// Sessions at once. Each is a few kilobytes; a client that leaks connections must not become
    /// a load.
    private static let sessionCountMax = 1_000

    init() throws(SystemError) {
        // A lease that is broken tells by SIGIO, which would end the process.
        signal(SIGIO, SIG_IGN)
        signals = try SignalWatch([SIGTERM, SIGINT])
        channel = try Channel(OwnedDescriptor(channelDescriptor))
    }

    /// Runs until martletd says so, or is gone.
    func obey() async throws(SystemError) {
        Task {
            _ = await signals.next()
            await shutDown()
        }
        while true {
            do throws(ChannelFailure) {
                var received = try await channel.receive()
                switch received.message {
                case .configure(let settings): try await configure(settings)
                case .openSession(let opening):
                    try await open(opening, received.takeDescriptor())
                case .exit: return
                case .shutDown: return await shutDown()
                }
            } catch {
                // martletd is gone: nobody would know of these sessions.
                return await shutDown()
            }
        }
    }

    // MARK: Start

    private func configure(_ settings: UserSettings) async throws(ChannelFailure) {
        unsafe Log.level = settings.logLevel
        self.settings = settings
        do throws(SystemError) {
            try start(settings)
        } catch {
            let path = settings.mailLocation
            Log.error(
                "event=mailbox-unavailable user=\(settings.userName.quotedForLog) "
                    + MailStore.describe(error, at: path)
            )
            try await channel.send(.refused(reason: Array("\(error)".utf8)))
            exit(1)
        }
        try await channel.send(.ready)
        linger()
    }

    private func start(_ settings: UserSettings) throws(SystemError) {
        let root = settings.mailLocation
        try makeMaildir(root, home: settings.home)
        let directory = try Directory(path: root)
        lock = try MaildirLock(directory)
        var prefix: [UInt8]?
        if case .fixed(let text) = settings.namespacePrefix { prefix = text }
        // What lies outside of the Maildir is read before the door closes.
        let bootID = hostBootID()
        let cache = CachePath.prepare(settings.cacheDirectory)
        try Sandbox.confineUser(to: cache.map { [root, $0] } ?? [root])
        let store = try MailStore(
            StoreSettings(
                root: root,
                separator: settings.hierarchySeparator,
                prefix: prefix,
                processID: ownProcessID,
                host: hostName(),
                userName: settings.userName,
                bootID: bootID,
                cacheDirectory: cache,
                setsIndexAside: settings.setsIndexAside
            )
        )
        EventLoop.whenResting { store.rest() }
        self.store = store
    }

    /// Makes the Maildir where it is missing: the first mail may be yet to come. Directories between the
    /// home and it are made too, as mail transfer agents do; a home is not, nor what is elsewhere: that
    /// may be a disk that is not mounted.
    private func makeMaildir(_ path: [UInt8], home: [UInt8]) throws(SystemError) {
        let slash = UInt8(ascii: "/")
        let parent = path.lastIndex(of: slash).map { Array(path[..<max($0, 1)]) } ?? []
        let isAtHome = home.count > 1 && path.starts(with: home + [slash])
        try DirectoryPath.make(path, below: isAtHome ? home : parent)
    }

    // MARK: Sessions

    private func open(
        _ opening: SessionOpening,
        _ descriptor: consuming OwnedDescriptor
    ) async throws(ChannelFailure) {
        received &+= 1
        if let lingering { EventLoop.cancel(lingering) }
        lingering = nil
        guard let store, let settings, !isShuttingDown, sessions.count < Self.sessionCountMax
        else {
            try await channel.send(.declined(session: opening.number))
            return linger()
        }
        let stream: SocketStream
        do throws(SystemError) { stream = try SocketStream(descriptor) } catch {
            Log.error("event=session-failed session=\(opening.connection.session) \(error)")
            try await channel.send(.declined(session: opening.number))
            return linger()
        }
        let session = Session(
            stream,
            store,
            SessionIdentity(
                id: opening.connection.session.description,
                user: settings.userName.quotedForLog
            )
        )
        sessions[opening.number] = session
        try await channel.send(.opened(session: opening.number))
        let number = opening.number
        let (tag, leftover) = (opening.tag, opening.leftover)
        let connection = opening.connection
        let user = settings.userName.quotedForLog
        Task {
            Log.info("event=session-start user=\(user) session=\(connection.session)")
            await session.run(tag: tag, leftover: leftover)
            Log.info("event=session-end user=\(user) session=\(connection.session)")
            self.sessions[number] = nil
            do throws(ChannelFailure) { try await self.channel.send(.ended(session: number)) } catch
            {
                // martletd is gone; `obey` has seen it too.
            }
            self.linger()
        }
    }

    /// With no session left, asks after the linger time whether to leave.
    private func linger() {
        guard sessions.isEmpty, let settings, !isShuttingDown else { return }
        if let lingering { EventLoop.cancel(lingering) }
        lingering = EventLoop.schedule(
            at: .after(seconds: Int(clamping: settings.lingerSeconds))
        ) { [weak self] in
            guard let self, self.sessions.isEmpty else { return }
            // Counted now: a session that comes before the task runs must not be in it.
            let received = self.received
            Task {
                do throws(ChannelFailure) {
                    try await self.channel.send(.idle(received: received))
                } catch {
                    // martletd is gone; `obey` has seen it too.
                }
            }
        }
    }

    /// Every session is told BYE; then the process ends.
    private func shutDown() async {
        guard !isShuttingDown else { return }
        isShuttingDown = true
        for session in sessions.values { session.end("Server shuts down") }
        let deadline = Instant.after(seconds: 4)
        while !sessions.isEmpty, .now < deadline { await EventLoop.sleep(milliseconds: 10) }
        await store?.shutDown(inOrder: sessions.isEmpty)
        exit(0)
    }
}
