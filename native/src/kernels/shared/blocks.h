/* What the trellis kernels of all instruction sets share. */
#ifndef RBE_KERNELS_SHARED_BLOCKS_H
#define RBE_KERNELS_SHARED_BLOCKS_H

#include "kernels/cells.h"
#include "kernels/shared/inline.h"

/* A block: the least whole number of units that holds whole steps. */
RBE_INLINE uint32_t block_units(uint32_t bits)
{
    return bits == 3 ? 3 : 1;
}

RBE_INLINE uint32_t block_steps(uint32_t bits)
{
    return bits == 3 ? 8 : 8 / bits;
}

/* Streams are read once, from memory, in order. The processor's own prefetching stops at the end of each page of 4 kB; asking two pages
 * ahead, for the second-level cache, takes 20 to 30 % off decoding (docs/performance.md). What lies behind a stream is asked for too,
 * which does no harm: a prefetch never faults. */
enum { PREFETCH_AHEAD = 8192, CACHE_LINE = 64 };

RBE_INLINE void prefetch_ahead(const uint8_t *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += CACHE_LINE) {
        __builtin_prefetch((const void *)((uintptr_t)bytes + PREFETCH_AHEAD + i), 0, 2);
    }
}

/* The part of a table that the functions dot_k1 .. generate_k4 of one file fill. */
#define RBE_SET_TRELLIS(table)              \
    do {                                    \
        (table)->dot_k1 = dot_k1;           \
        (table)->dot_k2 = dot_k2;           \
        (table)->dot_k3 = dot_k3;           \
        (table)->dot_k4 = dot_k4;           \
        (table)->generate_k1 = generate_k1; \
        (table)->generate_k2 = generate_k2; \
        (table)->generate_k3 = generate_k3; \
        (table)->generate_k4 = generate_k4; \
    } while (0)

#endif
