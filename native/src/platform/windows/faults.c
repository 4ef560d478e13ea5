/* The handler of rbe/faults.h. It allocates nothing and takes no lock of ours. */
#include "platform/windows/windows.h"

#include "rbe/faults.h"

#include <io.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "platform/mapped_ranges.h"

enum { MOST_PROGRAM = 63, MOST_TEXT = 255, MOST_LINE = 1024 };

static void *installed;
static char program[MOST_PROGRAM + 1];
static atomic_flag ending = ATOMIC_FLAG_INIT;

static struct restored {
    atomic_int ready; /* 1 while the rest may be read */
    HANDLE terminal, keyboard; /* keyboard: INVALID_HANDLE_VALUE where standard input is none */
    DWORD mode, keyboard_mode;
    size_t text_bytes;
    char text[MOST_TEXT];
} restored;

/* To a console as UTF-16, so that it does not matter which code page that has. */
static void say(const char *text, size_t bytes, HANDLE to)
{
    wchar_t wide[MOST_LINE];
    DWORD mode, n;
    if (!GetConsoleMode(to, &mode)) {
        (void)WriteFile(to, text, (DWORD)bytes, &n, NULL);
        return;
    }
    const int units = MultiByteToWideChar(CP_UTF8, 0, text, (int)bytes, wide, MOST_LINE);
    (void)WriteConsoleW(to, wide, (DWORD)units, &n, NULL);
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
    static const char why[] =
        ": the file can no longer be read: it was cut short or overwritten while it was open, or its disk failed or is "
        "gone; copy it again and start again";
    char line[MOST_LINE];
    const HANDLE to = GetStdHandle(STD_ERROR_HANDLE);
    DWORD mode;
    size_t n = 0;
    if (GetConsoleMode(to, &mode)) { /* what was written to a console may not have ended its line */
        line[n++] = '\n';
    }
    n = add(line, n, program);
    n = add(line, n, ": ");
    n = add(line, n, path);
    n = add(line, n, why);
    line[n++] = '\n';
    say(line, n, to);
}

/* The address whose page could not be read; NULL for other exceptions. Wine has an access violation for it, which a file that is mapped for
 * reading gives no reader on Windows. */
static const void *unread(const EXCEPTION_RECORD *record)
{
    const int is_read = record->NumberParameters >= 2 && record->ExceptionInformation[0] == 0;
    return record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR && record->NumberParameters >= 2 ? (const void *)record->ExceptionInformation[1]
           : record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION && is_read                  ? (const void *)record->ExceptionInformation[1]
                                                                                             : NULL;
}

/* What other handlers do with everything else is their own affair. */
static LONG CALLBACK handle(EXCEPTION_POINTERS *fault)
{
    const void *address = unread(fault->ExceptionRecord);
    const char *path = address ? rbe__mapped_ranges_path(address) : NULL;
    if (!path) {
        return EXCEPTION_CONTINUE_SEARCH;
    }
    while (atomic_flag_test_and_set(&ending)) { /* another thread has begun */
        Sleep(INFINITE);
    }
    if (atomic_load_explicit(&restored.ready, memory_order_acquire)) {
        (void)SetConsoleMode(restored.terminal, restored.mode);
        if (restored.keyboard != INVALID_HANDLE_VALUE) {
            (void)SetConsoleMode(restored.keyboard, restored.keyboard_mode);
            (void)FlushConsoleInputBuffer(restored.keyboard); /* such as the mouse, which nobody reads any more */
        }
        say(restored.text, restored.text_bytes, restored.terminal);
    }
    say_line(path);
    TerminateProcess(GetCurrentProcess(), 1);
    return EXCEPTION_CONTINUE_SEARCH;
}

rbe_status rbe_faults_report(const char *name)
{
    const size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > MOST_PROGRAM) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_faults_report: a name of 1 to %d bytes is needed", MOST_PROGRAM);
    }
    memcpy(program, name, length + 1);
    if (!installed) {
        installed = AddVectoredExceptionHandler(0, handle); /* behind those that are there: they may know better */
    }
    return installed ? RBE_OK : rbe_fail(RBE_ERROR_IO, "rbe_faults_report: the system refused the handler");
}

static void ignore_parameter(const wchar_t *expression, const wchar_t *function, const wchar_t *file, unsigned line, uintptr_t reserved)
{
    (void)expression, (void)function, (void)file, (void)line, (void)reserved;
}

/* Of ucrt; mingw-w64's headers leave it out. */
_CRTIMP _invalid_parameter_handler __cdecl _set_thread_local_invalid_parameter_handler(_invalid_parameter_handler wanted);

/* INVALID_HANDLE_VALUE where the descriptor is none. Unasked, the C library would end the process. */
static HANDLE handle_of(int descriptor)
{
    const _invalid_parameter_handler before = _set_thread_local_invalid_parameter_handler(ignore_parameter);
    const HANDLE found = (HANDLE)_get_osfhandle(descriptor);
    (void)_set_thread_local_invalid_parameter_handler(before);
    return found;
}

rbe_status rbe_faults_restore(int terminal, const char *text, size_t text_bytes)
{
    const HANDLE to = terminal >= 0 ? handle_of(terminal) : INVALID_HANDLE_VALUE;
    DWORD mode = 0;
    if (terminal >= 0 && (!GetConsoleMode(to, &mode) || text_bytes > MOST_TEXT || (text_bytes && !text))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_faults_restore: a terminal and at most %d bytes are needed", MOST_TEXT);
    }
    atomic_store_explicit(&restored.ready, 0, memory_order_release);
    if (terminal >= 0) {
        restored.terminal = to;
        restored.mode = mode;
        restored.keyboard = GetStdHandle(STD_INPUT_HANDLE);
        if (!GetConsoleMode(restored.keyboard, &restored.keyboard_mode)) {
            restored.keyboard = INVALID_HANDLE_VALUE;
        }
        restored.text_bytes = text_bytes;
        memcpy(restored.text, text_bytes ? text : "", text_bytes);
        atomic_store_explicit(&restored.ready, 1, memory_order_release);
    }
    return RBE_OK;
}
