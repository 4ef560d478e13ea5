/* A tile of int8 weights times the activations of many tokens, for every vector width.
 *
 * ROW_VECTORS x TOKENS sums stay in registers over all groups; a tile vector is loaded once for TOKENS tokens, four
 * activations once for ROW_VECTORS vectors.
 *
 * The including file defines: vec; LANES, 16-byte lanes in a vec, each 4 rows of 4 columns; ROW_VECTORS; TOKENS;
 *     tile_weights, tile_load(const int8_t *tile, uint32_t n_lanes)   n_lanes 1 to LANES: no more is read
 *     vec dot_start(int narrow, const int8_t *x, uint32_t n)          the sums before the first group
 *     vec tile_dot(vec sums, tile_weights weights, vec activations)
 *     vec load_activations(const int8_t *x)                           x[0..3] in every 32 bits
 *     void store_sums(int32_t *acc, vec sums, uint32_t n_lanes)
 *     FEW_TOKENS_PREFETCH   1: lines of a tile are not read in order, so ask for them where tokens are few; else 0
 *     NARROW   1: and what multiply_narrow_tile.h asks for; 0: narrow tiles are multiplied as others are
 */
#ifndef RBE_KERNELS_SHARED_MULTIPLY_TILE_H
#define RBE_KERNELS_SHARED_MULTIPLY_TILE_H

#include "kernels/kernels.h"
#include "kernels/shared/inline.h"

enum { LANE_BYTES = 16, LANE_ROWS = 4 };

/* What all blocks of one call have in common. */
typedef struct tile_call {
    const int8_t *tile;
    uint32_t row_steps, n_groups;
    size_t x_stride;
} tile_call;

/* A tile of attention comes from memory. Where its lines are not read in order, the processor does not foresee them: the first rows of a
 * group ask for the others. */
RBE_INLINE void prefetch_rows_behind(const tile_call *call, uint32_t n_lanes, uint32_t n_tokens, const int8_t *tile)
{
    for (uint32_t lane = n_lanes; FEW_TOKENS_PREFETCH && n_tokens < TOKENS && n_lanes == LANES * ROW_VECTORS && lane < call->row_steps;
         lane += 4) {
        __builtin_prefetch(tile + (size_t)LANE_BYTES * lane, 0, 3);
    }
}

/* Rows from 4 * lane on, as many as n_vectors hold (n_lanes of the last), for n_tokens tokens from x on; both constants. */
RBE_INLINE void multiply_block(const tile_call *call, uint32_t lane, uint32_t n_vectors, uint32_t n_lanes, const int8_t *x,
                               uint32_t n_tokens, const vec *start, int32_t *acc)
{
    /* one loop over all sums, not two nested: gcc 12 then keeps them in registers */
    vec sums[ROW_VECTORS * TOKENS];
    const uint32_t n_sums = n_vectors * n_tokens;
    const int8_t *tile = call->tile + (size_t)LANE_BYTES * lane;
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_sums; i++) {
        sums[i] = start[i / n_vectors];
    }
    for (uint32_t g = 0; g < call->n_groups; g++) {
        tile_weights weights[ROW_VECTORS];
        vec activations[TOKENS];
        prefetch_rows_behind(call, lane + LANES * n_vectors, n_tokens, tile);
        RBE_UNROLL(8)
        for (uint32_t v = 0; v < n_vectors; v++) {
            weights[v] = tile_load(tile + LANE_BYTES * LANES * v, v + 1 < n_vectors ? LANES : n_lanes);
        }
        tile += (size_t)LANE_BYTES * call->row_steps;
        RBE_UNROLL(32)
        for (uint32_t i = 0; i < n_sums; i++) {
            const uint32_t n = i / n_vectors;
            if (i % n_vectors == 0) {
                activations[n] = load_activations(x + n * call->x_stride + 4 * g);
            }
            sums[i] = tile_dot(sums[i], weights[i % n_vectors], activations[n]);
        }
    }
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_sums; i++) {
        const uint32_t n = i / n_vectors, v = i % n_vectors;
        int32_t *rows = acc + (size_t)LANE_ROWS * (call->row_steps * n + lane + LANES * v);
        store_sums(rows, sums[i], v + 1 < n_vectors ? LANES : n_lanes);
    }
}

#if NARROW
#include "kernels/shared/multiply_narrow_tile.h"
#else
#define multiply_narrow_block multiply_block
#endif

/* All rows for n_tokens tokens; narrow and n_tokens are constants. */
RBE_INLINE void multiply_rows(const tile_call *call, int narrow, const int8_t *x, uint32_t n_tokens, int32_t *acc)
{
    vec start[TOKENS];
    RBE_UNROLL(8)
    for (uint32_t n = 0; n < n_tokens; n++) {
        const int8_t *token = x + n * call->x_stride;
        start[n] = dot_start(narrow, token, 4 * call->n_groups);
    }
    const uint32_t row_steps = call->row_steps;
    uint32_t lane = 0;
    for (; lane + LANES * ROW_VECTORS <= row_steps; lane += LANES * ROW_VECTORS) {
        if (narrow) { /* NOLINT(bugprone-branch-clone): alike in sets without narrow tables */
            multiply_narrow_block(call, lane, ROW_VECTORS, LANES, x, n_tokens, start, acc);
        } else {
            multiply_block(call, lane, ROW_VECTORS, LANES, x, n_tokens, start, acc);
        }
    }
    for (; lane < row_steps; lane += LANES) {
        const uint32_t n_lanes = row_steps - lane < LANES ? row_steps - lane : LANES;
        if (narrow) { /* NOLINT(bugprone-branch-clone) */
            multiply_narrow_block(call, lane, 1, n_lanes, x, n_tokens, start, acc);
        } else {
            multiply_block(call, lane, 1, n_lanes, x, n_tokens, start, acc);
        }
    }
}

_Static_assert(TOKENS <= 4, "multiply_any_tile knows what is left of so many tokens");

RBE_INLINE void multiply_any_tile(const tile_call *call, int narrow, const int8_t *x, uint32_t n_tokens, int32_t *acc)
{
    const size_t rows = (size_t)LANE_ROWS * call->row_steps;
    uint32_t n = 0;
    for (; n + TOKENS <= n_tokens; n += TOKENS) {
        multiply_rows(call, narrow, x + n * call->x_stride, TOKENS, acc + n * rows);
    }
    x += n * call->x_stride;
    acc += n * rows;
    switch (n_tokens - n) { /* each a loop of its own, in which a tile vector is loaded once */
    case 3: multiply_rows(call, narrow, x, 3, acc); break;
    case 2: multiply_rows(call, narrow, x, 2, acc); break;
    case 1: multiply_rows(call, narrow, x, 1, acc); break;
    default: break;
    }
}

static void multiply_tile(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride, uint32_t n_tokens,
                          int32_t *acc)
{
    const tile_call call = {tile, row_steps, n_groups, x_stride};
    multiply_any_tile(&call, 0, x, n_tokens, acc);
}

#if NARROW
#define NARROW_TILE_KERNEL multiply_narrow_tile
static void multiply_narrow_tile(const int8_t *tile, uint32_t row_steps, uint32_t n_groups, const int8_t *x, size_t x_stride,
                                 uint32_t n_tokens, int32_t *acc)
{
    const tile_call call = {tile, row_steps, n_groups, x_stride};
    multiply_any_tile(&call, 1, x, n_tokens, acc);
}
#else
#undef multiply_narrow_block
#define NARROW_TILE_KERNEL multiply_tile
#endif

/* The part of a table that these fill. */
#define RBE_SET_MULTIPLY_TILE(table)                        \
    do {                                                    \
        (table)->multiply_tile = multiply_tile;             \
        (table)->multiply_narrow_tile = NARROW_TILE_KERNEL; \
    } while (0)

#endif
