/* Sixteen floats: what shared/float.h is written in. */
#ifndef RBE_KERNELS_AVX512_VECTOR_H
#define RBE_KERNELS_AVX512_VECTOR_H

#include <immintrin.h>

#include "kernels/avx512/avx512.h"

enum {
    VF = 16,
    DENSE_ROWS = 4,
    DENSE_TOKENS = 4,
    DENSE_ROWS_ALONE = 8,
    WEIGHTED_SUM_1 = 4,
    WEIGHTED_SUM_2 = 4,
    WEIGHTED_SUM_MANY = 4,
    WEIGHTED_SUM_AHEAD = 16384
};

typedef __m512 vf;

RBE_INLINE __mmask16 first_values(uint32_t n)
{
    return (__mmask16)((1u << n) - 1);
}

RBE_INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

RBE_INLINE vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}

RBE_INLINE vf vf_load(const void *p)
{
    return _mm512_loadu_ps(p);
}

RBE_INLINE vf vf_load_part(const void *p, uint32_t n)
{
    return _mm512_maskz_loadu_ps(first_values(n), p);
}

RBE_INLINE vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

RBE_INLINE vf vf_load_f16_part(const void *p, uint32_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_values(n), p));
}

RBE_INLINE vf vf_from_bf16(__m256i words)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

RBE_INLINE vf vf_load_bf16(const void *p)
{
    return vf_from_bf16(_mm256_loadu_si256(p));
}

RBE_INLINE vf vf_load_bf16_part(const void *p, uint32_t n)
{
    return vf_from_bf16(_mm256_maskz_loadu_epi16(first_values(n), p));
}

RBE_INLINE vf vf_load_i32(const int32_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}

RBE_INLINE vf vf_load_i32_part(const int32_t *p, uint32_t n)
{
    return _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(first_values(n), p));
}

RBE_INLINE void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

RBE_INLINE void vf_store_part(float *p, vf v, uint32_t n)
{
    _mm512_mask_storeu_ps(p, first_values(n), v);
}

RBE_INLINE void vf_store_f16_part(uint16_t *p, vf v, uint32_t n)
{
    _mm256_mask_storeu_epi16(p, first_values(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

RBE_INLINE void vf_store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

/* to the nearest even; |v| < 127.5 */
RBE_INLINE void vf_store_i8_part(int8_t *p, vf v, uint32_t n)
{
    _mm_mask_storeu_epi8(p, first_values(n), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

RBE_INLINE void vf_store_i8(int8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

RBE_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

RBE_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

RBE_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

RBE_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

/* to the nearest integer */
RBE_INLINE vf vf_round(vf v)
{
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^v for integers v from -126 to 127 */
RBE_INLINE vf vf_power_of_2(vf v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(v), _mm512_set1_epi32(127)), 23));
}

RBE_INLINE vf vf_fma(vf a, vf b, vf c) /* a * b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}

RBE_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

RBE_INLINE vf vf_abs(vf v)
{
    return _mm512_abs_ps(v);
}

/* The sign of value i changed where bit i is 1. */
RBE_INLINE vf vf_flip(vf v, uint32_t bits)
{
    return _mm512_mask_xor_ps(v, (__mmask16)bits, v, _mm512_set1_ps(-0.0f));
}

/* min(max(v, -limit), limit), NaN stays NaN: the instructions return their second operand where one is NaN */
RBE_INLINE vf vf_clamp(vf v, float limit)
{
    return _mm512_min_ps(_mm512_set1_ps(limit), _mm512_max_ps(_mm512_set1_ps(-limit), v));
}

/* values that are half of all apart first, then a quarter, and so on: sum_lanes of shared/float.h */
RBE_INLINE float vf_sum(vf v)
{
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

RBE_INLINE float vf_largest(vf v)
{
    return _mm512_reduce_max_ps(v);
}

/* The Walsh-Hadamard transform of the VF values, not scaled: lower half a + b, upper half a - b, at each distance. */
RBE_INLINE vf vf_hadamard(vf v)
{
    const vf minus = _mm512_set1_ps(-1.0f);
    const vf plus = _mm512_set1_ps(1.0f);
    v = vf_fma(v, _mm512_mask_mov_ps(plus, 0xaaaa, minus), _mm512_permute_ps(v, 0xb1));
    v = vf_fma(v, _mm512_mask_mov_ps(plus, 0xcccc, minus), _mm512_permute_ps(v, 0x4e));
    v = vf_fma(v, _mm512_mask_mov_ps(plus, 0xf0f0, minus), _mm512_shuffle_f32x4(v, v, 0xb1));
    return vf_fma(v, _mm512_mask_mov_ps(plus, 0xff00, minus), _mm512_shuffle_f32x4(v, v, 0x4e));
}

#endif
