#include "platform/system_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

rbe__file_state rbe__system_file_read(const char *path, char *out, size_t capacity)
{
    struct stat info;
    size_t n = 0;
    ssize_t got = 1;
    out[0] = 0;
    const int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0) {
        return errno == ENOENT || errno == ENOTDIR ? RBE_FILE_ABSENT
               : errno == EACCES || errno == EPERM ? RBE_FILE_DENIED
                                                   : RBE_FILE_UNREADABLE;
    }
    int good = fstat(file, &info) == 0 && S_ISREG(info.st_mode);
    while (good && got > 0 && n < capacity) {
        got = read(file, out + n, capacity - n);
        if (got < 0 && errno == EINTR) {
            got = 1;
            continue;
        }
        n += got > 0 ? (size_t)got : 0;
        good = got >= 0;
    }
    const int denied = got < 0 && (errno == EACCES || errno == EPERM);
    close(file);
    if (!good || n == capacity || memchr(out, 0, n)) {
        out[0] = 0;
        return denied ? RBE_FILE_DENIED : RBE_FILE_UNREADABLE;
    }
    out[n] = 0;
    return RBE_FILE_READ;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const rbe__file_name *)a)->text, ((const rbe__file_name *)b)->text);
}

uint32_t rbe__directory_names(const char *path, rbe__file_name *names, uint32_t most)
{
    uint32_t n = 0;
    const struct dirent *entry;
    DIR *directory = opendir(path);
    while (directory && n < most && (entry = readdir(directory)) != NULL) {
        const size_t bytes = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && bytes < sizeof names[n].text) {
            memcpy(names[n++].text, entry->d_name, bytes + 1);
        }
    }
    if (directory) {
        closedir(directory);
    }
    if (n) {
        qsort(names, n, sizeof *names, compare_names);
    }
    return n;
}
