import CLinux
import Glibc
package import Posix

/// Locking a process up. Whatever fails here must end the process: it has not met a stranger yet.
package enum Sandbox {
    /// For martlet-tls and martlet-login, at the end of their initialisation: after this there is
    /// no path, no other user, no new socket, no exec; only the descriptors that are there, or
    /// that are passed.
    package static func confine(_ confinement: Confinement) throws(SystemError) {
        try check("prctl", martlet_no_new_privileges())
        switch confinement {
        case .chroot(let directory, let uid, let gid):
            try check(
                "chroot",
                unsafe (directory + [0]).withUnsafeBytes {
                    unsafe martlet_enter_chroot(
                        $0.baseAddress?.assumingMemoryBound(to: CChar.self)
                    )
                },
                path: directory
            )
            try check("setresuid", martlet_drop_privileges(uid, gid))
        case .landlock:
            let ruleset = martlet_landlock_begin()
            if ruleset >= 0 {
                try check("landlock_restrict_self", martlet_landlock_enforce(ruleset))
            } else {
                // Old kernels, and containers that filter it. The seccomp filter below has no
                // call that takes a path, so what is lost is the second wall, not the first.
                Log.warning("event=no-landlock errno=\(errno)")
            }
        }
        try check("prctl", martlet_undumpable())
        try check("seccomp", martlet_confine_calls(MARTLET_ROLE_NETWORK))
    }

    private static func check(
        _ call: StaticString,
        _ error: CInt,
        path: [UInt8] = []
    ) throws(SystemError) {
        guard error == 0 else { throw SystemError(call, error, path: path) }
    }
}
