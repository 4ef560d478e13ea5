#include "platform/windows/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "platform/platform.h"
#include "platform/windows/paths.h"
#include "platform/windows/replace_file.h"

#define BUFFER_BYTES 65536u
#define LONGEST_NAME 255u /* UTF-16 units of the file systems of Windows, bytes of UTF-8 of those behind a share */

enum { RANDOM = 6, ENDING = RANDOM + 1 }; /* a dot and six characters */

struct rbe__new_file {
    HANDLE handle;
    char *path; /* as it was given */
    wchar_t *place; /* what is replaced: where the path is a link, the file that it leads to */
    wchar_t *temporary;
    size_t n_buffered;
    uint8_t buffer[BUFFER_BYTES];
};

static rbe_status failed(const char *path, unsigned long error)
{
    return rbe__system_failure(path, "cannot be written", error);
}

/* Refuses to put a file in the place of anything but a file. *is_link: the path is a link, to a file. */
static rbe_status check_place(const char *path, const wchar_t *place, int *is_link)
{
    const DWORD found = GetFileAttributesW(place); /* of a link itself */
    *is_link = 0;
    if (found == INVALID_FILE_ATTRIBUTES) {
        const unsigned long error = GetLastError();
        return error == ERROR_FILE_NOT_FOUND ? RBE_OK : failed(path, error);
    }
    if (found & FILE_ATTRIBUTE_DIRECTORY) {
        return rbe_fail(RBE_ERROR_IO, "%s: is a directory; give the name of a file", path);
    }
    const HANDLE handle = CreateFileW(place, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    const unsigned long error = GetLastError();
    const DWORD type = handle == INVALID_HANDLE_VALUE ? FILE_TYPE_DISK : GetFileType(handle);
    if (handle != INVALID_HANDLE_VALUE) {
        CloseHandle(handle);
    }
    *is_link = (found & FILE_ATTRIBUTE_REPARSE_POINT) != 0;
    if (*is_link && handle == INVALID_HANDLE_VALUE && (error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND)) {
        return rbe_fail(RBE_ERROR_IO, "%s: is a link to nothing; remove it, or give another name", path);
    }
    if (type != FILE_TYPE_DISK) { /* NUL, CON, a pipe */
        return rbe_fail(RBE_ERROR_IO, "%s: is a device or a pipe, which is not replaced; give the name of a file", path);
    }
    return RBE_OK;
}

/* Where a link leads in the end, in place of its own name. */
static rbe_status follow_link(rbe__new_file *file)
{
    const HANDLE handle = CreateFileW(file->place, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    const DWORD room = handle == INVALID_HANDLE_VALUE ? 0 : GetFinalPathNameByHandleW(handle, NULL, 0, 0);
    wchar_t *target = room ? malloc((room + 1) * sizeof *target) : NULL;
    const DWORD n = target ? GetFinalPathNameByHandleW(handle, target, room + 1, 0) : 0;
    const unsigned long error = GetLastError();
    if (handle != INVALID_HANDLE_VALUE) {
        CloseHandle(handle);
    }
    if (n == 0 || n > room) {
        free(target);
        return failed(file->path, error);
    }
    free(file->place);
    file->place = target;
    return RBE_OK;
}

/* The place, and room for the name of the temporary file beside it. */
static rbe_status find_place(rbe__new_file *file, const char *path)
{
    int is_link;
    file->path = malloc(strlen(path) + 1);
    if (!file->path) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
    }
    strcpy(file->path, path);
    RBE_TRY(rbe__wide_path(path, &file->place));
    RBE_TRY(check_place(path, file->place, &is_link));
    if (is_link) {
        RBE_TRY(follow_link(file));
    }
    file->temporary = malloc((wcslen(file->place) + ENDING + 1) * sizeof *file->temporary);
    return file->temporary ? RBE_OK : rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
}

/* How much of a name fits before the ending, in UTF-16 units; no character is cut in two. */
static size_t fitting(const wchar_t *name)
{
    size_t n = 0, bytes = 0;
    while (name[n]) {
        const int pair = (name[n] & 0xFC00) == 0xD800 && (name[n + 1] & 0xFC00) == 0xDC00;
        bytes += pair ? 4 : name[n] < 0x80 ? 1 : name[n] < 0x800 ? 2 : 3;
        if (bytes > LONGEST_NAME - ENDING) {
            break;
        }
        n += pair ? 2 : 1;
    }
    return n;
}

/* The place's name, cut where it would be too long, and an ending of the number's digits. */
static void name_temporary(rbe__new_file *file, uint64_t number)
{
    static const wchar_t digits[] = L"abcdefghijklmnopqrstuvwxyz234567";
    size_t folder = wcslen(file->place), length;
    while (folder > 0 && file->place[folder - 1] != L'\\' && file->place[folder - 1] != L'/' && file->place[folder - 1] != L':') {
        folder--;
    }
    length = folder + fitting(file->place + folder);
    memcpy(file->temporary, file->place, length * sizeof *file->place);
    file->temporary[length++] = L'.';
    for (int i = 0; i < RANDOM; i++, number >>= 5) {
        file->temporary[length++] = digits[number & 31];
    }
    file->temporary[length] = 0;
}

/* While it is open others may only read it: that is what tells it from what a killed process left. */
static rbe_status open_temporary(rbe__new_file *file)
{
    uint64_t state = rbe__nanoseconds() ^ (uint64_t)GetCurrentProcessId() << 32 ^ (uint64_t)GetCurrentThreadId() << 16;
    for (int tries = 0; tries < 1000; tries++) {
        state = state * 6364136223846793005u + 1442695040888963407u; /* D. Knuth's MMIX */
        name_temporary(file, state >> 32);
        file->handle = CreateFileW(file->temporary, GENERIC_WRITE | DELETE, FILE_SHARE_READ, NULL, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, NULL);
        const unsigned long error = GetLastError();
        if (file->handle != INVALID_HANDLE_VALUE) {
            return RBE_OK;
        }
        if (error != ERROR_FILE_EXISTS && error != ERROR_ALREADY_EXISTS) {
            return failed(file->path, error);
        }
    }
    return failed(file->path, ERROR_FILE_EXISTS);
}

rbe_status rbe__new_file_create(const char *path, rbe__new_file **out)
{
    *out = NULL;
    rbe__new_file *file = calloc(1, sizeof *file);
    if (!file) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
    }
    file->handle = INVALID_HANDLE_VALUE;
    rbe_status status = find_place(file, path);
    if (status == RBE_OK) {
        status = open_temporary(file);
    }
    if (status != RBE_OK) {
        rbe__new_file_discard(file);
        return status;
    }
    *out = file;
    return RBE_OK;
}

static rbe_status write_all(const rbe__new_file *file, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        const DWORD most = 1u << 30, wanted = bytes < most ? (DWORD)bytes : most;
        DWORD n = 0;
        if (!WriteFile(file->handle, data, wanted, &n, NULL)) {
            return failed(file->path, GetLastError());
        }
        if (n == 0) {
            return rbe_fail(RBE_ERROR_IO, "%s: cannot be written: the disk takes no more", file->path);
        }
        data += n;
        bytes -= n;
    }
    return RBE_OK;
}

static rbe_status flush(rbe__new_file *file)
{
    rbe_status status = write_all(file, file->buffer, file->n_buffered);
    file->n_buffered = 0;
    return status;
}

rbe_status rbe__new_file_write(rbe__new_file *file, const void *data, size_t bytes)
{
    if (bytes > BUFFER_BYTES - file->n_buffered) {
        RBE_TRY(flush(file));
    }
    if (bytes > BUFFER_BYTES) {
        return write_all(file, data, bytes);
    }
    memcpy(file->buffer + file->n_buffered, data, bytes);
    file->n_buffered += bytes;
    return RBE_OK;
}

rbe_status rbe__new_file_commit(rbe__new_file *file, const void *start, size_t bytes)
{
    const LARGE_INTEGER beginning = {.QuadPart = 0};
    int is_link;
    RBE_TRY(flush(file));
    if (!SetFilePointerEx(file->handle, beginning, NULL, FILE_BEGIN)) {
        return failed(file->path, GetLastError());
    }
    RBE_TRY(write_all(file, start, bytes));
    if (!FlushFileBuffers(file->handle)) {
        return failed(file->path, GetLastError());
    }
    RBE_TRY(check_place(file->path, file->place, &is_link));
    const unsigned long error = rbe__replace_file(file->handle, file->place);
    if (error) {
        return failed(file->path, error);
    }
    CloseHandle(file->handle);
    file->handle = INVALID_HANDLE_VALUE;
    return RBE_OK;
}

void rbe__new_file_discard(rbe__new_file *file)
{
    if (!file) {
        return;
    }
    if (file->handle != INVALID_HANDLE_VALUE) {
        FILE_DISPOSITION_INFO gone = {.DeleteFile = TRUE};
        (void)SetFileInformationByHandle(file->handle, FileDispositionInfo, &gone, sizeof gone);
        CloseHandle(file->handle);
    }
    free(file->path);
    free(file->place);
    free(file->temporary);
    free(file);
}
