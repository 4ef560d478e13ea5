/* Binary and ternary strips: sums are looked up byte by byte, the low bytes and the high ones in tables of their own. */
#include <immintrin.h>

#include "kernels/avx2/avx2.h"

#define GATHER_ROWS rbe__avx2_accumulate_rows
#include "kernels/shared/grouped.h"

enum { VECTORS = 2, TABLE = 16, MOST_TABLES = 6 }; /* of 32 rows in a unit; bytes of a table */

/* Word i: the factors of two columns in index i, of 32 (kernels/shared/grouped.h). */
typedef struct factors {
    uint8_t of[32][2];
} factors;

#define PAIRS_32(f)                                                                                                                   \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15), f(16), f(17), f(18), f(19), \
        f(20), f(21), f(22), f(23), f(24), f(25), f(26), f(27), f(28), f(29), f(30), f(31)
#define FIRST_TWO(i) {(i) / 9 % 3, (i) / 3 % 3}
#define THIRD(i) {(i) % 3, 0}
#define LAST_TWO(i) {(i) / 3 % 3, (i) % 3}
#define LOW_BITS(i) {2 * ((i) & 1), (i) & 2}
#define HIGH_BITS(i) {2 * ((i) >> 2 & 1), 2 * ((i) >> 3 & 1)}
static const factors first_two = {{PAIRS_32(FIRST_TWO)}}, third = {{PAIRS_32(THIRD)}}, last_two = {{PAIRS_32(LAST_TWO)}};
static const factors low_bits = {{PAIRS_32(LOW_BITS)}}, high_bits = {{PAIRS_32(HIGH_BITS)}};

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
RBE_INLINE __m256i sums_of(const factors *of, uint32_t half, const int8_t *x)
{
    int16_t pair;
    memcpy(&pair, x, sizeof pair);
    return _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)of->of[16 * half]), _mm256_set1_epi16(pair));
}

/* out: the low bytes of a and then of b, or, where b is a itself, its low and then its high bytes. */
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

RBE_INLINE void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
{
    uint8_t tables[MOST_CODES * MOST_TABLES * TABLE];
    const uint32_t of_code = (is_ternary ? 6u : 4u) * TABLE;
    for (uint32_t c = 0; c < at->n_codes; c++) {
        if (is_ternary) {
            make_ternary(x + (size_t)RBE_TERNARY_COLS * c, tables + (size_t)of_code * c);
        } else {
            make_binary(x + (size_t)RBE_BINARY_COLS * c, tables + (size_t)of_code * c);
        }
    }
    for (uint32_t first = 0; first < at->rows; first += RBE_GROUPED_ROWS) {
        const __m256i zero = _mm256_setzero_si256();
        row_sums sums[VECTORS] = {{zero, zero, zero}, {zero, zero, zero}};
        const uint8_t *codes = at->codes + first;
        for (uint32_t c = 0; c < at->n_codes; c++, codes += at->rows) {
            prefetch_ahead(codes, 1);
            RBE_UNROLL(2)
            for (uint32_t v = 0; v < VECTORS; v++) {
                const __m256i bytes = _mm256_loadu_si256((const __m256i *)codes + v);
                if (is_ternary) {
                    add_ternary(&sums[v], bytes, tables + (size_t)of_code * c);
                } else {
                    add_binary(&sums[v], bytes, tables + (size_t)of_code * c);
                }
            }
        }
        store_rows(acc + first, &sums[0], start);
        store_rows(acc + first + 32, &sums[1], start);
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

void rbe__avx2_grouped(rbe_kernels *table)
{
    table->dot_ternary = dot_ternary;
    table->dot_binary = dot_binary;
}
