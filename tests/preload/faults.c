/* Faults: the test orders one through a small file that both sides share, and reads there what became of it. */
#define _GNU_SOURCE
#include "disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct plan {
    /* written by the test, `number` last */
    uint64_t number; /* of the order; a new one starts counting anew */
    uint64_t nth;    /* which call fails, from 1 */
    uint64_t calls;  /* which kinds of calls count */
    uint64_t how;
    uint64_t error;
    /* written here */
    uint64_t seen;    /* the order being carried out */
    uint64_t counted; /* calls since */
    uint64_t failed;  /* the kind of call that failed, 0 as long as none did */
};

static volatile struct plan *plan(void) {
    static volatile struct plan *shared;
    const char *path = getenv("DISK_FAULTS");
    if (!shared && path) {
        int file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
        void *at = (void *)syscall(SYS_mmap, NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) refuse("the fault file cannot be read");
        shared = at;
    }
    return shared;
}

struct fault next_fault(enum call call) {
    struct fault none = {NOT, 0};
    volatile struct plan *it = plan();
    if (!it) return none;
    if (it->seen != it->number) {
        it->counted = 0;
        it->failed = 0;
        it->seen = it->number;
    }
    if (!(it->calls & call) || ++it->counted != it->nth) return none;
    it->failed = call;
    struct fault fault = {it->how, it->error};
    return fault;
}
