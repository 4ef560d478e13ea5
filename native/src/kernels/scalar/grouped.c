/* Binary and ternary strips, with sums of activations looked up as in all other sets (kernels/shared/grouped.h). */
#include "kernels/half.h"
#include "kernels/scalar/fused.h"
#include "kernels/scalar/scalar.h"

#define GATHER_ROWS rbe__accumulate_rows_scalar
#include "kernels/shared/grouped.h"

enum { THREE_DIGITS = 27, TWO_DIGITS = 9, NIBBLES = 16 };

void rbe__accumulate_rows_scalar(float *y, const int32_t *acc, uint32_t n, float scale, const uint16_t *scales)
{
    for (uint32_t r = 0; r < n; r++) {
        const float factor = scale * rbe__from_half(scales[r]);
        y[r] = rbe__fused(factor, (float)acc[r], y[r]);
    }
}

static int32_t sum_of(const int8_t *x)
{
    int32_t sum = 0;
    for (uint32_t c = 0; c < BLOCK_BYTES; c++) {
        sum += x[c];
    }
    return sum;
}

static void begin(const grouped_walk *at, int32_t start, int32_t *acc)
{
    for (uint32_t r = 0; r < at->rows; r++) {
        acc[r] = start;
    }
}

static void multiply_ternary(const grouped_walk *at, const int8_t *x, int32_t start, int32_t *acc)
{
    int32_t three[THREE_DIGITS], two[TWO_DIGITS];
    begin(at, start, acc);
    for (uint32_t c = 0; c < at->n_codes; c++, x += RBE_TERNARY_COLS) {
        for (int i = 0; i < THREE_DIGITS; i++) {
            three[i] = i / 9 * x[0] + i / 3 % 3 * x[1] + i % 3 * x[2];
        }
        for (int i = 0; i < TWO_DIGITS; i++) {
            two[i] = i / 3 * x[3] + i % 3 * x[4];
        }
        const uint8_t *codes = at->codes + (size_t)c * at->rows;
        for (uint32_t r = 0; r < at->rows; r++) {
            const uint32_t digits = 27u * codes[r];
            acc[r] += three[digits >> 8] + two[(digits & 255) * 9 >> 8];
        }
    }
}

static void multiply_binary(const grouped_walk *at, const int8_t *x, int32_t start, int32_t *acc)
{
    int32_t low[NIBBLES], high[NIBBLES];
    begin(at, start, acc);
    for (uint32_t c = 0; c < at->n_codes; c++, x += RBE_BINARY_COLS) {
        for (int i = 0; i < NIBBLES; i++) {
            low[i] = (i & 1 ? 2 : 0) * x[0] + (i & 2) * x[1] + (i & 4 ? 2 : 0) * x[2] + (i & 8 ? 2 : 0) * x[3];
            high[i] = (i & 1 ? 2 : 0) * x[4] + (i & 2) * x[5] + (i & 4 ? 2 : 0) * x[6] + (i & 8 ? 2 : 0) * x[7];
        }
        const uint8_t *codes = at->codes + (size_t)c * at->rows;
        for (uint32_t r = 0; r < at->rows; r++) {
            acc[r] += low[codes[r] & 15] + high[codes[r] >> 4];
        }
    }
}

RBE_INLINE void multiply(const grouped_walk *at, int is_ternary, const int8_t *x, int32_t start, int32_t *acc)
{
    (is_ternary ? multiply_ternary : multiply_binary)(at, x, start, acc);
}

void rbe__dot_ternary_scalar(const rbe_grouped_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    dot_ternary(strip, x, scales, sum);
}

void rbe__dot_binary_scalar(const rbe_grouped_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    dot_binary(strip, x, scales, sum);
}

/* The weights of every byte, code_cols of 8 bytes each. */
static void make_weights(uint32_t code_cols, int8_t weights[256][8])
{
    for (uint32_t code = 0; code < 256; code++) {
        for (uint32_t i = 0, rest = code; i < 8; i++, rest = rest * 3 & 255) {
            weights[code][i] = (int8_t)(code_cols == RBE_BINARY_COLS ? (code >> i & 1 ? 1 : -1) : (int)(rest * 3 >> 8) - 1);
        }
    }
}

RBE_INLINE void generate(const rbe_grouped_strip *strip, uint32_t code_cols, uint32_t block, int8_t *tile)
{
    int8_t weights[256][8], row[BLOCK_BYTES];
    grouped_walk at = grouped_start(strip, code_cols);
    at.codes += (size_t)block * at.n_codes * at.rows;
    at.first = block * strip->block_cols;
    grouped_enter(&at, code_cols);
    make_weights(code_cols, weights);
    const uint32_t n_groups = (at.width + 3) / 4;
    for (uint32_t r = 0; r < at.rows; r++) {
        for (uint32_t c = 0; c < at.n_codes; c++) {
            memcpy(row + (size_t)c * code_cols, weights[at.codes[(size_t)c * at.rows + r]], 8);
        }
        memset(row + at.width, 0, 4);
        for (uint32_t g = 0; g < n_groups; g++) {
            memcpy(tile + 4 * ((size_t)g * at.rows + r), row + 4 * (size_t)g, 4);
        }
    }
}

void rbe__generate_ternary_scalar(const rbe_grouped_strip *strip, uint32_t block, int8_t *tile)
{
    generate(strip, RBE_TERNARY_COLS, block, tile);
}

void rbe__generate_binary_scalar(const rbe_grouped_strip *strip, uint32_t block, int8_t *tile)
{
    generate(strip, RBE_BINARY_COLS, block, tile);
}
