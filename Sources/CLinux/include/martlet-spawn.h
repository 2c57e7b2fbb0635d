// Starting a child: fork, arrange descriptors, give up privileges, exec. In C because a Swift
// process cannot go on after fork (its runtime's locks and threads are not there).
#ifndef MARTLET_SPAWN_H
#define MARTLET_SPAWN_H

#include <stddef.h>
#include <sys/types.h>

/// A child of ours has standard input, output, error and one channel.
#define MARTLET_SPAWN_DESCRIPTORS_MAX 16

/// Starts `path` with exactly these descriptors: `descriptors[i]` becomes descriptor `i`, all
/// others are closed. It leads a session of its own; signals are unblocked and at their defaults,
/// the working directory is `/`, the umask 077. With `drops_privileges` it becomes this user with
/// these groups first. Returns 0 with the child's pid and a pidfd, or an errno value;
/// `failed_call` is then the name of what failed, in the child or here.
int martlet_spawn(const char *path, char *const argv[], char *const envp[], const int *descriptors,
                  int descriptor_count, int drops_privileges, uid_t uid, gid_t gid, const gid_t *groups,
                  size_t group_count, pid_t *pid, int *pidfd, const char **failed_call);

/// Reaps the child of a pidfd if it has ended. Returns 1 with `code` (an exit status, or a signal
/// where `was_signalled`), 0 where it still runs, -1 with errno.
int martlet_reap(int pidfd, int *code, int *was_signalled);

int martlet_pidfd_signal(int pidfd, int signal);

#endif
