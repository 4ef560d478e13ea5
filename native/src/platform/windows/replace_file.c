#include "platform/windows/replace_file.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ntddk.h: FILE_RENAME_INFORMATION, whose first field is these flags since Windows 10, version 1607. With POSIX semantics a file that
 * others have open, and let be deleted, is replaced too: they keep the old one. */
enum { RENAME_INFORMATION_EX = 22, REPLACE_IF_EXISTS = 1, POSIX_SEMANTICS = 2 };

/* Virus scanners and indexers open a new file for a moment. */
enum { TRIES = 20, PAUSE_MS = 25 };

static unsigned long rename_by_handle(HANDLE handle, const wchar_t *place, int posix)
{
    const size_t name_bytes = wcslen(place) * sizeof *place, bytes = sizeof(FILE_RENAME_INFO) + name_bytes;
    FILE_RENAME_INFO *info = calloc(1, bytes);
    if (!info) {
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    const DWORD flags = REPLACE_IF_EXISTS | POSIX_SEMANTICS;
    if (posix) {
        memcpy(info, &flags, sizeof flags);
    } else {
        info->ReplaceIfExists = TRUE;
    }
    info->FileNameLength = (DWORD)name_bytes;
    memcpy(info->FileName, place, name_bytes);
    const int kind = posix ? RENAME_INFORMATION_EX : (int)FileRenameInfo;
    const unsigned long error = SetFileInformationByHandle(handle, (FILE_INFO_BY_HANDLE_CLASS)kind, info, (DWORD)bytes) ? 0
                                                                                                                        : GetLastError();
    free(info);
    return error;
}

static int is_unknown(unsigned long error)
{
    return error == ERROR_INVALID_PARAMETER || error == ERROR_INVALID_FUNCTION || error == ERROR_NOT_SUPPORTED ||
           error == ERROR_CALL_NOT_IMPLEMENTED || error == ERROR_INVALID_LEVEL;
}

/* Relative names go by the current folder as Windows knows it, which the call does not look at. */
static wchar_t *absolute(const wchar_t *place)
{
    const DWORD room = GetFullPathNameW(place, 0, NULL, NULL);
    wchar_t *full = room ? malloc(room * sizeof *full) : NULL;
    if (full && GetFullPathNameW(place, room, full, NULL) >= room) {
        free(full);
        full = NULL;
    }
    return full;
}

unsigned long rbe__replace_file(HANDLE handle, const wchar_t *place)
{
    wchar_t *full = absolute(place);
    if (!full) {
        return ERROR_NOT_ENOUGH_MEMORY;
    }
    int posix = 1;
    unsigned long error = 0;
    for (int tries = 0; tries < TRIES; tries++) {
        error = rename_by_handle(handle, full, posix);
        if (posix && is_unknown(error)) { /* older Windows, or a file system such as FAT */
            posix = 0;
            error = rename_by_handle(handle, full, posix);
        }
        if (error != ERROR_ACCESS_DENIED && error != ERROR_SHARING_VIOLATION) {
            break;
        }
        Sleep(PAUSE_MS);
    }
    const DWORD attributes = error == ERROR_ACCESS_DENIED ? GetFileAttributesW(full) : INVALID_FILE_ATTRIBUTES;
    free(full);
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_READONLY) ? ERROR_SHARING_VIOLATION : error;
}
