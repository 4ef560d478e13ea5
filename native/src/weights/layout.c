#include "weights/layout.h"

#include <string.h>

#include "base/status.h"
#include "rbe/codec.h"

/* Steps of the shortest lane of a strip. */
static uint32_t shortest_lane(const rbe__layout *layout, uint32_t strip_index)
{
    rbe__strip_layout strip = rbe__layout_strip(layout, strip_index);
    return layout->n_groups / strip.n_cells * strip.row_steps;
}

rbe_status rbe__layout_make(uint32_t rows, uint32_t cols, uint32_t unit_rows, rbe__layout *out)
{
    memset(out, 0, sizeof *out);
    if (rows == 0 || rows > RBE_MAX_SIDE || cols == 0 || cols > RBE_MAX_SIDE || (uint64_t)rows * cols > RBE_MAX_WEIGHTS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a matrix of %u x %u: each side must be 1 to 2^28 and the product at most 2^40", rows, cols);
    }
    if (unit_rows != 8 && unit_rows != 16 && unit_rows != 32) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "unit_rows is %u, not 8, 16 or 32", unit_rows);
    }
    out->rows = rows;
    out->cols = cols;
    out->unit_rows = unit_rows;
    out->n_units = (rows - 1) / unit_rows + 1;
    out->n_strips = (out->n_units - 1) / (RBE_MAX_STRIP_ROWS / unit_rows) + 1;
    out->n_groups = (cols - 1) / 4 + 1;
    /* Strips come in two heights at most: strip 0 has floor(U / n) units, the last ceil(U / n). */
    uint32_t first = shortest_lane(out, 0), last = shortest_lane(out, out->n_strips - 1);
    out->min_steps = first < last ? first : last;
    return RBE_OK;
}

rbe_status rbe_plane_get_layout(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t unit_rows, rbe_plane_layout *out)
{
    if (out == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_plane_get_layout: out is NULL");
    }
    memset(out, 0, sizeof *out);
    if (bits < 1 || bits > 4) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "bits is %u, not 1 to 4", bits);
    }
    uint32_t least = rbe__unit_rows(bits);
    if (unit_rows != 0 && unit_rows < least) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "unit_rows is %u; %u bits need at least %u", unit_rows, bits, least);
    }
    rbe__layout layout;
    RBE_TRY(rbe__layout_make(rows, cols, unit_rows != 0 ? unit_rows : least, &layout));
    out->unit_rows = layout.unit_rows;
    out->n_strips = layout.n_strips;
    out->n_groups = layout.n_groups;
    out->min_steps = layout.min_steps;
    out->stream_bytes = rbe__stream_bytes(&layout, bits);
    return RBE_OK;
}
