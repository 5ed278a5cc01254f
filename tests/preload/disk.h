/* A disk below a real program: what calls.c intercepts goes into the log (log.c) and through the faults (faults.c). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What happened. tests/e2e/support/disk/log.rs reads these numbers. */
enum event { CREATE = 1, MKDIR, WRITE, TRUNCATE, SYNC, SYNC_DIRECTORY, RENAME, REMOVE, START };

/* Appends one record to the log. `error` is the errno of a sync that failed. */
void log_event(enum event event, ino_t inode, uint64_t offset, int error, const void *payload, size_t length);

/* The calls that can fail. tests/e2e/support/disk/faults.rs names these numbers. */
enum call { OPENING = 1, READING = 2, WRITING = 4, RESIZING = 8, SYNCING = 16, NAMING = 32, MAPPING = 64 };

/* How: not at all, with `error`, the same after half of the bytes got through, or with half of the bytes and no error. */
enum how { NOT, FAIL, TORN, SHORT };

struct fault {
    enum how how;
    int error;
};

/* Counts the call and says whether it is the one to fail. The caller holds the lock. */
struct fault next_fault(enum call call);

/* Ends the program: it did what this disk cannot record, so no test of it would mean anything. */
_Noreturn void refuse(const char *what);
