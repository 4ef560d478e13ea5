/* Which bytes precede a group of columns in its lanes (docs/format.md, "Planes"): those of the group before, or, at the
 * first group of a cell, those at the end of the same cell. */
#ifndef RBE_KERNELS_CELLS_H
#define RBE_KERNELS_CELLS_H

#include "kernels/kernels.h"

#define RBE_UNIT_BYTES 16u /* one byte of each of the 16 lanes of a cell */

typedef struct rbe_cell_walk {
    const rbe_strip *strip;
    size_t group_bytes;
    uint32_t group;      /* the one that rbe__cell_walk_next gives next */
    uint32_t first, end; /* the groups of its cell */
    uint32_t residue;    /* of the division that gave `end`: the next cell's end needs no division */
} rbe_cell_walk;

typedef struct rbe_group_bytes {
    const uint8_t *units;       /* of the group, one after the other */
    const uint8_t *last;        /* the unit before the first of them */
    const uint8_t *before_last; /* and the one before that: a window of 12 bits reaches no further */
} rbe_group_bytes;

static inline rbe_cell_walk rbe__cell_walk_start(const rbe_strip *strip, uint32_t group)
{
    const uint64_t n_groups = strip->n_groups, n_cells = strip->n_cells;
    const uint64_t cell = ((group + (uint64_t)1) * n_cells - 1) / n_groups; /* the largest c with floor(c G / C) <= group */
    return (rbe_cell_walk){.strip = strip,
                           .group_bytes = (size_t)2 * strip->row_steps * strip->bits,
                           .group = group,
                           .first = (uint32_t)(cell * n_groups / n_cells),
                           .end = (uint32_t)((cell + 1) * n_groups / n_cells),
                           .residue = (uint32_t)((cell + 1) * n_groups % n_cells)};
}

static inline void rbe__cell_walk_enter_next(rbe_cell_walk *walk)
{
    const uint32_t n_groups = walk->strip->n_groups, n_cells = walk->strip->n_cells;
    walk->first = walk->end;
    walk->end += n_groups / n_cells;
    walk->residue += n_groups % n_cells;
    if (walk->residue >= n_cells) {
        walk->residue -= n_cells;
        walk->end++;
    }
}

/* At most n_groups times in all. */
static inline rbe_group_bytes rbe__cell_walk_next(rbe_cell_walk *walk)
{
    if (walk->group == walk->end) {
        rbe__cell_walk_enter_next(walk);
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
