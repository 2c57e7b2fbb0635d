#define _GNU_SOURCE
#include "martlet-sandbox.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int martlet_no_new_privileges(void) {
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? errno : 0;
}

int martlet_undumpable(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? errno : 0; }

int martlet_die_with_parent(void) {
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? errno : 0;
}

int martlet_enter_chroot(const char *directory) {
    if (chdir(directory) < 0) return errno;
    if (chroot(".") < 0) return errno;
    return chdir("/") < 0 ? errno : 0;
}

int martlet_drop_privileges(uid_t uid, gid_t gid) {
    if (uid == 0 || gid == 0) return EINVAL;
    if (setgroups(0, NULL) < 0) return errno;
    if (setresgid(gid, gid, gid) < 0) return errno;
    if (setresuid(uid, uid, uid) < 0) return errno;
    if (setuid(0) == 0 || setgid(0) == 0) return EPERM;
    return 0;
}

// Landlock. The header of Debian 12 knows ABI 2; later rights are given by number, and only where
// the kernel says that it knows them.

#define ACCESS_REFER (1ULL << 13)      // ABI 2
#define ACCESS_TRUNCATE (1ULL << 14)   // ABI 3
#define ACCESS_IOCTL_DEV (1ULL << 15)  // ABI 5

static const uint64_t access_read =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;

static uint64_t handled_access(void) {
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) return 0;
    uint64_t access = (1ULL << 13) - 1;
    if (abi >= 2) access |= ACCESS_REFER;
    if (abi >= 3) access |= ACCESS_TRUNCATE;
    if (abi >= 5) access |= ACCESS_IOCTL_DEV;
    return access;
}

int martlet_landlock_begin(void) {
    struct landlock_ruleset_attr attributes = {.handled_access_fs = handled_access()};
    if (attributes.handled_access_fs == 0) {
        if (errno == 0) errno = ENOSYS;
        return -1;
    }
    // The size of the first ABI: later fields are about networks and signals.
    return (int)syscall(SYS_landlock_create_ruleset, &attributes,
                        sizeof attributes.handled_access_fs, 0);
}

int martlet_landlock_allow(int ruleset, const char *path, int read_only) {
    int directory = open(path, O_PATH | O_CLOEXEC);
    if (directory < 0) return errno;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = read_only ? access_read : handled_access() & ~LANDLOCK_ACCESS_FS_EXECUTE,
        .parent_fd = directory,
    };
    long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    int error = result < 0 ? errno : 0;
    close(directory);
    return error;
}

int martlet_landlock_enforce(int ruleset) {
    long result = syscall(SYS_landlock_restrict_self, ruleset, 0);
    int error = result < 0 ? errno : 0;
    close(ruleset);
    return error;
}

// seccomp

#if defined(__x86_64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "no seccomp filter for this architecture"
#endif

static const int network_calls[] = {
    // Descriptors that are there or that are passed.
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_recvmsg, SYS_sendmsg, SYS_recvfrom, SYS_sendto,
    SYS_close, SYS_shutdown, SYS_accept4, SYS_socketpair, SYS_getsockname, SYS_getpeername,
    SYS_getsockopt, SYS_setsockopt, SYS_fcntl, SYS_dup, SYS_fstat, SYS_lseek,
    // The loop.
    SYS_epoll_pwait, SYS_epoll_ctl, SYS_ppoll,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
#ifdef SYS_poll
    SYS_poll,
#endif
    SYS_futex, SYS_sched_yield, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep,
    SYS_gettimeofday, SYS_restart_syscall, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction,
#ifdef SYS_time
    SYS_time,
#endif
    // Memory (what maps or makes it executable is refused below) and the end.
    SYS_brk, SYS_munmap, SYS_mremap, SYS_madvise, SYS_getrandom, SYS_getpid, SYS_gettid,
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_tgkill, SYS_exit, SYS_exit_group,
};

// A user's process beside that: files below directories that Landlock leaves, locks, inotify,
// threads, and no socket of its own. iconv loads its converters, so memory may be made executable;
// there is no exec. Signal 0 asks whether the holder of a lock is alive.
static const int user_calls[] = {
    SYS_openat, SYS_openat2, SYS_preadv2, SYS_newfstatat, SYS_statx, SYS_getdents64, SYS_pread64, SYS_pwrite64, SYS_preadv,
    SYS_pwritev,
    SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_sync_file_range,
    SYS_renameat, SYS_renameat2, SYS_linkat, SYS_unlinkat,
    SYS_mkdirat, SYS_utimensat, SYS_fchmod, SYS_fchown, SYS_fchmodat, SYS_statfs, SYS_fstatfs,
    SYS_readlinkat, SYS_faccessat, SYS_getcwd, SYS_flock, SYS_fadvise64, SYS_copy_file_range,
    SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_inotify_init1, SYS_eventfd2, SYS_epoll_create1,
    SYS_mmap, SYS_mprotect, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq,
    SYS_prlimit64, SYS_sched_getaffinity, SYS_sigaltstack, SYS_membarrier, SYS_uname, SYS_sysinfo,
    SYS_getgroups, SYS_msync,
#ifdef SYS_open
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_unlink, SYS_rename, SYS_mkdir,
#endif
};

enum {
    NETWORK_COUNT = sizeof network_calls / sizeof network_calls[0],
    USER_COUNT = sizeof user_calls / sizeof user_calls[0],
};

#define EMIT(...) filter[length++] = (struct sock_filter)__VA_ARGS__

static unsigned short allow(struct sock_filter *filter, unsigned short length, const int *calls, int count) {
    for (int i = 0; i < count; i++) {
        EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], 0, 1));
        EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    return length;
}

int martlet_confine_calls(enum martlet_role role) {
    struct sock_filter filter[24 + 2 * (NETWORK_COUNT + USER_COUNT)];
    unsigned short length = 0;

    EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
    EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCHITECTURE, 1, 0));
    EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
    EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
#if defined(__x86_64__)
    // The x32 calls have numbers of their own on the same architecture.
    EMIT(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1));
    EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
#endif
    length = allow(filter, length, network_calls, NETWORK_COUNT);
    switch (role) {
    case MARTLET_ROLE_NETWORK:
        // mmap and mprotect, unless for executable memory: the protection is their third argument.
        EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0));
        EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 3));
        EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])));
        EMIT(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0));
        EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        break;
    case MARTLET_ROLE_USER:
        length = allow(filter, length, user_calls, USER_COUNT);
        EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 3));
        EMIT(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])));
        EMIT(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1));
        EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        break;
    default: return EINVAL;
    }
    EMIT(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
#undef EMIT

    struct sock_fprog program = {.len = length, .filter = filter};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? errno : 0;
}
