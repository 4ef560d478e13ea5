/* rbe_decode_plane: the inverse of rbe_encode_plane, on the runtime's own kernels. */
#include <stdlib.h>

#include "base/status.h"
#include "codec/plane.h"
#include "kernels/kernels.h"
#include "rbe/codec.h"

/* Decodes `n_groups` groups of a strip, at most RBE_BLOCK_GROUPS, through `tile`. */
static void decode_groups(const rbe_kernels *kernels, const rbe_strip *view, const rbe__layout *layout, const rbe__strip_layout *strip,
                          uint32_t first_group, uint32_t n_groups, const float *row_scales, int8_t *tile, float *weights)
{
    rbe__generate_kernel(kernels, view->bits)(view, first_group, n_groups, tile);
    const uint32_t first_col = 4 * first_group, left = layout->cols - first_col;
    const uint32_t n_cols = left < 4 * n_groups ? left : 4 * n_groups;
    for (uint32_t r = 0; r < strip->rows; r++) {
        float *to = weights + (size_t)(strip->first_row + r) * layout->cols + first_col;
        for (uint32_t c = 0; c < n_cols; c++) {
            const size_t at = ((size_t)c / 4 * strip->row_steps * 4 + r) * 4 + c % 4;
            to[c] = row_scales[r] * (float)tile[at];
        }
    }
}

rbe_status rbe_decode_plane(const uint8_t *stream, size_t stream_bytes, const uint16_t *row_scales, uint32_t rows, uint32_t cols,
                            const rbe_codebook *codebook, uint32_t unit_rows, float tensor_scale, float *weights)
{
    if (stream == NULL || row_scales == NULL || codebook == NULL || weights == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_decode_plane: an argument is NULL");
    }
    rbe__layout layout;
    RBE_TRY(rbe__plane_check(rows, cols, codebook, unit_rows, &layout));
    if (stream_bytes != rbe__stream_bytes(&layout, codebook->bits)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a stream of %zu bytes; a matrix of %u x %u at %u bits takes %llu", stream_bytes, rows, cols,
                        codebook->bits, (unsigned long long)rbe__stream_bytes(&layout, codebook->bits));
    }
    rbe_kernels kernels;
    rbe__kernels_select(NULL, &kernels);
    int8_t *tile = malloc((size_t)RBE_BLOCK_GROUPS * RBE_MAX_STRIP_ROWS * 4);
    if (tile == NULL) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to decode a plane");
    }
    for (uint32_t s = 0; s < layout.n_strips; s++) {
        const rbe__strip_layout strip = rbe__layout_strip(&layout, s);
        const rbe_strip view = {
            .stream = stream + rbe__strip_offset(&layout, &strip, codebook->bits),
            .t1 = codebook->t1,
            .t2 = codebook->t2,
            .bits = codebook->bits,
            .row_steps = strip.row_steps,
            .n_groups = layout.n_groups,
            .n_cells = strip.n_cells,
        };
        float scales[RBE_MAX_STRIP_ROWS];
        kernels.from_half(row_scales + strip.first_row, strip.rows, scales);
        for (uint32_t r = 0; r < strip.rows; r++) {
            scales[r] *= tensor_scale;
        }
        for (uint32_t group = 0; group < layout.n_groups; group += RBE_BLOCK_GROUPS) {
            const uint32_t left = layout.n_groups - group, n = left < RBE_BLOCK_GROUPS ? left : RBE_BLOCK_GROUPS;
            decode_groups(&kernels, &view, &layout, &strip, group, n, scales, tile, weights);
        }
    }
    free(tile);
    return RBE_OK;
}
