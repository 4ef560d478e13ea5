#include "platform/windows/paths.h"

#include "platform/windows/windows.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define LONGEST_PLAIN 240 /* UTF-16 units; Windows takes 259, and 247 of a folder */

static rbe_status no_memory(const char *path)
{
    return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory for its name", path);
}

/* The absolute form of a long path, with the prefix by which Windows looks at nothing but the path itself. */
static rbe_status lengthen(const char *path, wchar_t **wide)
{
    static const wchar_t local[] = L"\\\\?\\", remote[] = L"\\\\?\\UNC\\";
    if (wcsncmp(*wide, local, 4) == 0 || wcsncmp(*wide, L"\\\\.\\", 4) == 0) {
        return RBE_OK;
    }
    const DWORD room = GetFullPathNameW(*wide, 0, NULL, NULL);
    wchar_t *full = room ? calloc(room + wcslen(remote) + 1, sizeof *full) : NULL, *name = full ? full + wcslen(remote) : NULL;
    const DWORD n = name ? GetFullPathNameW(*wide, room, name, NULL) : 0;
    if (n == 0 || n >= room) {
        const unsigned long error = GetLastError();
        free(full);
        return room && !full ? no_memory(path) : rbe__system_failure(path, NULL, error);
    }
    const int is_remote = wcsncmp(name, L"\\\\", 2) == 0; /* \\SERVER\SHARE becomes \\?\UNC\SERVER\SHARE */
    const wchar_t *prefix = is_remote ? remote : local;
    memmove(full + wcslen(prefix), name + 2 * is_remote, (n - (DWORD)(2 * is_remote) + 1) * sizeof *full);
    memcpy(full, prefix, wcslen(prefix) * sizeof *full);
    free(*wide);
    *wide = full;
    return RBE_OK;
}

rbe_status rbe__wide_path(const char *path, wchar_t **out)
{
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    *out = n > 0 ? malloc((size_t)n * sizeof **out) : NULL;
    if (n <= 0) {
        return rbe_fail(RBE_ERROR_IO, "%s: the name is not valid UTF-8", path);
    }
    if (!*out) {
        return no_memory(path);
    }
    (void)MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, *out, n);
    const rbe_status status = n > LONGEST_PLAIN ? lengthen(path, out) : RBE_OK;
    if (status != RBE_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* What people meet most, in the words that the other systems have for it. NULL: none of these. */
static const char *known_reason(unsigned long error)
{
    switch (error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_DRIVE:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME: return "No such file or directory";
    case ERROR_INVALID_NAME: return "Windows allows no such name";
    case ERROR_ACCESS_DENIED: return "Permission denied";
    case ERROR_WRITE_PROTECT: return "Read-only file system";
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: return "No space left on device";
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_USER_MAPPED_FILE: return "another program has it open; close that, and try again";
    default: return NULL;
    }
}

rbe_status rbe__system_failure(const char *path, const char *what, unsigned long error)
{
    wchar_t wide[256];
    char text[512] = "";
    const char *reason = known_reason(error);
    if (!reason) {
        const DWORD n = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error, 0, wide,
                                       sizeof wide / sizeof *wide - 1, NULL);
        wide[n] = 0;
        wide[wcscspn(wide, L".\r\n")] = 0; /* the sentence's end */
        (void)WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, sizeof text, NULL, NULL);
        reason = text;
    }
    return *reason ? rbe_fail(RBE_ERROR_IO, "%s: %s%s%s", path, what ? what : "", what ? ": " : "", reason)
                   : rbe_fail(RBE_ERROR_IO, "%s: %s%sWindows error %lu", path, what ? what : "", what ? ": " : "", error);
}
