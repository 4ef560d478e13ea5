/* The trellis generator as docs/format.md writes it: the reference of all other sets. */
#include "kernels/cells.h"
#include "kernels/scalar/fused.h"
#include "kernels/scalar/scalar.h"

enum { LANES = 16, WINDOW_MASK = 0xfff };

/* The R steps of 16 lanes of one group: out[t * 16 + lane]. */
static void generate_group(const rbe_strip *strip, rbe_group_bytes bytes, int8_t *out)
{
    const uint32_t bits = strip->bits;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const uint8_t *next = bytes.units + lane;
        uint32_t stream = (uint32_t)bytes.before_last[lane] << 8 | bytes.last[lane]; /* bits read so far, newest lowest */
        uint32_t unused = 0;                                                         /* those that no step has taken yet */
        for (uint32_t t = 0; t < strip->row_steps; t++) {
            if (unused < bits) {
                stream = stream << 8 | *next;
                next += LANES;
                unused += 8;
            }
            unused -= bits;
            const uint32_t w = stream >> unused & WINDOW_MASK;
            out[t * LANES + lane] = (int8_t)(strip->t1[(w ^ w >> 8) & 15u] + strip->t2[w >> 4 & 15u]);
        }
    }
}

void rbe__generate_scalar(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile)
{
    rbe_cell_walk walk = rbe__cell_walk_start(strip, first_group);
    for (uint32_t g = 0; g < n_groups; g++) {
        generate_group(strip, rbe__cell_walk_next(&walk), tile + (size_t)g * strip->row_steps * LANES);
    }
}

/* acc[row] += weights of one group . x[4], for 4 * row_steps rows */
static void multiply_group(const int8_t *weights, uint32_t row_steps, const int8_t *x, int32_t *acc)
{
    for (uint32_t row = 0; row < 4u * row_steps; row++) {
        const int8_t *w = weights + 4u * row;
        acc[row] += w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3];
    }
}

void rbe__dot_scalar(const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    int8_t weights[RBE_STRIP_ROWS * 4];
    const uint32_t rows = 4u * strip->row_steps;
    for (uint32_t row = 0; row < rows; row++) {
        sum[row] = 0;
    }
    rbe_cell_walk walk = rbe__cell_walk_start(strip, 0);
    for (uint32_t first = 0; first < strip->n_groups; first += RBE_BLOCK_GROUPS) {
        int32_t acc[RBE_STRIP_ROWS] = {0};
        for (uint32_t g = first; g < first + RBE_BLOCK_GROUPS && g < strip->n_groups; g++) {
            generate_group(strip, rbe__cell_walk_next(&walk), weights);
            multiply_group(weights, strip->row_steps, x + (size_t)4 * g, acc);
        }
        for (uint32_t row = 0; row < rows; row++) {
            sum[row] = rbe__fused(scales[first / RBE_BLOCK_GROUPS], (float)acc[row], sum[row]);
        }
    }
}

void rbe__multiply_tile_scalar(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride,
                               uint32_t n_tokens, int32_t *acc)
{
    for (uint32_t n = 0; n < n_tokens; n++) {
        int32_t *token_acc = acc + (size_t)n * 4u * row_steps;
        for (uint32_t row = 0; row < 4u * row_steps; row++) {
            token_acc[row] = 0;
        }
        for (uint32_t g = 0; g < n_groups; g++) {
            multiply_group(tile + (size_t)g * row_steps * LANES, row_steps, x + n * x_stride + 4u * g, token_acc);
        }
    }
}
