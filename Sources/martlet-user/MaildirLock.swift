import Bytes
import Glibc
import Posix

//  martlet-lock: one process a Maildir
//
//  An empty file in the Maildir, never renamed or removed. This process holds a lock on it (flock) as
//  long as it lives; the kernel frees it however the process ends. So no second process of ours, of
//  another martletd or in personal mode, serves the Maildir, and sessions share one view of it.

struct MaildirLock: ~Copyable {
    private let file: OwnedDescriptor

    /// Throws EWOULDBLOCK where another process serves the Maildir.
    init(_ directory: Directory) throws(SystemError) {
        let name = [UInt8]("martlet-lock")
        let opened = try directory.open(name, O_RDWR | O_CREAT, mode: 0o600)
        guard flock(opened.raw, LOCK_EX | LOCK_NB) == 0 else {
            throw SystemError("flock", path: directory.child(name))
        }
        file = consume opened
    }
}
