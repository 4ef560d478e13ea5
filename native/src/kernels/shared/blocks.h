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

/* The part of a table that the functions dot_k1 .. generate_k4 of one file fill. */
#define RBE_SET_TRELLIS(table)                \
    do {                                      \
        (table)->dot_k1 = dot_k1;             \
        (table)->dot_k2 = dot_k2;             \
        (table)->dot_k3 = dot_k3;             \
        (table)->dot_k4 = dot_k4;             \
        (table)->generate_k1 = generate_k1;   \
        (table)->generate_k2 = generate_k2;   \
        (table)->generate_k3 = generate_k3;   \
        (table)->generate_k4 = generate_k4;   \
    } while (0)

#endif
