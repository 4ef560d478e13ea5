/* Binary and ternary strips: 32 sums of 16 bits are looked up by one vpermw, which takes the five lowest bits of each word. */
#include "kernels/avx512/avx512.h"

#define GATHER_ROWS rbe__avx512_accumulate_rows
#include "kernels/shared/grouped.h"

enum { MOST_UNITS = RBE_STRIP_ROWS / RBE_GROUPED_ROWS };

static int32_t sum_of(const int8_t *x)
{
    return rbe__avx512_sum(x, BLOCK_BYTES);
}

/* Bytes of a word: the factors of two columns. Of index i the digits are i / 9, i / 3 % 3, i % 3; of two columns i / 3, i % 3. */
#define WORDS_32(f)                                                                                                                   \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15), f(16), f(17), f(18), f(19), \
        f(20), f(21), f(22), f(23), f(24), f(25), f(26), f(27), f(28), f(29), f(30), f(31)
#define FIRST_TWO(i) ((i) / 9 % 3 + 256 * ((i) / 3 % 3))
#define THIRD(i) ((i) % 3)
#define LAST_TWO(i) ((i) / 3 % 3 + 256 * ((i) % 3))
#define LOW_BITS(i) (2 * ((i) & 1) + 256 * ((i) & 2))
#define HIGH_BITS(i) (((i) >> 2 & 1) * 2 + 512 * ((i) >> 3 & 1))
static const int16_t first_two[32] = {WORDS_32(FIRST_TWO)}, third[32] = {WORDS_32(THIRD)}, last_two[32] = {WORDS_32(LAST_TWO)};
static const int16_t low_bits[32] = {WORDS_32(LOW_BITS)}, high_bits[32] = {WORDS_32(HIGH_BITS)};

/* Two activations in every word. */
RBE_INLINE __m512i load_pair(const int8_t *x)
{
    int16_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm512_set1_epi16(pair);
}

/* Factors are unsigned and at most 2, so that nothing saturates. */
RBE_INLINE __m512i table_of(const int16_t *factors, const int8_t *x)
{
    return _mm512_maddubs_epi16(_mm512_loadu_si512(factors), load_pair(x));
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
            first = _mm512_add_epi16(table_of(first_two, x), table_of(third, x + 2));
            second = table_of(last_two, x + 3);
            x += RBE_TERNARY_COLS;
        } else {
            first = _mm512_add_epi16(table_of(low_bits, x), table_of(high_bits, x + 2));
            second = _mm512_add_epi16(table_of(low_bits, x + 4), table_of(high_bits, x + 6));
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

static void multiply_ternary(const grouped_walk *at, const int8_t *x, int32_t start, int32_t *acc)
{
    multiply(at, 1, x, start, acc);
}

static void multiply_binary(const grouped_walk *at, const int8_t *x, int32_t start, int32_t *acc)
{
    multiply(at, 0, x, start, acc);
}

void rbe__avx512_grouped(rbe_kernels *table)
{
    table->dot_ternary = dot_ternary;
    table->dot_binary = dot_binary;
}
