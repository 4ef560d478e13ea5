/* What the files of the AVX-512 sets share. */
#ifndef RBE_KERNELS_AVX512_H
#define RBE_KERNELS_AVX512_H

#include <immintrin.h>

#include "kernels/kernels.h"
#include "kernels/shared/inline.h"

/* The sum of n int8 values, n % 4 == 0; nothing is read behind them. */
static inline int32_t rbe__avx512_sum(const int8_t *x, uint32_t n)
{
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t c = 0; c < n; c += 64) {
        const __mmask16 words = (__mmask16)(n - c < 64 ? (1u << (n - c) / 4) - 1 : 0xffff);
        sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), _mm512_maskz_loadu_epi32(words, x + c));
    }
    return _mm512_reduce_add_epi32(sum);
}

/* Each file's part of the sets. */
void rbe__avx512_trellis(rbe_kernels *table);
void rbe__avx512_float(rbe_kernels *table);
void rbe__avx512_grouped(rbe_kernels *table);
rbe_accumulate_rows_kernel rbe__avx512_accumulate_rows; /* that of the floats, for the grouped dot */
void rbe__avx512_multiply_tile(rbe_kernels *table);
rbe_checksum_kernel rbe__avx512_checksum_vbmi; /* VPCLMULQDQ */

#endif
