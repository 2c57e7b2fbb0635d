#define _GNU_SOURCE
#include "martlet-spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

struct identity {
    int drops_privileges;
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t group_count;
};

// What the child reports through the pipe that closes by itself on a good exec.
struct failure {
    int error;
    int step;
};

enum { STEP_DESCRIPTORS, STEP_SETGROUPS, STEP_SETRESGID, STEP_SETRESUID, STEP_CHDIR, STEP_EXEC };

static const char *const step_names[] = {"dup2",      "setgroups", "setresgid",
                                         "setresuid", "chdir",     "execve"};

// Only async-signal-safe calls from here to execve.
static void become(const char *path, char *const argv[], char *const envp[], const int *descriptors,
                   int count, const struct identity *identity, int report) {
    struct failure failure = {0, STEP_DESCRIPTORS};
    int moved[MARTLET_SPAWN_DESCRIPTORS_MAX];

    // First out of the way of the places they go to, then into these places.
    int moved_report = fcntl(report, F_DUPFD_CLOEXEC, count + 1);
    if (moved_report < 0) goto failed;
    report = moved_report;
    for (int i = 0; i < count; i++) {
        moved[i] = fcntl(descriptors[i], F_DUPFD_CLOEXEC, count + 1);
        if (moved[i] < 0) goto failed;
    }
    for (int i = 0; i < count; i++)
        if (dup2(moved[i], i) < 0) goto failed;
    // All else goes: what the parent holds is not for the child. The report stays to the exec.
    if (dup2(report, count) < 0) goto failed;
    report = count;
    if (fcntl(report, F_SETFD, FD_CLOEXEC) < 0) goto failed;
    if (syscall(SYS_close_range, (unsigned)count + 1, ~0u, 0) < 0) goto failed;

    for (int number = 1; number < NSIG; number++) {
        if (number == SIGKILL || number == SIGSTOP) continue;
        struct sigaction action = {.sa_handler = SIG_DFL};
        sigaction(number, &action, NULL);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(077);
    // A session of its own: Ctrl-C at martletd's terminal is martletd's to handle, and what the
    // child starts (a PAM module's helper) can be killed together with it.
    setsid();

    failure.step = STEP_CHDIR;
    if (chdir("/") < 0) goto failed;

    if (identity->drops_privileges) {
        // Groups first: afterwards there is no right to set them.
        failure.step = STEP_SETGROUPS;
        if (setgroups(identity->group_count, identity->groups) < 0) goto failed;
        failure.step = STEP_SETRESGID;
        if (setresgid(identity->gid, identity->gid, identity->gid) < 0) goto failed;
        failure.step = STEP_SETRESUID;
        if (setresuid(identity->uid, identity->uid, identity->uid) < 0) goto failed;
        // Nothing above may leave a way back.
        if (identity->uid != 0 && setuid(0) == 0) _exit(126);
    }

    failure.step = STEP_EXEC;
    execve(path, argv, envp);

failed:
    failure.error = errno;
    ssize_t ignored = write(report, &failure, sizeof failure);
    (void)ignored;
    _exit(127);
}

int martlet_spawn(const char *path, char *const argv[], char *const envp[], const int *descriptors,
                  int descriptor_count, int drops_privileges, uid_t uid, gid_t gid, const gid_t *groups,
                  size_t group_count, pid_t *pid, int *pidfd, const char **failed_call) {
    struct identity identity = {drops_privileges, uid, gid, groups, group_count};
    int report[2];
    if (descriptor_count > MARTLET_SPAWN_DESCRIPTORS_MAX) return EINVAL;
    *failed_call = "pipe2";
    if (pipe2(report, O_CLOEXEC) < 0) return errno;

    // No handler of the parent may run in the child before its signals are at their defaults.
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child == 0) {
        become(path, argv, envp, descriptors, descriptor_count, &identity, report[1]);
        _exit(127);
    }
    int fork_error = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(report[1]);
    if (child < 0) {
        close(report[0]);
        *failed_call = "fork";
        return fork_error;
    }

    struct failure failure;
    ssize_t count;
    do {
        count = read(report[0], &failure, sizeof failure);
    } while (count < 0 && errno == EINTR);
    close(report[0]);
    if (count != 0) {
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        int known = count == sizeof failure && failure.step >= 0 && failure.step <= STEP_EXEC;
        *failed_call = known ? step_names[failure.step] : "fork";
        return known && failure.error != 0 ? failure.error : EIO;
    }

    // The child is ours to reap, so its pid cannot have been given to another process yet.
    int opened = (int)syscall(SYS_pidfd_open, child, 0);
    if (opened < 0) {
        int error = errno, status;
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        *failed_call = "pidfd_open";
        return error;
    }
    *pid = child;
    *pidfd = opened;
    return 0;
}

int martlet_reap(int pidfd, int *code, int *was_signalled) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int result;
    do {
        result = waitid((idtype_t)P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -1;
    if (info.si_pid == 0) return 0;
    *code = info.si_status;
    *was_signalled = info.si_code != CLD_EXITED;
    return 1;
}

int martlet_pidfd_signal(int pidfd, int signal) {
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}
