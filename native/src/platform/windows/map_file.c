/* Windows refuses to shorten, replace or delete a file while it is mapped. Overwriting its bytes is refused as long as the file is open and
 * lets others read alone: so it stays open as long as it is mapped. It may be renamed. */
#include "platform/windows/windows.h"

#include <stdlib.h>

#include "base/status.h"
#include "platform/mapped_ranges.h"
#include "platform/platform.h"
#include "platform/windows/paths.h"

/* Handles of Windows fit into 32 bits, on 64-bit systems too ("Interprocess Communication Between 32-bit and 64-bit Applications"). */
static HANDLE handle_of(const rbe__mapped_file *file)
{
    return (HANDLE)(intptr_t)file->descriptor;
}

static rbe_status open_file(const char *path, int *descriptor)
{
    wchar_t *wide;
    *descriptor = -1;
    RBE_TRY(rbe__wide_path(path, &wide));
    const DWORD shared = FILE_SHARE_READ | FILE_SHARE_DELETE;
    const HANDLE handle = CreateFileW(wide, GENERIC_READ, shared, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    const unsigned long error = GetLastError();
    const DWORD attributes = handle == INVALID_HANDLE_VALUE ? GetFileAttributesW(wide) : 0;
    free(wide);
    if (handle == INVALID_HANDLE_VALUE) {
        return attributes != INVALID_FILE_ATTRIBUTES && attributes & FILE_ATTRIBUTE_DIRECTORY
                   ? rbe_fail(RBE_ERROR_IO, "%s: not a regular file", path)
               : error == ERROR_SHARING_VIOLATION
                   ? rbe_fail(RBE_ERROR_IO, "%s: another program is writing it; open it again when it is complete", path)
                   : rbe__system_failure(path, NULL, error);
    }
    *descriptor = (int)(intptr_t)handle;
    return RBE_OK;
}

/* The size of a file that is regular and not empty. */
static rbe_status read_size(const char *path, const rbe__mapped_file *file, uint64_t *bytes)
{
    LARGE_INTEGER size;
    if (GetFileType(handle_of(file)) != FILE_TYPE_DISK) {
        return rbe_fail(RBE_ERROR_IO, "%s: not a regular file", path);
    }
    if (!GetFileSizeEx(handle_of(file), &size)) {
        return rbe__system_failure(path, NULL, GetLastError());
    }
    if (size.QuadPart <= 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: the file is empty", path);
    }
    *bytes = (uint64_t)size.QuadPart;
    return RBE_OK;
}

static rbe_status map(const char *path, uint64_t most, rbe__mapped_file *file)
{
    RBE_TRY(read_size(path, file, &file->bytes));
    file->mapped_bytes = file->bytes < most ? file->bytes : most;
    if (file->mapped_bytes > SIZE_MAX) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: too large for this machine's address space", path);
    }
    const HANDLE mapping = CreateFileMappingW(handle_of(file), NULL, PAGE_READONLY, 0, 0, NULL);
    if (!mapping) {
        return rbe__system_failure(path, "cannot be mapped", GetLastError());
    }
    const void *data = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, (size_t)file->mapped_bytes);
    const unsigned long error = GetLastError();
    CloseHandle(mapping); /* the view keeps it */
    if (!data) {
        return rbe__system_failure(path, "cannot be mapped", error);
    }
    file->data = data;
    if (!rbe__mapped_ranges_add(data, (size_t)file->mapped_bytes, path)) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to map it", path);
    }
    return rbe__mapped_file_check(path, file);
}

rbe_status rbe__map_file(const char *path, rbe__mapped_file *out)
{
    return rbe__map_file_start(path, UINT64_MAX, out);
}

rbe_status rbe__map_file_start(const char *path, uint64_t most, rbe__mapped_file *out)
{
    *out = (rbe__mapped_file){.descriptor = -1};
    RBE_TRY(open_file(path, &out->descriptor));
    const rbe_status status = map(path, most, out);
    if (status != RBE_OK && !out->data) {
        CloseHandle(handle_of(out));
    } else if (status != RBE_OK) {
        rbe__unmap_file(out);
    }
    return status;
}

rbe_status rbe__mapped_file_check(const char *path, const rbe__mapped_file *file)
{
    LARGE_INTEGER size;
    if (!GetFileSizeEx(handle_of(file), &size)) {
        return rbe__system_failure(path, NULL, GetLastError());
    }
    if ((uint64_t)size.QuadPart != file->bytes) {
        return rbe_fail(RBE_ERROR_IO, "%s: changed while it was opened: it had %llu bytes and has %llu; open it again when it is complete",
                        path, (unsigned long long)file->bytes, (unsigned long long)size.QuadPart);
    }
    return RBE_OK;
}

rbe_status rbe__mapped_file_settle(const char *path, rbe__mapped_file *file)
{
    return rbe__mapped_file_check(path, file);
}

void rbe__unmap_file(rbe__mapped_file *file)
{
    if (!file->data) {
        return;
    }
    rbe__mapped_ranges_remove(file->data);
    UnmapViewOfFile(file->data);
    CloseHandle(handle_of(file));
    *file = (rbe__mapped_file){.descriptor = -1};
}
