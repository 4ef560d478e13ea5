#include "layers/grouped_product.h"

#include <string.h>

/* From so many tokens on, weights are written as bytes and multiplied with all of them: that writing takes as long as looking up the sums
 * of about so many tokens does. The results are the same. */
enum { LEAST_TILED = 12 };

static void look_up(const rbe__workspace *workspace, rbe_grouped_dot_kernel *dot, const rbe_grouped_strip *strip, uint32_t first,
                    uint32_t n_tokens, uint32_t scale_stride, float *sum)
{
    for (uint32_t n = 0; n < n_tokens; n++) {
        const size_t token = first + n;
        dot(strip, workspace->plain + token * workspace->max_cols, workspace->plain_scales + token * scale_stride,
            sum + (size_t)n * strip->n_units * RBE_GROUPED_ROWS);
    }
}

static void multiply_blocks(const rbe__workspace *workspace, rbe_grouped_generate_kernel *generate, const rbe_grouped_strip *strip,
                            uint32_t first, uint32_t n_tokens, uint32_t scale_stride, rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = workspace->kernels;
    const uint32_t rows = strip->n_units * RBE_GROUPED_ROWS;
    memset(scratch->sum, 0, (size_t)n_tokens * rows * sizeof *scratch->sum);
    for (uint32_t block = 0, column = 0; column < strip->cols; block++, column += strip->block_cols) {
        const uint32_t left = strip->cols - column, width = left < strip->block_cols ? left : strip->block_cols;
        const uint16_t *row_scales = strip->scales + (size_t)(column / strip->scale_cols) * rows;
        generate(strip, block, scratch->tile);
        kernels->multiply_tile(scratch->tile, rows / 4, (width + 3) / 4, workspace->plain + (size_t)first * workspace->max_cols + column,
                               workspace->max_cols, n_tokens, scratch->acc);
        for (uint32_t n = 0; n < n_tokens; n++) {
            const float scale = workspace->plain_scales[(size_t)(first + n) * scale_stride + column / RBE_BLOCK_COLS];
            kernels->accumulate_rows(scratch->sum + (size_t)n * rows, scratch->acc + (size_t)n * rows, rows, scale, row_scales);
        }
    }
}

void rbe__grouped_product(const rbe__workspace *workspace, const rbe__tensor *tensor, const rbe_grouped_strip *strip, uint32_t first,
                          uint32_t n_tokens, uint32_t scale_stride, rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = workspace->kernels;
    const int is_binary = tensor->kind == RBE_KIND_BINARY;
    if (n_tokens < LEAST_TILED) {
        look_up(workspace, is_binary ? kernels->dot_binary : kernels->dot_ternary, strip, first, n_tokens, scale_stride, scratch->sum);
    } else {
        multiply_blocks(workspace, is_binary ? kernels->generate_binary : kernels->generate_ternary, strip, first, n_tokens, scale_stride,
                        scratch);
    }
}
