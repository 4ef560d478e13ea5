/* Binary and ternary strips: sums are looked up byte by byte, the low bytes and the high ones in tables of their own. There is no dot
 * product in this, so that all NEON sets have the same. */
#include <arm_neon.h>

#include "kernels/neon/armv7.h"
#include "kernels/neon/neon.h"

#define GATHER_ROWS rbe__neon_accumulate_rows
#include "kernels/shared/grouped.h"

enum { VECTOR_ROWS = 16, TABLE = 16, PREFETCHES = 0 /* unmeasured */ };

typedef uint8x16_t vec;

#define DIGIT_9(i) ((i) / 9 % 3)
#define DIGIT_3(i) ((i) / 3 % 3)
#define DIGIT_1(i) ((i) % 3)
#define BIT_1(i) (2 * ((i) & 1))
#define BIT_2(i) ((i) & 2)
#define BIT_4(i) (2 * ((i) >> 2 & 1))
#define BIT_8(i) (2 * ((i) >> 3 & 1))
/* By column, the factor in each index. */
static const int16_t three_digits[3][32] = {{INDICES_32(DIGIT_9)}, {INDICES_32(DIGIT_3)}, {INDICES_32(DIGIT_1)}};
static const int16_t four_bits[4][32] = {{INDICES_32(BIT_1)}, {INDICES_32(BIT_2)}, {INDICES_32(BIT_4)}, {INDICES_32(BIT_8)}};

static int32_t sum_of(const int8_t *x)
{
    int32x4_t sums = vdupq_n_s32(0);
    for (uint32_t c = 0; c < BLOCK_BYTES; c += 16) {
        sums = vpadalq_s16(sums, vpaddlq_s8(vld1q_s8(x + c)));
    }
    int32_t lanes[4];
    vst1q_s32(lanes, sums);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

/* Of the 16 indices from `first` on: low[16] and high[16], the bytes of the sums over n columns. */
RBE_INLINE void make_table(const int16_t (*factors)[32], uint32_t n, uint32_t first, const int8_t *x, uint8_t *low, uint8_t *high)
{
    int16x8_t a = vdupq_n_s16(0), b = a;
    for (uint32_t i = 0; i < n; i++) {
        a = vmlaq_n_s16(a, vld1q_s16(factors[i] + first), x[i]);
        b = vmlaq_n_s16(b, vld1q_s16(factors[i] + first + 8), x[i]);
    }
    vst1q_u8(low, vuzp1q_u8(vreinterpretq_u8_s16(a), vreinterpretq_u8_s16(b)));
    vst1q_u8(high, vuzp2q_u8(vreinterpretq_u8_s16(a), vreinterpretq_u8_s16(b)));
}

static void make_ternary(const int8_t *x, uint8_t *out)
{
    make_table(three_digits, 3, 0, x, out, out + 2 * TABLE);
    make_table(three_digits, 3, 16, x, out + TABLE, out + 3 * TABLE);
    make_table(three_digits + 1, 2, 0, x + 3, out + 4 * TABLE, out + 5 * TABLE);
}

static void make_binary(const int8_t *x, uint8_t *out)
{
    make_table(four_bits, 4, 0, x, out, out + TABLE);
    make_table(four_bits, 4, 0, x + 4, out + 2 * TABLE, out + 3 * TABLE);
}

/* Sums of 16 rows: of the low bytes, and of the high ones, which need no more than 8 bits. */
typedef struct row_sums {
    uint16x8_t first, second;
    uint8x16_t high;
} row_sums;

RBE_INLINE void add_bytes(row_sums *sums, uint8x16_t low, uint8x16_t high)
{
    sums->first = vaddw_u8(sums->first, vget_low_u8(low));
    sums->second = vaddw_high_u8(sums->second, low);
    sums->high = vaddq_u8(sums->high, high);
}

/* bytes times a factor: the high bytes of the products, and the low ones. */
RBE_INLINE uint8x16_t times(uint8x16_t bytes, uint8_t factor, uint8x16_t *rest)
{
    const uint8x16_t factors = vdupq_n_u8(factor);
    const uint8x16_t first = vreinterpretq_u8_u16(vmull_u8(vget_low_u8(bytes), vget_low_u8(factors)));
    const uint8x16_t second = vreinterpretq_u8_u16(vmull_high_u8(bytes, factors));
    *rest = vuzp1q_u8(first, second);
    return vuzp2q_u8(first, second);
}

RBE_INLINE uint8x16x2_t load_two(const uint8_t *tables)
{
    return (uint8x16x2_t){{vld1q_u8(tables), vld1q_u8(tables + TABLE)}};
}

RBE_INLINE void add_ternary(row_sums *sums, uint8x16_t bytes, const uint8_t *tables)
{
    uint8x16_t rest, unused;
    const uint8x16_t three = times(bytes, 27, &rest), two = times(rest, 9, &unused);
    add_bytes(sums, vqtbl2q_u8(load_two(tables), three), vqtbl2q_u8(load_two(tables + 2 * TABLE), three));
    add_bytes(sums, vqtbl1q_u8(vld1q_u8(tables + 4 * TABLE), two), vqtbl1q_u8(vld1q_u8(tables + 5 * TABLE), two));
}

RBE_INLINE void add_binary(row_sums *sums, uint8x16_t bytes, const uint8_t *tables)
{
    const uint8x16_t low = vandq_u8(bytes, vdupq_n_u8(15)), high = vshrq_n_u8(bytes, 4);
    add_bytes(sums, vqtbl1q_u8(vld1q_u8(tables), low), vqtbl1q_u8(vld1q_u8(tables + TABLE), low));
    add_bytes(sums, vqtbl1q_u8(vld1q_u8(tables + 2 * TABLE), high), vqtbl1q_u8(vld1q_u8(tables + 3 * TABLE), high));
}

RBE_INLINE void store_words(int32_t *acc, uint16x8_t words)
{
    const int16x8_t sums = vreinterpretq_s16_u16(words);
    vst1q_s32(acc, vmovl_s16(vget_low_s16(sums)));
    vst1q_s32(acc + 4, vmovl_s16(vget_high_s16(sums)));
}

static void store_rows(int32_t *acc, const row_sums *sums, int32_t start)
{
    const uint16x8_t begin = vdupq_n_u16((uint16_t)start);
    const uint16x8_t first = vshll_n_u8(vget_low_u8(sums->high), 8), second = vshll_n_u8(vget_high_u8(sums->high), 8);
    store_words(acc, vaddq_u16(vaddq_u16(sums->first, begin), first));
    store_words(acc + 8, vaddq_u16(vaddq_u16(sums->second, begin), second));
}

RBE_INLINE vec load_codes(const uint8_t *codes)
{
    return vld1q_u8(codes);
}

RBE_INLINE row_sums sums_start(void)
{
    return (row_sums){vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u8(0)};
}

#include "kernels/shared/grouped_bytes.h"

void rbe__neon_grouped(rbe_kernels *table)
{
    table->dot_ternary = dot_ternary;
    table->dot_binary = dot_binary;
}
