import Glibc
import PAM
import Posix
import Privsep

/// One PAM worker: a transaction at a time, until its channel ends. Its loop stands still while a
/// module works; nobody else is on it.
@EventLoop
final class WorkerProcess {
    private let channel: Channel<WorkerReport, WorkerRequest>
    private let service: [UInt8]
    /// The last transaction that was approved, for a session.
    private var transaction: PAMTransaction?

    init(_ service: [UInt8]) throws(SystemError) {
        channel = try Channel(OwnedDescriptor(channelDescriptor))
        self.service = service
    }

    func obey() async throws(SystemError) {
        while true {
            guard let request = try? await channel.receive().message else {
                // Closes a session that it holds.
                transaction = nil
                return
            }
            let report: WorkerReport
            switch request {
            case .check(let user, let password, let remoteAddress, let minimumUID):
                transaction = nil
                report = check(user, password, remoteAddress, minimumUID)
            case .openSession:
                report = transaction?.openSession() == true ? .sessionOpened : .unavailable
            }
            try? await channel.send(report)
        }
    }

    private func check(
        _ user: [UInt8],
        _ password: Password,
        _ remoteAddress: [UInt8],
        _ minimumUID: UInt32
    ) -> WorkerReport {
        let transaction = password.reveal {
            PAMTransaction(
                service: service,
                user: user,
                password: $0,
                remoteAddress: remoteAddress
            )
        }
        guard let transaction else { return .unavailable }
        switch transaction.check() {
        case .success: break
        case .failed: return .failed
        case .expired: return .expired
        case .unavailable: return .unavailable
        }
        // Modules may have mapped the name to another one.
        do throws(AccountError) {
            let account = try AccountLookup.named(transaction.user)
            // Only after PAM, so that the time does not tell that the name is one of these.
            guard account.uid != 0, account.uid >= minimumUID else {
                Log.info(
                    "event=auth-refused reason=uid user=\(account.name.quotedForLog)"
                        + " uid=\(account.uid)"
                )
                return .failed
            }
            self.transaction = transaction
            return .approved(account)
        } catch {
            Log.error("event=no-account user=\(transaction.user.quotedForLog) reason=\(error)")
            return error == .unknown ? .failed : .unavailable
        }
    }
}
