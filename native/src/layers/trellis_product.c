#include "layers/trellis_product.h"

#include <string.h>

/* One token. */
static void dot(const rbe__workspace *workspace, const rbe_strip *strip, const float *block_scales, const rbe__trellis_input *input,
                rbe__thread_scratch *scratch)
{
    const float *scales = input->scales;
    if (block_scales) {
        const uint32_t n_blocks = (strip->n_groups - 1) / RBE_BLOCK_GROUPS + 1;
        for (uint32_t block = 0; block < n_blocks; block++) {
            scratch->block_scale[block] = scales[block] * block_scales[block];
        }
        scales = scratch->block_scale;
    }
    rbe__dot_kernel(workspace->kernels, strip->bits)(strip, input->quantized, scales, scratch->sum);
}

/* Block by block. */
static void multiply_tiles(const rbe__workspace *workspace, const rbe_strip *strip, const float *block_scales,
                           const rbe__trellis_input *input, rbe__thread_scratch *scratch)
{
    const rbe_kernels *kernels = workspace->kernels;
    rbe_multiply_tile_kernel *multiply = strip->narrow ? kernels->multiply_narrow_tile : kernels->multiply_tile;
    const uint32_t rows = 4 * strip->row_steps, n_tokens = input->n_tokens;
    memset(scratch->sum, 0, (size_t)n_tokens * rows * sizeof *scratch->sum);
    for (uint32_t group = 0, block = 0; group < strip->n_groups; group += RBE_BLOCK_GROUPS, block++) {
        uint32_t n_groups = strip->n_groups - group < RBE_BLOCK_GROUPS ? strip->n_groups - group : RBE_BLOCK_GROUPS;
        rbe__generate_kernel(kernels, strip->bits)(strip, group, n_groups, scratch->tile);
        multiply(scratch->tile, strip->row_steps, n_groups, input->quantized + 4 * (size_t)group, workspace->max_cols, n_tokens,
                 scratch->acc);
        for (uint32_t n = 0; n < n_tokens; n++) {
            const float scale = input->scales[(size_t)n * input->scale_stride + block];
            kernels->accumulate(scratch->sum + (size_t)n * rows, scratch->acc + (size_t)n * rows, rows,
                                block_scales ? scale * block_scales[block] : scale);
        }
    }
}

void rbe__trellis_product(const rbe__workspace *workspace, const rbe_strip *strip, const float *block_scales,
                          const rbe__trellis_input *input, rbe__thread_scratch *scratch)
{
    (input->is_alone ? dot : multiply_tiles)(workspace, strip, block_scales, input, scratch);
}
