#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "platform/platform.h"

#define BUFFER_BYTES 65536u

struct rbe__new_file {
    int descriptor;
    char *path, *temporary; /* path followed by a dot and six random characters */
    size_t n_buffered;
    uint8_t buffer[BUFFER_BYTES];
};

rbe_status rbe__new_file_create(const char *path, rbe__new_file **out)
{
    *out = NULL;
    size_t length = strlen(path);
    rbe__new_file *file = calloc(1, sizeof *file);
    if (!file) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
    }
    file->descriptor = -1;
    file->path = malloc(length + 1);
    file->temporary = malloc(length + 8);
    if (!file->path || !file->temporary) {
        rbe__new_file_discard(file);
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
    }
    memcpy(file->path, path, length + 1);
    memcpy(file->temporary, path, length);
    memcpy(file->temporary + length, ".XXXXXX", 8);
    file->descriptor = mkstemp(file->temporary);
    if (file->descriptor < 0) {
        int error = errno;
        rbe__new_file_discard(file);
        return rbe_fail(RBE_ERROR_IO, "%s: cannot be written: %s", path, strerror(error));
    }
    (void)fcntl(file->descriptor, F_SETFD, FD_CLOEXEC);
    *out = file;
    return RBE_OK;
}

static rbe_status write_all(const rbe__new_file *file, const uint8_t *data, size_t bytes, int at_start)
{
    off_t offset = 0;
    while (bytes > 0) {
        ssize_t n = at_start ? pwrite(file->descriptor, data, bytes, offset) : write(file->descriptor, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return rbe_fail(RBE_ERROR_IO, "%s: cannot be written: %s", file->path, n < 0 ? strerror(errno) : "the disk takes no more");
        }
        data += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return RBE_OK;
}

static rbe_status flush(rbe__new_file *file)
{
    rbe_status status = write_all(file, file->buffer, file->n_buffered, 0);
    file->n_buffered = 0;
    return status;
}

rbe_status rbe__new_file_write(rbe__new_file *file, const void *data, size_t bytes)
{
    if (bytes > BUFFER_BYTES - file->n_buffered) {
        RBE_TRY(flush(file));
    }
    if (bytes > BUFFER_BYTES) {
        return write_all(file, data, bytes, 0);
    }
    memcpy(file->buffer + file->n_buffered, data, bytes);
    file->n_buffered += bytes;
    return RBE_OK;
}

/* The directory too, so that the new name survives a power cut; where that is not possible the file is written all the same. */
static void sync_directory(const char *path)
{
    char *directory = malloc(strlen(path) + 2);
    if (!directory) {
        return;
    }
    strcpy(directory, path);
    char *slash = strrchr(directory, '/');
    strcpy(slash ? slash + (slash == directory) : directory, slash ? "" : ".");
    int descriptor = open(directory, O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        close(descriptor);
    }
    free(directory);
}

rbe_status rbe__new_file_commit(rbe__new_file *file, const void *start, size_t bytes)
{
    RBE_TRY(flush(file));
    RBE_TRY(write_all(file, start, bytes, 1));
    if (fsync(file->descriptor) != 0 && errno != EINVAL) {
        return rbe_fail(RBE_ERROR_IO, "%s: cannot be written: %s", file->path, strerror(errno));
    }
    int failed = close(file->descriptor);
    file->descriptor = -1;
    if (failed || rename(file->temporary, file->path) != 0) {
        rbe_status status = rbe_fail(RBE_ERROR_IO, "%s: cannot be written: %s", file->path, strerror(errno));
        (void)unlink(file->temporary);
        return status;
    }
    sync_directory(file->path);
    return RBE_OK;
}

void rbe__new_file_discard(rbe__new_file *file)
{
    if (!file) {
        return;
    }
    if (file->descriptor >= 0) {
        close(file->descriptor);
        (void)unlink(file->temporary);
    }
    free(file->path);
    free(file->temporary);
    free(file);
}
