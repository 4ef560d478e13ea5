#if defined(__APPLE__)
#define _DARWIN_C_SOURCE /* ru_maxrss, which macOS counts in bytes and Linux in units of 1024 */
#define RESIDENT_UNIT 1u
#else
#define RESIDENT_UNIT 1024u
#endif
#include "platform/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void (*interrupt_handler)(void);

static void on_signal(int number)
{
    (void)number;
    interrupt_handler();
}

char **rbe__program_arguments(int argc, char **argv)
{
    (void)argc;
    return argv;
}

int rbe__is_terminal(int stream)
{
    return isatty(stream);
}

void rbe__on_interrupt(void (*handler)(void))
{
    struct sigaction action = {.sa_handler = SIG_DFL}; /* without SA_RESTART: a read returns */
    if (handler) {
        interrupt_handler = handler;
        action.sa_handler = on_signal;
    }
    sigaction(SIGINT, &action, NULL);
}

void rbe__end_at_once(int code)
{
    if (isatty(STDERR_FILENO) && write(STDERR_FILENO, "\n", 1) < 0) {
        code = 1;
    }
    _exit(code);
}

static int is_made(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

int rbe__cache_file(const char *name, char *out, size_t capacity)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const int is_given = cache && cache[0] == '/';
    if (!is_given && !(home && home[0] == '/')) {
        return 0;
    }
    const int n = snprintf(out, capacity, "%s%s", is_given ? cache : home, is_given ? "" : "/.cache");
    if (n < 0 || (size_t)n >= capacity || !is_made(out)) {
        return 0;
    }
    const int m = snprintf(out + n, capacity - (size_t)n, "/rbe_edge");
    if (m < 0 || (size_t)m >= capacity - (size_t)n || !is_made(out)) {
        return 0;
    }
    const size_t left = capacity - (size_t)(n + m);
    const int last = snprintf(out + n + m, left, "/%s", name);
    return last > 0 && (size_t)last < left;
}

int rbe__make_executable(const char *path)
{
    const mode_t mask = umask(0);
    umask(mask);
    return chmod(path, 0777 & ~mask) == 0;
}

uint32_t rbe__any_number(void)
{
    uint32_t number = 0;
    const int descriptor = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    const ssize_t n = descriptor >= 0 ? read(descriptor, &number, sizeof number) : 0;
    if (descriptor >= 0) {
        close(descriptor);
    }
    if (n != (ssize_t)sizeof number) { /* no such device in a bare root directory */
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        number = (uint32_t)now.tv_nsec * 2654435761u ^ (uint32_t)now.tv_sec ^ (uint32_t)getpid() << 16;
    }
    return number;
}

uint64_t rbe__peak_resident_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * RESIDENT_UNIT : 0;
}
