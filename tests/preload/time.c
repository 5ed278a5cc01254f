/*
 * Time as a program has it: put in front of the C library, the wall clock is off by the seconds in the file TIME_OFFSET, and
 * every sync takes the milliseconds in SYNC_TAKES. Clocks that count what passes stay as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t offset(void) {
    static volatile int64_t *shared;
    const char *path = getenv("TIME_OFFSET");
    if (!shared && path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        void *at = mmap(NULL, sizeof *shared, PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) abort();
        close(file);
        shared = at;
    }
    return shared ? *shared : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    if (clock_gettime(CLOCK_REALTIME, &precise)) return -1;
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}

static void wait_for_the_disk(void) {
    const char *text = getenv("SYNC_TAKES");
    long milliseconds = text ? atol(text) : 0;
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    if (milliseconds) nanosleep(&pause, NULL);
}

int fsync(int file) {
    wait_for_the_disk();
    return syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    wait_for_the_disk();
    return syscall(SYS_fdatasync, file);
}
