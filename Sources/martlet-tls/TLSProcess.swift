import Glibc
import Posix
import Privsep
import TLS

//  martlet-tls
//
//  Has the keys, and next to no code of its own that a stranger's bytes reach: OpenSSL, and a
//  relay that copies. It outlives the login of what it relays, so its death costs the TLS
//  connections that it carries; nothing that a client says in IMAP can cause it.

@EventLoop
final class TLSProcess {
    private let control: Channel<TLSReport, TLSRequest>
    private var login: Channel<TLSDelivery, TLSUpgrade>?
    private let loginCame = Signal()
    private var confinement = Confinement.landlock
    /// That belong to no set yet.
    private var certificates: [Certificate] = []
    private var set: CertificateSet?
    private var acceptors: [Acceptor] = []
    /// Connections whose handshake is under way, in the order of their beginning.
    private var handshakes: [TLSConnection] = []

    init() throws(SystemError) { control = try Channel(OwnedDescriptor(channelDescriptor)) }

    /// Does what martletd says until the channel ends.
    func obey() async throws(SystemError) {
        while true {
            guard var received = try? await control.receive() else { return }
            switch received.message {
            case .configure(let confinement, let level):
                unsafe Log.level = level
                self.confinement = confinement
            case .certificate(let chain, let key): load(chain, key)
            case .listen: acceptors.append(try Acceptor(received.takeDescriptor()))
            case .loginChannel:
                login?.close()
                let channel = try Channel<TLSDelivery, TLSUpgrade>(received.takeDescriptor())
                login = channel
                loginCame.fire()
                Task { await self.takeUpgrades(from: channel) }
            case .start: try await start()
            case .stopListening: for acceptor in acceptors { acceptor.stop() }
            case .useCertificates: useCertificates()
            }
        }
    }

    private func load(_ chain: [UInt8], _ key: [UInt8]) {
        do throws(CertificateError) {
            certificates.append(try Certificate(chain: chain, key: key))
        } catch {
            Log.error("event=bad-certificate reason=\(Array("\(error)".utf8).quotedForLog)")
        }
    }

    private func start() async throws(SystemError) {
        useCertificates()
        guard set != nil else {
            Log.error("event=no-certificate process=martlet-tls")
            exit(1)
        }
        try Sandbox.confine(confinement)
        for acceptor in acceptors { Task { await self.accept(from: acceptor) } }
        try? await control.send(.ready)
    }

    private func useCertificates() {
        if !certificates.isEmpty { set = CertificateSet(certificates) }
        certificates = []
    }

    private func accept(from acceptor: Acceptor) async {
        while var accepted = await acceptor.accept() {
            guard let socket = accepted.takeSocket(), let set,
                let tls = try? TLSConnection(socket, set)
            else { continue }
            var connection = accepted.connection
            connection.security = .implicitTLS
            let described = connection
            Task { await self.serve(tls, described) }
        }
    }

    private func takeUpgrades(from channel: Channel<TLSDelivery, TLSUpgrade>) async {
        do throws(ChannelFailure) {
            while true {
                var received = try await channel.receive()
                guard let set, let tls = try? TLSConnection(received.takeDescriptor(), set) else {
                    continue
                }
                var connection = received.message.connection
                connection.security = .startTLS
                let described = connection
                Task { await self.serve(tls, described) }
            }
        } catch {
            Log.info("event=channel-lost process=martlet-tls peer=martlet-login reason=\(error)")
            channel.close()
            if login === channel { login = nil }
        }
    }

    /// One connection: the handshake, then the relay.
    private func serve(_ tls: TLSConnection, _ description: ConnectionInfo) async {
        handshakes.append(tls)
        if handshakes.count > TLSLimits.handshakeCountMax { handshakes.removeFirst().close() }
        let failure = await tls.handshake(until: .after(seconds: TLSLimits.handshakeSeconds))
        handshakes.removeAll { $0 === tls }
        var connection = description
        connection.tlsVersion = bounded(tls.version)
        connection.cipher = bounded(tls.cipher)
        if let failure {
            let reason = Array(failure.utf8).quotedForLog
            Log.info("event=tls-failed reason=\(reason) \(connection.logFields)")
            return tls.close()
        }
        guard let login = await loginChannel(),
            var pair = try? makeSocketPair(sequencedPackets: false),
            let relay = try? Relay(tls, pair.takeFirst())
        else {
            Log.warning("event=tls-undelivered \(connection.logFields)")
            return tls.close()
        }
        let theirs = pair.takeSecond()
        do throws(ChannelFailure) {
            try await login.send(TLSDelivery(connection: connection), descriptor: theirs.raw)
        } catch {
            Log.warning("event=tls-undelivered \(connection.logFields)")
            return relay.close()
        }
        try? theirs.close()
        await relay.run()
    }

    /// The channel to martlet-login, waiting a little for one that is being started anew.
    private func loginChannel() async -> Channel<TLSDelivery, TLSUpgrade>? {
        if login == nil {
            _ = await loginCame.wait(until: .after(seconds: TLSLimits.loginWaitSeconds))
        }
        return login
    }

    private func bounded(_ word: [UInt8]) -> [UInt8] {
        Array(word.prefix(FieldLimits.wordBytesMax))
    }
}
