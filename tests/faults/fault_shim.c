/* Preloaded into a program: the n-th call that changes something below a directory fails, is cut short, or kills the program. Calls that change
 * something: opening for writing, making files and directories, writing, cutting, waiting for the disk, renaming. Removing never fails, so that a
 * program can tidy up. What the C library does within itself, as for a FILE, is not seen.
 *
 * A program sets it by fault_arm(), or is started with RBE_FAULT_BELOW (the directory), RBE_FAULT_AT (n, from 1 on; 0: none), RBE_FAULT_HOW. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* How: an error's number: that call and all after it fail so, as on a disk that is full. Minus that number: that call alone. */
enum { NOTHING = 0, KILL = 1001, SHORT = 1002 }; /* KILL: half of what is to be written is; SHORT: half of it is, which is no error */

static char below[PATH_MAX];
static atomic_long n_calls;
static atomic_long fault_at;
static atomic_int fault_how;

void fault_arm(const char *directory, long at, int how);
long fault_calls(void);

void fault_arm(const char *directory, long at, int how)
{
    atomic_store(&fault_at, 0);
    snprintf(below, sizeof below, "%s", directory);
    atomic_store(&n_calls, 0);
    atomic_store(&fault_how, how);
    atomic_store(&fault_at, at);
}

/* Since fault_arm(). */
long fault_calls(void)
{
    return atomic_load(&n_calls);
}

__attribute__((constructor)) static void arm_by_environment(void)
{
    const char *directory = getenv("RBE_FAULT_BELOW"), *at = getenv("RBE_FAULT_AT"), *how = getenv("RBE_FAULT_HOW");
    if (directory && at && how) {
        fault_arm(directory, atol(at), atoi(how));
    }
}

static int is_below(const char *path)
{
    const size_t length = strlen(below);
    char whole[2 * PATH_MAX];
    if (length == 0 || !path) {
        return 0;
    }
    if (path[0] != '/') {
        char here[PATH_MAX];
        snprintf(whole, sizeof whole, "%s/%s", getcwd(here, sizeof here) ? here : "", path);
        path = whole;
    }
    return strncmp(path, below, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int is_open_below(int descriptor)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t n = below[0] ? readlink(link, path, sizeof path - 1) : -1;
    path[n > 0 ? n : 0] = 0;
    return n > 0 && is_below(path);
}

/* What becomes of this call: NOTHING, KILL, SHORT, or an error's number. */
static int fate(int counts)
{
    if (!counts) {
        return NOTHING;
    }
    const long number = atomic_fetch_add(&n_calls, 1) + 1, at = atomic_load(&fault_at);
    const int how = atomic_load(&fault_how);
    if (at == 0 || number < at || (number > at && (how < 0 || how > 1000))) {
        return NOTHING;
    }
    return how < 0 ? -how : how;
}

/* Whether a call that writes nothing fails, with errno. */
static int fails(int counts)
{
    const int saved = errno, what = fate(counts);
    if (what == KILL) {
        kill(getpid(), SIGKILL);
    }
    errno = what == NOTHING || what == SHORT ? saved : what;
    return what != NOTHING && what != SHORT;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENING(name)                                                       \
    int name(const char *path, int flags, ...)                              \
    {                                                                       \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        const unsigned mode = flags & O_CREAT ? va_arg(rest, unsigned) : 0; \
        va_end(rest);                                                       \
        if (fails((flags & (O_WRONLY | O_RDWR)) && is_below(path))) {       \
            return -1;                                                      \
        }                                                                   \
        return REAL(name)(path, flags, mode);                               \
    }
OPENING(open)
OPENING(open64)

#define OPENING_AT(name)                                                                                        \
    int name(int directory, const char *path, int flags, ...)                                                   \
    {                                                                                                           \
        va_list rest;                                                                                           \
        va_start(rest, flags);                                                                                  \
        const unsigned mode = flags & O_CREAT ? va_arg(rest, unsigned) : 0;                                     \
        va_end(rest);                                                                                           \
        const int counts = path[0] == '/' || directory == AT_FDCWD ? is_below(path) : is_open_below(directory); \
        if (fails((flags & (O_WRONLY | O_RDWR)) && counts)) {                                                   \
            return -1;                                                                                          \
        }                                                                                                       \
        return REAL(name)(directory, path, flags, mode);                                                        \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

int mkstemp(char *path)
{
    return fails(is_below(path)) ? -1 : REAL(mkstemp)(path);
}

int mkstemp64(char *path)
{
    return fails(is_below(path)) ? -1 : REAL(mkstemp64)(path);
}

int mkdir(const char *path, mode_t mode)
{
    return fails(is_below(path)) ? -1 : REAL(mkdir)(path, mode);
}

int rename(const char *from, const char *to)
{
    return fails(is_below(to)) ? -1 : REAL(rename)(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    return fails(is_below(to)) ? -1 : REAL(renameat)(from_directory, from, to_directory, to);
}

int link(const char *from, const char *to)
{
    return fails(is_below(to)) ? -1 : REAL(link)(from, to);
}

int fsync(int descriptor)
{
    return fails(is_open_below(descriptor)) ? -1 : REAL(fsync)(descriptor);
}

int fdatasync(int descriptor)
{
    return fails(is_open_below(descriptor)) ? -1 : REAL(fdatasync)(descriptor);
}

int ftruncate(int descriptor, off_t length)
{
    return fails(is_open_below(descriptor)) ? -1 : REAL(ftruncate)(descriptor, length);
}

int ftruncate64(int descriptor, off64_t length)
{
    return fails(is_open_below(descriptor)) ? -1 : REAL(ftruncate64)(descriptor, length);
}

int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    return fails(is_open_below(descriptor)) ? errno : REAL(posix_fallocate)(descriptor, offset, length);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t bytes, unsigned flags)
{
    return fails(is_open_below(to)) ? -1 : REAL(copy_file_range)(from, from_offset, to, to_offset, bytes, flags);
}

/* `half` writes half of it. */
#define WRITING(descriptor, bytes, half, whole)       \
    const int what = fate(is_open_below(descriptor)); \
    if (what == KILL) {                               \
        if ((half) >= 0) {                            \
            kill(getpid(), SIGKILL);                  \
        }                                             \
    } else if (what == SHORT && (bytes) > 1) {        \
        return half;                                  \
    } else if (what != NOTHING && what != SHORT) {    \
        errno = what;                                 \
        return -1;                                    \
    }                                                 \
    return whole

ssize_t write(int descriptor, const void *data, size_t bytes)
{
    WRITING(descriptor, bytes, REAL(write)(descriptor, data, bytes / 2), REAL(write)(descriptor, data, bytes));
}

ssize_t pwrite(int descriptor, const void *data, size_t bytes, off_t offset)
{
    WRITING(descriptor, bytes, REAL(pwrite)(descriptor, data, bytes / 2, offset), REAL(pwrite)(descriptor, data, bytes, offset));
}

ssize_t pwrite64(int descriptor, const void *data, size_t bytes, off64_t offset)
{
    WRITING(descriptor, bytes, REAL(pwrite64)(descriptor, data, bytes / 2, offset), REAL(pwrite64)(descriptor, data, bytes, offset));
}
