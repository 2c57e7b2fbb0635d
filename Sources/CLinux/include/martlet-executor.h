// A continuation is resumed through Swift's global executor, whose first job starts threads.
#ifndef MARTLET_EXECUTOR_H
#define MARTLET_EXECUTOR_H

/// From now on `take` is given every job that is meant for the global executor.
void martlet_take_global_jobs(void (*take)(void *job));

#endif
