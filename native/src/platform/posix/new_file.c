/* flock: POSIX has no lock that goes by the opened file and not by the process */
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "platform/platform.h"

#define BUFFER_BYTES 65536u
#define LONGEST_NAME 255u /* bytes, of nearly every file system */

struct rbe__new_file {
    int descriptor;
    char *path; /* as it was given */
    char *place; /* what is replaced: where the path is a link, the file that it leads to */
    char *temporary; /* the place followed by a dot and six random characters */
    size_t n_buffered;
    uint8_t buffer[BUFFER_BYTES];
};

/* A line that says what to do about an error of the system. */
static rbe_status failed(const char *path, int error)
{
    const char *advice = error == ENOSPC || error == EDQUOT || error == EFBIG ? "make room or give another place"
                         : error == ENAMETOOLONG || error == ELOOP            ? "give another name"
                                                                              : "check the directory and its permissions";
    return rbe_fail(RBE_ERROR_IO, "%s: cannot be written: %s; %s", path, strerror(error), advice);
}

/* Refuses to put a file in the place of anything but a file. */
static rbe_status check_place(const char *path)
{
    struct stat found;
    if (stat(path, &found) != 0) {
        const int error = errno;
        if (error == ENOENT && lstat(path, &found) == 0) {
            return rbe_fail(RBE_ERROR_IO, "%s: is a link to nothing; remove it, or give another name", path);
        }
        return error == ENOENT ? RBE_OK : failed(path, error);
    }
    if (S_ISDIR(found.st_mode)) {
        return rbe_fail(RBE_ERROR_IO, "%s: is a directory; give the name of a file", path);
    }
    if (!S_ISREG(found.st_mode)) {
        return rbe_fail(RBE_ERROR_IO, "%s: is a device or a pipe, which is not replaced; give the name of a file", path);
    }
    return RBE_OK;
}

/* The place, and room for the name of the temporary file beside it. */
static rbe_status find_place(rbe__new_file *file, const char *path)
{
    struct stat found;
    file->path = strdup(path);
    const int is_link = lstat(path, &found) == 0 && S_ISLNK(found.st_mode);
    file->place = is_link ? realpath(path, NULL) : strdup(path);
    if (is_link && !file->place) {
        return errno == ENOMEM ? rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path) : failed(path, errno);
    }
    file->temporary = file->place ? malloc(strlen(file->place) + sizeof ".XXXXXX") : NULL;
    return file->path && file->temporary ? RBE_OK : rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
}

/* A name that would be too long with its ending is cut, not in the middle of a character. */
static void write_template(rbe__new_file *file)
{
    const char *slash = strrchr(file->place, '/');
    const size_t folder = slash ? (size_t)(slash - file->place) + 1 : 0, longest = folder + LONGEST_NAME - strlen(".XXXXXX");
    size_t length = strlen(file->place);
    if (length > longest) {
        for (length = longest; length > folder && ((uint8_t)file->place[length] & 0xC0u) == 0x80u; length--) {
        }
    }
    memcpy(file->temporary, file->place, length);
    memcpy(file->temporary + length, ".XXXXXX", sizeof ".XXXXXX");
}

/* Makes the temporary file under a lock, by which those that tidy up tell it from what a killed process left. */
static rbe_status open_temporary(rbe__new_file *file)
{
    for (;;) {
        struct stat made;
        write_template(file);
        file->descriptor = mkstemp(file->temporary);
        if (file->descriptor < 0) {
            return failed(file->path, errno);
        }
        (void)fcntl(file->descriptor, F_SETFD, FD_CLOEXEC);
        (void)fchmod(file->descriptor, S_IRUSR | S_IWUSR); /* whatever the umask */
        (void)flock(file->descriptor, LOCK_EX); /* without locks it is in nobody's way, and may be tidied up */
        if (fstat(file->descriptor, &made) != 0 || made.st_nlink > 0) {
            return RBE_OK;
        }
        close(file->descriptor); /* it was tidied up before it had its lock */
    }
}

rbe_status rbe__new_file_create(const char *path, rbe__new_file **out)
{
    *out = NULL;
    RBE_TRY(check_place(path));
    rbe__new_file *file = calloc(1, sizeof *file);
    if (!file) {
        return rbe_fail(RBE_ERROR_MEMORY, "%s: no memory to write it", path);
    }
    file->descriptor = -1;
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

static rbe_status write_all(const rbe__new_file *file, const uint8_t *data, size_t bytes, int at_start)
{
    off_t offset = 0;
    while (bytes > 0) {
        ssize_t n = at_start ? pwrite(file->descriptor, data, bytes, offset) : write(file->descriptor, data, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return failed(file->path, n < 0 ? errno : ENOSPC);
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
        return failed(file->path, errno);
    }
    RBE_TRY(check_place(file->place));
    if (rename(file->temporary, file->place) != 0) {
        return failed(file->path, errno);
    }
    close(file->descriptor); /* only now, for its lock; fsync has told what can fail */
    file->descriptor = -1;
    sync_directory(file->place);
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
    free(file->place);
    free(file->temporary);
    free(file);
}
