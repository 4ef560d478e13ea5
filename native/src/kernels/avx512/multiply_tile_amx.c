/* A tile of weights times many tokens in the tile registers of AMX (Intel SDM volume 1, "Programming with Intel AMX"): tdpbssd adds
 * 16 tokens x 64 columns times 64 columns x 16 rows to 16 x 16 sums, 16384 products. Both operands are signed: no bias.
 *
 * Its second operand has a line per group of 4 columns, in which the 4 columns of a row stand side by side. That is how generate writes a
 * tile, so registers are loaded from it as it lies; the lines of one group follow those of the next after 16 R bytes.
 *
 * One configuration serves a call, whatever its shape: the last block of 16 tokens or rows begins early enough to be full, and sums some
 * of them a second time, to the same values; groups are taken in equal steps. It is loaded in each call, because the calling convention
 * lets any function change it (System V ABI, AMD64: tile registers and their configuration are volatile), and released at the end, so that a
 * thread outside this function has no tile registers for the system to save. */
#include <immintrin.h>

#include "kernels/x86.h"

/* Names of registers: macros, because gcc pastes them into the instruction. */
#define SUMS_00 0 /* of the first tokens and the first rows */
#define SUMS_01 1 /* of the first tokens and the second rows */
#define SUMS_10 2
#define SUMS_11 3
#define TOKENS_0 4
#define TOKENS_1 5
#define ROWS_0 6
#define ROWS_1 7

enum { PALETTE = 1, MOST_LINES = 16, WORD = 4 }; /* of palette 1: 8 registers of up to 16 lines of up to 16 words of 4 bytes */

typedef struct tile_configuration {
    uint8_t palette, start_line, reserved[14];
    uint16_t line_bytes[16];
    uint8_t lines[16];
} tile_configuration;

typedef struct tile_call {
    const int8_t *tile, *x;
    int32_t *acc;
    size_t x_stride;
    size_t line_stride;            /* bytes from group to group of the tile, and from token to token of acc: 4 per row in both */
    uint32_t n_steps, step_groups; /* n_groups is their product */
} tile_call;

/* Two blocks of tokens or rows, or one. */
typedef struct block_pair {
    uint32_t first, second;
    int both;
} block_pair;

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* The blocks from `at` on, of `n` tokens or rows in all. */
static block_pair blocks_at(uint32_t at, uint32_t n)
{
    const uint32_t last = n - least(n, MOST_LINES);
    return (block_pair){least(at, last), least(at + MOST_LINES, last), at + MOST_LINES < n};
}

static void configure(uint32_t tokens, uint32_t rows, uint32_t groups)
{
    tile_configuration made = {.palette = PALETTE};
    for (uint32_t t = SUMS_00; t <= SUMS_11; t++) {
        made.lines[t] = (uint8_t)tokens;
        made.line_bytes[t] = (uint16_t)(WORD * rows);
    }
    for (uint32_t t = TOKENS_0; t <= TOKENS_1; t++) {
        made.lines[t] = (uint8_t)tokens;
        made.line_bytes[t] = (uint16_t)(WORD * groups);
    }
    for (uint32_t t = ROWS_0; t <= ROWS_1; t++) {
        made.lines[t] = (uint8_t)groups;
        made.line_bytes[t] = (uint16_t)(WORD * rows);
    }
    /* gcc 12 believes that ldtilecfg reads 8 bytes and that tileloadd reads none, and could put off what was stored before */
    __asm__ volatile("" : "+m"(made) : : "memory");
    _tile_loadconfig(&made);
}

static void multiply_block(const tile_call *call, block_pair tokens, block_pair rows)
{
    const size_t stride = call->line_stride;
    const int8_t *x0 = call->x + tokens.first * call->x_stride, *x1 = call->x + tokens.second * call->x_stride;
    _tile_zero(SUMS_00);
    _tile_zero(SUMS_01);
    _tile_zero(SUMS_10);
    _tile_zero(SUMS_11);
    for (uint32_t step = 0; step < call->n_steps; step++) {
        const uint32_t group = step * call->step_groups;
        const int8_t *lines = call->tile + group * stride;
        _tile_loadd(TOKENS_0, x0 + WORD * group, call->x_stride);
        _tile_loadd(ROWS_0, lines + WORD * rows.first, stride);
        _tile_dpbssd(SUMS_00, TOKENS_0, ROWS_0);
        if (rows.both) {
            _tile_loadd(ROWS_1, lines + WORD * rows.second, stride);
            _tile_dpbssd(SUMS_01, TOKENS_0, ROWS_1);
        }
        if (tokens.both) {
            _tile_loadd(TOKENS_1, x1 + WORD * group, call->x_stride);
            _tile_dpbssd(SUMS_10, TOKENS_1, ROWS_0);
        }
        if (tokens.both && rows.both) {
            _tile_dpbssd(SUMS_11, TOKENS_1, ROWS_1);
        }
    }
    int32_t *acc0 = call->acc + tokens.first * (stride / WORD), *acc1 = call->acc + tokens.second * (stride / WORD);
    _tile_stored(SUMS_00, acc0 + rows.first, stride);
    if (rows.both) {
        _tile_stored(SUMS_01, acc0 + rows.second, stride);
    }
    if (tokens.both) {
        _tile_stored(SUMS_10, acc1 + rows.first, stride);
    }
    if (tokens.both && rows.both) {
        _tile_stored(SUMS_11, acc1 + rows.second, stride);
    }
}

/* Two blocks of rows are multiplied with all tokens while their weights, 8 KB at most, are in the first-level cache. */
void rbe__amx_multiply_tile(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride, uint32_t n_tokens,
                            int32_t *acc)
{
    const uint32_t rows = 4 * row_steps;
    uint32_t step_groups = least(n_groups, MOST_LINES);
    while (n_groups % step_groups != 0) {
        step_groups--;
    }
    const tile_call call = {.tile = tile,
                            .x = x,
                            .acc = acc,
                            .x_stride = x_stride,
                            .line_stride = (size_t)WORD * rows,
                            .n_steps = n_groups / step_groups,
                            .step_groups = step_groups};
    configure(least(n_tokens, MOST_LINES), least(rows, MOST_LINES), step_groups);
    for (uint32_t row = 0; row < rows; row += 2 * MOST_LINES) {
        for (uint32_t token = 0; token < n_tokens; token += 2 * MOST_LINES) {
            multiply_block(&call, blocks_at(token, n_tokens), blocks_at(row, rows));
        }
    }
    _tile_release();
}
