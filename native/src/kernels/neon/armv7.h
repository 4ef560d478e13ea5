/* What 64-bit ARM has and 32-bit ARM (Armv7 with NEON and VFPv4) lacks, under the same names. Included after <arm_neon.h>. */
#ifndef RBE_KERNELS_NEON_ARMV7_H
#define RBE_KERNELS_NEON_ARMV7_H

#if !defined(__aarch64__)
#include <arm_neon.h>

static inline uint8x16_t vqtbl1q_u8(uint8x16_t table, uint8x16_t index)
{
    const uint8x8x2_t halves = {{vget_low_u8(table), vget_high_u8(table)}};
    return vcombine_u8(vtbl2_u8(halves, vget_low_u8(index)), vtbl2_u8(halves, vget_high_u8(index)));
}

static inline uint8x16_t vqtbl2q_u8(uint8x16x2_t table, uint8x16_t index)
{
    const uint8x8x4_t quarters = {
        {vget_low_u8(table.val[0]), vget_high_u8(table.val[0]), vget_low_u8(table.val[1]), vget_high_u8(table.val[1])}};
    return vcombine_u8(vtbl4_u8(quarters, vget_low_u8(index)), vtbl4_u8(quarters, vget_high_u8(index)));
}

static inline uint8x16_t vuzp1q_u8(uint8x16_t a, uint8x16_t b)
{
    return vuzpq_u8(a, b).val[0];
}

static inline uint8x16_t vuzp2q_u8(uint8x16_t a, uint8x16_t b)
{
    return vuzpq_u8(a, b).val[1];
}

static inline uint16x8_t vmull_high_u8(uint8x16_t a, uint8x16_t b)
{
    return vmull_u8(vget_high_u8(a), vget_high_u8(b));
}

static inline uint16x8_t vaddw_high_u8(uint16x8_t a, uint8x16_t b)
{
    return vaddw_u8(a, vget_high_u8(b));
}

static inline int16x8_t vmull_high_s8(int8x16_t a, int8x16_t b)
{
    return vmull_s8(vget_high_s8(a), vget_high_s8(b));
}

static inline int16x8_t vmlal_high_s8(int16x8_t sums, int8x16_t a, int8x16_t b)
{
    return vmlal_s8(sums, vget_high_s8(a), vget_high_s8(b));
}

static inline int16x8_t vpaddq_s16(int16x8_t a, int16x8_t b)
{
    return vcombine_s16(vpadd_s16(vget_low_s16(a), vget_high_s16(a)), vpadd_s16(vget_low_s16(b), vget_high_s16(b)));
}

/* One by one in the floating unit, whose division is IEEE's; NEON has only an estimate. */
static inline float32x4_t vdivq_f32(float32x4_t a, float32x4_t b)
{
    float x[4], y[4];
    vst1q_f32(x, a);
    vst1q_f32(y, b);
    for (int i = 0; i < 4; i++) {
        x[i] /= y[i];
    }
    return vld1q_f32(x);
}

/* To the nearest, ties to even: what adding and taking away 1.5 * 2^23 does; |v| < 2^22. */
static inline float32x4_t vrndnq_f32(float32x4_t v)
{
    const float32x4_t magic = vdupq_n_f32(12582912.0f);
    return vsubq_f32(vaddq_f32(v, magic), magic);
}

static inline int32x4_t vcvtnq_s32_f32(float32x4_t v)
{
    return vcvtq_s32_f32(vrndnq_f32(v));
}

static inline float vmaxvq_f32(float32x4_t v)
{
    const float32x2_t half = vmax_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(vpmax_f32(half, half), 0);
}
#endif

#endif
