/* The set asks for the tile registers when it first needs them: a process that generates token by token, or opens a model to look at it,
 * keeps its small signal stacks. Where they are refused, tiles are multiplied as in avx512, to the same integers. */
#include "kernels/avx512/avx512.h"
#include "kernels/x86.h"
#include "platform/cpu_features.h"

static void multiply_tile(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride, uint32_t n_tokens,
                          int32_t *acc)
{
    static atomic_int answer;
    rbe_kernels chosen = {.multiply_tile = rbe__amx_multiply_tile};
    if (!rbe__tiles_ready(&answer, rbe__cpu_permits_tiles)) {
        rbe__avx512_multiply_tile(&chosen);
    }
    chosen.multiply_tile(tile, row_steps, n_groups, x, x_stride, n_tokens, acc);
}

void rbe__kernels_avx512_amx(rbe_kernels *table)
{
    table->multiply_tile = multiply_tile;
    table->multiply_narrow_tile = multiply_tile;
}
