/* Four floats: what shared/float.h is written in. */
#ifndef RBE_KERNELS_NEON_VECTOR_H
#define RBE_KERNELS_NEON_VECTOR_H

#include <arm_neon.h>
#include <string.h>

#include "kernels/neon/armv7.h"
#include "kernels/shared/inline.h"

enum {
    VF = 4,
    DENSE_ROWS = 2,
    DENSE_TOKENS = 2,
    DENSE_ROWS_ALONE = 2,
    WEIGHTED_SUM_1 = 8,
    WEIGHTED_SUM_2 = 8,
    WEIGHTED_SUM_MANY = 4,
    WEIGHTED_SUM_AHEAD = 0
};

typedef float32x4_t vf;

RBE_INLINE vf vf_zero(void)
{
    return vdupq_n_f32(0);
}

RBE_INLINE vf vf_set1(float x)
{
    return vdupq_n_f32(x);
}

RBE_INLINE vf vf_load(const void *p)
{
    return vreinterpretq_f32_u8(vld1q_u8(p));
}

RBE_INLINE vf vf_load_part(const void *p, uint32_t n)
{
    uint8_t bytes[16] = {0};
    memcpy(bytes, p, 4 * n);
    return vf_load(bytes);
}

RBE_INLINE vf vf_load_f16(const void *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p)));
}

RBE_INLINE vf vf_load_f16_part(const void *p, uint32_t n)
{
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, 2 * n);
    return vf_load_f16(bytes);
}

RBE_INLINE vf vf_load_bf16(const void *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(p)), 16));
}

RBE_INLINE vf vf_load_bf16_part(const void *p, uint32_t n)
{
    uint8_t bytes[8] = {0};
    memcpy(bytes, p, 2 * n);
    return vf_load_bf16(bytes);
}

RBE_INLINE vf vf_load_i32(const int32_t *p)
{
    return vcvtq_f32_s32(vld1q_s32(p));
}

RBE_INLINE vf vf_load_i32_part(const int32_t *p, uint32_t n)
{
    int32_t words[4] = {0};
    memcpy(words, p, 4 * n);
    return vf_load_i32(words);
}

RBE_INLINE void vf_store(float *p, vf v)
{
    vst1q_f32(p, v);
}

RBE_INLINE void vf_store_part(float *p, vf v, uint32_t n)
{
    memcpy(p, &v, 4 * n);
}

RBE_INLINE void vf_store_f16_part(uint16_t *p, vf v, uint32_t n)
{
    const uint16x4_t words = vreinterpret_u16_f16(vcvt_f16_f32(v));
    memcpy(p, &words, 2 * n);
}

RBE_INLINE void vf_store_f16(uint16_t *p, vf v)
{
    vf_store_f16_part(p, v, VF);
}

/* to the nearest even; |v| < 127.5 */
RBE_INLINE void vf_store_i8_part(int8_t *p, vf v, uint32_t n)
{
    const int16x4_t halves = vmovn_s32(vcvtnq_s32_f32(v));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
    memcpy(p, &bytes, n);
}

RBE_INLINE void vf_store_i8(int8_t *p, vf v)
{
    vf_store_i8_part(p, v, VF);
}

RBE_INLINE vf vf_add(vf a, vf b)
{
    return vaddq_f32(a, b);
}

RBE_INLINE vf vf_sub(vf a, vf b)
{
    return vsubq_f32(a, b);
}

RBE_INLINE vf vf_mul(vf a, vf b)
{
    return vmulq_f32(a, b);
}

RBE_INLINE vf vf_div(vf a, vf b)
{
    return vdivq_f32(a, b);
}

/* to the nearest integer */
RBE_INLINE vf vf_round(vf v)
{
    return vrndnq_f32(v);
}

/* 2^v for integers v from -126 to 127 */
RBE_INLINE vf vf_power_of_2(vf v)
{
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(127)), 23));
}

RBE_INLINE vf vf_fma(vf a, vf b, vf c) /* a * b + c */
{
    return vfmaq_f32(c, a, b);
}

RBE_INLINE vf vf_max(vf a, vf b)
{
    return vmaxq_f32(a, b);
}

RBE_INLINE vf vf_abs(vf v)
{
    return vabsq_f32(v);
}

/* The sign of value i changed where bit i is 1. */
RBE_INLINE vf vf_flip(vf v, uint32_t bits)
{
    static const int32_t shifts[4] = {31, 30, 29, 28};
    const uint32x4_t signs = vandq_u32(vshlq_u32(vdupq_n_u32(bits), vld1q_s32(shifts)), vdupq_n_u32(0x80000000u));
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), signs));
}

/* min(max(v, -limit), limit), NaN stays NaN */
RBE_INLINE vf vf_clamp(vf v, float limit)
{
    return vminq_f32(vmaxq_f32(v, vdupq_n_f32(-limit)), vdupq_n_f32(limit));
}

/* values that are half of all apart first, then a quarter, and so on: sum_lanes of shared/float.h */
RBE_INLINE float vf_sum(vf v)
{
    const float32x2_t half = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(vpadd_f32(half, half), 0);
}

RBE_INLINE float vf_largest(vf v)
{
    return vmaxvq_f32(v);
}

/* The Walsh-Hadamard transform of the VF values, not scaled: lower half a + b, upper half a - b, at each distance. */
RBE_INLINE vf vf_hadamard(vf v)
{
    static const float alternating[4] = {1, -1, 1, -1}, halves[4] = {1, 1, -1, -1};
    v = vf_fma(v, vld1q_f32(alternating), vrev64q_f32(v));
    return vf_fma(v, vld1q_f32(halves), vextq_f32(v, v, 2));
}

#endif
