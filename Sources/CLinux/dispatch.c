// Instead of libdispatch.
//
// The Swift runtime refers to libdispatch for a global executor that starts threads. Ours takes every job
// before that (martlet_take_global_jobs), so nothing of it is ever called; but linked statically its tables
// alone cost each process 80 KB of its own. These are the names that the runtime refers to: whoever reaches
// one has left the loop, and ends.
//
// Hidden: where the runtime is a shared library (debug builds), it finds libdispatch and not these.
// Weak: should a later runtime refer to one more, then libdispatch is linked as if this file were not there;
// the test of what a release executable holds tells.
#include <stdlib.h>

#define UNREACHED(name)                                                                                      \
    __attribute__((weak, visibility("hidden"), noreturn, cold)) void name(void) { abort(); }

UNREACHED(dispatch_activate)
UNREACHED(dispatch_after_f)
UNREACHED(dispatch_assert_queue)
UNREACHED(dispatch_async_f)
UNREACHED(dispatch_main)
UNREACHED(dispatch_queue_attr_make_with_qos_class)
UNREACHED(dispatch_queue_create)
UNREACHED(dispatch_queue_set_width)
UNREACHED(dispatch_release)
UNREACHED(dispatch_set_context)
UNREACHED(dispatch_source_create)
UNREACHED(dispatch_source_set_event_handler_f)
UNREACHED(dispatch_source_set_timer)
UNREACHED(dispatch_walltime)

// Known by their addresses.
__attribute__((weak, visibility("hidden"))) char _dispatch_main_q[16];
__attribute__((weak, visibility("hidden"))) char _dispatch_queue_attr_concurrent[16];
__attribute__((weak, visibility("hidden"))) char _dispatch_source_type_timer[16];
