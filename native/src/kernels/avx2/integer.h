/* The integer kernels on 256-bit vectors; integer.c and integer_vnni.c include this with RBE_AVX2_VNNI 0 and 1: without and with
 * vpdpbusd. Its two encodings do the same: VEX (AVX-VNNI, processors without AVX-512), and EVEX (AVX512-VNNI with VL), in which
 * the tests run this on processors that lack the first (RBE_VNNI_EVEX). */
#ifndef RBE_KERNELS_AVX2_INTEGER_H
#define RBE_KERNELS_AVX2_INTEGER_H

#include <immintrin.h>
#include <string.h>

#include "kernels/avx2/avx2.h"
#include "kernels/shared/inline.h"

enum {
    LANES = 2,
    PREFETCHES = 1,
    GROUPS_IN_STEP = 2,
    ROW_VECTORS = 2,
    TOKENS = 4,
    FEW_TOKENS_PREFETCH = 1,
    NARROW_BIAS = RBE_NARROW_SUM + 1
};

#define NARROW !RBE_AVX2_VNNI

typedef __m256i vec;

/* The tables as they are, and for nibbles whose bits stand rotated to the left by 1, 2 and 3 (`nibble`). */
typedef struct tables {
    vec t1[4], t2[4];
} tables;

RBE_INLINE void spread_table(__m128i table, vec *rotated)
{
    const __m128i of_rotation[4] = {_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                    _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15),
                                    _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
                                    _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)};
    RBE_UNROLL(4)
    for (uint32_t r = 0; r < 4; r++) {
        rotated[r] = _mm256_broadcastsi128_si256(_mm_shuffle_epi8(table, of_rotation[r]));
    }
}

RBE_INLINE tables tables_load(const int8_t *t1, const int8_t *t2, int bias)
{
    tables made;
    spread_table(_mm_add_epi8(_mm_loadu_si128((const __m128i *)t1), _mm_set1_epi8((char)bias)), made.t1);
    spread_table(_mm_loadu_si128((const __m128i *)t2), made.t2);
    return made;
}

static inline vec load_lanes(const uint8_t *lane0, const uint8_t *lane1)
{
    const vec low = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)lane0));
    return _mm256_inserti128_si256(low, _mm_loadu_si128((const __m128i *)lane1), 1);
}

static inline void store_lane(vec v, uint32_t lane, void *out)
{
    _mm_storeu_si128(out, lane ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v));
}

RBE_INLINE void store_two(vec first, vec second, uint32_t lane, void *out)
{
    _mm256_storeu_si256(out, lane ? _mm256_permute2x128_si256(first, second, 0x31) : _mm256_permute2x128_si256(first, second, 0x20));
}

static inline vec vec_zero(void)
{
    return _mm256_setzero_si256();
}

static inline vec vec_xor(vec a, vec b)
{
    return _mm256_xor_si256(a, b);
}

static inline vec vec_add8(vec a, vec b)
{
    return _mm256_add_epi8(a, b);
}

RBE_INLINE uint32_t rotation_of(uint32_t shift)
{
    return shift > 4 ? shift - 4 : 0;
}

RBE_INLINE vec look_up1(const tables *from, vec nibbles, uint32_t shift)
{
    return _mm256_shuffle_epi8(from->t1[rotation_of(shift)], nibbles);
}

RBE_INLINE vec look_up2(const tables *from, vec nibbles, uint32_t shift)
{
    return _mm256_shuffle_epi8(from->t2[rotation_of(shift)], nibbles);
}

/* Keeps compilers from computing (a & m) ^ (b & m) as (a ^ b) & m, as gcc 12 does although both operands are at hand. */
RBE_INLINE vec as_it_is(vec v)
{
    __asm__("" : "+x"(v));
    return v;
}

/* Shifts are of 16 bits: what comes in from the neighbouring byte is masked off. Of a nibble that crosses into the byte before, the bits from
 * there stay at the low end and those of this byte, which all shifts move by 4, at the high end. So it is rotated, and so are its tables. */
RBE_INLINE vec nibble(vec before, vec byte, uint32_t shift)
{
    const uint32_t from_before = (1u << rotation_of(shift)) - 1;
    const vec moved = shift ? _mm256_srli_epi16(byte, shift < 4 ? (int)shift : 4) : byte;
    const vec bits = _mm256_and_si256(moved, _mm256_set1_epi8((char)(15 ^ from_before)));
    return as_it_is(from_before ? _mm256_or_si256(bits, _mm256_and_si256(before, _mm256_set1_epi8((char)from_before))) : bits);
}

static inline vec load_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline vec load_tile_lanes(const int8_t *tile, uint32_t n_lanes)
{
    const __m128i *lanes = (const __m128i *)tile;
    return n_lanes == 1 ? _mm256_inserti128_si256(vec_zero(), _mm_loadu_si128(lanes), 0) : _mm256_loadu_si256((const __m256i *)lanes);
}

#if RBE_AVX2_VNNI

/* sums[int32 x 8] += four products each of unsigned a and signed b */
static inline vec dot_unsigned(vec sums, vec a, vec b)
{
#if RBE_VNNI_EVEX
    return _mm256_dpbusd_epi32(sums, a, b);
#else
    return _mm256_dpbusd_avx_epi32(sums, a, b);
#endif
}

RBE_INLINE uint32_t groups_in_step(uint32_t bits, int narrow)
{
    (void)bits, (void)narrow;
    return GROUPS_IN_STEP;
}

RBE_INLINE int dot_bias(int narrow)
{
    (void)narrow;
    return 128;
}

RBE_INLINE vec dot_step(int narrow, uint32_t n, vec sums, const vec *weights, const vec *activations)
{
    (void)narrow;
    RBE_UNROLL(4)
    for (uint32_t i = 0; i < n; i++) {
        sums = dot_unsigned(sums, weights[i], activations[i]);
    }
    return sums;
}

typedef vec tile_weights;

static inline tile_weights tile_load(const int8_t *tile, uint32_t n_lanes)
{
    return _mm256_xor_si256(load_tile_lanes(tile, n_lanes), _mm256_set1_epi8(-128));
}

static inline vec tile_dot(vec sums, tile_weights weights, vec activations)
{
    return dot_unsigned(sums, weights, activations);
}

/* -128 times the sum of n values, n % 4 == 0; what is behind them does not count. */
static inline vec dot_start(int narrow, const int8_t *x, uint32_t n)
{
    (void)narrow;
    const vec ones = _mm256_set1_epi8(1);
    vec sums = vec_zero(), last = vec_zero();
    uint32_t c = 0;
    for (; c + 32 <= n; c += 32) {
        sums = dot_unsigned(sums, ones, _mm256_loadu_si256((const __m256i *)(x + c)));
    }
    for (; c < n; c += 4) {
        last = dot_unsigned(last, ones, load_activations(x + c)); /* the same sum in all eight */
    }
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    const __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    const __m128i one = _mm_add_epi32(two, _mm_shuffle_epi32(two, 0xb1));
    return _mm256_slli_epi32(_mm256_sub_epi32(vec_zero(), _mm256_add_epi32(last, _mm256_broadcastd_epi32(one))), 7);
}

#else

/* sums[int32 x 8] += a . b, four int8 each, within +-127; magnitudes: |a|. vpmaddubsw wants one unsigned operand and saturates at int16, so
 * |a| takes the place of a and its sign goes to b: |a| b' + |a| b' <= 2 * 127 * 127 = 32258 fits. Which operand is a: the one whose
 * magnitudes serve most often. */
static inline __m256i dot(__m256i sums, __m256i a, __m256i magnitudes, __m256i b)
{
    const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(b, a));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

enum { NARROW_TILE_GROUPS = 2 };

/* Two groups of K = 2 and 3 need more registers than there are: that pays only where their products add up. */
RBE_INLINE uint32_t groups_in_step(uint32_t bits, int narrow)
{
    return narrow || bits == 1 || bits == 4 ? GROUPS_IN_STEP : 1;
}

RBE_INLINE int dot_bias(int narrow)
{
    return narrow ? NARROW_BIAS : 0;
}

/* Narrow weights plus their bias are 1 to 63 and need no sign: two sums of two products, at most 4 * 63 * 127 = 32004, fit into int16. */
RBE_INLINE vec dot_step(int narrow, uint32_t n, vec sums, const vec *weights, const vec *activations)
{
    if (narrow) {
        const vec pairs = _mm256_add_epi16(_mm256_maddubs_epi16(weights[0], activations[0]),
                                           _mm256_maddubs_epi16(weights[1], activations[1]));
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    RBE_UNROLL(4)
    for (uint32_t i = 0; i < n; i++) {
        sums = dot(sums, activations[i], _mm256_abs_epi8(activations[i]), weights[i]);
    }
    return sums;
}

typedef struct tile_weights {
    vec signs, magnitudes;
} tile_weights;

static inline tile_weights tile_load(const int8_t *tile, uint32_t n_lanes)
{
    const vec w = load_tile_lanes(tile, n_lanes);
    return (tile_weights){w, _mm256_abs_epi8(w)};
}

static inline vec tile_dot(vec sums, tile_weights w, vec activations)
{
    return dot(sums, w.signs, w.magnitudes, activations);
}

static inline vec narrow_tile_load(const int8_t *tile, uint32_t n_lanes)
{
    return _mm256_add_epi8(load_tile_lanes(tile, n_lanes), _mm256_set1_epi8(NARROW_BIAS));
}

static inline vec dot_start(int narrow, const int8_t *x, uint32_t n)
{
    int32_t sum = 0;
    for (uint32_t c = 0; narrow && c < n; c++) {
        sum += x[c];
    }
    return _mm256_set1_epi32(-NARROW_BIAS * sum);
}

#endif

static inline void store_sums(int32_t *acc, vec sums, uint32_t n_lanes)
{
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        store_lane(sums, lane, acc + 4 * lane);
    }
}

#include "kernels/shared/multiply_tile.h"
#define GATHER rbe__avx2_accumulate
#include "kernels/shared/trellis.h"

#endif
