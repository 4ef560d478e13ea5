/* Tests of the kernels of binary and ternary matrices, against plain sums of weights taken code by code. */
#ifndef RBE_TESTS_KERNEL_TESTS_GROUPED_H
#define RBE_TESTS_KERNEL_TESTS_GROUPED_H

#include <math.h>

#include "kernel_cases.h"
#include "kernels/half.h"

enum { GROUPED_CASES = 400, MOST_GROUPED_COLS = 900 };

typedef struct grouped_case {
    rbe_grouped_strip strip;
    guarded codes, scales;
    int binary;
    uint32_t rows, n_blocks;
    int8_t *weights; /* [rows][cols] */
} grouped_case;

/* Weight i of a byte, straight from the format. */
static inline int8_t grouped_weight(int binary, uint32_t code, uint32_t i)
{
    static const uint32_t powers[] = {1, 3, 9, 27, 81};
    return (int8_t)(binary ? (code >> i & 1 ? 1 : -1) : (int)((code * powers[i] & 255) * 3 / 256) - 1);
}

static inline void grouped_case_make(grouped_case *c, int binary, uint32_t index, guard_side side)
{
    static const uint32_t blocks[] = {32, 64, 128, 256};
    const uint32_t cols = index % 3 ? random_between(1, 300) : random_between(250, MOST_GROUPED_COLS), of_code = binary ? 8 : 5;
    const uint32_t block_cols = blocks[index / 4 % 4];
    const uint32_t scale_cols = block_cols < 256 ? block_cols : index / 16 % 3 == 0 ? 256 : index / 16 % 3 == 1 ? 512 : cols;
    c->binary = binary;
    c->rows = 64 * (1 + index % 4);
    uint32_t n_codes = 0;
    c->n_blocks = (cols + block_cols - 1) / block_cols;
    for (uint32_t first = 0; first < cols; first += block_cols) {
        const uint32_t width = cols - first < block_cols ? cols - first : block_cols;
        n_codes += (width + of_code - 1) / of_code;
    }
    const uint32_t n_scales = (cols + scale_cols - 1) / scale_cols;
    c->codes = guard_take((size_t)n_codes * c->rows, side);
    c->scales = guard_take((size_t)n_scales * c->rows * 2, side);
    random_bytes(c->codes.data, (size_t)n_codes * c->rows);
    if (index % 5 == 0) { /* all weights the same: sums at their limits */
        memset(c->codes.data, index % 2 ? 255 : 0, (size_t)n_codes * c->rows);
    }
    for (size_t i = 0; i < (size_t)n_scales * c->rows; i++) {
        ((uint16_t *)c->scales.data)[i] = index % 7 ? rbe__to_half(random_float()) : (uint16_t)(random_bits() & 0xbbffu);
    }
    c->strip = (rbe_grouped_strip){.codes = c->codes.data,
                                   .scales = c->scales.data,
                                   .n_units = c->rows / 64,
                                   .cols = cols,
                                   .block_cols = block_cols,
                                   .scale_cols = scale_cols};
    c->weights = malloc((size_t)c->rows * cols);
    CHECK(c->weights != NULL, "memory");
    const uint8_t *code = c->codes.data;
    for (uint32_t first = 0; first < cols; first += block_cols) {
        for (uint32_t i = 0; i < block_cols && first + i < cols; i++) {
            for (uint32_t r = 0; r < c->rows; r++) {
                c->weights[(size_t)r * cols + first + i] = grouped_weight(binary, code[r], i % of_code);
            }
            code += i % of_code == of_code - 1 || i == block_cols - 1 || first + i == cols - 1 ? c->rows : 0;
        }
    }
    CHECK(code == (const uint8_t *)c->codes.data + (size_t)n_codes * c->rows, "codes");
}

static inline void grouped_case_drop(grouped_case *c)
{
    free(c->weights);
    guard_give(c->scales);
    guard_give(c->codes);
}

static inline uint32_t grouped_width(const grouped_case *c, uint32_t block)
{
    const uint32_t left = c->strip.cols - block * c->strip.block_cols;
    return left < c->strip.block_cols ? left : c->strip.block_cols;
}

static inline const uint16_t *grouped_scales(const grouped_case *c, uint32_t block)
{
    return c->strip.scales + (size_t)(block * c->strip.block_cols / c->strip.scale_cols) * c->rows;
}

static inline int is_binary(const kernel_case *about)
{
    return strstr(about->field, "binary") != NULL;
}

static inline void test_rbe_grouped_dot_kernel(const kernel_case *about, rbe_grouped_dot_kernel *dot)
{
    for (uint32_t index = 0; index < GROUPED_CASES; index += case_step()) {
        grouped_case c;
        grouped_case_make(&c, is_binary(about), index, index % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const uint32_t cols = c.strip.cols, n_activation_scales = (cols + 255) / 256;
        const guarded x = guard_take(cols, index / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded sum = guard_take(c.rows * sizeof(float), index / 4 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded scales = guard_take(n_activation_scales * sizeof(float), index / 8 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        hostile_activations(x.data, cols);
        for (uint32_t b = 0; b < n_activation_scales; b++) {
            ((float *)scales.data)[b] = random_float();
        }
        random_bytes(sum.data, c.rows * sizeof(float));
        dot(&c.strip, x.data, scales.data, sum.data);
        uint32_t wrong = c.rows;
        float expected[RBE_STRIP_ROWS] = {0}, defined[RBE_STRIP_ROWS];
        for (uint32_t b = 0; b < c.n_blocks; b++) {
            int32_t acc[RBE_STRIP_ROWS] = {0};
            const uint32_t first = b * c.strip.block_cols;
            for (uint32_t r = 0; r < c.rows; r++) {
                for (uint32_t i = 0; i < grouped_width(&c, b); i++) {
                    acc[r] += c.weights[(size_t)r * cols + first + i] * ((const int8_t *)x.data)[first + i];
                }
            }
            about->scalar->accumulate_rows(expected, acc, c.rows, ((const float *)scales.data)[first / 256], grouped_scales(&c, b));
        }
        for (uint32_t r = 0; r < c.rows && wrong == c.rows; r++) {
            wrong = same_floats(&expected[r], (const float *)sum.data + r, 1) ? wrong : r;
        }
        ((rbe_grouped_dot_kernel *)about->definition)(&c.strip, x.data, scales.data, defined);
        CHECK(same_floats(defined, sum.data, c.rows), "%s %s case %u: not the scalar set's bits", about->set, about->field, index);
        CHECK(wrong == c.rows, "%s %s case %u: %u x %u, blocks of %u, scales for %u: row %u is %g, not %g", about->set, about->field, index,
              c.rows, cols, c.strip.block_cols, c.strip.scale_cols, wrong, wrong < c.rows ? (double)((float *)sum.data)[wrong] : 0.0,
              wrong < c.rows ? (double)expected[wrong] : 0.0);
        guard_give(scales);
        guard_give(sum);
        guard_give(x);
        grouped_case_drop(&c);
    }
}

static inline void test_rbe_grouped_generate_kernel(const kernel_case *about, rbe_grouped_generate_kernel *generate)
{
    for (uint32_t index = 0; index < GROUPED_CASES; index += case_step()) {
        grouped_case c;
        grouped_case_make(&c, is_binary(about), index, index % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        for (uint32_t b = 0; b < c.n_blocks; b++) {
            const uint32_t width = grouped_width(&c, b), n_groups = (width + 3) / 4;
            const size_t tile_bytes = (size_t)n_groups * c.rows * 4;
            const guarded tile = guard_take(tile_bytes, index / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
            random_bytes(tile.data, tile_bytes);
            generate(&c.strip, b, tile.data);
            size_t wrong = tile_bytes;
            for (size_t i = 0; i < tile_bytes && wrong == tile_bytes; i++) {
                const uint32_t column = (uint32_t)(i / 4 / c.rows * 4 + i % 4), row = (uint32_t)(i / 4 % c.rows);
                const int8_t weight = column < width ? c.weights[(size_t)row * c.strip.cols + b * c.strip.block_cols + column] : (int8_t)0;
                wrong = ((const int8_t *)tile.data)[i] == weight ? wrong : i;
            }
            CHECK(wrong == tile_bytes, "%s %s case %u block %u: byte %zu differs", about->set, about->field, index, b, wrong);
            guard_give(tile);
        }
        grouped_case_drop(&c);
    }
}

static inline void test_rbe_accumulate_rows_kernel(const kernel_case *about, rbe_accumulate_rows_kernel *accumulate_rows)
{
    for (uint32_t n = 0; n <= 80; n++) {
        const guarded y = guard_take(n * sizeof(float), n % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded acc = guard_take(n * sizeof(int32_t), n / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded scales = guard_take(n * sizeof(uint16_t), n / 4 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const float scale = random_float();
        float defined[80], bound = 0, error = 0;
        for (uint32_t r = 0; r < n; r++) {
            defined[r] = ((float *)y.data)[r] = random_float();
            ((int32_t *)acc.data)[r] = (int32_t)random_between(0, 1u << 17) - (1 << 16);
            ((uint16_t *)scales.data)[r] = rbe__to_half(random_float());
        }
        const float before = n ? defined[0] : 0;
        ((rbe_accumulate_rows_kernel *)about->definition)(defined, acc.data, n, scale, scales.data);
        accumulate_rows(y.data, acc.data, n, scale, scales.data);
        if (n) {
            const double product = (double)scale * (double)rbe__from_half(*(uint16_t *)scales.data) * *(int32_t *)acc.data;
            bound = (float)(0x1p-22 * (fabs((double)before) + fabs(product)));
            error = (float)fabs((double)*(float *)y.data - before - product);
        }
        CHECK(error <= bound, "%s %s: %u: error %g", about->set, about->field, n, (double)error);
        CHECK(same_floats(defined, y.data, n), "%s %s: %u: not the scalar set's bits", about->set, about->field, n);
        guard_give(scales);
        guard_give(acc);
        guard_give(y);
    }
}

/* Decoding and prefill give the same bits. */
static inline void test_grouped_dot_is_its_parts(const char *set, const rbe_kernels *table)
{
    static int8_t tile[RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4];
    static int32_t acc[RBE_STRIP_ROWS];
    for (uint32_t index = 0; index < GROUPED_CASES; index += 4 * case_step()) {
        const int binary = index % 8 == 0;
        grouped_case c;
        grouped_case_make(&c, binary, index + index / 8 % 4, GUARD_BEHIND);
        int8_t x[MOST_GROUPED_COLS + 64] = {0};
        float scales[MOST_GROUPED_COLS / 256 + 1], sum[RBE_STRIP_ROWS], parts[RBE_STRIP_ROWS] = {0};
        hostile_activations(x, c.strip.cols);
        for (uint32_t b = 0; b < sizeof scales / sizeof *scales; b++) {
            scales[b] = random_float();
        }
        for (uint32_t b = 0; b < c.n_blocks; b++) {
            const uint32_t first = b * c.strip.block_cols, n_groups = (grouped_width(&c, b) + 3) / 4;
            (binary ? table->generate_binary : table->generate_ternary)(&c.strip, b, tile);
            table->multiply_tile(tile, c.rows / 4, n_groups, x + first, 4 * n_groups, 1, acc);
            table->accumulate_rows(parts, acc, c.rows, scales[first / 256], grouped_scales(&c, b));
        }
        (binary ? table->dot_binary : table->dot_ternary)(&c.strip, x, scales, sum);
        CHECK(memcmp(sum, parts, c.rows * sizeof(float)) == 0, "%s %s case %u: dot differs from its parts", set,
              binary ? "binary" : "ternary", index);
        grouped_case_drop(&c);
    }
}

#endif
