/* The trellis generator for vectors of one or two 128-bit lanes (NEON, AVX2): dot and generate for every K, written once.
 *
 * A *block* is the least whole number of units that holds whole steps: one unit of 8/K steps, or, for K = 3, three units of
 * 8 steps. The blocks of a group are dealt out to the lanes in runs of `run` (lane 0 has the first), so that what precedes a
 * block in its streams is what the lane read last, and is carried in registers.
 *
 * With nibble(shift) the four bits of a stream that end `shift` bits before the end of a byte, a step that ends there has
 *     T1 + T2 = T1[nibble(shift) ^ nibble(shift + 8)] + T2[nibble(shift + 4)].
 *
 * dot takes some groups at a time, so that a sum is loaded and stored once for all of them, and their products of narrow tables can
 * add up before they are widened.
 *
 * The including file defines: vec; LANES (1 or 2); GROUPS_IN_STEP, the most that groups_in_step gives;
 *     uint32_t groups_in_step(uint32_t bits, int narrow)              1 at least
 *     NARROW (1: dot_step has a way of its own for narrow tables)
 *     tables tables_load(const int8_t *t1, const int8_t *t2, int bias)   bias is added to T1
 *     PREFETCHES (1: streams are prefetched here too)
 *     int dot_bias(int narrow)                                        of the weights that dot_step takes; unsigned where it is not 0
 *     vec dot_start(int narrow, const int8_t *x, uint32_t n)          the sums before the first group: what the bias adds, taken off
 *     vec dot_step(int narrow, uint32_t n, vec sums, const vec *weights, const vec *activations)
 *                                                                     int32 += four int8 products of each of n vectors, n a constant
 *     vec load_lanes(const uint8_t *lane0, const uint8_t *lane1)      16 bytes each
 *     void store_lane(vec v, uint32_t lane, void *out)                16 bytes
 *     void store_two(vec first, vec second, uint32_t lane, void *out) 32 bytes: the lane of both
 *     vec nibble(vec before, vec byte, uint32_t shift)                four bits of before:byte, shift 0 to 7, a constant; where shift > 4
 *                                                                     they may stand in another order, which look_up1 and look_up2 know
 *     vec look_up1(const tables *from, vec nibbles, uint32_t shift)   T1 of nibble(shift), look_up2: T2
 *     vec vec_zero(void), vec_xor(vec, vec), vec_add8(vec, vec)
 *     vec load_activations(const int8_t *x)                           x[0..3] in every 32 bits
 *     GATHER(float *y, const int32_t *acc, uint32_t n, float scale)   the set's `accumulate`
 */
#ifndef RBE_KERNELS_SHARED_TRELLIS_H
#define RBE_KERNELS_SHARED_TRELLIS_H

#include <string.h>

#include "kernels/shared/blocks.h"

enum { MOST_STEPS = RBE_STRIP_ROWS / 4, STREAMS = 4 };

/* One block of each lane. K = 3: its bytes, and each xor the byte before it. Other K: the steps of a unit end at multiples
 * of K bits, which is 4 / K streams of nibbles, each K bits behind the last. */
typedef struct lane_blocks {
    vec byte[3], change[3];
    vec low[STREAMS], high[STREAMS];
} lane_blocks;

RBE_INLINE void split_unit(uint32_t bits, lane_blocks *of, vec before, vec unit)
{
    RBE_UNROLL(4)
    for (uint32_t q = 0; q < 4 / bits; q++) {
        of->low[q] = nibble(before, unit, q * bits);
        of->high[q] = nibble(before, unit, q * bits + 4);
    }
}

/* What precedes the first block: the two units before it. */
RBE_INLINE void blocks_start(uint32_t bits, lane_blocks *of, vec before_last, vec last)
{
    if (bits == 3) {
        of->byte[2] = last;
        of->change[2] = vec_xor(last, before_last);
    } else {
        split_unit(bits, of, before_last, last);
    }
}

RBE_INLINE void blocks_next(uint32_t bits, const lane_blocks *before, lane_blocks *of, const uint8_t *lane0, const uint8_t *lane1)
{
    if (bits == 3) {
        RBE_UNROLL(3)
        for (uint32_t i = 0; i < 3; i++) {
            of->byte[i] = load_lanes(lane0 + RBE_UNIT_BYTES * i, lane1 + RBE_UNIT_BYTES * i);
            of->change[i] = vec_xor(of->byte[i], i ? of->byte[i - 1] : before->byte[2]);
        }
    } else {
        split_unit(bits, of, before->low[0], load_lanes(lane0, lane1));
    }
}

/* What the next blocks need of these. (Assigning the structure makes clang 14 call memcpy: a fifth of the speed.) */
RBE_INLINE void blocks_move(uint32_t bits, const lane_blocks *from, lane_blocks *to)
{
    if (bits == 3) {
        to->byte[2] = from->byte[2];
        to->change[2] = from->change[2];
        return;
    }
    RBE_UNROLL(4)
    for (uint32_t q = 0; q < 4 / bits; q++) {
        to->low[q] = from->low[q];
        to->high[q] = from->high[q];
    }
}

/* The weights of step s, a constant, of the blocks. */
RBE_INLINE vec generate_step(uint32_t bits, const tables *from, const lane_blocks *before, const lane_blocks *of, uint32_t s)
{
    const uint32_t end = bits * (s + 1) - 1, shift = ~end & 7, shift2 = shift ^ 4;
    vec index1, index2;
    if (bits == 3) {
        const uint32_t i = end / 8;
        const vec byte_before = i ? of->byte[i - 1] : before->byte[2];
        index1 = nibble(i ? of->change[i - 1] : before->change[2], of->change[i], shift);
        index2 = nibble(byte_before, shift < 4 ? of->byte[i] : byte_before, shift2);
    } else if (shift < 4) {
        index1 = vec_xor(of->low[shift / bits], before->low[shift / bits]);
        index2 = of->high[shift / bits];
    } else {
        index1 = vec_xor(of->high[shift2 / bits], before->high[shift2 / bits]);
        index2 = before->low[shift2 / bits];
    }
    return vec_add8(look_up1(from, index1, shift), look_up2(from, index2, shift2));
}

/* Where a lane's run of blocks begins, and what precedes it there. */
typedef struct group_walk {
    rbe_group_bytes bytes;
    uint32_t n_blocks, run, block_bytes;
} group_walk;

RBE_INLINE group_walk group_start(uint32_t bits, const rbe_strip *strip, rbe_group_bytes bytes)
{
    const uint32_t n_blocks = strip->row_steps / block_steps(bits);
    return (group_walk){bytes, n_blocks, (n_blocks + LANES - 1) / LANES, RBE_UNIT_BYTES * block_units(bits)};
}

RBE_INLINE const uint8_t *unit_before(const group_walk *walk, uint32_t lane, uint32_t distance)
{
    const uint32_t units_before = lane * walk->run * walk->block_bytes / RBE_UNIT_BYTES;
    if (units_before >= distance) {
        return walk->bytes.units + RBE_UNIT_BYTES * (units_before - distance);
    }
    return distance - units_before == 1 ? walk->bytes.last : walk->bytes.before_last;
}

RBE_INLINE void group_first(uint32_t bits, const group_walk *walk, lane_blocks *of)
{
    const uint32_t lane1 = LANES - 1;
    blocks_start(bits, of, load_lanes(unit_before(walk, 0, 2), unit_before(walk, lane1, 2)),
                 load_lanes(unit_before(walk, 0, 1), unit_before(walk, lane1, 1)));
}

/* Block v of each lane's run. Where the last lane has none, any other stands in. */
RBE_INLINE void group_blocks(uint32_t bits, const group_walk *walk, uint32_t v, const lane_blocks *before, lane_blocks *of)
{
    const uint32_t other = v + walk->run < walk->n_blocks ? v + walk->run : walk->n_blocks - 1;
    blocks_next(bits, before, of, walk->bytes.units + v * walk->block_bytes, walk->bytes.units + other * walk->block_bytes);
}

/* Writes 16 bytes for step s of block v of each lane's run, to out + 16 * step. */
RBE_INLINE void store_step(uint32_t bits, const group_walk *walk, uint32_t v, uint32_t s, vec values, uint8_t *out)
{
    RBE_UNROLL(2)
    for (uint32_t lane = 0; lane < LANES; lane++) {
        const uint32_t block = lane * walk->run + v;
        if (block < walk->n_blocks) {
            store_lane(values, lane, out + (size_t)16 * (block_steps(bits) * block + s));
        }
    }
}

/* Block v of each lane's run, or of the first lane's alone where n_lanes, a constant, is 1. Two steps are stored at once: each block has an even
 * number of them. */
RBE_INLINE void generate_blocks(uint32_t bits, uint32_t n_lanes, const tables *from, const group_walk *walk, uint32_t v,
                                const lane_blocks *before, lane_blocks *of, uint8_t *out)
{
    const uint32_t steps = block_steps(bits);
    group_blocks(bits, walk, v, before, of);
    RBE_UNROLL(4)
    for (uint32_t s = 0; s < steps; s += 2) {
        const vec first = generate_step(bits, from, before, of, s), second = generate_step(bits, from, before, of, s + 1);
        RBE_UNROLL(2)
        for (uint32_t lane = 0; lane < n_lanes; lane++) {
            store_two(first, second, lane, out + (size_t)16 * (steps * (lane * walk->run + v) + s));
        }
    }
}

/* The blocks of each lane's run from v to below end. Returns with `a` the last of them. */
RBE_INLINE void generate_run(uint32_t bits, uint32_t n_lanes, const tables *from, const group_walk *walk, uint32_t v, uint32_t end,
                             lane_blocks *a, uint8_t *out)
{
    lane_blocks b; /* in turn with a, which saves moves */
    for (; v + 1 < end; v += 2) {
        generate_blocks(bits, n_lanes, from, walk, v, a, &b, out);
        generate_blocks(bits, n_lanes, from, walk, v + 1, &b, a, out);
    }
    for (; v < end; v++) {
        generate_blocks(bits, n_lanes, from, walk, v, a, &b, out);
        blocks_move(bits, &b, a);
    }
}

RBE_INLINE void generate_groups(uint32_t bits, const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile)
{
    const tables from = tables_load(strip->t1, strip->t2, 0);
    rbe_cell_walk cells = rbe__cell_walk_start(strip, first_group);
    for (uint32_t g = 0; g < n_groups; g++) {
        const group_walk walk = group_start(bits, strip, rbe__cell_walk_next(&cells));
        const uint32_t n_of_last = walk.n_blocks - (LANES - 1) * walk.run;
        uint8_t *out = (uint8_t *)tile + (size_t)16 * strip->row_steps * g;
        lane_blocks a;
        group_first(bits, &walk, &a);
        if (PREFETCHES) {
            prefetch_ahead(walk.bytes.units, cells.group_bytes);
        }
        generate_run(bits, LANES, &from, &walk, 0, n_of_last, &a, out);
        generate_run(bits, 1, &from, &walk, n_of_last, walk.run, &a, out);
    }
}

/* The groups that go in step: where each one's units begin, and x of each. */
typedef struct dot_groups_in_step {
    const uint8_t *units[GROUPS_IN_STEP];
    vec activations[GROUPS_IN_STEP];
} dot_groups_in_step;

/* The blocks of all groups whose units are `at` and, in the last lane, `at_last` bytes behind the first ones. */
RBE_INLINE void dot_blocks(uint32_t bits, int narrow, const tables *from, const dot_groups_in_step *step, size_t at, size_t at_last,
                           const lane_blocks *before, lane_blocks *of, vec *sums)
{
    RBE_UNROLL(4)
    for (uint32_t n = 0; n < groups_in_step(bits, narrow); n++) {
        blocks_next(bits, &before[n], &of[n], step->units[n] + at, step->units[n] + at_last);
    }
    RBE_UNROLL(8)
    for (uint32_t s = 0; s < block_steps(bits); s++) {
        vec weights[GROUPS_IN_STEP];
        RBE_UNROLL(4)
        for (uint32_t n = 0; n < groups_in_step(bits, narrow); n++) {
            weights[n] = generate_step(bits, from, &before[n], &of[n], s);
        }
        sums[s] = dot_step(narrow, groups_in_step(bits, narrow), sums[s], weights, step->activations);
    }
}

/* Each lane's blocks `at` and the next one make so many whole cache lines in two lanes. */
RBE_INLINE void prefetch_in_step(uint32_t bits, int narrow, const dot_groups_in_step *step, size_t at)
{
    RBE_UNROLL(4)
    for (uint32_t n = 0; PREFETCHES && n < groups_in_step(bits, narrow); n++) {
        RBE_UNROLL(3)
        for (uint32_t i = 0; i < block_units(bits); i++) {
            __builtin_prefetch((const void *)((uintptr_t)step->units[n] + PREFETCH_AHEAD + LANES * at + CACHE_LINE * i), 0, 2);
        }
    }
}

/* acc[4R] = the next n_groups groups times x. The sums stay in the first-level cache: a strip has more of them than there are registers. */
RBE_INLINE void dot_groups(uint32_t bits, int narrow, const tables *from, rbe_cell_walk *cells, uint32_t n_groups, const int8_t *x,
                           int32_t *acc)
{
    group_walk walk = group_start(bits, cells->strip, (rbe_group_bytes){0});
    const uint32_t steps = block_steps(bits);
    const size_t block_bytes = walk.block_bytes, run_bytes = walk.run * block_bytes, lane_bytes = (LANES - 1) * run_bytes;
    const size_t both_bytes = walk.n_blocks * block_bytes - lane_bytes; /* of blocks that the last lane has too */
    const vec start = dot_start(narrow, x, 4 * n_groups);
    vec sums[MOST_STEPS];
    for (uint32_t i = 0; i < walk.run * steps; i++) {
        sums[i] = start;
    }
    for (uint32_t g = 0; g < n_groups; g += groups_in_step(bits, narrow)) {
        dot_groups_in_step step;
        lane_blocks a[GROUPS_IN_STEP], b[GROUPS_IN_STEP];
        RBE_UNROLL(4)
        for (uint32_t n = 0; n < groups_in_step(bits, narrow); n++) {
            step.activations[n] = vec_zero(); /* of the last group once more, where no other is left */
            if (g + n < n_groups) {
                walk.bytes = rbe__cell_walk_next(cells);
                step.activations[n] = load_activations(x + 4 * (g + n));
            }
            step.units[n] = walk.bytes.units;
            group_first(bits, &walk, &a[n]);
        }
        vec *sums_at = sums;
        size_t at = 0;
        for (; at + block_bytes < both_bytes; at += 2 * block_bytes) {
            prefetch_in_step(bits, narrow, &step, at);
            dot_blocks(bits, narrow, from, &step, at, at + lane_bytes, a, b, sums_at);
            dot_blocks(bits, narrow, from, &step, at + block_bytes, at + block_bytes + lane_bytes, b, a, sums_at + steps);
            sums_at += 2 * steps;
        }
        for (; at < run_bytes; at += block_bytes) { /* where the last lane has none, any other stands in */
            prefetch_in_step(bits, narrow, &step, at);
            dot_blocks(bits, narrow, from, &step, at, at < both_bytes ? at + lane_bytes : at, a, b, sums_at);
            RBE_UNROLL(4)
            for (uint32_t n = 0; n < groups_in_step(bits, narrow); n++) {
                blocks_move(bits, &b[n], &a[n]);
            }
            sums_at += steps;
        }
    }
    for (uint32_t v = 0; v < walk.run; v++) {
        for (uint32_t s = 0; s < steps; s++) {
            store_step(bits, &walk, v, s, sums[v * steps + s], (uint8_t *)acc);
        }
    }
}

/* narrow: a constant, as in dot_step */
RBE_INLINE void dot_strip(uint32_t bits, int narrow, const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    const tables from = tables_load(strip->t1, strip->t2, dot_bias(narrow));
    const uint32_t rows = 4 * strip->row_steps;
    int32_t acc[RBE_STRIP_ROWS];
    rbe_cell_walk cells = rbe__cell_walk_start(strip, 0);
    memset(sum, 0, rows * sizeof *sum);
    for (uint32_t first = 0; first < strip->n_groups; first += RBE_BLOCK_GROUPS) {
        const uint32_t left = strip->n_groups - first;
        dot_groups(bits, narrow, &from, &cells, left < RBE_BLOCK_GROUPS ? left : RBE_BLOCK_GROUPS, x + (size_t)4 * first, acc);
        GATHER(sum, acc, rows, scales[first / RBE_BLOCK_GROUPS]);
    }
}

/* One bit a weight has no use for narrow tables: they would have to be coarse. */
#define TRELLIS_KERNELS(bits)                                                                                   \
    static void dot_k##bits(const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)           \
    {                                                                                                           \
        if (NARROW && (bits) > 1 && strip->narrow) {                                                            \
            dot_strip(bits, 1, strip, x, scales, sum);                                                          \
        } else {                                                                                                \
            dot_strip(bits, 0, strip, x, scales, sum);                                                          \
        }                                                                                                       \
    }                                                                                                           \
    static void generate_k##bits(const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, int8_t *tile) \
    {                                                                                                           \
        generate_groups(bits, strip, first_group, n_groups, tile);                                              \
    }

TRELLIS_KERNELS(1)
TRELLIS_KERNELS(2)
TRELLIS_KERNELS(3)
TRELLIS_KERNELS(4)

#endif
