/* What the library needs of the operating system besides threads. */
#ifndef RBE_PLATFORM_H
#define RBE_PLATFORM_H

#include "rbe/rbe.h"

typedef struct rbe__mapped_file {
    const uint8_t *data; /* page-aligned, read-only; NULL: not mapped, and the rest does not count */
    uint64_t bytes; /* of the file */
    uint64_t mapped_bytes; /* of its beginning that may be read: all, but after rbe__map_file_start */
    int descriptor; /* open until the file was settled, then -1; Windows: a handle, as long as it is mapped, so that nobody writes to it */
} rbe__mapped_file;

/* Maps a regular file of at least one byte. Reading what is cut off from it later raises SIGBUS (rbe/faults.h). Windows: one that a program
 * is writing is refused. */
rbe_status rbe__map_file(const char *path, rbe__mapped_file *out);
void rbe__unmap_file(rbe__mapped_file *file);

/* The same of its first bytes alone, at most `most` of them, 1 or more: the file may be larger than the address space. */
rbe_status rbe__map_file_start(const char *path, uint64_t most, rbe__mapped_file *out);

/* RBE_ERROR_IO where the file no longer has the size that was mapped. */
rbe_status rbe__mapped_file_check(const char *path, const rbe__mapped_file *file);

/* The same, once: the file is then closed, and stays mapped. */
rbe_status rbe__mapped_file_settle(const char *path, rbe__mapped_file *file);

/* All of the file will be read, again and again: what is not in memory yet should come in large pieces. Linux then reads 2 MB at a time
 * into pages that lie together, which a processor maps and fetches ahead in fewer steps (docs/performance.md). Call it before reading. */
void rbe__mapped_file_prefer_large_pages(const rbe__mapped_file *file);

/* What one touch of a mapped page may bring in: Linux maps the large folio of its page cache around it, up to 2 MB. */
#define RBE_MAPPED_GRAIN (2u << 20)

/* Removes the whole pages that hold these bytes from the process's memory. The next access reads them from the file again. Any thread,
 * also while others read them. On macOS a hint only; on Windows they stay in the system's cache while nothing else needs the memory. */
void rbe__mapped_file_release(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes);

/* These bytes will be read soon: starts reading them from the disk, and returns. */
void rbe__mapped_file_expect(const rbe__mapped_file *file, uint64_t offset, uint64_t bytes);

/* A file that is written beside its place, readable by its owner alone, and takes its name only once it is complete. It may replace a
 * file, never a device, a pipe or a directory; of a path that is a link, the file that it leads to. A killed process leaves PATH.XXXXXX,
 * with six characters of any kind and no lock (flock). Windows: readable by whom the folder lets, and what is left is open in no process; a
 * file that another program has open is not replaced (RBE_ERROR_IO) unless that lets it be deleted. */
typedef struct rbe__new_file rbe__new_file;

/* RBE_ERROR_IO where no file can be written there; RBE_ERROR_MEMORY. */
rbe_status rbe__new_file_create(const char *path, rbe__new_file **out);
rbe_status rbe__new_file_write(rbe__new_file *file, const void *data, size_t bytes);

/* Overwrites the first bytes with `start`, writes everything to the disk and gives the file its name. */
rbe_status rbe__new_file_commit(rbe__new_file *file, const void *start, size_t bytes);

/* Frees it; what was not committed is removed. NULL is allowed. */
void rbe__new_file_discard(rbe__new_file *file);

/* A clock that never goes back, from any beginning. */
uint64_t rbe__nanoseconds(void);

/* A number of this process: another one in a process that a fork made. */
uint64_t rbe__process_id(void);

#endif
