#include "weights/smooth_codes/smooth_codes.h"

#include <math.h>
#include <string.h>

#include "base/elementary.h"

#define N_FUNCTIONS 8u
#define MAX_LEVEL (1u << 24)
#define MAX_PREFIX 28u /* zero bits before a code; a longer prefix is no valid code */

/* Degrees of the Legendre polynomials down and across. */
static const uint8_t degrees[N_FUNCTIONS][2] = {{0, 0}, {1, 0}, {0, 1}, {2, 0}, {1, 1}, {0, 2}, {3, 0}, {0, 3}};

typedef struct bit_reader {
    const uint8_t *data;
    uint64_t position, end; /* in bits */
    int failed;             /* went past the end, or met a code that is too long */
} bit_reader;

static uint32_t take_bits(bit_reader *reader, uint32_t n)
{
    uint32_t value = 0;
    if (n > reader->end - reader->position) {
        reader->failed = 1;
        return 0;
    }
    while (n > 0) {
        uint32_t used = (uint32_t)(reader->position % 8), count = 8 - used < n ? 8 - used : n;
        uint32_t byte = reader->data[reader->position / 8];
        value = value << count | (byte >> (8 - used - count) & ((1u << count) - 1));
        reader->position += count;
        n -= count;
    }
    return value;
}

/* An exponential Golomb code: docs/format.md, "basis". */
static uint32_t take_code(bit_reader *reader, uint32_t order)
{
    uint32_t zeros = 0;
    while (!reader->failed && take_bits(reader, 1) == 0) {
        if (++zeros > MAX_PREFIX) {
            reader->failed = 1;
        }
    }
    if (reader->failed) {
        return 0;
    }
    uint32_t m = 1u << zeros | take_bits(reader, zeros);
    uint64_t value = (uint64_t)(m - 1) << order;
    value |= take_bits(reader, order);
    if (value > 1u << 30) {
        reader->failed = 1;
    }
    return (uint32_t)value;
}

static int32_t take_basis_level(bit_reader *reader, uint32_t order)
{
    uint32_t n = take_code(reader, order);
    return n & 1 ? (int32_t)((n + 1) / 2) : -(int32_t)(n / 2);
}

/* The next residual: moves *index on from the one before, -1 at first. */
static int32_t take_residual(bit_reader *reader, const rbe__basis *basis, int64_t *index)
{
    *index += 1 + (int64_t)take_code(reader, basis->gap_order);
    int32_t level = (int32_t)(take_code(reader, basis->level_order) + 1);
    return take_bits(reader, 1) ? -level : level;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The stream of a row of blocks. */
static bit_reader open_stream(const rbe__basis *basis, uint32_t block_row)
{
    uint64_t first = block_row ? basis->ends[block_row - 1] : 0;
    return (bit_reader){.data = basis->streams + first, .end = 8 * (basis->ends[block_row] - first)};
}

static const char *check_block(const rbe__basis *basis, bit_reader *reader, uint32_t n_weights)
{
    for (uint32_t f = 0; f < N_FUNCTIONS; f++) {
        int32_t level = take_basis_level(reader, basis->basis_order);
        if (level > (int32_t)MAX_LEVEL || level < -(int32_t)MAX_LEVEL) {
            return "has a level that is too large";
        }
    }
    uint32_t count = take_code(reader, basis->count_order);
    if (count > n_weights) {
        return "has more residuals than weights";
    }
    int64_t index = -1;
    for (uint32_t i = 0; i < count && !reader->failed; i++) {
        int32_t level = take_residual(reader, basis, &index);
        if (index >= n_weights) {
            return "has a residual outside its block";
        }
        if (level > (int32_t)MAX_LEVEL || level < -(int32_t)MAX_LEVEL) {
            return "has a level that is too large";
        }
    }
    return reader->failed ? "ends in the middle of a code" : NULL;
}

const char *rbe__basis_check(rbe__basis *basis, uint32_t rows, uint32_t cols, uint64_t data_bytes)
{
    uint32_t n_block_rows = (rows - 1) / basis->block_rows + 1, before = 0;
    if (data_bytes < 4ull * n_block_rows) {
        return "is shorter than its list of streams";
    }
    basis->streams = (const uint8_t *)(basis->ends + n_block_rows);
    for (uint32_t b = 0; b < n_block_rows; b++) {
        if (basis->ends[b] < before) {
            return "has streams that overlap";
        }
        before = basis->ends[b];
    }
    if (before != data_bytes - 4ull * n_block_rows) {
        return "does not end with its last stream";
    }
    for (uint32_t b = 0; b < n_block_rows; b++) {
        bit_reader reader = open_stream(basis, b);
        uint32_t height = smaller(basis->block_rows, rows - b * basis->block_rows);
        for (uint32_t first = 0; first < cols; first += basis->block_cols) {
            const char *problem = check_block(basis, &reader, height * smaller(basis->block_cols, cols - first));
            if (problem) {
                return problem;
            }
        }
        uint32_t left = (uint32_t)(reader.end - reader.position);
        if (reader.end - reader.position > 7 || take_bits(&reader, left) != 0) {
            return "has a stream with bytes left over";
        }
    }
    return NULL;
}

/* cos(2 pi m / (4 n)) for m = 0 .. 4 n - 1: all that cosines of n points are made of. */
typedef struct cosines {
    uint32_t n;
    double values[4 * RBE_MAX_BASIS_BLOCK];
} cosines;

static void make_cosines(cosines *table, uint32_t n)
{
    if (table->n == n) {
        return;
    }
    table->n = n;
    for (uint32_t m = 0; m < 4 * n; m++) {
        table->values[m] = rbe__sin_turns((double)(m + n) / (4.0 * n));
    }
}

/* d(n, p, i). Indices are under 256 and n at most 256: no overflow. */
static double cosine(const cosines *table, uint32_t p, uint32_t i)
{
    return table->values[p * (2 * i + 1) % (4 * table->n)] * sqrt((p ? 2.0 : 1.0) / table->n);
}

/* Legendre polynomials of degree 0 to 3, normalised to a mean square of 1. */
static void legendre(uint32_t i, uint32_t n, double out[4])
{
    double x = (2.0 * i + 1) / n - 1;
    out[0] = 1;
    out[1] = sqrt(3.0) * x;
    out[2] = sqrt(5.0) * (1.5 * x * x - 0.5);
    out[3] = sqrt(7.0) * (2.5 * x * x - 1.5) * x;
}

/* line[k] = the block's weights of row i, in steps. height x width: of the block. */
static void block_row(const rbe__basis *basis, bit_reader *reader, const cosines *down, const cosines *across, uint32_t i, double *line)
{
    uint32_t width = across->n;
    double levels[N_FUNCTIONS], residual[RBE_MAX_BASIS_BLOCK] = {0};
    for (uint32_t f = 0; f < N_FUNCTIONS; f++) {
        levels[f] = take_basis_level(reader, basis->basis_order);
    }
    uint32_t count = take_code(reader, basis->count_order), p = 0, passed = 0;
    int64_t index = -1;
    double factor = cosine(down, 0, i);
    for (uint32_t n = 0; n < count; n++) {
        double level = take_residual(reader, basis, &index);
        if ((uint32_t)index - passed >= width) { /* the next lines of the transform; few compared with the residuals */
            p = (uint32_t)index / width;
            passed = p * width;
            factor = cosine(down, p, i);
        }
        residual[(uint32_t)index - passed] += level * factor;
    }
    double vertical[4], horizontal[4], norm = 1 / sqrt((double)down->n * width);
    legendre(i, down->n, vertical);
    for (uint32_t j = 0; j < width; j++) {
        double sum = 0;
        legendre(j, width, horizontal);
        for (uint32_t f = 0; f < N_FUNCTIONS; f++) {
            sum += levels[f] * vertical[degrees[f][0]] * horizontal[degrees[f][1]];
        }
        line[j] = sum * norm;
    }
    for (uint32_t q = 0; q < width; q++) {
        if (basis->transform == RBE_BASIS_COLUMN_COSINES) {
            line[q] += residual[q];
        } else if (residual[q] != 0) {
            for (uint32_t j = 0; j < width; j++) {
                line[j] += residual[q] * cosine(across, q, j);
            }
        }
    }
}

void rbe__basis_row(const rbe__basis *basis, uint32_t rows, uint32_t cols, uint32_t row, float *out)
{
    uint32_t b = row / basis->block_rows, first_row = b * basis->block_rows;
    bit_reader reader = open_stream(basis, b);
    cosines down, across;
    double line[RBE_MAX_BASIS_BLOCK];
    down.n = across.n = 0;
    make_cosines(&down, smaller(basis->block_rows, rows - first_row));
    for (uint32_t first = 0; first < cols; first += basis->block_cols) {
        make_cosines(&across, smaller(basis->block_cols, cols - first));
        block_row(basis, &reader, &down, &across, row - first_row, line);
        for (uint32_t j = 0; j < across.n; j++) {
            out[first + j] = (float)((double)basis->step * line[j]);
        }
    }
}
