/* The integer kernels on 128-bit vectors; integer.c and integer_dotprod.c include this with
 * RBE_NEON_DOTPROD 0 and 1: without and with the Armv8.2 dot product. */
#ifndef RBE_KERNELS_NEON_INTEGER_H
#define RBE_KERNELS_NEON_INTEGER_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/neon/armv7.h"
#include "kernels/neon/neon.h"
#include "kernels/shared/inline.h"

enum { LANES = 1, TWO_AT_ONCE = 1, PREFETCHES = 0 /* unmeasured */, DOT_BIAS = 0 };

/* 32-bit ARM has 16 registers, 64-bit ARM 32. */
#if RBE_NEON_DOTPROD
#define NARROW 0
enum { ROW_VECTORS = 4, TOKENS = 4 };
#else
#define NARROW 1
#if defined(__aarch64__)
enum { ROW_VECTORS = 4, TOKENS = 4, NARROW_GROUPS = 2, NARROW_TILE_GROUPS = 4, NARROW_BIAS = 0 };
#else
enum { ROW_VECTORS = 4, TOKENS = 4, NARROW_GROUPS = 2, NARROW_TILE_GROUPS = 2, NARROW_BIAS = 0 };
#endif
#endif

typedef uint8x16_t vec;

typedef struct tables {
    vec t1, t2;
} tables;

static inline tables tables_load(const int8_t *t1, const int8_t *t2, int bias)
{
    (void)bias;
    return (tables){vreinterpretq_u8_s8(vld1q_s8(t1)), vreinterpretq_u8_s8(vld1q_s8(t2))};
}

static inline vec load_lanes(const uint8_t *lane0, const uint8_t *lane1)
{
    (void)lane1;
    return vld1q_u8(lane0);
}

static inline void store_lane(vec v, uint32_t lane, void *out)
{
    (void)lane;
    vst1q_u8(out, v);
}

static inline vec vec_zero(void)
{
    return vdupq_n_u8(0);
}

static inline vec vec_xor(vec a, vec b)
{
    return veorq_u8(a, b);
}

static inline vec vec_add8(vec a, vec b)
{
    return vaddq_u8(a, b);
}

static inline vec look_up1(const tables *from, vec nibbles, uint32_t shift)
{
    (void)shift;
    return vqtbl1q_u8(from->t1, nibbles);
}

static inline vec look_up2(const tables *from, vec nibbles, uint32_t shift)
{
    (void)shift;
    return vqtbl1q_u8(from->t2, nibbles);
}

/* The intrinsics take their shift as a literal only. */
#define NIBBLE_WITHIN(shift) \
    case shift: return vandq_u8(vshrq_n_u8(byte, shift), vdupq_n_u8(15));
#define NIBBLE_CROSSING(shift) \
    case shift: return vandq_u8(vsriq_n_u8(vshlq_n_u8(before, 8 - shift), byte, shift), vdupq_n_u8(15));

RBE_INLINE vec nibble(vec before, vec byte, uint32_t shift)
{
    switch (shift) {
        NIBBLE_WITHIN(1)
        NIBBLE_WITHIN(2)
        NIBBLE_WITHIN(3)
        NIBBLE_CROSSING(5)
        NIBBLE_CROSSING(6)
        NIBBLE_CROSSING(7)
    case 4: return vshrq_n_u8(byte, 4);
    default: return vandq_u8(byte, vdupq_n_u8(15));
    }
}

static inline vec load_activations(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_u8_s32(vdupq_n_s32(four));
}

/* sums[int32 x 4] += weights . x, four int8 each, within +-127 */
static inline int32x4_t dot(int32x4_t sums, int8x16_t weights, int8x16_t x)
{
#if RBE_NEON_DOTPROD
    return vdotq_s32(sums, weights, x);
#else
    /* sums of two products, at most 2 * 127 * 127 = 32258, fit into int16 */
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(x)), high = vmull_high_s8(weights, x);
    return vpadalq_s16(sums, vpaddq_s16(low, high));
#endif
}

static inline vec dot_step(vec sums, vec weights, vec activations)
{
    return vreinterpretq_u8_s32(dot(vreinterpretq_s32_u8(sums), vreinterpretq_s8_u8(weights), vreinterpretq_s8_u8(activations)));
}

typedef vec tile_weights;

static inline tile_weights tile_load(const int8_t *tile, uint32_t n_lanes)
{
    (void)n_lanes;
    return vreinterpretq_u8_s8(vld1q_s8(tile));
}

static inline vec sums_start(const int8_t *x, uint32_t n)
{
    (void)x, (void)n;
    return vec_zero();
}

static inline vec tile_dot(vec sums, tile_weights weights, vec activations)
{
    return dot_step(sums, weights, activations);
}

#if NARROW
/* One product of each group in each of 16 sums: 4 groups make at most 4 * 31 * 127, and the sums of two neighbours still fit. */
typedef struct half_sums {
    int16x8_t low, high;
} half_sums;

static inline half_sums pairs_of(vec weights, vec activations)
{
    const int8x16_t w = vreinterpretq_s8_u8(weights), x = vreinterpretq_s8_u8(activations);
    return (half_sums){vmull_s8(vget_low_s8(w), vget_low_s8(x)), vmull_high_s8(w, x)};
}

static inline half_sums pairs_add(half_sums p, vec weights, vec activations)
{
    const int8x16_t w = vreinterpretq_s8_u8(weights), x = vreinterpretq_s8_u8(activations);
    return (half_sums){vmlal_s8(p.low, vget_low_s8(w), vget_low_s8(x)), vmlal_high_s8(p.high, w, x)};
}

static inline vec pairs_widen(vec sums, half_sums p)
{
    return vreinterpretq_u8_s32(vpadalq_s16(vreinterpretq_s32_u8(sums), vpaddq_s16(p.low, p.high)));
}

static inline vec narrow_tile_load(const int8_t *tile, uint32_t n_lanes)
{
    return tile_load(tile, n_lanes);
}

static inline vec narrow_start(const int8_t *x, uint32_t n)
{
    return sums_start(x, n);
}
#endif

static inline void store_sums(int32_t *acc, vec sums, uint32_t n_lanes)
{
    (void)n_lanes;
    vst1q_s32(acc, vreinterpretq_s32_u8(sums));
}

#include "kernels/shared/multiply_tile.h"
#define GATHER rbe__neon_accumulate
#include "kernels/shared/trellis.h"

#endif
