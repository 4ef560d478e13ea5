/* Tests of the integer kernels: generate against the formula of docs/format.md taken bit by bit, the others against
 * plain sums; every result bit for bit. */
#ifndef RBE_TESTS_KERNEL_TESTS_INTEGER_H
#define RBE_TESTS_KERNEL_TESTS_INTEGER_H

#include <math.h>

#include "kernel_cases.h"
#include "kernels/checksum.h"

enum { TRELLIS_CASES = 500, TILE_CASES = 150 };

/* T1 + T2 at step t of one group and lane, straight from the format: no rolling window, no shared code. */
static inline int8_t formula_weight(const rbe_strip *strip, uint32_t group, uint32_t t, uint32_t lane)
{
    const uint64_t n_groups = strip->n_groups, n_cells = strip->n_cells;
    uint64_t cell = 0;
    while ((cell + 1) * n_groups / n_cells <= group) {
        cell++;
    }
    const uint64_t first = cell * n_groups / n_cells, end = (cell + 1) * n_groups / n_cells;
    const uint32_t bits = strip->bits, row_steps = strip->row_steps;
    const uint64_t n_bits = bits * (end - first) * row_steps;
    const uint64_t step = (group - first) * row_steps + t;
    const uint8_t *bytes = strip->stream + first * 2 * row_steps * bits;
    uint32_t w = 0;
    for (uint32_t i = 0; i < 12; i++) {
        const uint64_t position = (bits * (step + 1) + 2 * n_bits - 1 - i) % n_bits;
        w |= (bytes[16 * (position / 8) + lane] >> (7 - position % 8) & 1u) << i;
    }
    return (int8_t)(strip->t1[(w ^ w >> 8) & 15] + strip->t2[w >> 4 & 15]);
}

typedef struct strip_case {
    rbe_strip strip;
    int8_t t1[16], t2[16];
    guarded stream;
    uint32_t first_group, n_groups; /* the range asked for */
} strip_case;

static inline void strip_case_make(strip_case *c, uint32_t bits, uint32_t index, guard_side side)
{
    /* every height that the rate allows comes up, in turn */
    const uint32_t least = bits == 4 ? 2 : bits == 2 ? 4 : 8;
    const uint32_t row_steps = least * (1 + index % (64 / least));
    const uint32_t units = row_steps * bits / 8;
    const uint32_t n_groups = random_between(0, 3) ? random_between(2, 20) : random_between(60, 140);
    const uint32_t cell_groups = units == 1 ? 2 : 1; /* the fewest: a cell has at least two units */
    const uint32_t by_format = (n_groups + (128 / row_steps + 1) / 2 - 1) / ((128 / row_steps + 1) / 2);
    const uint32_t most_cells = n_groups / cell_groups;
    uint32_t n_cells = random_between(0, 1) ? by_format : random_between(1, most_cells);
    n_cells = n_cells > most_cells ? most_cells : n_cells;
    if (random_between(0, 1)) {
        hostile_tables(bits, c->t1, c->t2);
    } else {
        hostile_narrow_tables(c->t1, c->t2);
    }
    const size_t stream_bytes = (size_t)n_groups * 2 * row_steps * bits;
    c->stream = guard_take(stream_bytes, side);
    random_bytes(c->stream.data, stream_bytes);
    c->strip = (rbe_strip){
        .stream = c->stream.data, .t1 = c->t1, .t2 = c->t2, .bits = bits, .row_steps = row_steps, .n_groups = n_groups, .n_cells = n_cells};
    c->strip.narrow = rbe__tables_narrow(c->t1, c->t2);
    c->n_groups = random_between(1, n_groups < 64 ? n_groups : 64);
    c->first_group = random_between(0, n_groups - c->n_groups);
    if (random_between(0, 3) == 0) { /* the very end of the strip */
        c->first_group = n_groups - c->n_groups;
    }
}

static inline uint32_t bits_of_field(const char *field)
{
    return (uint32_t)(field[strlen(field) - 1] - '0');
}

static inline void test_check_values(const kernel_case *about, rbe_generate_kernel *generate, uint32_t bits)
{
    static const int8_t expected[4][4] = {{-51, 23, -20, -32}, {4, 29, -11, -30}, {-54, -9, -89, 54}, {-43, -46, -35, 26}};
    uint8_t stream[64 * 4 * 2];
    int8_t tile[64 * 16];
    for (size_t i = 0; i < sizeof stream; i++) {
        stream[i] = (uint8_t)(37 * (i / 16) + 11);
    }
    const rbe_strip strip = {.stream = stream,
                             .t1 = codebooks[bits - 1].t1,
                             .t2 = codebooks[bits - 1].t2,
                             .bits = bits,
                             .row_steps = 64,
                             .n_groups = 1,
                             .n_cells = 1};
    generate(&strip, 0, 1, tile);
    for (uint32_t i = 0; i < 4 * 16; i++) {
        CHECK(tile[i] == expected[bits - 1][i / 16], "%s %s: step %u lane %u is %d", about->set, about->field, i / 16, i % 16, tile[i]);
    }
}

static inline void test_rbe_generate_kernel(const kernel_case *about, rbe_generate_kernel *generate)
{
    const uint32_t bits = bits_of_field(about->field);
    test_check_values(about, generate, bits);
    for (uint32_t index = 0; index < TRELLIS_CASES; index += case_step()) {
        strip_case c;
        strip_case_make(&c, bits, index, index % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const uint32_t row_steps = c.strip.row_steps;
        const size_t tile_bytes = (size_t)c.n_groups * row_steps * 16;
        const guarded tile = guard_take(tile_bytes, index / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        generate(&c.strip, c.first_group, c.n_groups, tile.data);
        size_t wrong = tile_bytes;
        for (size_t i = 0; i < tile_bytes && wrong == tile_bytes; i++) {
            const uint32_t step = (uint32_t)(i / 16);
            const int8_t weight = formula_weight(&c.strip, c.first_group + step / row_steps, step % row_steps, i % 16);
            wrong = ((const int8_t *)tile.data)[i] == weight ? wrong : i;
        }
        CHECK(wrong == tile_bytes, "%s %s case %u: R %u, %u groups in %u cells, groups %u + %u: byte %zu differs", about->set, about->field,
              index, row_steps, c.strip.n_groups, c.strip.n_cells, c.first_group, c.n_groups, wrong);
        guard_give(tile);
        guard_give(c.stream);
    }
}

/* acc[row] for one token, in 64 bits, from a tile as generate writes it */
static inline int64_t tile_row_dot(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, uint32_t row)
{
    int64_t sum = 0;
    for (uint32_t g = 0; g < n_groups; g++) {
        for (uint32_t j = 0; j < 4; j++) {
            sum += tile[((size_t)g * row_steps + row / 4) * 16 + row % 4 * 4 + j] * x[4 * g + j];
        }
    }
    return sum;
}

static inline void test_rbe_dot_kernel(const kernel_case *about, rbe_dot_kernel *dot)
{
    enum { MOST_GROUPS = 140 };
    static int8_t tile[MOST_GROUPS * 64 * 16];
    const uint32_t bits = bits_of_field(about->field);
    for (uint32_t index = 0; index < TRELLIS_CASES; index += case_step()) {
        strip_case c;
        strip_case_make(&c, bits, index, index % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const uint32_t rows = 4 * c.strip.row_steps, n_groups = c.strip.n_groups, n_blocks = (n_groups - 1) / RBE_BLOCK_GROUPS + 1;
        const size_t x_bytes = up_to_64(4 * n_groups);
        const guarded x = guard_take(x_bytes, index / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded sum = guard_take(rows * sizeof(float), index / 4 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded scales = guard_take(n_blocks * sizeof(float), index / 8 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        random_bytes(x.data, x_bytes); /* behind the columns too: it must not matter */
        hostile_activations(x.data, 4 * n_groups);
        rbe__generate_kernel(about->scalar, bits)(&c.strip, 0, n_groups, tile);
        /* each block by itself, times 1: whole numbers below 2^24, so bit for bit; then all, times anything */
        for (uint32_t alone = 0; alone <= n_blocks; alone++) {
            float *scale = scales.data;
            for (uint32_t b = 0; b < n_blocks; b++) {
                scale[b] = alone == n_blocks ? random_float() : b == alone ? 1.0f : 0.0f;
            }
            random_bytes(sum.data, rows * sizeof(float));
            dot(&c.strip, x.data, scale, sum.data);
            uint32_t wrong = rows;
            for (uint32_t row = 0; row < rows && wrong == rows; row++) {
                double expected = 0, bound = 0;
                for (uint32_t b = 0; b < n_blocks; b++) {
                    const uint32_t first = b * RBE_BLOCK_GROUPS, left = n_groups - first;
                    const uint32_t n = left < RBE_BLOCK_GROUPS ? left : RBE_BLOCK_GROUPS;
                    const int64_t product = tile_row_dot(tile + (size_t)first * rows * 4, c.strip.row_steps, n,
                                                         (int8_t *)x.data + 4 * first, row);
                    expected += (double)scale[b] * (double)product;
                    bound += 0x1p-23 * (fabs(expected) + fabs((double)scale[b] * (double)product));
                }
                const double error = fabs(((const float *)sum.data)[row] - expected);
                wrong = error <= (alone == n_blocks ? bound : 0.0) ? wrong : row;
            }
            float defined[RBE_STRIP_ROWS];
            ((rbe_dot_kernel *)about->definition)(&c.strip, x.data, scale, defined);
            CHECK(same_floats(defined, sum.data, rows), "%s %s case %u: not the scalar set's bits", about->set, about->field, index);
            CHECK(wrong == rows, "%s %s case %u: R %u, %u groups in %u cells, block %u of %u: row %u differs", about->set, about->field,
                  index, c.strip.row_steps, n_groups, c.strip.n_cells, alone, n_blocks, wrong);
        }
        guard_give(scales);
        guard_give(sum);
        guard_give(x);
        guard_give(c.stream);
    }
}

/* Decoding and prefill give the same bits. */
static inline void test_dot_is_its_parts(const char *set, const rbe_kernels *table)
{
    static int8_t tile[RBE_BLOCK_GROUPS * 64 * 16];
    static int32_t acc[RBE_STRIP_ROWS];
    static float sum[RBE_STRIP_ROWS], parts[RBE_STRIP_ROWS];
    static int8_t x[4 * 192];
    float scales[3];
    for (uint32_t index = 0; index < 4 * 64; index++) {
        const uint32_t bits = 1 + index % 4;
        strip_case c;
        strip_case_make(&c, bits, index / 4, GUARD_BEHIND);
        const uint32_t rows = 4 * c.strip.row_steps;
        hostile_activations(x, 4 * c.strip.n_groups);
        memset(parts, 0, sizeof parts);
        for (uint32_t b = 0; b < 3; b++) {
            scales[b] = random_float();
        }
        for (uint32_t first = 0; first < c.strip.n_groups; first += RBE_BLOCK_GROUPS) {
            const uint32_t left = c.strip.n_groups - first, n = left < RBE_BLOCK_GROUPS ? left : RBE_BLOCK_GROUPS;
            rbe__generate_kernel(table, bits)(&c.strip, first, n, tile);
            (c.strip.narrow ? table->multiply_narrow_tile : table->multiply_tile)(tile, c.strip.row_steps, n, x + (size_t)4 * first, 4 * n,
                                                                                  1, acc);
            table->accumulate(parts, acc, rows, scales[first / RBE_BLOCK_GROUPS]);
        }
        rbe__dot_kernel(table, bits)(&c.strip, x, scales, sum);
        CHECK(memcmp(sum, parts, rows * sizeof(float)) == 0, "%s K=%u case %u: dot differs from its parts", set, bits, index);
        guard_give(c.stream);
    }
}

/* Against the definition, bit by bit; in two pieces as in one. */
static inline void test_rbe_checksum_kernel(const kernel_case *about, rbe_checksum_kernel *checksum)
{
    rbe__crc crc;
    rbe__crc_init(about->scalar, &crc);
    CHECK(checksum(&crc, 0, "123456789", 9) == 0xCBF43926, "%s %s: the check value of CRC-32", about->set, about->field);
    for (uint32_t bytes = 0; bytes < 2000; bytes += bytes < 80 ? 1 : 37) {
        const guarded data = guard_take(bytes, bytes % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const uint32_t first = bytes % 3 ? random_between(0, bytes) : random_between(0, bytes < 8 ? bytes : 8);
        uint32_t expected = 0xFFFFFFFF;
        random_bytes(data.data, bytes);
        for (uint32_t i = 0; i < bytes; i++) {
            expected ^= ((const uint8_t *)data.data)[i];
            for (int bit = 0; bit < 8; bit++) {
                expected = expected >> 1 ^ (0xEDB88320u & (0u - (expected & 1u)));
            }
        }
        const uint32_t begun = checksum(&crc, 0, data.data, first);
        const uint32_t found = checksum(&crc, begun, (const uint8_t *)data.data + first, bytes - first);
        CHECK(found == ~expected, "%s %s: %u and %u bytes", about->set, about->field, first, bytes - first);
        guard_give(data);
    }
}

static inline void test_rbe_multiply_tile_kernel(const kernel_case *about, rbe_multiply_tile_kernel *multiply_tile)
{
    for (uint32_t index = 0; index < TILE_CASES; index += case_step()) {
        const uint32_t row_steps = index < 64 ? index + 1 : random_between(1, 64);
        const uint32_t n_groups = index % 5 ? random_between(1, 12) : 64;
        const uint32_t n_tokens = index % 7 ? random_between(1, 19) : random_between(1, 65);
        const size_t x_stride = 4 * n_groups + random_between(0, 70), tile_bytes = (size_t)n_groups * row_steps * 16;
        const size_t x_bytes = (n_tokens - 1) * x_stride + up_to_64(4 * n_groups), rows = 4 * row_steps;
        const guarded tile = guard_take(tile_bytes, index % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded x = guard_take(x_bytes, index / 2 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        const guarded acc = guard_take(n_tokens * rows * sizeof(int32_t), index / 4 % 2 ? GUARD_BEFORE : GUARD_BEHIND);
        hostile_activations(tile.data, tile_bytes);
        for (size_t i = 0; strstr(about->field, "narrow") && i < tile_bytes; i++) {
            int8_t *weight = (int8_t *)tile.data + i;
            *weight = (int8_t)(*weight == 127 ? RBE_NARROW_SUM : *weight == -127 ? -RBE_NARROW_SUM : *weight % (RBE_NARROW_SUM + 1));
        }
        random_bytes(x.data, x_bytes);
        for (uint32_t n = 0; n < n_tokens; n++) {
            hostile_activations((int8_t *)x.data + n * x_stride, 4 * n_groups);
        }
        random_bytes(acc.data, n_tokens * rows * sizeof(int32_t));
        multiply_tile(tile.data, row_steps, n_groups, x.data, x_stride, n_tokens, acc.data);
        size_t wrong = n_tokens * rows;
        for (size_t i = 0; i < n_tokens * rows && wrong == n_tokens * rows; i++) {
            const int8_t *token = (const int8_t *)x.data + i / rows * x_stride;
            const int64_t sum = tile_row_dot(tile.data, row_steps, n_groups, token, (uint32_t)(i % rows));
            wrong = ((const int32_t *)acc.data)[i] == sum ? wrong : i;
        }
        CHECK(wrong == n_tokens * rows, "%s %s case %u: R %u, %u groups, %u tokens: token %zu row %zu differs", about->set, about->field,
              index, row_steps, n_groups, n_tokens, wrong / rows, wrong % rows);
        guard_give(acc);
        guard_give(x);
        guard_give(tile);
    }
}

#endif
