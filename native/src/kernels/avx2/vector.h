/* Eight floats: what shared/float.h is written in. */
#ifndef RBE_KERNELS_AVX2_VECTOR_H
#define RBE_KERNELS_AVX2_VECTOR_H

#include <immintrin.h>
#include <string.h>

#include "kernels/shared/inline.h"

enum {
    VF = 8,
    DENSE_ROWS = 3,
    DENSE_TOKENS = 2,
    DENSE_ROWS_ALONE = 4,
    WEIGHTED_SUM_1 = 8,
    WEIGHTED_SUM_2 = 4,
    WEIGHTED_SUM_MANY = 2,
    WEIGHTED_SUM_AHEAD = 16384
};

typedef __m256 vf;

RBE_INLINE __m256i first_words(uint32_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

RBE_INLINE vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

RBE_INLINE vf vf_set1(float x)
{
    return _mm256_set1_ps(x);
}

RBE_INLINE vf vf_load(const void *p)
{
    return _mm256_loadu_ps(p);
}

RBE_INLINE vf vf_load_part(const void *p, uint32_t n)
{
    return _mm256_maskload_ps(p, first_words(n));
}

RBE_INLINE vf vf_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(p));
}

RBE_INLINE __m128i load_part_16(const void *p, uint32_t n)
{
    __m128i words = _mm_setzero_si128();
    memcpy(&words, p, 2 * n);
    return words;
}

RBE_INLINE vf vf_load_f16_part(const void *p, uint32_t n)
{
    return _mm256_cvtph_ps(load_part_16(p, n));
}

RBE_INLINE vf vf_from_bf16(__m128i words)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
}

RBE_INLINE vf vf_load_bf16(const void *p)
{
    return vf_from_bf16(_mm_loadu_si128(p));
}

RBE_INLINE vf vf_load_bf16_part(const void *p, uint32_t n)
{
    return vf_from_bf16(load_part_16(p, n));
}

RBE_INLINE vf vf_load_i32(const int32_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)p));
}

RBE_INLINE vf vf_load_i32_part(const int32_t *p, uint32_t n)
{
    return _mm256_cvtepi32_ps(_mm256_maskload_epi32(p, first_words(n)));
}

RBE_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

RBE_INLINE void vf_store_part(float *p, vf v, uint32_t n)
{
    _mm256_maskstore_ps(p, first_words(n), v);
}

RBE_INLINE void vf_store_f16_part(uint16_t *p, vf v, uint32_t n)
{
    const __m128i words = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
    memcpy(p, &words, 2 * n);
}

RBE_INLINE void vf_store_f16(uint16_t *p, vf v)
{
    vf_store_f16_part(p, v, VF);
}

/* to the nearest even; |v| < 127.5 */
RBE_INLINE void vf_store_i8_part(int8_t *p, vf v, uint32_t n)
{
    const __m256i words = _mm256_cvtps_epi32(v);
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i bytes = _mm_packs_epi16(halves, halves);
    memcpy(p, &bytes, n);
}

RBE_INLINE void vf_store_i8(int8_t *p, vf v)
{
    vf_store_i8_part(p, v, VF);
}

RBE_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

RBE_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

RBE_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

RBE_INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

/* to the nearest integer */
RBE_INLINE vf vf_round(vf v)
{
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* 2^v for integers v from -126 to 127 */
RBE_INLINE vf vf_power_of_2(vf v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(v), _mm256_set1_epi32(127)), 23));
}

RBE_INLINE vf vf_fma(vf a, vf b, vf c) /* a * b + c */
{
    return _mm256_fmadd_ps(a, b, c);
}

RBE_INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

RBE_INLINE vf vf_abs(vf v)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}

/* The sign of value i changed where bit i is 1. */
RBE_INLINE vf vf_flip(vf v, uint32_t bits)
{
    const __m256i shifts = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    const __m256i signs = _mm256_and_si256(_mm256_sllv_epi32(_mm256_set1_epi32((int)bits), shifts), _mm256_set1_epi32(INT32_MIN));
    return _mm256_xor_ps(v, _mm256_castsi256_ps(signs));
}

/* min(max(v, -limit), limit), NaN stays NaN: the instructions return their second operand where one is NaN */
RBE_INLINE vf vf_clamp(vf v, float limit)
{
    return _mm256_min_ps(_mm256_set1_ps(limit), _mm256_max_ps(_mm256_set1_ps(-limit), v));
}

/* values that are half of all apart first, then a quarter, and so on: sum_lanes of shared/float.h */
RBE_INLINE float vf_sum(vf v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

RBE_INLINE float vf_largest(vf v)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* The Walsh-Hadamard transform of the VF values, not scaled: lower half a + b, upper half a - b, at each distance. */
RBE_INLINE vf vf_hadamard(vf v)
{
    v = vf_fma(v, _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1), _mm256_permute_ps(v, 0xb1));
    v = vf_fma(v, _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1), _mm256_permute_ps(v, 0x4e));
    return vf_fma(v, _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1), _mm256_permute2f128_ps(v, v, 1));
}

#endif
