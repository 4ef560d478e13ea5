/* Preloaded into the shell of a stand-in device: programs of another processor run under an emulator, as binfmt_misc would run them, and a
 * directory can be read-only, or without programs, though root runs the tests. RBE_EMULATOR: the emulator. RBE_READ_ONLY, RBE_NO_PROGRAMS: the
 * directory. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { E_MACHINE = 18, AARCH64 = 183, MOST_ARGUMENTS = 256 };

static int is_foreign(const char *path)
{
    unsigned char head[20];
    FILE *file = fopen(path, "rb");
    const size_t n = file ? fread(head, 1, sizeof head, file) : 0;
    if (file) {
        fclose(file);
    }
    return n == sizeof head && memcmp(head, "\177ELF", 4) == 0 && head[E_MACHINE] == AARCH64;
}

static int is_below(const char *path, const char *variable)
{
    const char *directory = getenv(variable);
    return directory && strncmp(path, directory, strlen(directory)) == 0;
}

int execve(const char *path, char *const arguments[], char *const environment[])
{
    int (*const real)(const char *, char *const[], char *const[]) = (int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT,
                                                                                                                               "execve");
    char *emulator = getenv("RBE_EMULATOR");
    char *under[MOST_ARGUMENTS + 3] = {emulator, (char *)path};
    size_t n = 0;
    if (is_below(path, "RBE_NO_PROGRAMS")) {
        errno = EACCES;
        return -1;
    }
    if (!emulator || access(path, X_OK) != 0 || !is_foreign(path)) {
        return real(path, arguments, environment);
    }
    while (n < MOST_ARGUMENTS && arguments[n] && arguments[n + 1]) {
        under[n + 2] = arguments[n + 1];
        n++;
    }
    return real(emulator, under, environment);
}

int open64(const char *path, int flags, ...)
{
    int (*const real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_list rest;
    va_start(rest, flags);
    const unsigned mode = flags & O_CREAT ? va_arg(rest, unsigned) : 0;
    va_end(rest);
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && is_below(path, "RBE_READ_ONLY")) {
        errno = EROFS;
        return -1;
    }
    return real(path, flags, mode);
}
