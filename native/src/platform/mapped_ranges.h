/* Which memory is a mapped file of the library, for a handler of faults that asks. */
#ifndef RBE_PLATFORM_MAPPED_RANGES_H
#define RBE_PLATFORM_MAPPED_RANGES_H

#include <stddef.h>

/* Adds a range; path: of the file, copied, the end cut off where it is longer than 511 bytes. 0: no memory. Any thread. */
int rbe__mapped_ranges_add(const void *first, size_t bytes, const char *path);

/* Takes the range that begins there out. Any thread. */
void rbe__mapped_ranges_remove(const void *first);

/* The path of the file that is mapped at an address, or NULL. It stays as long as the range does. No lock and no
 * allocation: for a signal handler too. */
const char *rbe__mapped_ranges_path(const void *address);

#endif
