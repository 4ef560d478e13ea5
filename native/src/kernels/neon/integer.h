/* The integer kernels on 128-bit vectors; integer.c and integer_dotprod.c include this with
 * RBE_NEON_DOTPROD 0 and 1: without and with the Armv8.2 dot product. */
#ifndef RBE_KERNELS_NEON_INTEGER_H
#define RBE_KERNELS_NEON_INTEGER_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/neon/armv7.h"
#include "kernels/neon/neon.h"
#include "kernels/shared/inline.h"

enum {
    LANES = 1,
    PREFETCHES = 0 /* unmeasured */,
    GROUPS_IN_STEP = 2,
    ROW_VECTORS = 4,
    TOKENS = 4,
    FEW_TOKENS_PREFETCH = 1 /* unmeasured: lines are read as by AVX2 */
};

#define NARROW !RBE_NEON_DOTPROD

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

static inline void store_two(vec first, vec second, uint32_t lane, void *out)
{
    (void)lane;
    vst1q_u8(out, first);
    vst1q_u8((uint8_t *)out + 16, second);
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

/* Two groups where their products add up, or where fewer loads and stores of sums are a gain. */
RBE_INLINE uint32_t groups_in_step(uint32_t bits, int narrow)
{
    return narrow || (RBE_NEON_DOTPROD && bits > 1) ? GROUPS_IN_STEP : 1;
}

RBE_INLINE int dot_bias(int narrow)
{
    (void)narrow;
    return 0;
}

RBE_INLINE vec dot_step(int narrow, uint32_t n, vec sums, const vec *weights, const vec *activations)
{
    int32x4_t wide = vreinterpretq_s32_u8(sums);
#if NARROW
    /* One product of each group in each of 16 sums: two neighbours of 4 groups, at most 8 * 31 * 127 = 31496, fit into int16. */
    if (narrow) {
        int8x16_t w = vreinterpretq_s8_u8(weights[0]), x = vreinterpretq_s8_u8(activations[0]);
        int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(x)), high = vmull_high_s8(w, x);
        RBE_UNROLL(4)
        for (uint32_t i = 1; i < n; i++) {
            w = vreinterpretq_s8_u8(weights[i]), x = vreinterpretq_s8_u8(activations[i]);
            low = vmlal_s8(low, vget_low_s8(w), vget_low_s8(x));
            high = vmlal_high_s8(high, w, x);
        }
        return vreinterpretq_u8_s32(vpadalq_s16(wide, vpaddq_s16(low, high)));
    }
#endif
    (void)narrow;
    RBE_UNROLL(4)
    for (uint32_t i = 0; i < n; i++) {
        wide = dot(wide, vreinterpretq_s8_u8(weights[i]), vreinterpretq_s8_u8(activations[i]));
    }
    return vreinterpretq_u8_s32(wide);
}

typedef vec tile_weights;

static inline tile_weights tile_load(const int8_t *tile, uint32_t n_lanes)
{
    (void)n_lanes;
    return vreinterpretq_u8_s8(vld1q_s8(tile));
}

static inline vec dot_start(int narrow, const int8_t *x, uint32_t n)
{
    (void)narrow, (void)x, (void)n;
    return vec_zero();
}

static inline vec tile_dot(vec sums, tile_weights weights, vec activations)
{
    return dot_step(0, 1, sums, &weights, &activations);
}

#if NARROW
#if defined(__aarch64__)
enum { NARROW_TILE_GROUPS = 4 };
#else
enum { NARROW_TILE_GROUPS = 2 }; /* 32-bit ARM has half the registers */
#endif

static inline vec narrow_tile_load(const int8_t *tile, uint32_t n_lanes)
{
    return tile_load(tile, n_lanes);
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
