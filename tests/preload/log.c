/* The log: one file that records are appended to, each in one write, in the order in which the calls took effect. */
#define _GNU_SOURCE
#include "disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct header {
    uint32_t length; /* of the payload */
    uint32_t event;
    uint64_t inode;
    uint64_t offset; /* of a write; the new length of a truncated file */
    int32_t error;
    uint32_t unused;
};

_Noreturn void refuse(const char *what) {
    struct iovec parts[] = {{"disk: ", 6}, {(void *)what, strlen(what)}, {"\n", 1}};
    syscall(SYS_writev, 2, parts, 3);
    abort();
}

void log_event(enum event event, ino_t inode, uint64_t offset, int error, const void *payload, size_t length) {
    static int file = -1;
    const char *path = getenv("DISK_LOG");
    if (!path || !*path) return;
    if (file < 0) {
        file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
        log_event(START, 0, 0, 0, NULL, 0);
    }
    struct header header = {length, event, inode, offset, error, 0};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)payload, length}};
    if (syscall(SYS_writev, file, parts, 2) != (ssize_t)(sizeof header + length)) refuse("the log cannot be written");
}
