#if defined(__APPLE__)
#define _DARWIN_C_SOURCE /* ru_maxrss, which macOS counts in bytes and Linux in units of 1024 */
#define RESIDENT_UNIT 1u
#else
#define RESIDENT_UNIT 1024u
#endif
#include "platform/program.h"

#include <fcntl.h>
#include <signal.h>
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
