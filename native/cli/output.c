#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "platform/platform.h"
#include "platform/program.h"

#define SHOWN_AFTER_NS 500000000u /* shorter work shows nothing */
#define SHOWN_EVERY_NS 100000000u

static int with_json;
static _Atomic(rbe_session *) interruptible;
static atomic_int is_interruptible, n_interrupts;

void report_as_json(void)
{
    with_json = 1;
}

static void write_line(const char *format, va_list arguments, char *line, size_t capacity)
{
    char raw[2048];
    vsnprintf(raw, sizeof raw, format, arguments);
    one_line(span_of(raw), line, capacity);
    fflush(stdout); /* what came before it stands before it */
    fprintf(stderr, "rbe: %s\n", line);
}

int fail(int code, const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments, line, sizeof line);
    va_end(arguments);
    if (with_json) {
        fputs("{\"error\": ", stdout);
        json_text(span_of(line));
        puts("}");
    }
    return code;
}

int fail_with(rbe_status status)
{
    return status == RBE_ERROR_CANCELLED ? EXIT_STOPPED : fail(EXIT_FAILED, "%s", rbe_last_error());
}

void note(const char *format, ...)
{
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    write_line(format, arguments, line, sizeof line);
    va_end(arguments);
}

int write_text(span text)
{
    size_t used, first = 0;
    for (size_t at = 0; at < text.bytes; at += used) {
        const span rest = {text.text + at, text.bytes - at};
        if (is_control(code_point(rest, &used))) {
            fwrite(text.text + first, 1, at - first, stdout);
            first = at + used;
        }
    }
    fwrite(text.text + first, 1, text.bytes - first, stdout);
    return finish_output(0);
}

int finish_output(int code)
{
    static int was_told;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return code;
    }
    if (!was_told) {
        fprintf(stderr, "rbe: the output cannot be written%s%s\n", errno ? ": " : "", errno ? strerror(errno) : "");
        was_told = 1;
    }
    return EXIT_FAILED;
}

progress_line begin_progress(const char *what)
{
    return (progress_line){.what = what, .began = rbe__nanoseconds()};
}

void show_progress(progress_line *line, uint64_t done, uint64_t total)
{
    const uint64_t now = rbe__nanoseconds(), spent = now - line->began;
    if (spent < SHOWN_AFTER_NS || (line->shown && now - line->shown < SHOWN_EVERY_NS) || !rbe__is_terminal(RBE_STREAM_ERROR)) {
        return;
    }
    line->shown = now;
    const double share = total ? (double)done / (double)total : 0;
    fprintf(stderr, "\r%s: %.0f %%", line->what, 100 * share);
    if (done) {
        fprintf(stderr, ", %.0f s left", 1e-9 * (double)spent * (1 - share) / share);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
}

void end_progress(progress_line *line)
{
    if (line->shown) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    line->shown = 0;
}

int on_progress(uint64_t done, uint64_t total, void *line)
{
    show_progress(line, done, total);
    return was_interrupted();
}

static void on_interrupt(void)
{
    rbe_session *session = interruptible;
    if (!is_interruptible || n_interrupts++ > 0) {
        rbe__end_at_once(EXIT_STOPPED);
    }
    if (session) {
        rbe_session_cancel(session);
    }
}

void prepare_interrupts(void)
{
    rbe__on_interrupt(on_interrupt);
}

void begin_interruptible(rbe_session *session)
{
    n_interrupts = 0;
    interruptible = session;
    is_interruptible = 1;
}

void end_interruptible(void)
{
    is_interruptible = 0;
    interruptible = NULL;
}

int was_interrupted(void)
{
    return n_interrupts > 0;
}
