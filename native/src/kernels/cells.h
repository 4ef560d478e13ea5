/* Which bytes precede a group of columns in its lanes (docs/format.md, "Planes"): those of the group before, or, at the
 * first group of a cell, those at the end of the same cell. */
#ifndef RBE_KERNELS_CELLS_H
#define RBE_KERNELS_CELLS_H

#include "kernels/kernels.h"

#define RBE_UNIT_BYTES 16u /* one byte of each of the 16 lanes of a cell */

typedef struct rbe_cell_walk {
    const rbe_strip *strip;
    size_t group_bytes;
    uint32_t group;            /* the one that rbe__cell_walk_next gives next */
    uint32_t cell, first, end; /* its cell and the cell's groups */
} rbe_cell_walk;

typedef struct rbe_group_bytes {
    const uint8_t *units;       /* of the group, one after the other */
    const uint8_t *last;        /* the unit before the first of them */
    const uint8_t *before_last; /* and the one before that: a window of 12 bits reaches no further */
} rbe_group_bytes;

static inline void rbe__cell_walk_enter(rbe_cell_walk *walk, uint32_t cell)
{
    const uint64_t n_groups = walk->strip->n_groups, n_cells = walk->strip->n_cells;
    walk->cell = cell;
    walk->first = (uint32_t)(cell * n_groups / n_cells);
    walk->end = (uint32_t)((cell + 1u) * n_groups / n_cells);
}

static inline rbe_cell_walk rbe__cell_walk_start(const rbe_strip *strip, uint32_t group)
{
    rbe_cell_walk walk = {.strip = strip, .group_bytes = (size_t)2u * strip->row_steps * strip->bits, .group = group};
    /* the largest c with floor(c G / C) <= group */
    rbe__cell_walk_enter(&walk, (uint32_t)((((uint64_t)group + 1u) * strip->n_cells - 1u) / strip->n_groups));
    return walk;
}

/* At most n_groups times in all. */
static inline rbe_group_bytes rbe__cell_walk_next(rbe_cell_walk *walk)
{
    if (walk->group == walk->end) {
        rbe__cell_walk_enter(walk, walk->cell + 1u);
    }
    const uint8_t *stream = walk->strip->stream;
    const uint8_t *cell_first = stream + walk->first * walk->group_bytes;
    const uint8_t *cell_last = stream + walk->end * walk->group_bytes - RBE_UNIT_BYTES;
    rbe_group_bytes bytes = {.units = stream + walk->group * walk->group_bytes};
    bytes.last = bytes.units == cell_first ? cell_last : bytes.units - RBE_UNIT_BYTES;
    bytes.before_last = bytes.last == cell_first ? cell_last : bytes.last - RBE_UNIT_BYTES;
    walk->group++;
    return bytes;
}

#endif
