/*
 * Stands between a program and the C library, for files below DISK_ROOT: a call is counted for faults, passed on, and
 * what it changed is logged. One lock around all three, so that the log has the order in which the calls took effect.
 *
 * Files are known by the path that /proc has for a descriptor, so nothing needs to follow dup and close. SQLite's index
 * of the log (`-shm`) can be failed but is not logged: it is mapped, never synced, and made anew after a crash.
 */
#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name)                                                     \
    ({                                                                 \
        static __typeof__(&name) real;                                 \
        if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);  \
        real;                                                          \
    })

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

struct name {
    char path[4096]; /* absolute */
    const char *below; /* its part below the root, empty for the root itself; NULL for files that are none of ours */
};

static bool ends_with(const char *path, const char *end) {
    size_t length = strlen(path), most = strlen(end);
    return length >= most && !strcmp(path + length - most, end);
}

/* A socket is nothing on the disk, and the reserve holds nothing: whoever starts makes them anew. */
static bool is_passing(const char *path) {
    return ends_with(path, ".sock") || ends_with(path, ".sock.new") || ends_with(path, ".reserve");
}

static void find_below(struct name *name) {
    const char *root = getenv("DISK_ROOT");
    size_t length = root ? strlen(root) : 0;
    name->below = NULL;
    if (!length || strncmp(name->path, root, length) || is_passing(name->path)) return;
    if (name->path[length] == '/') name->below = name->path + length + 1;
    if (name->path[length] == '\0') name->below = name->path + length;
}

static struct name named(const char *path) {
    struct name name;
    if (path[0] == '/') {
        snprintf(name.path, sizeof name.path, "%s", path);
    } else {
        char *here = getcwd(name.path, sizeof name.path);
        size_t length = here ? strlen(here) : 0;
        snprintf(name.path + length, sizeof name.path - length, strcmp(path, ".") ? "/%s" : "", path);
    }
    find_below(&name);
    return name;
}

static struct name opened(int file) {
    struct name name;
    char link[32];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name.path, sizeof name.path - 1);
    name.path[length < 0 ? 0 : length] = '\0';
    find_below(&name);
    errno = before;
    return name;
}

static bool is_logged(const struct name *name) {
    return !ends_with(name->below, "-shm");
}

static ino_t inode(int file) {
    struct stat stat;
    return fstat(file, &stat) ? 0 : stat.st_ino;
}

/* Runs `call` under the lock unless a fault comes first; `changed` runs after a call that worked. */
#define INTERCEPT(kind, call, changed)                        \
    ({                                                        \
        pthread_mutex_lock(&lock);                            \
        struct fault fault = next_fault(kind);                \
        __typeof__(call) result = (__typeof__(call))-1;       \
        if (fault.how != NOT) {                               \
            errno = fault.error;                              \
        } else {                                              \
            result = call;                                    \
            int after = errno;                                \
            if (result != (__typeof__(call))-1) {             \
                changed;                                      \
            }                                                 \
            errno = after;                                    \
        }                                                     \
        pthread_mutex_unlock(&lock);                          \
        result;                                               \
    })

static int open_file(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    struct name name = named(path);
    if (!name.below) return real(path, flags, mode);
    struct stat stat;
    bool is_new = (flags & O_CREAT) && lstat(name.path, &stat);
    return INTERCEPT(OPENING, real(path, flags, mode), {
        if (is_logged(&name) && is_new) log_event(CREATE, inode(result), 0, 0, name.below, strlen(name.below));
        if (is_logged(&name) && !is_new && (flags & O_TRUNC)) log_event(TRUNCATE, inode(result), 0, 0, NULL, 0);
    });
}

#define OPEN(function)                                                \
    int function(const char *path, int flags, ...) {                  \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;     \
        va_end(rest);                                                 \
        return open_file(REAL(function), path, flags, mode);          \
    }

OPEN(open)
OPEN(open64)

#define READ(function, parameters, arguments)                         \
    ssize_t function parameters {                                     \
        struct name name = opened(file);                              \
        if (!name.below) return REAL(function) arguments;             \
        return INTERCEPT(READING, REAL(function) arguments, {});      \
    }

READ(read, (int file, void *bytes, size_t count), (file, bytes, count))
READ(pread64, (int file, void *bytes, size_t count, off64_t at), (file, bytes, count, at))

/* `at` is -1 for a write where the file stands. */
static ssize_t write_file(const struct name *name, int file, const void *bytes, size_t count, off64_t at) {
    pthread_mutex_lock(&lock);
    struct fault fault = next_fault(WRITING);
    ssize_t written = -1;
    if (fault.how == TORN || fault.how == SHORT) count -= count / 2;
    if (fault.how != FAIL) {
        off64_t start = at < 0 ? lseek64(file, 0, SEEK_CUR) : at;
        written = at < 0 ? REAL(write)(file, bytes, count) : REAL(pwrite64)(file, bytes, count, at);
        int after = errno;
        if (written > 0 && is_logged(name)) log_event(WRITE, inode(file), start, 0, bytes, written);
        errno = after;
    }
    if (fault.how == FAIL || fault.how == TORN) {
        written = -1;
        errno = fault.error;
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int file, const void *bytes, size_t count) {
    struct name name = opened(file);
    return name.below ? write_file(&name, file, bytes, count, -1) : REAL(write)(file, bytes, count);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    struct name name = opened(file);
    return name.below ? write_file(&name, file, bytes, count, at) : REAL(pwrite64)(file, bytes, count, at);
}

int ftruncate64(int file, off64_t length) {
    struct name name = opened(file);
    if (!name.below) return REAL(ftruncate64)(file, length);
    return INTERCEPT(RESIZING, REAL(ftruncate64)(file, length), {
        if (is_logged(&name)) log_event(TRUNCATE, inode(file), length, 0, NULL, 0);
    });
}

static int sync_file(int (*real)(int), const struct name *name, int file) {
    pthread_mutex_lock(&lock);
    struct fault fault = next_fault(SYNCING);
    struct stat stat;
    bool is_directory = !fstat(file, &stat) && S_ISDIR(stat.st_mode);
    int result = fault.how == NOT ? real(file) : -1;
    int error = fault.how == NOT ? errno : fault.error;
    /* A failed sync is logged too: the system tells of lost writes once, and a later sync that works does not bring them. */
    if (!is_directory) log_event(SYNC, stat.st_ino, 0, result ? error : 0, NULL, 0);
    if (is_directory && !result) log_event(SYNC_DIRECTORY, 0, 0, 0, name->below, strlen(name->below));
    errno = error;
    pthread_mutex_unlock(&lock);
    return result;
}

#define SYNCS(function)                                                            \
    int function(int file) {                                                       \
        struct name name = opened(file);                                           \
        return name.below ? sync_file(REAL(function), &name, file) : REAL(function)(file); \
    }

SYNCS(fsync)
SYNCS(fdatasync)

#define CHANGES_NAME(function, parameters, arguments, event)                                          \
    int function parameters {                                                                         \
        struct name name = named(path);                                                               \
        if (!name.below) return REAL(function) arguments;                                             \
        return INTERCEPT(NAMING, REAL(function) arguments, {                                          \
            if (is_logged(&name)) log_event(event, 0, 0, 0, name.below, strlen(name.below));          \
        });                                                                                           \
    }

CHANGES_NAME(mkdir, (const char *path, mode_t mode), (path, mode), MKDIR)
CHANGES_NAME(unlink, (const char *path), (path), REMOVE)

int rename(const char *from, const char *to) {
    struct name old = named(from), new = named(to);
    /* Each points into itself, and was moved here. */
    find_below(&old);
    find_below(&new);
    if (!old.below && !new.below) return REAL(rename)(from, to);
    if (!old.below || !new.below) refuse("a rename across the disk's border");
    return INTERCEPT(NAMING, REAL(rename)(from, to), {
        char both[2 * sizeof old.path];
        int length = snprintf(both, sizeof both, "%s%c%s", old.below, '\0', new.below);
        log_event(RENAME, 0, 0, 0, both, length);
    });
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off64_t at) {
    struct name name = opened(file);
    if (!name.below) return REAL(mmap64)(address, length, protection, flags, file, at);
    if (is_logged(&name) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) refuse("a writable mapping");
    return INTERCEPT(MAPPING, REAL(mmap64)(address, length, protection, flags, file, at), {});
}

/* What nothing here uses today. */
#define UNKNOWN(result, function, file, parameters, arguments)                  \
    result function parameters {                                                \
        struct name name = opened(file);                                        \
        if (name.below) refuse(#function " is not recorded");                   \
        return REAL(function) arguments;                                        \
    }

UNKNOWN(ssize_t, writev, file, (int file, const struct iovec *parts, int count), (file, parts, count))
UNKNOWN(ssize_t, pwritev64, file, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at))
UNKNOWN(int, fallocate64, file, (int file, int mode, off64_t at, off64_t length), (file, mode, at, length))
UNKNOWN(int, sync_file_range, file, (int file, off64_t at, off64_t length, unsigned flags), (file, at, length, flags))
UNKNOWN(ssize_t, copy_file_range, to, (int from, off64_t *at, int to, off64_t *there, size_t length, unsigned flags),
        (from, at, to, there, length, flags))
