import Maildir
import MessageIndex
import Posix

/// What all mailboxes of a process share.
@EventLoop
final class StoreContext {
    let names: NameSource
    let quota = Quota()
    let lockOwner: DotLock.Owner
    let pool: JobPool
    /// Nil where the user's inotify instances are used up: mailboxes are polled then.
    let inotify: Inotify?
    weak var store: MailStore?
    /// Nil until the first mailbox is opened, and where there is none.
    var index: MessageIndex?
    /// Whether `martlet-state` knows of the cache: before that, modseqs in it would not be believed.
    var mayWriteSummaries = false
    /// Shorter in tests.
    var stampAgeMilliseconds = Limits.stampAgeMilliseconds
    /// GUIDs of mailboxes that were left with changes that the index does not have.
    var unsavedMailboxes: Set<[UInt8]> = []
    /// Starts when `martlet-state` has been read, before the first mailbox is opened.
    var modseqs = ModseqClock(last: 0, ceiling: 0)

    init(processID: Int32, host: [UInt8], pool: JobPool) {
        names = NameSource(processID: processID, host: host)
        lockOwner = DotLock.Owner(processID: processID, host: host)
        self.pool = pool
        do throws(SystemError) { inotify = try Inotify() } catch {
            Log.warning(
                "event=no-inotify error=\"\(error)\" hint=\"raise fs.inotify.max_user_instances\""
            )
            inotify = nil
        }
    }

    func nextModseq() -> UInt64 { modseqs.next() }

    func mailboxBecameIdle(_ mailbox: Mailbox) { store?.mailboxBecameIdle(mailbox) }
    func mailboxIsGone(_ mailbox: Mailbox) { store?.forget(mailbox) }

    /// One line for what the machine refused; where it is a permission, with what to look at.
    func logFailure(_ error: MaildirError, _ directory: Directory) {
        var line = "event=store-failed path=\(directory.path.quotedForLog) error=\"\(error)\""
        if case .system(let system) = error {
            line = "event=store-failed \(Self.describe(system, at: directory.path))"
        }
        Log.error(line)
    }

    /// Which path, whose it is and which mode it has.
    static func describe(_ error: SystemError, at path: [UInt8]) -> String {
        let path = error.path.isEmpty ? path : error.path
        var text = "path=\(path.quotedForLog) call=\(error.call) error=\"\(error)\""
        // The first component that cannot be looked at is the one to mend.
        var end = path.endIndex
        while end > 0 {
            let prefix = Array(path[..<end])
            if let status = try? statusOfPath(prefix) {
                let mode = String(status.mode & 0o7777, radix: 8)
                text +=
                    " at=\(prefix.quotedForLog) owner=\(status.uid) group=\(status.gid) mode=0\(mode)"
                break
            }
            end = path[..<end].lastIndex(of: UInt8(ascii: "/")) ?? 0
        }
        return text
    }
}
