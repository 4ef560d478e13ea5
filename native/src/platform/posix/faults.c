/* The handler of rbe/faults.h. All that it calls is async-signal-safe (POSIX.1-2017, 2.4.3). */
#define _DEFAULT_SOURCE /* SA_ONSTACK */
#define _DARWIN_C_SOURCE

#include "rbe/faults.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/status.h"
#include "platform/mapped_ranges.h"

/* Linux raises SIGBUS where a page of a mapped file cannot be read; some versions of macOS raise SIGSEGV. */
#if defined(__APPLE__)
static const int caught[] = {SIGBUS, SIGSEGV};
#else
static const int caught[] = {SIGBUS};
#endif

enum { N_CAUGHT = sizeof caught / sizeof caught[0], MOST_PROGRAM = 63, MOST_TEXT = 255, MOST_LINE = 1024 };

static struct sigaction before[N_CAUGHT];
static int installed;
static char program[MOST_PROGRAM + 1];
static atomic_flag ending = ATOMIC_FLAG_INIT;

static struct restored {
    atomic_int ready; /* 1 while the rest may be read */
    int terminal;
    struct termios settings;
    size_t text_bytes;
    char text[MOST_TEXT];
} restored;

static void say(const char *text, size_t bytes, int descriptor)
{
    while (bytes > 0) {
        const ssize_t written = write(descriptor, text, bytes);
        if (written <= 0) {
            return;
        }
        text += written;
        bytes -= (size_t)written;
    }
}

/* Adds text to a line of n bytes, without control characters, as far as there is room. The new length. */
static size_t add(char line[MOST_LINE], size_t n, const char *text)
{
    for (; *text && n < MOST_LINE - 1; text++) {
        line[n++] = (unsigned char)*text < ' ' || *text == 127 ? '?' : *text;
    }
    return n;
}

/* In one piece, so that lines of other threads do not come between. */
static void say_line(const char *path)
{
    static const char why[] = ": the file can no longer be read: it was cut short or overwritten while it was open, or its disk failed; "
                              "copy it again and start again";
    char line[MOST_LINE];
    struct termios settings;
    size_t n = 0;
    if (tcgetattr(STDERR_FILENO, &settings) == 0) { /* what was written to a terminal may not have ended its line */
        line[n++] = '\n';
    }
    n = add(line, n, program);
    n = add(line, n, ": ");
    n = add(line, n, path);
    n = add(line, n, why);
    line[n++] = '\n';
    say(line, n, STDERR_FILENO);
}

static void pass_on(int number, siginfo_t *info, void *context, int is_fault)
{
    size_t i = 0;
    while (caught[i] != number) {
        i++;
    }
    const struct sigaction *next = &before[i];
    if (next->sa_flags & SA_SIGINFO) {
        next->sa_sigaction(number, info, context);
    } else if (next->sa_handler != SIG_DFL && next->sa_handler != SIG_IGN) {
        next->sa_handler(number);
    } else if (next->sa_handler == SIG_DFL || is_fault) { /* a fault cannot be ignored: it would come again and again */
        struct sigaction without = {.sa_handler = SIG_DFL};
        sigemptyset(&without.sa_mask);
        sigaction(number, &without, NULL);
        if (!is_fault) {
            raise(number); /* delivered when this returns; a fault comes again by itself */
        }
    }
}

static void handle(int number, siginfo_t *info, void *context)
{
    const int is_fault = info->si_code > 0 && info->si_code != SI_USER && info->si_code != SI_QUEUE;
    const char *path = is_fault ? rbe__mapped_ranges_path(info->si_addr) : NULL;
    if (!path) {
        pass_on(number, info, context, is_fault);
        return;
    }
    while (atomic_flag_test_and_set(&ending)) { /* another thread has begun */
        pause();
    }
    if (atomic_load_explicit(&restored.ready, memory_order_acquire)) {
        tcsetattr(restored.terminal, TCSANOW, &restored.settings);
        tcflush(restored.terminal, TCIFLUSH); /* such as the mouse, which nobody reads any more */
        say(restored.text, restored.text_bytes, restored.terminal);
    }
    say_line(path);
    _exit(1);
}

rbe_status rbe_faults_report(const char *name)
{
    const size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > MOST_PROGRAM) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_faults_report: a name of 1 to %d bytes is needed", MOST_PROGRAM);
    }
    memcpy(program, name, length + 1);
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGTTOU); /* else a process in the background would stop when it sets the terminal */
    for (; installed < N_CAUGHT; installed++) {
        if (sigaction(caught[installed], &action, &before[installed]) != 0) {
            return rbe_fail(RBE_ERROR_IO, "rbe_faults_report: the system refused the handler");
        }
    }
    return RBE_OK;
}

rbe_status rbe_faults_restore(int terminal, const char *text, size_t text_bytes)
{
    struct termios settings;
    if (terminal >= 0 && (tcgetattr(terminal, &settings) != 0 || text_bytes > MOST_TEXT || (text_bytes && !text))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_faults_restore: a terminal and at most %d bytes are needed", MOST_TEXT);
    }
    atomic_store_explicit(&restored.ready, 0, memory_order_release);
    if (terminal >= 0) {
        restored.terminal = terminal;
        restored.settings = settings;
        restored.text_bytes = text_bytes;
        memcpy(restored.text, text_bytes ? text : "", text_bytes);
        atomic_store_explicit(&restored.ready, 1, memory_order_release);
    }
    return RBE_OK;
}
