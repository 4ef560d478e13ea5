/* One allocation, handed out in 64-byte aligned pieces that are never given back one by one. A first pass over an arena
 * without memory measures; a second takes the same pieces for real. */
#ifndef RBE_ARENA_H
#define RBE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/aligned_memory.h"

typedef struct rbe__arena {
    uint8_t *memory; /* NULL while measuring */
    size_t used;     /* SIZE_MAX once the sum has overflowed */
} rbe__arena;

/* a x b things; SIZE_MAX, which no arena has, where that is more than a size_t counts: sizes that a file gives reach that on 32 bits. */
static inline size_t rbe__arena_count(size_t a, size_t b)
{
    return b && a > SIZE_MAX / b ? SIZE_MAX : a * b;
}

/* count x item_bytes; NULL while measuring. */
static inline void *rbe__arena_take(rbe__arena *arena, size_t count, size_t item_bytes)
{
    const size_t most = SIZE_MAX / 2;
    if (arena->used > most || (item_bytes && count > most / item_bytes)) {
        arena->used = SIZE_MAX;
        return NULL;
    }
    size_t bytes = (count * item_bytes + 63) & ~(size_t)63;
    void *piece = arena->memory ? arena->memory + arena->used : NULL;
    arena->used += bytes;
    return piece;
}

/* Memory for what was measured, to be given to rbe__aligned_free; 0 on success. The pages are not touched: what is never used takes no memory. */
static inline int rbe__arena_allocate(rbe__arena *arena)
{
    arena->memory = arena->used > SIZE_MAX / 2 ? NULL : rbe__aligned_allocate(arena->used ? arena->used : 64);
    arena->used = 0;
    return arena->memory ? 0 : -1;
}

#endif
