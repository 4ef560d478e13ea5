#include "platform/platform.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"

rbe_status rbe__map_file(const char *path, rbe__mapped_file *out)
{
    out->data = NULL;
    out->bytes = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return rbe_fail(RBE_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    struct stat information;
    void *data = MAP_FAILED;
    rbe_status status = RBE_OK;
    if (fstat(descriptor, &information) != 0) {
        status = rbe_fail(RBE_ERROR_IO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(information.st_mode)) {
        status = rbe_fail(RBE_ERROR_IO, "%s: not a regular file", path);
    } else if (information.st_size <= 0) {
        status = rbe_fail(RBE_ERROR_FORMAT, "%s: the file is empty", path);
    } else if ((uint64_t)information.st_size > SIZE_MAX) {
        status = rbe_fail(RBE_ERROR_UNSUPPORTED, "%s: too large for this machine's address space", path);
    } else {
        data = mmap(NULL, (size_t)information.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
        if (data == MAP_FAILED) {
            status = rbe_fail(RBE_ERROR_IO, "%s: cannot be mapped: %s", path, strerror(errno));
        }
    }
    close(descriptor);
    if (status == RBE_OK) {
        out->data = data;
        out->bytes = (uint64_t)information.st_size;
    }
    return status;
}

void rbe__unmap_file(rbe__mapped_file *file)
{
    if (file->data) {
        munmap((void *)(uintptr_t)file->data, (size_t)file->bytes);
    }
    file->data = NULL;
    file->bytes = 0;
}
