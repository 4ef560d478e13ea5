#include "platform/system_files.h"

#if defined(__ANDROID__) /* posix_spawn came with API 28, and there is no such program */
int rbe__program_ask(const char *path, const char *argument, uint32_t milliseconds, char *out, size_t capacity)
{
    (void)path, (void)argument, (void)milliseconds;
    if (capacity) {
        out[0] = 0;
    }
    return 0;
}
#else
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "platform/platform.h"

/* The program's process, whose standard output is `output`; 0 where it cannot be started. */
static pid_t start(const char *path, const char *argument, int output)
{
    posix_spawn_file_actions_t actions;
    pid_t process = 0;
    char program[256], word[64], *arguments[] = {program, word, NULL}, *environment[] = {NULL};
    if (strlen(path) >= sizeof program || strlen(argument) >= sizeof word || posix_spawn_file_actions_init(&actions) != 0) {
        return 0;
    }
    strcpy(program, path);
    strcpy(word, argument);
    const int ready = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO) == 0 &&
                      posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0 &&
                      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0) == 0;
    const int started = ready && posix_spawn(&process, path, &actions, NULL, arguments, environment) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return started ? process : 0;
}

static int milliseconds_until(uint64_t end)
{
    const uint64_t now = rbe__nanoseconds();
    return now < end ? (int)((end - now) / 1000000 + 1) : 0;
}

/* 1 where all came in time and fits. */
static int read_all(int input, uint64_t end, char *out, size_t capacity)
{
    size_t n = 0;
    for (;;) {
        struct pollfd waiting = {.fd = input, .events = POLLIN};
        const int left = milliseconds_until(end);
        if (left == 0 || n == capacity) {
            return 0;
        }
        if (poll(&waiting, 1, left) <= 0) {
            continue; /* a signal, or the time is over */
        }
        const ssize_t got = read(input, out + n, capacity - n);
        if (got == 0) {
            out[n] = 0;
            return memchr(out, 0, n) == NULL;
        }
        if (got < 0 && errno != EINTR) {
            return 0;
        }
        n += got > 0 ? (size_t)got : 0;
    }
}

/* 1 where the process ended well; it is killed where it does not end in time. Where the program around us lets the system collect its
 * processes (SIGCHLD ignored), nothing is known of the end, and what it printed counts. */
static int end_well(pid_t process, int wait, uint64_t end)
{
    int status = 0;
    for (;;) {
        const pid_t ended = waitpid(process, &status, wait ? WNOHANG : 0);
        if (ended == process) {
            return wait && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
        if (ended < 0 && errno != EINTR) {
            return wait && errno == ECHILD;
        }
        if (ended == 0 && milliseconds_until(end) == 0) {
            wait = 0;
            kill(process, SIGKILL);
        } else if (ended == 0) {
            poll(NULL, 0, 1);
        }
    }
}

int rbe__program_ask(const char *path, const char *argument, uint32_t milliseconds, char *out, size_t capacity)
{
    int ends[2];
    const uint64_t end = rbe__nanoseconds() + (uint64_t)milliseconds * 1000000;
    out[0] = 0;
    if (pipe(ends) != 0) {
        return 0;
    }
    for (int i = 0; i < 2; i++) {
        (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    }
    const pid_t process = start(path, argument, ends[1]);
    close(ends[1]);
    int good = process > 0 && read_all(ends[0], end, out, capacity);
    close(ends[0]);
    if (process > 0) {
        if (!good) {
            kill(process, SIGKILL);
        }
        good = end_well(process, good, end) && good;
    }
    if (!good) {
        out[0] = 0;
    }
    return good;
}
#endif
