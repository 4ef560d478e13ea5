/* Binary and ternary strips times one token, for every vector width.
 *
 * A byte of a ternary matrix has three digits above two others: 27 b is 256 times the number of the first three, 0 to 26, and a rest r; 9 r is
 * 256 times that of the others, 0 to 8. A byte of a binary matrix has two numbers of 0 to 15. What such a number says of the activations of
 * its columns is looked up: tables of sums are made once for a strip. The sums are those of digits 0, 1, 2 in place of -1, 0, 1 (bits: 0 and 2),
 * and begin at minus the sum of all activations. They are taken modulo 2^16; the result fits, as 256 x 127 < 2^15.
 *
 * The including file defines:
 *     int32_t sum_of(const int8_t *x)   of BLOCK_BYTES values
 *     void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
 *         acc[64 n_units] = start + the block times x, digits as above; columns that do not exist have x = 0. is_ternary is a constant
 *     GATHER_ROWS(...)                  the set's accumulate_rows
 */
#ifndef RBE_KERNELS_SHARED_GROUPED_H
#define RBE_KERNELS_SHARED_GROUPED_H

#include <string.h>

#include "kernels/shared/blocks.h"

/* The activations of a block, zeros behind them: a code reaches over the end. */
enum { BLOCK_BYTES = 320, MOST_CODES = (RBE_BLOCK_COLS + RBE_TERNARY_COLS - 1) / RBE_TERNARY_COLS };

/* f(0), f(1) ... f(31): of each index of a table. */
#define INDICES_32(f)                                                                                                                 \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15), f(16), f(17), f(18), f(19), \
        f(20), f(21), f(22), f(23), f(24), f(25), f(26), f(27), f(28), f(29), f(30), f(31)

/* A block of a strip. */
typedef struct grouped_walk {
    const rbe_grouped_strip *strip;
    const uint8_t *codes;
    const uint16_t *scales;
    uint32_t first, width; /* columns */
    uint32_t n_codes;
    uint32_t rows;
} grouped_walk;

RBE_INLINE void grouped_enter(grouped_walk *at, uint32_t code_cols)
{
    const uint32_t left = at->strip->cols - at->first;
    at->width = left < at->strip->block_cols ? left : at->strip->block_cols;
    at->n_codes = (at->width + code_cols - 1) / code_cols;
    at->scales = at->strip->scales + (size_t)(at->first / at->strip->scale_cols) * at->rows;
}

RBE_INLINE grouped_walk grouped_start(const rbe_grouped_strip *strip, uint32_t code_cols)
{
    grouped_walk at = {.strip = strip, .codes = strip->codes, .rows = strip->n_units * RBE_GROUPED_ROWS};
    grouped_enter(&at, code_cols);
    return at;
}

/* 0 behind the last block. */
RBE_INLINE int grouped_next(grouped_walk *at, uint32_t code_cols)
{
    at->codes += (size_t)at->n_codes * at->rows;
    at->first += at->width;
    if (at->first >= at->strip->cols) {
        return 0;
    }
    grouped_enter(at, code_cols);
    return 1;
}

static int32_t sum_of(const int8_t *x);
RBE_INLINE void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc);

RBE_INLINE void dot_grouped(const rbe_grouped_strip *strip, int is_ternary, const int8_t *x, const float *scales, float *sum)
{
    const uint32_t code_cols = is_ternary ? RBE_TERNARY_COLS : RBE_BINARY_COLS;
    int32_t acc[RBE_STRIP_ROWS];
    int8_t block[BLOCK_BYTES];
    grouped_walk at = grouped_start(strip, code_cols);
    memset(sum, 0, at.rows * sizeof *sum);
    do {
        memcpy(block, x + at.first, at.width);
        memset(block + at.width, 0, BLOCK_BYTES - at.width);
        multiply(&at, is_ternary, block, -sum_of(block), acc);
        GATHER_ROWS(sum, acc, at.rows, scales[at.first / RBE_BLOCK_COLS], at.scales);
    } while (grouped_next(&at, code_cols));
}

static void dot_ternary(const rbe_grouped_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    dot_grouped(strip, 1, x, scales, sum);
}

static void dot_binary(const rbe_grouped_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    dot_grouped(strip, 0, x, scales, sum);
}

#endif
