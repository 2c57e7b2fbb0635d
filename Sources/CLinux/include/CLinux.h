// What Swift's Glibc module does not carry: epoll, eventfd, inotify, getdents, descriptor passing.
#ifndef CLINUX_H
#define CLINUX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/magic.h>

#include "martlet-executor.h"
#include "martlet-sandbox.h"
#include "martlet-socket.h"
#include "martlet-spawn.h"

#define MARTLET_READABLE 1u
#define MARTLET_WRITABLE 2u
#define MARTLET_HUNG_UP 4u
#define MARTLET_DESCRIPTORS_MAX 8

struct martlet_event {
    uint64_t token;
    uint32_t readiness;
};

int martlet_epoll_create(void);
/// Registers for both directions, edge-triggered. Returns 0 or -1 with errno.
int martlet_epoll_add(int epoll, int fd, uint64_t token);
/// Registers an eventfd, edge-triggered: each signal is told once, and reading it is not needed.
int martlet_epoll_add_wakeup(int epoll, int fd, uint64_t token);
/// Registers a listening socket that several processes share: one of them is woken.
int martlet_epoll_add_exclusive(int epoll, int fd, uint64_t token);
void martlet_epoll_remove(int epoll, int fd);
/// Waits at most `milliseconds` (-1: for ever). Returns the number of events, or -1 with errno.
int martlet_epoll_wait(int epoll, struct martlet_event *events, int max, int milliseconds);

int martlet_eventfd(void);
void martlet_eventfd_signal(int fd);

/// One message with up to MARTLET_DESCRIPTORS_MAX descriptors; never blocks, never raises SIGPIPE.
ssize_t martlet_send(int fd, const void *bytes, size_t count, const int *descriptors, int descriptor_count);
/// One message; received descriptors are close-on-exec. `*descriptor_count` is room on entry and
/// the number received on return; what does not fit is closed. Returns -1 with EMSGSIZE where the
/// message was longer than the room.
ssize_t martlet_receive(int fd, void *bytes, size_t room, int *descriptors, int *descriptor_count);
/// A pair of connected Unix sockets, close-on-exec and non-blocking.
int martlet_socketpair(int sequenced_packets, int fds[2]);

/// openat with its optional argument, which Swift cannot pass to a variadic function.
int martlet_openat(int directory, const char *name, int flags, unsigned mode);
/// openat for what the kernel has in memory; -1 with EAGAIN where it would have to look at a disk, or cannot
/// tell.
int martlet_open_cached(int directory, const char *name, int flags);
/// pread of what is in the page cache; -1 with EAGAIN where nothing at the offset is, or it cannot be told.
ssize_t martlet_read_cached(int fd, void *buffer, size_t size, off_t offset);
/// Takes a read lease and gives it back. 0, or -1 with EAGAIN while somebody writes the file.
int martlet_try_read_lease(int fd);
/// Starts writing back what is dirty of a file, and does not wait.
int martlet_begin_writing(int fd);
ssize_t martlet_getdents(int fd, void *buffer, size_t size);
int martlet_rename_no_replace(int from_directory, const char *from, int to_directory, const char *to);
long martlet_filesystem_magic(int fd);

int martlet_inotify_create(void);
int martlet_inotify_add(int inotify, const char *path, uint32_t mask);
int martlet_inotify_remove(int inotify, int watch);
extern const uint32_t martlet_in_create, martlet_in_moved_to, martlet_in_moved_from, martlet_in_delete,
    martlet_in_close_write, martlet_in_attrib, martlet_in_delete_self, martlet_in_move_self,
    martlet_in_overflow, martlet_in_ignored, martlet_in_isdir, martlet_in_onlydir, martlet_in_modify;

int martlet_signalfd(const int *signals, int count);
/// The next signal read from the descriptor, or -1.
int martlet_signalfd_read(int fd);

/// Gives back what is not in use now: free heap pages, and the pages of code and constants that are
/// mapped from files. What is needed again comes back from the page cache.
void martlet_release_memory(void);

/// Has all threads allocate from one arena. Called before the first thread starts.
void martlet_share_memory(void);

/// How long this process, and all that it starts from now on, runs while others wait. Kernels before 6.12
/// have one slice for all and leave it there, as a policy other than SCHED_OTHER does.
void martlet_set_time_slice(uint64_t nanoseconds);

/// Starts a detached thread with all signals blocked and a small stack.
int martlet_start_thread(void (*body)(void *), void *argument, size_t stack_size);

#endif
