/* vpdpbusd takes its first operand as unsigned: 128 is added to the weights, and 128 * sum(x) taken off at the start. */
#include <immintrin.h>
#include <string.h>

#include "kernels/avx512/avx512.h"

enum { LANES = 4, ROW_VECTORS = 4, TOKENS = 4, FEW_TOKENS_PREFETCH = 0 };

#define NARROW 0

typedef __m512i vec;
typedef __m512i tile_weights;

static inline __mmask16 words_of_lanes(uint32_t n_lanes)
{
    return (__mmask16)((1u << 4 * n_lanes) - 1);
}

static inline tile_weights tile_load(const int8_t *tile, uint32_t n_lanes)
{
    return _mm512_xor_si512(_mm512_maskz_loadu_epi32(words_of_lanes(n_lanes), tile), _mm512_set1_epi8(-128));
}

static inline vec dot_start(int narrow, const int8_t *x, uint32_t n)
{
    (void)narrow;
    return _mm512_set1_epi32(-128 * rbe__avx512_sum(x, n));
}

static inline vec tile_dot(vec sums, tile_weights weights, vec activations)
{
    return _mm512_dpbusd_epi32(sums, weights, activations);
}

static inline vec load_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
}

static inline void store_sums(int32_t *acc, vec sums, uint32_t n_lanes)
{
    _mm512_mask_storeu_epi32(acc, words_of_lanes(n_lanes), sums);
}

#include "kernels/shared/multiply_tile.h"

void rbe__avx512_multiply_tile(rbe_kernels *table)
{
    RBE_SET_MULTIPLY_TILE(table);
}
