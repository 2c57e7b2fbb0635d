#define _GNU_SOURCE
#include "martlet-lmdb.h"
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct martlet_lmdb {
    MDB_env *env;
    MDB_dbi dbi;
    pthread_rwlock_t lock;
    atomic_int dead;
};

struct martlet_lmdb_transaction {
    martlet_lmdb *environment;
    MDB_txn *txn;
    MDB_cursor *cursor;
    // The key that the cursor stands at; none where `at_count` is 0.
    uint8_t at[MARTLET_LMDB_KEY_MAX];
    size_t at_count;
    int writes;
    uint8_t *buffer;
    size_t room;
};

// The guard: a fault or a failed assertion between `guarded` and `unguard` leads back to the former.
// Only LMDB's code and copying runs there, none of which holds a lock or memory that others need.

static __thread sigjmp_buf *volatile way_out;

static void fault(int signal_number, siginfo_t *information, void *context) {
    (void)context;
    // Sent by the kernel about this thread's own access, not by a process.
    if (way_out != NULL && information->si_code > 0) siglongjmp(*way_out, 1);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void assertion(MDB_env *env, const char *text) {
    (void)env;
    (void)text;
    if (way_out != NULL) siglongjmp(*way_out, 1);
}

static void catch_faults(void) {
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

// Threads of a pool block all signals, and a fault whose signal is blocked ends the process.
static void let_faults_in(void) {
    static __thread int done;
    if (done) return;
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
    done = 1;
}

#define GUARD(environment_, on_fault)            \
    let_faults_in();                             \
    sigjmp_buf here;                             \
    if (sigsetjmp(here, 0) != 0) {               \
        way_out = NULL;                          \
        atomic_store(&(environment_)->dead, 1);  \
        on_fault;                                \
    }                                            \
    way_out = &here
#define UNGUARD way_out = NULL

static int translated(int code) {
    switch (code) {
    case MDB_NOTFOUND: return MARTLET_LMDB_NOT_FOUND;
    case MDB_MAP_FULL: return MARTLET_LMDB_FULL;
    default: return code;
    }
}

// Checksums. Not against an adversary, who could compute them as well, but against bits that change.

static uint64_t mix(uint64_t value) {
    value ^= value >> 32;
    value *= 0xd6e8feb86659fd93ULL;
    value ^= value >> 32;
    return value;
}

static uint64_t load(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static uint64_t checksum(const uint8_t *key, size_t key_count, const uint8_t *bytes, size_t count) {
    uint64_t lanes[4] = {count + 1, 0x9e3779b97f4a7c15ULL, 0xc2b2ae3d27d4eb4fULL, 0x165667b19e3779f9ULL};
    for (size_t i = 0; i < key_count; i++) lanes[0] = (lanes[0] ^ key[i]) * 0x100000001b3ULL;
    while (count >= 32) {
        for (int lane = 0; lane < 4; lane++) {
            lanes[lane] = (lanes[lane] ^ load(bytes + 8 * lane)) * 0x9fb21c651e98df25ULL;
            lanes[lane] ^= lanes[lane] >> 29;
        }
        bytes += 32;
        count -= 32;
    }
    uint8_t rest[32] = {0};
    memcpy(rest, bytes, count);
    for (int lane = 0; lane < 4; lane++) lanes[lane] = mix(lanes[lane] ^ load(rest + 8 * lane));
    return mix(mix(mix(lanes[0]) ^ lanes[1]) ^ mix(mix(lanes[2]) ^ lanes[3]));
}

enum { CHECKSUM_COUNT = 8 };

// The environment

static int is_long_enough(MDB_env *env) {
    MDB_envinfo information;
    MDB_stat statistics;
    struct stat status;
    int file;
    if (mdb_env_info(env, &information) != 0 || mdb_env_stat(env, &statistics) != 0) return 0;
    if (mdb_env_get_fd(env, &file) != 0 || fstat(file, &status) < 0) return 0;
    if (status.st_size == 0) return 1;
    uint64_t pages = (uint64_t)information.me_last_pgno + 1;
    return pages <= (uint64_t)status.st_size / statistics.ms_psize;
}

static int open_environment(martlet_lmdb *environment, const char *path, size_t map_bytes) {
    int code = mdb_env_create(&environment->env);
    if (code != 0) return code;
    mdb_env_set_assert(environment->env, assertion);
    code = mdb_env_set_mapsize(environment->env, map_bytes);
    // What a power cut takes is found by the boot's id, so nothing waits for the disk. Never
    // MDB_WRITEMAP: a stray pointer must not write into the file.
    unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOTLS | MDB_NOSYNC | MDB_NOMETASYNC;
    if (code == 0) code = mdb_env_open(environment->env, path, flags, 0600);
    // A new file has its first pages only once something is committed.
    if (code == 0 && !is_long_enough(environment->env)) code = MARTLET_LMDB_BROKEN_RECORD;
    MDB_txn *txn;
    if (code == 0) code = mdb_txn_begin(environment->env, NULL, 0, &txn);
    if (code != 0) return code;
    code = mdb_dbi_open(txn, NULL, 0, &environment->dbi);
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

int martlet_lmdb_open(const char *path, size_t map_bytes, martlet_lmdb **result) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, catch_faults);
    martlet_lmdb *environment = calloc(1, sizeof *environment);
    if (environment == NULL) return ENOMEM;
    pthread_rwlock_init(&environment->lock, NULL);
    GUARD(environment, return MARTLET_LMDB_DEAD);
    int code = open_environment(environment, path, map_bytes);
    if (code != 0 && environment->env != NULL) mdb_env_close(environment->env);
    UNGUARD;
    if (code != 0) {
        free(environment);
        return translated(code);
    }
    *result = environment;
    return 0;
}

int martlet_lmdb_close(martlet_lmdb *environment, int sync) {
    pthread_rwlock_wrlock(&environment->lock);
    int code = MARTLET_LMDB_DEAD;
    if (!atomic_load(&environment->dead)) {
        GUARD(environment, {
            pthread_rwlock_unlock(&environment->lock);
            return MARTLET_LMDB_DEAD;
        });
        code = sync ? mdb_env_sync(environment->env, 1) : 0;
        mdb_env_close(environment->env);
        UNGUARD;
        // Not freed: a job that comes late finds it dead.
        atomic_store(&environment->dead, 1);
    }
    pthread_rwlock_unlock(&environment->lock);
    return code;
}

// Maps the file anew, and lets go of the lock that the caller took. No size stands for the size it has.
static int map_and_unlock(martlet_lmdb *environment, size_t map_bytes) {
    if (atomic_load(&environment->dead)) {
        pthread_rwlock_unlock(&environment->lock);
        return MARTLET_LMDB_DEAD;
    }
    GUARD(environment, {
        pthread_rwlock_unlock(&environment->lock);
        return MARTLET_LMDB_DEAD;
    });
    MDB_envinfo information;
    int code = mdb_env_info(environment->env, &information);
    if (map_bytes == 0) map_bytes = information.me_mapsize;
    if (code == 0) code = mdb_env_set_mapsize(environment->env, map_bytes);
    UNGUARD;
    pthread_rwlock_unlock(&environment->lock);
    return code;
}

int martlet_lmdb_grow(martlet_lmdb *environment, size_t map_bytes) {
    pthread_rwlock_wrlock(&environment->lock);
    return map_and_unlock(environment, map_bytes);
}

int martlet_lmdb_rest(martlet_lmdb *environment) {
    if (pthread_rwlock_trywrlock(&environment->lock) != 0) return 0;
    return map_and_unlock(environment, 0);
}

// Transactions

int martlet_lmdb_begin(martlet_lmdb *environment, int writes, martlet_lmdb_transaction **result) {
    martlet_lmdb_transaction *transaction = calloc(1, sizeof *transaction);
    if (transaction == NULL) return ENOMEM;
    if (writes) {
        pthread_rwlock_wrlock(&environment->lock);
    } else {
        pthread_rwlock_rdlock(&environment->lock);
    }
    transaction->environment = environment;
    transaction->writes = writes;
    int code = MARTLET_LMDB_DEAD;
    if (!atomic_load(&environment->dead)) {
        GUARD(environment, {
            pthread_rwlock_unlock(&environment->lock);
            free(transaction);
            return MARTLET_LMDB_DEAD;
        });
        code = mdb_txn_begin(environment->env, NULL, writes ? 0 : MDB_RDONLY, &transaction->txn);
        if (code == 0) {
            code = mdb_cursor_open(transaction->txn, environment->dbi, &transaction->cursor);
            if (code != 0) mdb_txn_abort(transaction->txn);
        }
        UNGUARD;
    }
    if (code != 0) {
        pthread_rwlock_unlock(&environment->lock);
        free(transaction);
        return translated(code);
    }
    *result = transaction;
    return 0;
}

static int end(martlet_lmdb_transaction *transaction, int commits) {
    martlet_lmdb *environment = transaction->environment;
    int code = MARTLET_LMDB_DEAD;
    if (!atomic_load(&environment->dead)) {
        GUARD(environment, {
            code = MARTLET_LMDB_DEAD;
            goto out;
        });
        mdb_cursor_close(transaction->cursor);
        if (commits) {
            code = mdb_txn_commit(transaction->txn);
        } else {
            mdb_txn_abort(transaction->txn);
            code = 0;
        }
        UNGUARD;
    }
out:
    pthread_rwlock_unlock(&environment->lock);
    free(transaction->buffer);
    free(transaction);
    return translated(code);
}

int martlet_lmdb_commit(martlet_lmdb_transaction *transaction) { return end(transaction, 1); }
void martlet_lmdb_abort(martlet_lmdb_transaction *transaction) { end(transaction, 0); }

// Records

// Leaves the cursor at the first key that is at least this.
static int seek(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                MDB_val *found, MDB_val *value) {
    int code;
    // Keys are asked for in ascending order nearly always: then the next one is the likeliest.
    size_t common = transaction->at_count < key_count ? transaction->at_count : key_count;
    int is_behind = transaction->at_count > 0 && memcmp(transaction->at, key, common) < 0;
    if (is_behind) {
        code = mdb_cursor_get(transaction->cursor, found, value, MDB_NEXT);
        if (code == 0 && found->mv_size == key_count && memcmp(found->mv_data, key, key_count) == 0) {
            goto found_one;
        }
    }
    *found = (MDB_val){.mv_size = key_count, .mv_data = (void *)key};
    code = mdb_cursor_get(transaction->cursor, found, value, MDB_SET_RANGE);
found_one:
    transaction->at_count = 0;
    if (code != 0) return code;
    if (found->mv_size == 0 || found->mv_size > MARTLET_LMDB_KEY_MAX) return MARTLET_LMDB_BROKEN_RECORD;
    memcpy(transaction->at, found->mv_data, found->mv_size);
    transaction->at_count = found->mv_size;
    return 0;
}

static int copy_out(martlet_lmdb_transaction *transaction, MDB_val *value, const uint8_t **bytes,
                    size_t *count) {
    if (value->mv_size < CHECKSUM_COUNT) return MARTLET_LMDB_BROKEN_RECORD;
    if (value->mv_size > transaction->room) {
        // A broken length must not become an allocation: it cannot exceed the map.
        MDB_envinfo information;
        mdb_env_info(transaction->environment->env, &information);
        if (value->mv_size > information.me_mapsize) return MARTLET_LMDB_BROKEN_RECORD;
        size_t room = value->mv_size < 65536 ? 65536 : value->mv_size;
        uint8_t *fresh = malloc(room);
        if (fresh == NULL) return ENOMEM;
        free(transaction->buffer);
        transaction->buffer = fresh;
        transaction->room = room;
    }
    memcpy(transaction->buffer, value->mv_data, value->mv_size);
    *bytes = transaction->buffer + CHECKSUM_COUNT;
    *count = value->mv_size - CHECKSUM_COUNT;
    uint64_t sum = checksum(transaction->at, transaction->at_count, *bytes, *count);
    return sum == load(transaction->buffer) ? 0 : MARTLET_LMDB_BROKEN_RECORD;
}

int martlet_lmdb_first(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                       uint8_t *found, size_t *found_count, const uint8_t **bytes, size_t *count) {
    martlet_lmdb *environment = transaction->environment;
    if (atomic_load(&environment->dead)) return MARTLET_LMDB_DEAD;
    GUARD(environment, return MARTLET_LMDB_DEAD);
    MDB_val at, value;
    int code = seek(transaction, key, key_count, &at, &value);
    if (code == 0) code = copy_out(transaction, &value, bytes, count);
    UNGUARD;
    if (code != 0) return translated(code);
    memcpy(found, transaction->at, transaction->at_count);
    *found_count = transaction->at_count;
    return 0;
}

int martlet_lmdb_get(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                     const uint8_t **bytes, size_t *count) {
    martlet_lmdb *environment = transaction->environment;
    if (atomic_load(&environment->dead)) return MARTLET_LMDB_DEAD;
    GUARD(environment, return MARTLET_LMDB_DEAD);
    MDB_val at, value;
    int code = seek(transaction, key, key_count, &at, &value);
    if (code == 0 && (transaction->at_count != key_count || memcmp(transaction->at, key, key_count) != 0)) {
        code = MDB_NOTFOUND;
    }
    if (code == 0) code = copy_out(transaction, &value, bytes, count);
    UNGUARD;
    return translated(code);
}

int martlet_lmdb_put(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                     const uint8_t *bytes, size_t count) {
    martlet_lmdb *environment = transaction->environment;
    if (atomic_load(&environment->dead)) return MARTLET_LMDB_DEAD;
    uint64_t sum = checksum(key, key_count, bytes, count);
    transaction->at_count = 0;
    GUARD(environment, return MARTLET_LMDB_DEAD);
    MDB_val name = {.mv_size = key_count, .mv_data = (void *)key};
    MDB_val value = {.mv_size = count + CHECKSUM_COUNT};
    int code = mdb_cursor_put(transaction->cursor, &name, &value, MDB_RESERVE);
    if (code == 0) {
        memcpy(value.mv_data, &sum, CHECKSUM_COUNT);
        if (count > 0) memcpy((uint8_t *)value.mv_data + CHECKSUM_COUNT, bytes, count);
    }
    UNGUARD;
    return translated(code);
}

int martlet_lmdb_remove(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count) {
    martlet_lmdb *environment = transaction->environment;
    if (atomic_load(&environment->dead)) return MARTLET_LMDB_DEAD;
    transaction->at_count = 0;
    GUARD(environment, return MARTLET_LMDB_DEAD);
    MDB_val name = {.mv_size = key_count, .mv_data = (void *)key};
    int code = mdb_del(transaction->txn, environment->dbi, &name, NULL);
    UNGUARD;
    return translated(code);
}

int martlet_lmdb_remove_range(martlet_lmdb_transaction *transaction, const uint8_t *first,
                              const uint8_t *end, size_t key_count, size_t limit, size_t *removed) {
    martlet_lmdb *environment = transaction->environment;
    *removed = 0;
    if (atomic_load(&environment->dead)) return MARTLET_LMDB_DEAD;
    transaction->at_count = 0;
    GUARD(environment, return MARTLET_LMDB_DEAD);
    MDB_val name = {.mv_size = key_count, .mv_data = (void *)first};
    MDB_val value;
    int code = mdb_cursor_get(transaction->cursor, &name, &value, MDB_SET_RANGE);
    while (code == 0 && *removed < limit) {
        size_t common = name.mv_size < key_count ? name.mv_size : key_count;
        if (memcmp(name.mv_data, end, common) >= 0) break;
        code = mdb_cursor_del(transaction->cursor, 0);
        if (code == 0) {
            *removed += 1;
            code = mdb_cursor_get(transaction->cursor, &name, &value, MDB_GET_CURRENT);
            // Behind the last key of a page the cursor stands nowhere.
            if (code == EINVAL || code == MDB_NOTFOUND) {
                name = (MDB_val){.mv_size = key_count, .mv_data = (void *)first};
                code = mdb_cursor_get(transaction->cursor, &name, &value, MDB_SET_RANGE);
            }
        }
    }
    UNGUARD;
    return code == MDB_NOTFOUND ? 0 : translated(code);
}

const char *martlet_lmdb_text(int code) {
    switch (code) {
    case MARTLET_LMDB_DEAD: return "the file could not be read where it leads to";
    case MARTLET_LMDB_BROKEN_RECORD: return "a record is broken";
    case MARTLET_LMDB_NOT_FOUND: return "no such record";
    case MARTLET_LMDB_FULL: return "the map is full";
    default: return mdb_strerror(code);
    }
}
