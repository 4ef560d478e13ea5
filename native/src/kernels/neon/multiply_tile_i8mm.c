/* A tile times many tokens with the Armv8.6 matrix product: smmla takes 2 rows of 8 columns and 2 tokens, 32 products where the
 * dot product has 16. A tile has 4 rows of 4 columns per group, so two groups make two operands. */
#include <arm_neon.h>

#include "kernels/neon/neon.h"
#include "kernels/shared/inline.h"

enum { ROW_VECTORS = 4, TOKEN_PAIRS = 2, LANE_BYTES = 16, LANE_ROWS = 4 };

typedef struct tile_call {
    const int8_t *tile;
    uint32_t row_steps, n_groups;
    size_t x_stride;
} tile_call;

/* 8 columns of two tokens. Behind the last group x is readable, and meets weights of zero. */
RBE_INLINE int8x16_t load_pair(const int8_t *x0, const int8_t *x1)
{
    return vcombine_s8(vld1_s8(x0), vld1_s8(x1));
}

/* Rows 4 lane .. 4 (lane + n_vectors) of the tokens in n_pairs pairs from x on; the last pair has n_last tokens. All but lane and
 * n_last are constants. */
RBE_INLINE void multiply_block(const tile_call *call, uint32_t lane, uint32_t n_vectors, const int8_t *x, uint32_t n_pairs, uint32_t n_last,
                               int32_t *acc)
{
    int32x4_t upper[ROW_VECTORS * TOKEN_PAIRS], lower[ROW_VECTORS * TOKEN_PAIRS];
    const uint32_t n_sums = n_vectors * n_pairs;
    RBE_UNROLL(8)
    for (uint32_t i = 0; i < n_sums; i++) {
        upper[i] = lower[i] = vdupq_n_s32(0);
    }
    const int8_t *tile = call->tile + (size_t)LANE_BYTES * lane;
    const size_t group_bytes = (size_t)LANE_BYTES * call->row_steps;
    for (uint32_t g = 0; g < call->n_groups; g += 2) {
        int8x16_t rows01[ROW_VECTORS], rows23[ROW_VECTORS];
        RBE_UNROLL(4)
        for (uint32_t v = 0; v < n_vectors; v++) {
            const int32x4_t one = vreinterpretq_s32_s8(vld1q_s8(tile + LANE_BYTES * v));
            int32x4_t two = vdupq_n_s32(0);
            if (g + 1 < call->n_groups) {
                two = vreinterpretq_s32_s8(vld1q_s8(tile + group_bytes + LANE_BYTES * v));
            }
            rows01[v] = vreinterpretq_s8_s32(vzip1q_s32(one, two));
            rows23[v] = vreinterpretq_s8_s32(vzip2q_s32(one, two));
        }
        tile += 2 * group_bytes;
        RBE_UNROLL(8)
        for (uint32_t i = 0; i < n_sums; i++) {
            const uint32_t p = i / n_vectors, v = i % n_vectors;
            const int8_t *x0 = x + 2 * p * call->x_stride + 4 * g;
            const int8x16_t pair = load_pair(x0, p + 1 < n_pairs || n_last == 2 ? x0 + call->x_stride : x0);
            upper[i] = vmmlaq_s32(upper[i], rows01[v], pair);
            lower[i] = vmmlaq_s32(lower[i], rows23[v], pair);
        }
    }
    RBE_UNROLL(8)
    for (uint32_t i = 0; i < n_sums; i++) {
        const uint32_t p = i / n_vectors, v = i % n_vectors;
        int32_t *out = acc + (size_t)LANE_ROWS * (call->row_steps * 2 * p + lane + v);
        vst1q_s32(out, vuzp1q_s32(upper[i], lower[i]));
        if (p + 1 < n_pairs || n_last == 2) {
            vst1q_s32(out + (size_t)LANE_ROWS * call->row_steps, vuzp2q_s32(upper[i], lower[i]));
        }
    }
}

RBE_INLINE void multiply_rows(const tile_call *call, const int8_t *x, uint32_t n_pairs, uint32_t n_last, int32_t *acc)
{
    uint32_t lane = 0;
    for (; lane + ROW_VECTORS <= call->row_steps; lane += ROW_VECTORS) {
        multiply_block(call, lane, ROW_VECTORS, x, n_pairs, n_last, acc);
    }
    for (; lane < call->row_steps; lane++) {
        multiply_block(call, lane, 1, x, n_pairs, n_last, acc);
    }
}

static void multiply_tile(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride, uint32_t n_tokens,
                          int32_t *acc)
{
    const tile_call call = {tile, row_steps, n_groups, x_stride};
    const size_t rows = (size_t)LANE_ROWS * row_steps;
    uint32_t n = 0;
    for (; n + 2 * TOKEN_PAIRS <= n_tokens; n += 2 * TOKEN_PAIRS) {
        multiply_rows(&call, x + n * x_stride, TOKEN_PAIRS, 2, acc + n * rows);
    }
    for (; n < n_tokens; n += 2) {
        multiply_rows(&call, x + n * x_stride, 1, n_tokens - n == 1 ? 1 : 2, acc + n * rows);
    }
}

void rbe__neon_multiply_tile_i8mm(rbe_kernels *table)
{
    table->multiply_tile = multiply_tile;
    table->multiply_narrow_tile = multiply_tile;
}
