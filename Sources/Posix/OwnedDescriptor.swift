import Glibc

/// A file descriptor this process must close, exactly once.
///
/// Dropping one closes it and ignores the result, which is right for sockets and for files we only
/// read. After writing mail, call `close()` instead: on NFS and quota-limited filesystems the error
/// that loses a message arrives there.
package struct OwnedDescriptor: ~Copyable, Sendable {
    package let raw: CInt

    package init(_ raw: CInt) { self.raw = raw }

    deinit { _ = Glibc.close(raw) }

    package consuming func close() throws(SystemError) {
        let raw = raw
        discard self
        guard Glibc.close(raw) == 0 else { throw SystemError("close") }
    }

    /// Gives the descriptor up: the caller closes it.
    package consuming func release() -> CInt {
        let raw = raw
        discard self
        return raw
    }

    /// A second descriptor of the same open file, close-on-exec.
    package borrowing func duplicate() throws(SystemError) -> OwnedDescriptor {
        let copy = fcntl(raw, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw SystemError("fcntl") }
        return OwnedDescriptor(copy)
    }
}
