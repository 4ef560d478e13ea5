#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "platform/mapped_ranges.h"
#include "platform/platform.h"

/* The size of a file that is regular and not empty. */
static rbe_status read_size(const char *path, int descriptor, uint64_t *bytes)
{
    struct stat information;
    if (fstat(descriptor, &information) != 0) {
        return rbe_fail(RBE_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(information.st_mode)) {
        return rbe_fail(RBE_ERROR_IO, "%s: not a regular file", path);
    }
    if (information.st_size <= 0) {
        return rbe_fail(RBE_ERROR_FORMAT, "%s: the file is empty", path);
    }
    *bytes = (uint64_t)information.st_size;
    return RBE_OK;
}

static rbe_status map(const char *path, uint64_t most, rbe__mapped_file *file)
{
    RBE_TRY(read_size(path, file->descriptor, &file->bytes));
    file->mapped_bytes = file->bytes < most ? file->bytes : most;
    if (file->mapped_bytes > SIZE_MAX) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: too large for this machine's address space", path);
    }
    void *data = mmap(NULL, (size_t)file->mapped_bytes, PROT_READ, MAP_SHARED, file->descriptor, 0);
    if (data == MAP_FAILED) {
        return rbe_fail(errno == ENOMEM ? RBE_ERROR_MEMORY : RBE_ERROR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
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
    *out = (rbe__mapped_file){.descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (out->descriptor < 0) {
        return rbe_fail(RBE_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    const rbe_status status = map(path, most, out);
    if (status != RBE_OK && !out->data) {
        close(out->descriptor);
    } else if (status != RBE_OK) {
        rbe__unmap_file(out);
    }
    return status;
}

rbe_status rbe__mapped_file_check(const char *path, const rbe__mapped_file *file)
{
    struct stat information;
    if (fstat(file->descriptor, &information) != 0) {
        return rbe_fail(RBE_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    if ((uint64_t)information.st_size != file->bytes) {
        return rbe_fail(RBE_ERROR_IO, "%s: changed while it was opened: it had %llu bytes and has %llu; open it again when it is complete",
                        path, (unsigned long long)file->bytes, (unsigned long long)information.st_size);
    }
    return RBE_OK;
}

rbe_status rbe__mapped_file_settle(const char *path, rbe__mapped_file *file)
{
    const rbe_status status = rbe__mapped_file_check(path, file);
    close(file->descriptor);
    file->descriptor = -1;
    return status;
}

void rbe__unmap_file(rbe__mapped_file *file)
{
    if (!file->data) {
        return;
    }
    rbe__mapped_ranges_remove(file->data);
    munmap((void *)(uintptr_t)file->data, (size_t)file->mapped_bytes);
    if (file->descriptor >= 0) {
        close(file->descriptor);
    }
    *file = (rbe__mapped_file){.descriptor = -1};
}
