/* IEEE half precision and bfloat16, one value at a time: the scalar kernels and the tails of the others. */
#ifndef RBE_KERNELS_HALF_H
#define RBE_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline float rbe__float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t rbe__bits_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float rbe__from_bf16(uint16_t bits)
{
    return rbe__float_from_bits((uint32_t)bits << 16);
}

static inline float rbe__from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 0x3ffu;
    if (exponent == 31) {
        return rbe__float_from_bits(sign | 0x7f800000u | fraction << 13);
    }
    if (exponent == 0) { /* zero and subnormal: fraction * 2^-24, exact */
        const float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return rbe__float_from_bits(sign | (exponent + 112u) << 23 | fraction << 13);
}

/* Nearest even, saturating to +-65504; NaN stays NaN. */
static inline uint16_t rbe__to_half(float value)
{
    const uint32_t bits = rbe__bits_from_float(value), magnitude = bits & 0x7fffffffu;
    const uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t half;
    if (magnitude > 0x7f800000u) {
        half = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    } else if (magnitude >= 0x477fe000u) { /* 65504 and above */
        half = 0x7bffu;
    } else if (magnitude >= 0x38800000u) { /* 2^-14: the smallest normal half */
        const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
        half = (rounded - 0x38000000u) >> 13;
    } else { /* subnormal: adding 1/2 leaves multiples of 2^-24 in the last bits, rounded by the addition */
        half = rbe__bits_from_float(rbe__float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
    }
    return (uint16_t)(sign | half);
}

#endif
