#include "martlet-executor.h"

// The Swift runtime's own hook (Runtime/Concurrency.h), in Swift's calling convention.
#define SWIFTCALL __attribute__((swiftcall))
typedef SWIFTCALL void (*enqueue_original)(void *job);
extern SWIFTCALL void (*swift_task_enqueueGlobal_hook)(void *job, enqueue_original original);

static void (*taker)(void *job);

static SWIFTCALL void hook(void *job, enqueue_original original) {
    (void)original;
    taker(job);
}

void martlet_take_global_jobs(void (*take)(void *job)) {
    taker = take;
    swift_task_enqueueGlobal_hook = hook;
}
