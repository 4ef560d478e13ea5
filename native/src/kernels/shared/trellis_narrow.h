/* dot for narrow tables (rbe_strip.narrow): products of some groups add up in 16 bits before they are widened. Included by trellis.h.
 *
 * The including file defines besides:
 *     NARROW_GROUPS                                                   groups in step with one another, 2 at least
 *     NARROW_BIAS                                                     what is added to T1
 *     half_sums; half_sums pairs_of(vec weights, vec activations)             products of one group in 16 bits
 *     half_sums pairs_add(half_sums p, vec weights, vec activations)          those of another on top
 *     vec pairs_widen(vec sums, half_sums p)                              int32 += their sums
 *     vec narrow_start(const int8_t *x, uint32_t n)                   the sums before the first group: what the bias adds, taken off
 */
#ifndef RBE_KERNELS_SHARED_TRELLIS_NARROW_H
#define RBE_KERNELS_SHARED_TRELLIS_NARROW_H

/* The groups that go in step: where each one's units begin, and x of each. */
typedef struct narrow_step {
    const uint8_t *units[NARROW_GROUPS];
    vec activations[NARROW_GROUPS];
} narrow_step;

/* The blocks of all groups whose units are `at` and, in the last lane, `at_last` bytes behind the first ones. */
RBE_INLINE void narrow_blocks(uint32_t bits, const tables *from, const narrow_step *step, size_t at, size_t at_last,
                              const lane_blocks *before, lane_blocks *of, vec *sums)
{
    RBE_UNROLL(4)
    for (uint32_t n = 0; n < NARROW_GROUPS; n++) {
        blocks_next(bits, &before[n], &of[n], step->units[n] + at, step->units[n] + at_last);
    }
    RBE_UNROLL(8)
    for (uint32_t s = 0; s < block_steps(bits); s++) {
        half_sums total = pairs_of(generate_step(bits, from, &before[0], &of[0], s), step->activations[0]);
        RBE_UNROLL(4)
        for (uint32_t n = 1; n < NARROW_GROUPS; n++) {
            total = pairs_add(total, generate_step(bits, from, &before[n], &of[n], s), step->activations[n]);
        }
        sums[s] = pairs_widen(sums[s], total);
    }
}

/* Each lane's blocks `at` and the next one make so many whole cache lines in two lanes. */
RBE_INLINE void narrow_prefetch(uint32_t bits, const narrow_step *step, size_t at)
{
    RBE_UNROLL(4)
    for (uint32_t n = 0; PREFETCHES && n < NARROW_GROUPS; n++) {
        RBE_UNROLL(3)
        for (uint32_t i = 0; i < block_units(bits); i++) {
            __builtin_prefetch((const void *)((uintptr_t)step->units[n] + PREFETCH_AHEAD + LANES * at + CACHE_LINE * i), 0, 2);
        }
    }
}

/* acc[4R] = the next n_groups groups times x. */
RBE_INLINE void dot_narrow_groups(uint32_t bits, const tables *from, rbe_cell_walk *cells, uint32_t n_groups, const int8_t *x, int32_t *acc)
{
    group_walk walk = group_start(bits, cells->strip, (rbe_group_bytes){0});
    const uint32_t steps = block_steps(bits);
    const size_t block_bytes = walk.block_bytes, run_bytes = walk.run * block_bytes, lane_bytes = (LANES - 1) * run_bytes;
    const size_t both_bytes = walk.n_blocks * block_bytes - lane_bytes; /* of blocks that the last lane has too */
    const vec start = narrow_start(x, 4 * n_groups);
    vec sums[MOST_STEPS];
    for (uint32_t i = 0; i < walk.run * steps; i++) {
        sums[i] = start;
    }
    for (uint32_t g = 0; g < n_groups; g += NARROW_GROUPS) {
        narrow_step step;
        lane_blocks a[NARROW_GROUPS], b[NARROW_GROUPS];
        RBE_UNROLL(4)
        for (uint32_t n = 0; n < NARROW_GROUPS; n++) {
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
            narrow_prefetch(bits, &step, at);
            narrow_blocks(bits, from, &step, at, at + lane_bytes, a, b, sums_at);
            narrow_blocks(bits, from, &step, at + block_bytes, at + block_bytes + lane_bytes, b, a, sums_at + steps);
            sums_at += 2 * steps;
        }
        for (; at < run_bytes; at += block_bytes) { /* where the last lane has none, any other stands in */
            narrow_prefetch(bits, &step, at);
            narrow_blocks(bits, from, &step, at, at < both_bytes ? at + lane_bytes : at, a, b, sums_at);
            RBE_UNROLL(4)
            for (uint32_t n = 0; n < NARROW_GROUPS; n++) {
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

/* 1 where the tables are narrow, and sum is what dot_strip makes of them; else 0. */
RBE_INLINE int dot_narrow(uint32_t bits, const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    if (bits == 1 || !strip->narrow) {
        return 0;
    }
    const tables from = tables_load(strip->t1, strip->t2, NARROW_BIAS);
    const uint32_t rows = 4 * strip->row_steps;
    int32_t acc[RBE_STRIP_ROWS];
    rbe_cell_walk cells = rbe__cell_walk_start(strip, 0);
    memset(sum, 0, rows * sizeof *sum);
    for (uint32_t first = 0; first < strip->n_groups; first += RBE_BLOCK_GROUPS) {
        const uint32_t left = strip->n_groups - first;
        dot_narrow_groups(bits, &from, &cells, left < RBE_BLOCK_GROUPS ? left : RBE_BLOCK_GROUPS, x + (size_t)4 * first, acc);
        GATHER(sum, acc, rows, scales[first / RBE_BLOCK_GROUPS]);
    }
    return 1;
}

#endif
