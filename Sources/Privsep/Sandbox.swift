import Bytes
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
        try check("prctl", martlet_die_with_parent())
        try check("seccomp", martlet_confine_calls(MARTLET_ROLE_NETWORK))
    }

    /// For martlet-user, before its first thread and its first session: only these directories, and
    /// what libc needs to convert charsets.
    package static func confineUser(to directories: [[UInt8]]) throws(SystemError) {
        try check("prctl", martlet_no_new_privileges())
        let ruleset = martlet_landlock_begin()
        if ruleset >= 0 {
            for directory in directories { try allow(ruleset, directory, isReadOnly: false) }
            for directory in libraryDirectories { try allow(ruleset, directory, isReadOnly: true) }
            try check("landlock_restrict_self", martlet_landlock_enforce(ruleset))
        } else {
            Log.warning("event=no-landlock errno=\(errno)")
        }
        try check("prctl", martlet_undumpable())
        try check("seccomp", martlet_confine_calls(MARTLET_ROLE_USER))
    }

    /// Where libc has its charset tables and the libraries that these need.
    private static let libraryDirectories = [[UInt8]("/usr/lib"), [UInt8]("/lib")]

    private static func allow(
        _ ruleset: CInt,
        _ directory: [UInt8],
        isReadOnly: Bool
    ) throws(SystemError) {
        let error = unsafe (directory + [0]).withUnsafeBytes {
            unsafe martlet_landlock_allow(
                ruleset,
                $0.baseAddress?.assumingMemoryBound(to: CChar.self),
                isReadOnly ? 1 : 0
            )
        }
        // A directory that is not there needs no rule.
        if error != ENOENT { try check("landlock_add_rule", error, path: directory) }
    }

    private static func check(
        _ call: StaticString,
        _ error: CInt,
        path: [UInt8] = []
    ) throws(SystemError) {
        guard error == 0 else { throw SystemError(call, error, path: path) }
    }
}
