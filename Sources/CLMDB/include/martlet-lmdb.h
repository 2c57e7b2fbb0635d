#ifndef MARTLET_LMDB_H
#define MARTLET_LMDB_H

#include <stddef.h>
#include <stdint.h>

// LMDB for a process that does not trust the file.
//
// LMDB reads its file through a map and believes what it finds: a file that somebody truncates is a
// SIGBUS, a broken page number a SIGSEGV or an assertion. Every call here catches all three, and from
// then on the environment is dead: each call says MARTLET_LMDB_DEAD, and what it held is leaked. Nothing
// that leaves this file points into the map: a record is copied, and its checksum, which covers the key
// as well, is verified over the copy.
//
// One process has the file open (its caller's lock), so LMDB's own lock file is not used; readers
// and the one writer of this process keep apart by a lock of their own.

enum {
    // Beside errno and LMDB's own (negative) codes.
    MARTLET_LMDB_DEAD = -1,
    MARTLET_LMDB_BROKEN_RECORD = -2,
    MARTLET_LMDB_NOT_FOUND = -3,
    MARTLET_LMDB_FULL = -4,
};

typedef struct martlet_lmdb martlet_lmdb;
typedef struct martlet_lmdb_transaction martlet_lmdb_transaction;

// Opens or makes the file, whose directory must exist. A file that is shorter than its own count of
// pages says is refused (MARTLET_LMDB_BROKEN_RECORD).
int martlet_lmdb_open(const char *path, size_t map_bytes, martlet_lmdb **result);

// Waits for transactions to end; from then on the environment is dead. With `sync` what was written is
// on the disk on return, or an error tells.
int martlet_lmdb_close(martlet_lmdb *environment, int sync);

// Makes the map larger; no transaction of this thread may be open.
int martlet_lmdb_grow(martlet_lmdb *environment, size_t map_bytes);

// Gives back what the map holds in memory, which the next transaction finds in the file again. Does
// nothing where a transaction is open.
int martlet_lmdb_rest(martlet_lmdb *environment);

// A transaction belongs to the thread that began it. A writer has the environment for itself.
int martlet_lmdb_begin(martlet_lmdb *environment, int writes, martlet_lmdb_transaction **result);
int martlet_lmdb_commit(martlet_lmdb_transaction *transaction);
void martlet_lmdb_abort(martlet_lmdb_transaction *transaction);

// The record of a key, valid until the next call with this transaction. Cheapest in the order of keys.
int martlet_lmdb_get(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                     const uint8_t **bytes, size_t *count);

// The first record whose key is at least this, and its key.
int martlet_lmdb_first(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                       uint8_t *found, size_t *found_count, const uint8_t **bytes, size_t *count);

// Writes or replaces a record.
int martlet_lmdb_put(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count,
                     const uint8_t *bytes, size_t count);
int martlet_lmdb_remove(martlet_lmdb_transaction *transaction, const uint8_t *key, size_t key_count);

// Removes records with keys from `first` on and below `end` (both of one length), at most `limit`;
// how many went is in `removed`.
int martlet_lmdb_remove_range(martlet_lmdb_transaction *transaction, const uint8_t *first,
                              const uint8_t *end, size_t key_count, size_t limit, size_t *removed);

// What a code means, for the log.
const char *martlet_lmdb_text(int code);

enum { MARTLET_LMDB_KEY_MAX = 64 };

#endif
