/* A vector of RBE_VECTOR_LANES int16 for the Viterbi sweeps: 8 anywhere, 16 with AVX2, 32 with AVX-512BW. What the
 * language's own vector operators lack is named here; every variant gives the same integers. */
#ifndef RBE_KERNELS_SHARED_INT16_VECTOR_H
#define RBE_KERNELS_SHARED_INT16_VECTOR_H

#include <stdint.h>

#if defined(__AVX512BW__)
#include <immintrin.h>
#define RBE_VECTOR_LANES 32
#elif defined(__AVX2__)
#include <immintrin.h>
#define RBE_VECTOR_LANES 16
#else
#define RBE_VECTOR_LANES 8
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#endif

typedef int16_t rbe_vector __attribute__((vector_size(2 * RBE_VECTOR_LANES)));

static inline rbe_vector vector_load(const int16_t *from)
{
    rbe_vector v;
    __builtin_memcpy(&v, from, sizeof v);
    return v;
}

static inline void vector_store(int16_t *to, rbe_vector v)
{
    __builtin_memcpy(to, &v, sizeof v);
}

static inline rbe_vector vector_of(int16_t value)
{
    return value - (rbe_vector){0};
}

static inline rbe_vector vector_min(rbe_vector a, rbe_vector b)
{
#if defined(__AVX512BW__)
    return (rbe_vector)_mm512_min_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (rbe_vector)_mm256_min_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (rbe_vector)_mm_min_epi16((__m128i)a, (__m128i)b);
#elif defined(__ARM_NEON)
    return (rbe_vector)vminq_s16((int16x8_t)a, (int16x8_t)b);
#else
    rbe_vector less = a < b;
    return (a & less) | (b & ~less);
#endif
}

static inline rbe_vector vector_abs(rbe_vector a)
{
#if defined(__AVX512BW__)
    return (rbe_vector)_mm512_abs_epi16((__m512i)a);
#elif defined(__AVX2__)
    return (rbe_vector)_mm256_abs_epi16((__m256i)a);
#elif defined(__SSE2__)
    return (rbe_vector)_mm_max_epi16((__m128i)a, (__m128i)-a);
#elif defined(__ARM_NEON)
    return (rbe_vector)vabsq_s16((int16x8_t)a);
#else
    rbe_vector sign = a < 0;
    return (a ^ sign) - sign;
#endif
}

/* floor(a a / 2^16) */
static inline rbe_vector vector_square_high(rbe_vector a)
{
#if defined(__AVX512BW__)
    return (rbe_vector)_mm512_mulhi_epi16((__m512i)a, (__m512i)a);
#elif defined(__AVX2__)
    return (rbe_vector)_mm256_mulhi_epi16((__m256i)a, (__m256i)a);
#elif defined(__SSE2__)
    return (rbe_vector)_mm_mulhi_epi16((__m128i)a, (__m128i)a);
#elif defined(__ARM_NEON)
    return (rbe_vector)vshrq_n_s16(vqdmulhq_s16((int16x8_t)a, (int16x8_t)a), 1);
#else
    rbe_vector high;
    for (int i = 0; i < RBE_VECTOR_LANES; i++) {
        high[i] = (int16_t)((int32_t)a[i] * a[i] >> 16);
    }
    return high;
#endif
}

#endif
