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

/* Processor cores this process may use, hardware threads of one core counted once; at least 1. */
uint32_t rbe__physical_cores(void);

#endif
