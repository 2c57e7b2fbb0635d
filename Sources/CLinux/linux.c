#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

int martlet_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

int martlet_epoll_add(int epoll, int fd, uint64_t token) {
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = token};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int martlet_epoll_add_wakeup(int epoll, int fd, uint64_t token) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = token};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int martlet_epoll_add_exclusive(int epoll, int fd, uint64_t token) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLET, .data.u64 = token};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

void martlet_epoll_remove(int epoll, int fd) {
    struct epoll_event event = {0};
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &event);
}

int martlet_epoll_wait(int epoll, struct martlet_event *events, int max, int milliseconds) {
    struct epoll_event raw[64];
    int count = epoll_wait(epoll, raw, max < 64 ? max : 64, milliseconds);
    for (int i = 0; i < count; i++) {
        uint32_t seen = raw[i].events, readiness = 0;
        if (seen & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) readiness |= MARTLET_READABLE;
        if (seen & (EPOLLOUT | EPOLLHUP | EPOLLERR)) readiness |= MARTLET_WRITABLE;
        if (seen & (EPOLLHUP | EPOLLERR)) readiness |= MARTLET_HUNG_UP;
        events[i].token = raw[i].data.u64;
        events[i].readiness = readiness;
    }
    return count;
}

int martlet_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void martlet_eventfd_signal(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

ssize_t martlet_send(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * MARTLET_DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor_count > MARTLET_DESCRIPTORS_MAX) {
        errno = EINVAL;
        return -1;
    }
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptor_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * descriptor_count);
        memcpy(CMSG_DATA(header), descriptors, sizeof(int) * descriptor_count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

ssize_t martlet_receive(int fd, void *bytes, size_t room, int *descriptors, int *descriptor_count) {
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * MARTLET_DESCRIPTORS_MAX)];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = room};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    ssize_t received;
    do {
        received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (received < 0 && errno == EINTR);
    int max = *descriptor_count, count = 0;
    *descriptor_count = 0;
    if (received < 0) return -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        int total = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < total; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(header) + i * sizeof(int), sizeof passed);
            if (count < max)
                descriptors[count++] = passed;
            else
                close(passed);
        }
    }
    if (message.msg_flags & MSG_TRUNC) {
        for (int i = 0; i < count; i++) close(descriptors[i]);
        errno = EMSGSIZE;
        return -1;
    }
    *descriptor_count = count;
    return received;
}

int martlet_socketpair(int sequenced_packets, int fds[2]) {
    int type = sequenced_packets ? SOCK_SEQPACKET : SOCK_STREAM;
    return socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
}

int martlet_openat(int directory, const char *name, int flags, unsigned mode) {
    return openat(directory, name, flags, (mode_t)mode);
}

int martlet_open_cached(int directory, const char *name, int flags) {
    struct open_how how = {.flags = (uint64_t)flags, .resolve = RESOLVE_CACHED};
    int fd = (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
    // Before Linux 5.12, and where a filter does not know the call.
    if (fd < 0 && (errno == EINVAL || errno == ENOSYS || errno == EPERM)) errno = EAGAIN;
    return fd;
}

ssize_t martlet_read_cached(int fd, void *buffer, size_t size, off_t offset) {
    struct iovec part = {.iov_base = buffer, .iov_len = size};
    ssize_t count = preadv2(fd, &part, 1, offset, RWF_NOWAIT);
    if (count < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EPERM)) errno = EAGAIN;
    return count;
}

int martlet_try_read_lease(int fd) {
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0) return -1;
    fcntl(fd, F_SETLEASE, F_UNLCK);
    return 0;
}

int martlet_begin_writing(int fd) { return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE); }

ssize_t martlet_getdents(int fd, void *buffer, size_t size) {
    return syscall(SYS_getdents64, fd, buffer, size);
}

int martlet_rename_no_replace(int from_directory, const char *from, int to_directory, const char *to) {
    return renameat2(from_directory, from, to_directory, to, RENAME_NOREPLACE);
}

long martlet_filesystem_magic(int fd) {
    struct statfs status;
    if (fstatfs(fd, &status) < 0) return 0;
    return (long)status.f_type;
}

int martlet_inotify_create(void) { return inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }
int martlet_inotify_add(int inotify, const char *path, uint32_t mask) {
    return inotify_add_watch(inotify, path, mask);
}
int martlet_inotify_remove(int inotify, int watch) { return inotify_rm_watch(inotify, watch); }

const uint32_t martlet_in_create = IN_CREATE, martlet_in_moved_to = IN_MOVED_TO,
               martlet_in_moved_from = IN_MOVED_FROM, martlet_in_delete = IN_DELETE,
               martlet_in_close_write = IN_CLOSE_WRITE, martlet_in_attrib = IN_ATTRIB,
               martlet_in_delete_self = IN_DELETE_SELF, martlet_in_move_self = IN_MOVE_SELF,
               martlet_in_overflow = IN_Q_OVERFLOW, martlet_in_ignored = IN_IGNORED,
               martlet_in_isdir = IN_ISDIR, martlet_in_onlydir = IN_ONLYDIR,
               martlet_in_modify = IN_MODIFY;

int martlet_signalfd(const int *signals, int count) {
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int martlet_signalfd_read(int fd) {
    struct signalfd_siginfo info;
    ssize_t count = read(fd, &info, sizeof info);
    return count == sizeof info ? (int)info.ssi_signo : -1;
}

// Segments without PF_W hold nothing but what their file holds.
static int release_segments(struct dl_phdr_info *object, size_t size, void *unused) {
    (void)size, (void)unused;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W) continue;
        uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~page;
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz + page) & ~page;
        madvise((void *)start, end - start, MADV_DONTNEED);
    }
    return 0;
}

// A thread of a pool takes its memory from where all do: an arena of its own would keep some of it for
// good, and jobs allocate little beside what they read.
void martlet_share_memory(void) { mallopt(M_ARENA_MAX, 1); }

// struct sched_attr of linux/sched/types.h, in its first version.
struct schedule {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void martlet_set_time_slice(uint64_t nanoseconds) {
    struct schedule schedule = {.size = sizeof schedule};
    // SCHED_OTHER is 0: whoever started us with another policy knows why.
    if (syscall(SYS_sched_getattr, 0, &schedule, sizeof schedule, 0) < 0 || schedule.policy != 0) return;
    schedule.runtime = nanoseconds;
    syscall(SYS_sched_setattr, 0, &schedule, 0);
}

// What deep calls left below the frames of now. Further down there may be nothing, which is no fault.
static void release_stack(void) {
    const uintptr_t kept = 4 << 10, left = 256 << 10, page = 4096;
    uintptr_t end = ((uintptr_t)__builtin_frame_address(0) - kept) & ~(page - 1);
    madvise((void *)(end - left), left, MADV_DONTNEED);
}

void martlet_release_memory(void) {
    malloc_trim(0);
    dl_iterate_phdr(release_segments, NULL);
    release_stack();
}

struct start {
    void (*body)(void *);
    void *argument;
};

static void *thread_main(void *raw) {
    struct start start = *(struct start *)raw;
    __builtin_free(raw);
    start.body(start.argument);
    // The stack is kept for the next thread.
    release_stack();
    return NULL;
}

int martlet_start_thread(void (*body)(void *), void *argument, size_t stack_size) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    struct start *start = __builtin_malloc(sizeof *start);
    if (!start) return ENOMEM;
    *start = (struct start){body, argument};
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack_size);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int error = pthread_create(&thread, &attributes, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) __builtin_free(start);
    return error;
}
