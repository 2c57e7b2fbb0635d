import Glibc
import IMAPLogin
import Posix
import Privsep

//  martlet-login
//
//  Holds nothing: no key, no mail, no right. It knows the password of whoever is logging in at
//  this moment, for as long as that takes. Its channels lead to martletd (its parent), to one
//  martlet-tls, and to martlet-auth; the end of the first one ends it. The others come anew when
//  the process behind them was started anew; until then it answers `[UNAVAILABLE]`, or does
//  without STARTTLS.

enum LoginProcessLimits {
    /// Connections that are not logged in; above it, the oldest is sent away. Each costs about
    /// 20 KiB at most, so a flood costs 40 MiB and no logged-in session.
    static let conversationCountMax = 2_048
    /// What martlet-auth may take: PAM's 30 seconds, the wait for a worker, and the delay.
    static let verdictSeconds = 90
    /// What a client may still send after BYE, and for how long, so that it can read the BYE:
    /// closing a socket with unread input resets the connection.
    static let farewellBytesMax = 65_536
    static let farewellMilliseconds = 1_000
}

@EventLoop
final class LoginProcess {
    private let control: Channel<LoginReport, LoginRequest>
    private var tls: Channel<TLSUpgrade, TLSDelivery>?
    private var auth: Channel<AuthQuery, AuthVerdict>?
    private var policy = LoginPolicy(plaintextLogin: .never, offersTLS: false)
    private var confinement = Confinement.landlock
    private var acceptors: [Acceptor] = []
    private var verdicts: [UInt32: Answer<AuthResult>] = [:]
    private var starts: [UInt32: Answer<Bool>] = [:]
    private var nextRequest: UInt32 = 1
    /// Running conversations, in the order of their beginning.
    private var conversations: [(id: UInt32, conversation: LoginConversation)] = []
    private var nextConversation: UInt32 = 1

    init() throws(SystemError) { control = try Channel(OwnedDescriptor(channelDescriptor)) }

    // MARK: martletd

    /// Does what martletd says until the channel ends.
    func obey() async throws(SystemError) {
        while true {
            guard var received = try? await control.receive() else { return }
            switch received.message {
            case .configure(let confinement, let plaintextLogin, let offersTLS, let level):
                unsafe Log.level = level
                self.confinement = confinement
                policy = LoginPolicy(plaintextLogin: plaintextLogin, offersTLS: offersTLS)
            case .listen:
                acceptors.append(try Acceptor(received.takeDescriptor()))
            case .tlsChannel:
                tls?.close()
                let channel = try Channel<TLSUpgrade, TLSDelivery>(received.takeDescriptor())
                tls = channel
                Task { await self.takeDeliveries(from: channel) }
            case .authChannel:
                auth?.close()
                let channel = try Channel<AuthQuery, AuthVerdict>(received.takeDescriptor())
                auth = channel
                Task { await self.takeVerdicts(from: channel) }
            case .start:
                try Sandbox.confine(confinement)
                for acceptor in acceptors { Task { await self.accept(from: acceptor) } }
                try? await control.send(.ready)
            case .sessionStarted(let request): starts[request]?.give(true)
            case .sessionFailed(let request): starts[request]?.give(false)
            case .stopListening: stop()
            }
        }
    }

    private func stop() {
        for acceptor in acceptors { acceptor.stop() }
        for entry in conversations { entry.conversation.dismiss("The server stops.") }
    }

    // MARK: Connections

    private func accept(from acceptor: Acceptor) async {
        while var accepted = await acceptor.accept() {
            guard let socket = accepted.takeSocket(), let stream = try? SocketStream(socket)
            else { continue }
            let connection = accepted.connection
            Task { await self.serve(stream, connection) }
        }
    }

    private func takeDeliveries(from channel: Channel<TLSUpgrade, TLSDelivery>) async {
        do throws(ChannelFailure) {
            while true {
                var received = try await channel.receive()
                guard let stream = try? SocketStream(received.takeDescriptor()) else { continue }
                let connection = received.message.connection
                Task { await self.serve(stream, connection) }
            }
        } catch {
            Log.info("event=channel-lost process=martlet-login peer=martlet-tls reason=\(error)")
            channel.close()
            if tls === channel { tls = nil }
        }
    }

    /// One connection, until it is closed or belongs to another process.
    private func serve(_ stream: SocketStream, _ connection: ConnectionInfo) async {
        var policy = policy
        policy.offersTLS = policy.offersTLS && tls != nil
        let conversation = LoginConversation(
            stream,
            connection,
            policy: policy,
            authenticate: { method, user, password in
                await self.authenticate(connection, method, user, password)
            },
            handOver: { login in await self.handOver(stream, connection, login) }
        )
        let id = nextConversation
        nextConversation &+= 1
        conversations.append((id, conversation))
        if conversations.count > LoginProcessLimits.conversationCountMax {
            conversations[0].conversation.dismiss("Too many connections.")
        }
        Log.debug("event=connected \(connection.logFields)")
        let end = await conversation.run()
        conversations.removeAll { $0.id == id }
        switch end {
        case .handedOver: _ = try? stream.detach()
        case .startTLS: await upgrade(stream, connection)
        case .closed: await close(stream)
        }
    }

    private func upgrade(_ stream: SocketStream, _ connection: ConnectionInfo) async {
        guard let tls else { return stream.close() }
        do throws(ChannelFailure) {
            try await tls.send(TLSUpgrade(connection: connection), descriptor: stream.raw)
            _ = try? stream.detach()
        } catch {
            stream.close()
        }
    }

    /// Closes a connection so that the client can read the last line.
    private func close(_ stream: SocketStream) async {
        stream.endOutput()
        let deadline = Instant.after(milliseconds: LoginProcessLimits.farewellMilliseconds)
        var count = 0
        var bytes: [UInt8] = []
        do throws(StreamClosed) {
            while Instant.now < deadline, count < LoginProcessLimits.farewellBytesMax {
                bytes.removeAll(keepingCapacity: true)
                let arrived = try stream.read(into: &bytes, max: 8_192)
                count += arrived
                if arrived == 0 { _ = await stream.waitForInput(until: deadline) }
            }
        } catch {}
        stream.close()
    }

    // MARK: Passwords

    private func authenticate(
        _ connection: ConnectionInfo,
        _ method: LoginMethod,
        _ user: [UInt8],
        _ password: Password
    ) async -> AuthResult {
        guard let auth else { return .unavailable }
        let request = nextRequest
        nextRequest &+= 1
        let answer = Answer<AuthResult>()
        verdicts[request] = answer
        defer { verdicts[request] = nil }
        let query = AuthQuery(
            request: request,
            connection: connection,
            method: method,
            user: user,
            password: password
        )
        do throws(ChannelFailure) {
            try await auth.send(query)
        } catch {
            return .unavailable
        }
        let deadline = Instant.after(seconds: LoginProcessLimits.verdictSeconds)
        return await answer.wait(until: deadline) ?? .unavailable
    }

    private func takeVerdicts(from channel: Channel<AuthQuery, AuthVerdict>) async {
        do throws(ChannelFailure) {
            while true {
                let verdict = try await channel.receive().message
                verdicts[verdict.request]?.give(verdict.result)
            }
        } catch {
            Log.info("event=channel-lost process=martlet-login peer=martlet-auth reason=\(error)")
            channel.close()
            guard auth === channel else { return }
            auth = nil
            for answer in verdicts.values { answer.give(.unavailable) }
        }
    }

    // MARK: Handing over

    /// Asks martletd to give the connection to the user's process. martletd answers each request,
    /// or is gone and this process with it.
    private func handOver(
        _ stream: SocketStream,
        _ connection: ConnectionInfo,
        _ login: ApprovedLogin
    ) async -> Bool {
        let request = nextRequest
        nextRequest &+= 1
        let answer = Answer<Bool>()
        starts[request] = answer
        defer { starts[request] = nil }
        let start = SessionStart(
            request: request,
            ticket: login.ticket,
            connection: connection,
            method: login.method,
            tag: login.tag,
            leftover: login.leftover
        )
        do throws(ChannelFailure) {
            try await control.send(.startSession(start), descriptor: stream.raw)
        } catch {
            return false
        }
        return await answer.wait() ?? false
    }
}
