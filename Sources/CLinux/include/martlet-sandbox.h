// How a process locks itself up. Each call returns 0, or an errno value.
#ifndef MARTLET_SANDBOX_H
#define MARTLET_SANDBOX_H

#include <stddef.h>
#include <sys/types.h>

/// No exec from here on can give privileges; a condition of the other calls without root.
int martlet_no_new_privileges(void);

/// The process's memory cannot be read by others of its uid, nor dumped.
int martlet_undumpable(void);

/// The process is killed when its parent ends, even one that is stuck and does not see the end of
/// its channel. Forgotten by the kernel when the ids change, so it comes after that.
int martlet_die_with_parent(void);

/// Changes the root to this directory, whose path is no longer needed then.
int martlet_enter_chroot(const char *directory);

/// Becomes this user with no supplementary groups, for good; checks that there is no way back.
int martlet_drop_privileges(uid_t uid, gid_t gid);

/// Begins a Landlock ruleset that forbids every path. Returns a descriptor; or -1 with errno,
/// ENOSYS or EOPNOTSUPP where the kernel has none.
int martlet_landlock_begin(void);

/// Allows all that is below a directory; with `read_only` only reading it.
int martlet_landlock_allow(int ruleset, const char *path, int read_only);

/// Puts the ruleset into force, for this thread and all started later, and closes it.
int martlet_landlock_enforce(int ruleset);

/// What `martlet_confine_calls` leaves. Network: only work on descriptors that are there or are
/// passed. User: that, and files, locks, inotify and threads; no sockets, no exec.
enum martlet_role { MARTLET_ROLE_NETWORK, MARTLET_ROLE_USER };

/// Lets only the system calls of a role through (seccomp); others fail with EPERM, so that what
/// libc tries and can do without does not kill. Needs `martlet_no_new_privileges` before.
int martlet_confine_calls(enum martlet_role role);

#endif
