/* Binary and ternary strips: 32 sums of 16 bits are looked up by one vpermw, which takes the five lowest bits of each word. */
#include "kernels/avx512/avx512.h"

#define GATHER_ROWS rbe__avx512_accumulate_rows
#include "kernels/avx2/grouped_factors.h"

enum { MOST_UNITS = RBE_STRIP_ROWS / RBE_GROUPED_ROWS };

static int32_t sum_of(const int8_t *x)
{
    return rbe__avx512_sum(x, BLOCK_BYTES);
}

RBE_INLINE __m512i table_of(const grouped_factors *factors, const int8_t *x)
{
    return _mm512_maddubs_epi16(_mm512_loadu_si512(factors), _mm512_set1_epi16(pair_of(x)));
}

/* The sums of even and of odd rows of a unit, in the order of the rows. */
RBE_INLINE void store_unit(int32_t *acc, __m512i even, __m512i odd)
{
    const __m512i low = _mm512_unpacklo_epi16(even, odd), high = _mm512_unpackhi_epi16(even, odd);
    /* lane k of low has rows 16 k .. 16 k + 7, of high those behind them */
    for (int k = 0; k < 4; k++) {
        const __m512i lane = _mm512_set1_epi64(2 * k);
        const __m512i of_row = _mm512_add_epi64(lane, _mm512_setr_epi64(0, 1, 8, 9, 0, 1, 8, 9));
        const __m512i rows = _mm512_permutex2var_epi64(low, of_row, high);
        _mm512_storeu_si512(acc + 16 * k, _mm512_cvtepi16_epi32(_mm512_castsi512_si256(rows)));
    }
}

/* 1 to 4 units, a constant: their sums stay in registers. */
RBE_INLINE void multiply_units(const grouped_walk *at, uint32_t n_units, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
{
    __m512i even[MOST_UNITS], odd[MOST_UNITS];
    const __m512i low27 = _mm512_set1_epi16(27), high27 = _mm512_set1_epi16(27 << 8), low9 = _mm512_set1_epi16(9);
    const uint8_t *codes = at->codes;
    RBE_UNROLL(4)
    for (uint32_t u = 0; u < n_units; u++) {
        even[u] = odd[u] = _mm512_set1_epi16((int16_t)start);
    }
    for (uint32_t c = 0; c < at->n_codes; c++) {
        __m512i first, second;
        if (is_ternary) {
            first = _mm512_add_epi16(table_of(&first_two, x), table_of(&third, x + 2));
            second = table_of(&last_two, x + 3);
            x += RBE_TERNARY_COLS;
        } else {
            first = _mm512_add_epi16(table_of(&low_bits, x), table_of(&high_bits, x + 2));
            second = _mm512_add_epi16(table_of(&low_bits, x + 4), table_of(&high_bits, x + 6));
            x += RBE_BINARY_COLS;
        }
        prefetch_ahead(codes, (size_t)RBE_GROUPED_ROWS * n_units);
        RBE_UNROLL(4)
        for (uint32_t u = 0; u < n_units; u++) {
            const __m512i bytes = _mm512_loadu_si512(codes + (size_t)RBE_GROUPED_ROWS * u);
            __m512i even1 = bytes, even2, odd1, odd2;
            if (is_ternary) {
                const __m512i of_even = _mm512_maddubs_epi16(bytes, low27), of_odd = _mm512_maddubs_epi16(bytes, high27);
                even1 = _mm512_srli_epi16(of_even, 8);
                odd1 = _mm512_srli_epi16(of_odd, 8);
                even2 = _mm512_srli_epi16(_mm512_maddubs_epi16(of_even, low9), 8);
                odd2 = _mm512_srli_epi16(_mm512_maddubs_epi16(of_odd, low9), 8);
            } else { /* bit 4 is of the next four, and the tables do not ask for it */
                even2 = _mm512_srli_epi16(bytes, 4);
                odd1 = _mm512_srli_epi16(bytes, 8);
                odd2 = _mm512_srli_epi16(bytes, 12);
            }
            even[u] = _mm512_add_epi16(even[u], _mm512_permutexvar_epi16(even1, first));
            odd[u] = _mm512_add_epi16(odd[u], _mm512_permutexvar_epi16(odd1, first));
            even[u] = _mm512_add_epi16(even[u], _mm512_permutexvar_epi16(even2, second));
            odd[u] = _mm512_add_epi16(odd[u], _mm512_permutexvar_epi16(odd2, second));
        }
        codes += (size_t)RBE_GROUPED_ROWS * n_units;
    }
    RBE_UNROLL(4)
    for (uint32_t u = 0; u < n_units; u++) {
        store_unit(acc + (size_t)RBE_GROUPED_ROWS * u, even[u], odd[u]);
    }
}

RBE_INLINE void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
{
    switch (at->strip->n_units) {
    case 1: multiply_units(at, 1, is_ternary, x, start, acc); break;
    case 2: multiply_units(at, 2, is_ternary, x, start, acc); break;
    case 3: multiply_units(at, 3, is_ternary, x, start, acc); break;
    default: multiply_units(at, 4, is_ternary, x, start, acc);
    }
}

void rbe__avx512_grouped(rbe_kernels *table)
{
    table->dot_ternary = dot_ternary;
    table->dot_binary = dot_binary;
}
