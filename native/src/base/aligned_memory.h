/* Memory that begins at a multiple of 64 bytes. Windows has it only with a function of its own that frees it. */
#ifndef RBE_ALIGNED_MEMORY_H
#define RBE_ALIGNED_MEMORY_H

#include <stddef.h>
#include <stdlib.h>

/* bytes: a multiple of 64. NULL where there is no memory. What it returns is freed by rbe__aligned_free alone. */
static inline void *rbe__aligned_allocate(size_t bytes)
{
#if defined(_WIN32)
    return _aligned_malloc(bytes, 64);
#else
    void *memory = NULL; /* Android has aligned_alloc from API level 28 on only (libc.map.txt of its C library), this from 17 on */
    return posix_memalign(&memory, 64, bytes) == 0 ? memory : NULL;
#endif
}

/* NULL is allowed. */
static inline void rbe__aligned_free(void *memory)
{
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

#endif
