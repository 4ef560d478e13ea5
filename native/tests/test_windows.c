/* What is particular to Windows: names that are not ASCII or long, files that others have open, the handler of rbe/faults.h, processors. The
 * cases that end a process run in one of their own, which is this program with the case's name. */
#include "platform/windows/windows.h"

#include <io.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "golden_files.h"
#include "platform/mapped_ranges.h"
#include "platform/platform.h"
#include "platform/processors.h"
#include "platform/windows/paths.h"
#include "rbe/faults.h"

static char folder[MAX_PATH * 3], program_path[MAX_PATH * 3];
static const char *golden;

static void to_utf8(const wchar_t *wide, char *out, size_t capacity)
{
    CHECK(WideCharToMultiByte(CP_UTF8, 0, wide, -1, out, (int)capacity, NULL, NULL) > 0, "UTF-8");
}

static wchar_t *wide(const char *path)
{
    wchar_t *out = NULL;
    CHECK(rbe__wide_path(path, &out) == RBE_OK, "%s", rbe_last_error());
    return out;
}

static void remove_path(const char *path)
{
    wchar_t *name = wide(path);
    CHECK(DeleteFileW(name), "%s: Windows error %lu", path, GetLastError());
    free(name);
}

static void in_folder(const char *name, char *path, size_t capacity)
{
    snprintf(path, capacity, "%s\\%s", folder, name);
}

static void write_new(const char *path, const char *text)
{
    rbe__new_file *file = NULL;
    CHECK(rbe__new_file_create(path, &file) == RBE_OK, "%s", rbe_last_error());
    CHECK(file && rbe__new_file_write(file, text, strlen(text)) == RBE_OK, "%s", rbe_last_error());
    CHECK(file && rbe__new_file_commit(file, text, 1) == RBE_OK, "%s", rbe_last_error());
    rbe__new_file_discard(file);
}

static int holds(const char *path, const char *text)
{
    rbe__mapped_file file;
    if (rbe__map_file(path, &file) != RBE_OK) {
        return 0;
    }
    const int same = file.bytes == strlen(text) && memcmp(file.data, text, file.bytes) == 0;
    rbe__unmap_file(&file);
    return same;
}

/* How many files the folder holds. */
static int n_files(void)
{
    char pattern[sizeof folder + 2];
    WIN32_FIND_DATAW found;
    int n = 0;
    in_folder("*", pattern, sizeof pattern);
    wchar_t *name = wide(pattern);
    const HANDLE search = FindFirstFileW(name, &found);
    free(name);
    for (int more = search != INVALID_HANDLE_VALUE; more; more = FindNextFileW(search, &found)) {
        n += wcscmp(found.cFileName, L".") != 0 && wcscmp(found.cFileName, L"..") != 0;
    }
    FindClose(search);
    return n;
}

static void test_names(void)
{
    static const char *const names[] = {"plain", "gr\xC3\xBC\xC3\x9F", "\xE6\x96\x87\xE4\xBB\xB6", "\xF0\x9F\x90\x9F fish"};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        in_folder(names[i], path, sizeof path);
        write_new(path, "first");
        write_new(path, "a second text");
        CHECK(holds(path, "a second text") && n_files() == 1, "%s", path);
        remove_path(path);
    }
    rbe__mapped_file file;
    wchar_t *none = NULL;
    CHECK(rbe__map_file("a\xC3(", &file) == RBE_ERROR_IO && strstr(rbe_last_error(), "not valid UTF-8"), "%s", rbe_last_error());
    CHECK(rbe__wide_path("\xED\xA0\x80", &none) == RBE_ERROR_IO && !none, "half of a surrogate pair");
}

/* Over 260 characters: what is longer only works with the prefix that the library gives it. */
static void test_long_paths(void)
{
    char path[2048], deep[4][1024];
    int n = 0;
    snprintf(path, sizeof path, "%s", folder);
    for (; n < 4; n++) {
        snprintf(path + strlen(path), sizeof path - strlen(path), "\\%.*s", 90,
                 "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
                 "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd");
        snprintf(deep[n], sizeof deep[n], "%s", path);
        wchar_t *name = wide(path);
        CHECK(CreateDirectoryW(name, NULL), "%s: Windows error %lu", path, GetLastError());
        free(name);
    }
    snprintf(path + strlen(path), sizeof path - strlen(path), "\\.\\../%.*s\\file", 90, strrchr(deep[3], '\\') + 1);
    CHECK(strlen(path) > 400, "long");
    write_new(path, "deep");
    CHECK(holds(path, "deep"), "%s", rbe_last_error());
    remove_path(path);
    while (n-- > 0) {
        wchar_t *name = wide(deep[n]);
        CHECK(RemoveDirectoryW(name), "%s", deep[n]);
        free(name);
    }
}

static void test_what_is_no_file(void)
{
    static const struct {
        const char *name, *message;
        rbe_status status;
    } cases[] = {
        {".", "not a regular file", RBE_ERROR_IO}, {"missing", "No such file", RBE_ERROR_IO}, {"missing\\x", "No such file", RBE_ERROR_IO}};
    char path[1024];
    rbe__mapped_file file;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        in_folder(cases[i].name, path, sizeof path);
        CHECK(rbe__map_file(path, &file) == cases[i].status && strstr(rbe_last_error(), cases[i].message), "%s", rbe_last_error());
        CHECK(!file.data, "mapped");
    }
    CHECK(rbe__map_file("NUL", &file) == RBE_ERROR_IO && strstr(rbe_last_error(), "not a regular file"), "%s", rbe_last_error());
    in_folder("empty", path, sizeof path);
    fclose(fopen(path, "wb"));
    CHECK(rbe__map_file(path, &file) == RBE_ERROR_FORMAT && strstr(rbe_last_error(), "empty"), "%s", rbe_last_error());
    remove_path(path);
    rbe__new_file *made;
    CHECK(rbe__new_file_create(folder, &made) == RBE_ERROR_IO && strstr(rbe_last_error(), "directory"), "%s", rbe_last_error());
    CHECK(rbe__new_file_create("NUL", &made) == RBE_ERROR_IO && strstr(rbe_last_error(), "device"), "%s", rbe_last_error());
    in_folder("missing\\x", path, sizeof path);
    CHECK(rbe__new_file_create(path, &made) == RBE_ERROR_IO && !made, "no folder");
}

/* What the comment of windows/map_file.c promises. */
static void test_mapped(void)
{
    char path[1024], moved[1024];
    rbe__mapped_file file;
    in_folder("mapped", path, sizeof path);
    in_folder("moved", moved, sizeof moved);
    write_new(path, "mapped text");
    wchar_t *name = wide(path), *other = wide(moved);
    const HANDLE writer = CreateFileW(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(rbe__map_file(path, &file) == RBE_ERROR_IO && strstr(rbe_last_error(), "another program is writing it"), "%s", rbe_last_error());
    CloseHandle(writer);
    CHECK(rbe__map_file(path, &file) == RBE_OK && rbe__mapped_file_settle(path, &file) == RBE_OK, "%s", rbe_last_error());
    CHECK(CreateFileW(name, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL) ==
                  INVALID_HANDLE_VALUE &&
              GetLastError() == ERROR_SHARING_VIOLATION,
          "written while it is mapped");
    rbe__mapped_file_prefer_large_pages(&file);
    rbe__mapped_file_expect(&file, 0, file.bytes);
    rbe__mapped_file_release(&file, 3, 1u << 30);
    rbe__mapped_file_release(&file, 1u << 30, 1);
    CHECK(memcmp(file.data, "mapped text", 11) == 0, "read again after it was released");
    CHECK(strcmp(rbe__mapped_ranges_path(file.data + 10), path) == 0 && !rbe__mapped_ranges_path(file.data + 11), "its range");
    CHECK(MoveFileExW(name, other, 0), "renamed while it is mapped: Windows error %lu", GetLastError());
    rbe__unmap_file(&file);
    CHECK(!file.data && holds(moved, "mapped text"), "%s", rbe_last_error());
    remove_path(moved);
    free(name);
    free(other);
}

/* A file that others have open so that it cannot be replaced stays, and so does nothing else. */
static void test_replaced_while_open(void)
{
    char path[1024];
    rbe__new_file *file = NULL;
    in_folder("held", path, sizeof path);
    write_new(path, "old");
    wchar_t *name = wide(path);
    const HANDLE reader = CreateFileW(name, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
    CHECK(reader != INVALID_HANDLE_VALUE && rbe__new_file_create(path, &file) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe__new_file_commit(file, "new", 3) == RBE_ERROR_IO && strstr(rbe_last_error(), "another program has it open"), "%s",
          rbe_last_error());
    rbe__new_file_discard(file);
    CloseHandle(reader);
    CHECK(holds(path, "old") && n_files() == 1, "%d files", n_files());
    CHECK(SetFileAttributesW(name, FILE_ATTRIBUTE_READONLY) && rbe__new_file_create(path, &file) == RBE_OK, "%s", rbe_last_error());
    const rbe_status status = rbe__new_file_commit(file, "new", 3);
    CHECK(status == RBE_OK || strstr(rbe_last_error(), "Permission denied"), "%s", rbe_last_error());
    rbe__new_file_discard(file);
    CHECK(holds(path, status == RBE_OK ? "new" : "old") && n_files() == 1, "a read-only file");
    CHECK(SetFileAttributesW(name, FILE_ATTRIBUTE_NORMAL), "attributes");
    remove_path(path);
    free(name);
}

static void test_processors(void)
{
    uint8_t before[RBE_MAX_CPUS], after[RBE_MAX_CPUS], one[RBE_MAX_CPUS] = {0};
    rbe__processors processors;
    uint32_t n_allowed = 0;
    CHECK(rbe__thread_get_affinity(before) == 1, "affinity");
    for (uint32_t cpu = 0; cpu < RBE_MAX_CPUS; cpu++) {
        n_allowed += before[cpu];
    }
    rbe__processors_find(&processors);
    CHECK(processors.n_cores >= 1 && processors.n_cores <= n_allowed, "%u cores of %u processors", processors.n_cores, n_allowed);
    for (uint32_t i = 0; i < processors.n_cores; i++) {
        CHECK(before[processors.cpu[i]] && processors.speed[i] > 0 && processors.core[processors.cpu[i]] == processors.cpu[i], "core %u",
              i);
        CHECK(rbe__processors_cache(&processors, i) < 1u << 30, "cache");
    }
    one[processors.cpu[processors.n_cores - 1]] = 1;
    CHECK(rbe__thread_set_affinity(one), "one processor");
    CHECK(rbe__thread_cpu() == processors.cpu[processors.n_cores - 1], "runs on %d", rbe__thread_cpu());
    CHECK(rbe__thread_set_affinity(before) && rbe__thread_get_affinity(after) && memcmp(before, after, sizeof before) == 0, "back");
    memset(one, 0, sizeof one);
    CHECK(!rbe__thread_set_affinity(one), "no processor");
    one[1] = one[100] = 1;
    CHECK(!rbe__thread_set_affinity(one), "processors of two groups");
}

static void test_clock(void)
{
    const uint64_t first = rbe__nanoseconds();
    Sleep(50);
    const uint64_t passed = rbe__nanoseconds() - first;
    CHECK(passed >= 45000000 && passed < 30000000000u, "%llu ns", (unsigned long long)passed);
}

/* ---- the handler of rbe/faults.h ---- */

static void violate(const void *address, int is_write)
{
    const ULONG_PTR about[] = {(ULONG_PTR)is_write, (ULONG_PTR)address};
    RaiseException(EXCEPTION_ACCESS_VIOLATION, 0, 2, about);
}

/* As the system raises it where a page of a mapped file cannot be read (STATUS_DEVICE_NOT_CONNECTED). */
static void fail_page(const void *address)
{
    const ULONG_PTR about[] = {0, (ULONG_PTR)address, 0xC000009Du};
    RaiseException(EXCEPTION_IN_PAGE_ERROR, 0, 3, about);
}

static DWORD WINAPI fail_on_thread(void *address)
{
    fail_page(address);
    return 0;
}

static LONG CALLBACK theirs(EXCEPTION_POINTERS *fault)
{
    const DWORD code = fault->ExceptionRecord->ExceptionCode;
    TerminateProcess(GetCurrentProcess(), code == EXCEPTION_IN_PAGE_ERROR || code == EXCEPTION_ACCESS_VIOLATION ? 7 : 43);
    return EXCEPTION_CONTINUE_SEARCH;
}

static int run_case(const char *name)
{
    rbe__mapped_file file;
    SetErrorMode(SEM_NOGPFAULTERRORBOX);
    if (rbe__map_file(golden, &file) != RBE_OK) {
        return 40;
    }
    if (strcmp(name, "without") != 0 && (rbe_faults_report("one") != RBE_OK || rbe_faults_report("a program") != RBE_OK)) {
        return 41;
    }
    if (strcmp(name, "thread") == 0) {
        const HANDLE thread = CreateThread(NULL, 0, fail_on_thread, (void *)(uintptr_t)(file.data + 100), 0, NULL);
        WaitForSingleObject(thread, INFINITE);
    } else if (strcmp(name, "other") == 0) {
        AddVectoredExceptionHandler(0, theirs);
        fail_page(&file);
    } else if (strcmp(name, "unmapped") == 0) {
        const void *first = file.data;
        rbe__unmap_file(&file);
        AddVectoredExceptionHandler(0, theirs);
        fail_page(first);
    } else if (strcmp(name, "ours_first") == 0) {
        AddVectoredExceptionHandler(0, theirs);
        fail_page(file.data);
    } else if (strcmp(name, "wine") == 0) {
        violate(file.data, 0);
    } else if (strcmp(name, "written") == 0) {
        AddVectoredExceptionHandler(0, theirs);
        violate(file.data, 1);
    } else {
        fail_page(file.data + file.bytes - 1);
    }
    return 42;
}

/* The exit code of this program with a case's name, and what it wrote to standard error. */
static unsigned long run(const char *name, char *text, size_t capacity)
{
    char line[2 * sizeof program_path];
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE in, out;
    PROCESS_INFORMATION child = {0};
    DWORD code = 99, n = 0, used = 0;
    CHECK(CreatePipe(&out, &in, &inherited, 0) && SetHandleInformation(out, HANDLE_FLAG_INHERIT, 0), "pipe");
    STARTUPINFOW start = {.cb = sizeof start, .dwFlags = STARTF_USESTDHANDLES, .hStdError = in, .hStdOutput = in};
    snprintf(line, sizeof line, "\"%s\" %s", program_path, name);
    wchar_t *command = wide(line);
    CHECK(CreateProcessW(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child), "%s: Windows error %lu", line, GetLastError());
    free(command);
    CloseHandle(in);
    while (used < capacity - 1 && ReadFile(out, text + used, (DWORD)(capacity - 1 - used), &n, NULL) && n > 0) {
        used += n;
    }
    text[used] = 0;
    CloseHandle(out);
    WaitForSingleObject(child.hProcess, 60000);
    GetExitCodeProcess(child.hProcess, &code);
    CloseHandle(child.hProcess);
    CloseHandle(child.hThread);
    return code;
}

static void test_faults(void)
{
    static const struct {
        const char *name;
        unsigned long code;
        int reports;
    } cases[] = {{"without", EXCEPTION_IN_PAGE_ERROR, 0},
                 {"reported", 1, 1},
                 {"thread", 1, 1},
                 {"other", 7, 0},
                 {"unmapped", 7, 0},
                 {"ours_first", 1, 1},
                 {"wine", 1, 1},
                 {"written", 7, 0}};
    char text[4096], begins[1024];
    snprintf(begins, sizeof begins, "a program: %s: the file can no longer be read", golden);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const unsigned long code = run(cases[i].name, text, sizeof text);
        const char *end = strchr(text, '\n');
        CHECK(code == cases[i].code, "%s: exit code %#lx: %s", cases[i].name, code, text);
        CHECK(!cases[i].reports || (strncmp(text, begins, strlen(begins)) == 0 && end && !end[1]), "%s: %s", cases[i].name, text);
        CHECK(cases[i].reports || !strstr(text, "a program"), "%s: %s", cases[i].name, text);
    }
    char much[256] = "";
    memset(much, 'a', 64);
    CHECK(rbe_faults_report(NULL) == RBE_ERROR_ARGUMENT && rbe_faults_report("") == RBE_ERROR_ARGUMENT, "no name");
    CHECK(rbe_faults_report(much) == RBE_ERROR_ARGUMENT, "64 bytes");
    CHECK(rbe_faults_restore(1000, "", 0) == RBE_ERROR_ARGUMENT, "no descriptor");
    FILE *file = fopen(golden, "rb");
    CHECK(file && rbe_faults_restore(_fileno(file), "", 0) == RBE_ERROR_ARGUMENT && fclose(file) == 0, "no terminal");
    CHECK(rbe_faults_restore(-1, NULL, 0) == RBE_OK, "nothing to restore");
}

static void make_folder(void)
{
    wchar_t place[MAX_PATH], name[2 * MAX_PATH], program[MAX_PATH];
    CHECK(GetTempPathW(MAX_PATH, place) > 0 && GetModuleFileNameW(NULL, program, MAX_PATH) > 0, "paths");
    swprintf(name, sizeof name / sizeof *name, L"%lsrbe-test-%lu", place, GetCurrentProcessId());
    CHECK(CreateDirectoryW(name, NULL), "Windows error %lu", GetLastError());
    to_utf8(name, folder, sizeof folder);
    to_utf8(program, program_path, sizeof program_path);
}

int main(int argc, char **argv)
{
    static golden_files files;
    files = list_golden_files();
    golden = files.path[0];
    if (argc == 2) {
        return run_case(argv[1]);
    }
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    make_folder();
    test_names();
    test_long_paths();
    test_what_is_no_file();
    test_mapped();
    test_replaced_while_open();
    test_processors();
    test_clock();
    test_faults();
    wchar_t *name = wide(folder);
    CHECK(RemoveDirectoryW(name), "something was left in %s", folder);
    free(name);
    return check_finish();
}
