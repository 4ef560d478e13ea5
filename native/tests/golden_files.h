/* The golden packs of tests/golden, the small real files of the native tests. */
#ifndef RBE_TESTS_GOLDEN_FILES_H
#define RBE_TESTS_GOLDEN_FILES_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_GOLDEN_FILES 64

typedef struct golden_files {
    int n;
    char path[MAX_GOLDEN_FILES][512];
} golden_files;

static inline int compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Those of a folder that are encoders, or the others. */
static inline void add_files(const char *version, int encoders, golden_files *files)
{
    char folder[256];
    snprintf(folder, sizeof folder, "%s/%s", RBE_GOLDEN_DIR, version);
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory)) != NULL && files->n < MAX_GOLDEN_FILES) {
        size_t length = strlen(entry->d_name);
        const int is_wanted = (strncmp(entry->d_name, "encoder", 7) == 0) == encoders;
        if (is_wanted && length > 4 && length < 128 && strcmp(entry->d_name + length - 4, ".rbe") == 0) {
            snprintf(files->path[files->n++], sizeof files->path[0], "%s/%.128s", folder, entry->d_name);
        }
    }
    if (directory) {
        closedir(directory);
    }
}

static inline void add_golden_files(const char *version, golden_files *files)
{
    add_files(version, 0, files);
}

/* Every decoder of every format version, in the order of their paths. */
static inline golden_files list_golden_files(void)
{
    golden_files files = {0};
    add_golden_files("v1", &files);
    add_golden_files("v2", &files);
    add_golden_files("v3", &files);
    qsort(files.path, (size_t)files.n, sizeof files.path[0], compare_paths);
    return files;
}

/* The whole file in memory from malloc; NULL where it cannot be read. */
static inline unsigned char *read_file(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    unsigned char *data = NULL;
    *bytes = 0;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        long size = ftell(file);
        rewind(file);
        data = size > 0 ? malloc((size_t)size) : NULL;
        *bytes = data ? fread(data, 1, (size_t)size, file) : 0;
    }
    if (file) {
        fclose(file);
    }
    return data;
}

#endif
