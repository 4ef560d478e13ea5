/* What the files of the AVX2 set share. */
#ifndef RBE_KERNELS_AVX2_H
#define RBE_KERNELS_AVX2_H

#include <immintrin.h>

#include "kernels/kernels.h"

/* sums[int32 x 8] += weights . x, four int8 each, within +-127; magnitudes: |weights|. vpmaddubsw wants one unsigned operand and saturates at
 * int16, so |w| takes the place of w and its sign goes to x: |w| x' + |w| x' <= 2 * 127 * 127 = 32258 fits. */
static inline __m256i rbe__avx2_dot(__m256i sums, __m256i weights, __m256i magnitudes, __m256i x)
{
    const __m256i pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(x, weights));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Each file's part of the set. */
void rbe__avx2_integer(rbe_kernels *table);
void rbe__avx2_float(rbe_kernels *table);

#endif
