/* Memory that begins at a cache line. */
#ifndef RBE_ALIGNED_H
#define RBE_ALIGNED_H

#include <stdlib.h>

/* At least `bytes`, on a boundary of 64; NULL where there are none. Given back with free. Android has aligned_alloc from API level 28 on
 * only (libc.map.txt of its C library), this from 17 on. */
static inline void *rbe__aligned_memory(size_t bytes)
{
    void *memory = NULL;
    return posix_memalign(&memory, 64, bytes) == 0 ? memory : NULL;
}

#endif
