/* Where the streams of a plane lie: docs/format.md, "Planes". Shared by the reader, the engine and the encoder.
 *
 * A layout belongs to a tensor; its planes differ in K only, which the functions take as `bits`.
 */
#ifndef RBE_LAYOUT_H
#define RBE_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "rbe/rbe.h"

#define RBE_MAX_STRIP_ROWS 256u
#define RBE_LANE_STEPS 64u          /* that a lane of a cell should have */
#define RBE_MIN_LANE_STEPS 32u      /* under this a tensor is stored dense */
#define RBE_MAX_SIDE (1u << 28)
#define RBE_MAX_WEIGHTS (1ull << 40)

typedef struct rbe__layout {
    uint32_t rows, cols;
    uint32_t unit_rows;  /* P */
    uint32_t n_units;    /* U */
    uint32_t n_strips;   /* n */
    uint32_t n_groups;   /* G */
    uint32_t min_steps;  /* of the shortest lane */
} rbe__layout;

typedef struct rbe__strip_layout {
    uint32_t first_row;  /* a multiple of unit_rows */
    uint32_t rows;       /* of the matrix, 1 to 4 row_steps */
    uint32_t row_steps;  /* R, 2 to 64 */
    uint32_t n_cells;    /* C, 1 to G */
} rbe__strip_layout;

/* P of a plane with K = bits, 1 to 4. */
static inline uint32_t rbe__unit_rows(uint32_t bits)
{
    assert(bits >= 1 && bits <= 4);
    return bits == 4 ? 8u : bits == 2 ? 16u : 32u;
}

/* unit_rows: 8, 16 or 32. Fails with RBE_ERROR_ARGUMENT where rows or cols is 0 or over 2^28, rows x cols over 2^40 or
 * unit_rows another number; a layout with min_steps < RBE_MIN_LANE_STEPS is no error. */
rbe_status rbe__layout_make(uint32_t rows, uint32_t cols, uint32_t unit_rows, rbe__layout *out);

/* Floor(index count / parts): where part `index` of `count` things in `parts` balanced parts begins. */
static inline uint32_t rbe__balanced(uint32_t index, uint32_t count, uint32_t parts)
{
    return (uint32_t)((uint64_t)index * count / parts);
}

/* Strip `index` < n_strips. */
static inline rbe__strip_layout rbe__layout_strip(const rbe__layout *layout, uint32_t index)
{
    assert(index < layout->n_strips);
    uint32_t first_unit = rbe__balanced(index, layout->n_units, layout->n_strips);
    uint32_t end_unit = rbe__balanced(index + 1, layout->n_units, layout->n_strips);
    rbe__strip_layout strip;
    strip.first_row = first_unit * layout->unit_rows;
    uint32_t padded_rows = (end_unit - first_unit) * layout->unit_rows;
    uint32_t rows_left = layout->rows - strip.first_row;
    strip.rows = rows_left < padded_rows ? rows_left : padded_rows;
    strip.row_steps = padded_rows / 4;
    /* m = max(1, floor(64 / R + 1/2)); R <= 64 makes it at least 1. */
    uint32_t groups_per_cell = (2 * RBE_LANE_STEPS + strip.row_steps) / (2 * strip.row_steps);
    strip.n_cells = (layout->n_groups - 1) / groups_per_cell + 1;
    return strip;
}

/* First column group of cell `cell` <= n_cells of a strip; that of n_cells is the number of groups. */
static inline uint32_t rbe__cell_first_group(const rbe__layout *layout, const rbe__strip_layout *strip, uint32_t cell)
{
    assert(cell <= strip->n_cells);
    return rbe__balanced(cell, layout->n_groups, strip->n_cells);
}

/* Bytes of one column group of a strip: 16 lanes x R steps x K bits. */
static inline uint32_t rbe__group_bytes(const rbe__strip_layout *strip, uint32_t bits)
{
    return 2 * strip->row_steps * bits;
}

/* Where the stream of a strip begins in its plane's streams. */
static inline uint64_t rbe__strip_offset(const rbe__layout *layout, const rbe__strip_layout *strip, uint32_t bits)
{
    return (uint64_t)(strip->first_row / 2) * layout->n_groups * bits;
}

/* Bytes of all streams of a plane; under 2^57. */
static inline uint64_t rbe__stream_bytes(const rbe__layout *layout, uint32_t bits)
{
    return (uint64_t)layout->n_units * (layout->unit_rows / 2) * layout->n_groups * bits;
}

#endif
