/* Files of made-up machines, such as /proc and /sys of them, under a directory of their own. _GNU_SOURCE for nftw. */
#ifndef RBE_TESTS_STAND_IN_FILES_H
#define RBE_TESTS_STAND_IN_FILES_H

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"

static char root[] = "/tmp/rbe-system-XXXXXX";

static inline void write_file(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = 0;
        mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    CHECK(file && fputs(text, file) >= 0, "%s", full);
    if (file) {
        fclose(file);
    }
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info, (void)kind, (void)where;
    return remove(path);
}

static inline void begin_machine(void)
{
    strcpy(root + strlen(root) - 6, "XXXXXX");
    CHECK(mkdtemp(root) != NULL, "%s", root);
}

static inline void end_machine(void)
{
    CHECK(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "%s", root);
}

#endif
