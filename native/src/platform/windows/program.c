#include "platform/program.h"

#include "platform/windows/windows.h"

#include <fcntl.h>
#include <io.h>
#include <limits.h>
#include <locale.h>
#include <psapi.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void (*interrupt_handler)(void);

static HANDLE stream_handle(int stream)
{
    return GetStdHandle(stream == RBE_STREAM_IN ? STD_INPUT_HANDLE : stream == RBE_STREAM_OUT ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE);
}

/* What the C library gives has lost every character that is not in the system's code page. */
char **rbe__program_arguments(int argc, char **argv)
{
    int n = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &n);
    (void)setlocale(LC_CTYPE, ".UTF8"); /* of names that fopen takes */
    (void)SetConsoleOutputCP(CP_UTF8);
    (void)SetConsoleCP(CP_UTF8);
    for (int stream = RBE_STREAM_IN; stream <= RBE_STREAM_ERROR; stream++) {
        (void)_setmode(stream, _O_BINARY);
    }
    if (!wide || n != argc) {
        LocalFree(wide);
        return argv;
    }
    char **out = calloc((size_t)n + 1, sizeof *out);
    for (int i = 0; out && i < n; i++) {
        const int bytes = WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, NULL, 0, NULL, NULL);
        out[i] = bytes > 0 ? malloc((size_t)bytes) : NULL;
        if (!out[i]) {
            LocalFree(wide);
            return NULL; /* the program ends */
        }
        (void)WideCharToMultiByte(CP_UTF8, 0, wide[i], -1, out[i], bytes, NULL, NULL);
    }
    LocalFree(wide);
    return out;
}

int rbe__is_terminal(int stream)
{
    DWORD mode;
    return GetConsoleMode(stream_handle(stream), &mode) != 0;
}

/* Windows calls it on a thread of its own; a read of the console that waits then returns with nothing. */
static BOOL WINAPI on_control(DWORD event)
{
    if (event != CTRL_C_EVENT) {
        return FALSE;
    }
    interrupt_handler();
    return TRUE;
}

void rbe__on_interrupt(void (*handler)(void))
{
    if (interrupt_handler) {
        (void)SetConsoleCtrlHandler(on_control, FALSE);
    }
    interrupt_handler = handler;
    if (handler) {
        (void)SetConsoleCtrlHandler(on_control, TRUE);
    }
}

void rbe__end_at_once(int code)
{
    DWORD n;
    if (rbe__is_terminal(RBE_STREAM_ERROR)) {
        (void)WriteFile(stream_handle(RBE_STREAM_ERROR), "\n", 1, &n, NULL);
    }
    TerminateProcess(GetCurrentProcess(), (UINT)code);
}

int rbe__program_path(const char *name, char *out, size_t capacity)
{
    wchar_t path[32768]; /* the longest that Windows has */
    const DWORD n = GetModuleFileNameW(NULL, path, sizeof path / sizeof *path);
    (void)name;
    return n > 0 && n < sizeof path / sizeof *path && WideCharToMultiByte(CP_UTF8, 0, path, -1, out, (int)capacity, NULL, NULL) > 0;
}

/* A program is what is called NAME.exe. */
int rbe__make_executable(const char *path)
{
    (void)path;
    return 1;
}

uint32_t rbe__any_number(void)
{
    FILETIME now;
    LARGE_INTEGER ticks;
    GetSystemTimePreciseAsFileTime(&now);
    QueryPerformanceCounter(&ticks);
    return now.dwLowDateTime * 2654435761u ^ now.dwHighDateTime ^ (uint32_t)ticks.QuadPart ^ GetCurrentProcessId() << 16;
}

int rbe__cache_file(const char *name, char *out, size_t capacity)
{
    static const wchar_t own[] = L"\\rbe_edge";
    wchar_t directory[MAX_PATH];
    const DWORD room = MAX_PATH - sizeof own / sizeof *own;
    const DWORD n = GetEnvironmentVariableW(L"LOCALAPPDATA", directory, room);
    if (n == 0 || n >= room) {
        return 0;
    }
    wcscat(directory, own);
    if (!CreateDirectoryW(directory, NULL) && GetLastError() != ERROR_ALREADY_EXISTS) {
        return 0;
    }
    const int bytes = WideCharToMultiByte(CP_UTF8, 0, directory, -1, out, capacity < INT_MAX ? (int)capacity : INT_MAX, NULL, NULL);
    if (bytes <= 0) {
        return 0;
    }
    const size_t left = capacity - (size_t)(bytes - 1);
    const int last = snprintf(out + bytes - 1, left, "\\%s", name);
    return last > 0 && (size_t)last < left;
}

uint64_t rbe__peak_resident_bytes(void)
{
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof counters};
    return GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof counters) ? counters.PeakWorkingSetSize : 0;
}

/* Features stay empty: Windows names hardly any of those that kernels ask for. */
void rbe__machine_describe(rbe__machine *out)
{
    static const wchar_t key[] = L"HARDWARE\\DESCRIPTION\\System\\CentralProcessor\\0";
    wchar_t name[128];
    DWORD bytes = sizeof name;
    memset(out, 0, sizeof *out);
    if (RegGetValueW(HKEY_LOCAL_MACHINE, key, L"ProcessorNameString", RRF_RT_REG_SZ, NULL, name, &bytes) == ERROR_SUCCESS &&
        WideCharToMultiByte(CP_UTF8, 0, name, -1, out->processor, sizeof out->processor, NULL, NULL) == 0) {
        out->processor[0] = 0; /* too long */
    }
    snprintf(out->system, sizeof out->system, "Windows x86_64");
}

double rbe__load(void)
{
    return 0;
}
