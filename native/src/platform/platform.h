/* What the library needs of the operating system besides threads. */
#ifndef RBE_PLATFORM_H
#define RBE_PLATFORM_H

#include "rbe/rbe.h"

typedef struct rbe__mapped_file {
    const uint8_t *data; /* page-aligned, read-only */
    uint64_t bytes;
} rbe__mapped_file;

/* Maps a regular file of at least one byte. */
rbe_status rbe__map_file(const char *path, rbe__mapped_file *out);
void rbe__unmap_file(rbe__mapped_file *file);

/* A file that is written beside its place, readable by its owner alone, and takes its name only once it is complete. */
typedef struct rbe__new_file rbe__new_file;

rbe_status rbe__new_file_create(const char *path, rbe__new_file **out);
rbe_status rbe__new_file_write(rbe__new_file *file, const void *data, size_t bytes);

/* Overwrites the first bytes with `start`, brings everything to the disk and gives the file its name. */
rbe_status rbe__new_file_commit(rbe__new_file *file, const void *start, size_t bytes);

/* Frees it; what was not committed is removed. NULL is allowed. */
void rbe__new_file_discard(rbe__new_file *file);

/* Processor cores this process may use, hardware threads of one core counted once; at least 1. */
uint32_t rbe__physical_cores(void);

#endif
