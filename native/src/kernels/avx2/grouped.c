/* Binary and ternary strips: sums are looked up byte by byte, the low bytes and the high ones in tables of their own. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

#define GATHER_ROWS rbe__avx2_accumulate_rows
#include "kernels/avx2/grouped_factors.h"

enum { VECTOR_ROWS = 32, TABLE = 16, PREFETCHES = 1 };

typedef __m256i vec;

static int32_t sum_of(const int8_t *x)
{
    __m256i sum = _mm256_setzero_si256();
    for (uint32_t c = 0; c < BLOCK_BYTES; c += 32) {
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const __m256i *)(x + c)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    int32_t lanes[8], total = 0;
    _mm256_storeu_si256((__m256i *)lanes, sum);
    for (int i = 0; i < 8; i++) {
        total += lanes[i];
    }
    return total;
}

/* Indices 16 half .. 16 half + 15 times two activations. */
RBE_INLINE __m256i sums_of(const grouped_factors *factors, uint32_t half, const int8_t *x)
{
    return _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)factors->of[16 * half]), _mm256_set1_epi16(pair_of(x)));
}

/* out: the words of a and then those of b, 0 to 255, as bytes. */
RBE_INLINE void store_bytes(__m256i a, __m256i b, uint8_t *out)
{
    _mm256_storeu_si256((__m256i *)out, _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xD8));
}

RBE_INLINE __m256i low_bytes(__m256i words)
{
    return _mm256_and_si256(words, _mm256_set1_epi16(255));
}

/* Of 16 sums: TABLE low bytes, TABLE high ones. */
RBE_INLINE void store_table(__m256i sums, uint8_t *out)
{
    store_bytes(low_bytes(sums), _mm256_srli_epi16(sums, 8), out);
}

static void make_ternary(const int8_t *x, uint8_t *out)
{
    const __m256i a = _mm256_add_epi16(sums_of(&first_two, 0, x), sums_of(&third, 0, x + 2));
    const __m256i b = _mm256_add_epi16(sums_of(&first_two, 1, x), sums_of(&third, 1, x + 2));
    store_bytes(low_bytes(a), low_bytes(b), out);
    store_bytes(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8), out + 2 * TABLE);
    store_table(sums_of(&last_two, 0, x + 3), out + 4 * TABLE);
}

static void make_binary(const int8_t *x, uint8_t *out)
{
    store_table(_mm256_add_epi16(sums_of(&low_bits, 0, x), sums_of(&high_bits, 0, x + 2)), out);
    store_table(_mm256_add_epi16(sums_of(&low_bits, 0, x + 4), sums_of(&high_bits, 0, x + 6)), out + 2 * TABLE);
}

RBE_INLINE __m256i load_table(const uint8_t *tables, uint32_t index)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(tables + TABLE * index)));
}

/* Sums of 32 rows: of the low bytes, as words of two rows and those of the odd rows alone; of the high bytes, which need no more than 8 bits. */
typedef struct row_sums {
    __m256i words, odd, high;
} row_sums;

RBE_INLINE void add_bytes(row_sums *sums, __m256i low, __m256i high)
{
    sums->words = _mm256_add_epi16(sums->words, low);
    sums->odd = _mm256_add_epi16(sums->odd, _mm256_srli_epi16(low, 8));
    sums->high = _mm256_add_epi8(sums->high, high);
}

RBE_INLINE void add_ternary(row_sums *sums, __m256i bytes, const uint8_t *tables)
{
    const __m256i low27 = _mm256_set1_epi16(27), high27 = _mm256_set1_epi16(27 << 8), low9 = _mm256_set1_epi16(9);
    const __m256i of_high = _mm256_set1_epi16((int16_t)0xff00);
    const __m256i even = _mm256_maddubs_epi16(bytes, low27), odd = _mm256_maddubs_epi16(bytes, high27);
    const __m256i three = _mm256_or_si256(_mm256_srli_epi16(even, 8), _mm256_and_si256(odd, of_high));
    const __m256i rest_even = _mm256_maddubs_epi16(even, low9), rest_odd = _mm256_maddubs_epi16(odd, low9);
    const __m256i two = _mm256_or_si256(_mm256_srli_epi16(rest_even, 8), _mm256_and_si256(rest_odd, of_high));
    /* an index with its highest bit set gives 0: those of 16 and more in the first table, those below in the second */
    const __m256i below = _mm256_adds_epu8(three, _mm256_set1_epi8(112)), above = _mm256_sub_epi8(three, _mm256_set1_epi8(16));
    add_bytes(sums, _mm256_or_si256(_mm256_shuffle_epi8(load_table(tables, 0), below), _mm256_shuffle_epi8(load_table(tables, 1), above)),
              _mm256_or_si256(_mm256_shuffle_epi8(load_table(tables, 2), below), _mm256_shuffle_epi8(load_table(tables, 3), above)));
    add_bytes(sums, _mm256_shuffle_epi8(load_table(tables, 4), two), _mm256_shuffle_epi8(load_table(tables, 5), two));
}

RBE_INLINE void add_binary(row_sums *sums, __m256i bytes, const uint8_t *tables)
{
    const __m256i mask = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(bytes, mask), high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), mask);
    add_bytes(sums, _mm256_shuffle_epi8(load_table(tables, 0), low), _mm256_shuffle_epi8(load_table(tables, 1), low));
    add_bytes(sums, _mm256_shuffle_epi8(load_table(tables, 2), high), _mm256_shuffle_epi8(load_table(tables, 3), high));
}

static void store_rows(int32_t *acc, const row_sums *sums, int32_t start)
{
    const __m256i begin = _mm256_set1_epi16((int16_t)start);
    __m256i even = _mm256_sub_epi16(sums->words, _mm256_slli_epi16(sums->odd, 8));
    even = _mm256_add_epi16(_mm256_add_epi16(even, begin), _mm256_slli_epi16(sums->high, 8));
    const __m256i odd = _mm256_add_epi16(_mm256_add_epi16(sums->odd, begin), _mm256_andnot_si256(_mm256_set1_epi16(255), sums->high));
    /* lane k of low has rows 16 k .. 16 k + 7, of high those behind them */
    const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
    __m256i *out = (__m256i *)acc;
    _mm256_storeu_si256(out, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(low)));
    _mm256_storeu_si256(out + 1, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(high)));
    _mm256_storeu_si256(out + 2, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(low, 1)));
    _mm256_storeu_si256(out + 3, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(high, 1)));
}

RBE_INLINE vec load_codes(const uint8_t *codes)
{
    return _mm256_loadu_si256((const __m256i *)codes);
}

RBE_INLINE row_sums sums_start(void)
{
    return (row_sums){_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
}

#include "kernels/shared/grouped_bytes.h"

void rbe__avx2_grouped(rbe_kernels *table)
{
    table->dot_ternary = dot_ternary;
    table->dot_binary = dot_binary;
}
