/* dot with blocks dealt out to the four lanes in runs, so that what precedes a block is what its lane read last: for K = 3, whose blocks of
 * three units cost more to bring into lanes in turn. Where a group has 2 or 6 blocks (strips of 64 and 192 rows, K = 1 and 3), two groups
 * fill the lanes: 0 and 1 have the halves of the first, 2 and 3 those of the second. Included by trellis.h. */
#ifndef RBE_KERNELS_AVX512_DOT_RUNS_H
#define RBE_KERNELS_AVX512_DOT_RUNS_H

enum { MOST_RUN_ACCUMULATORS = 24 };

/* 16 bytes of each lane. (Two inserts of 256 bits and one of 512 are half the work of three masked loads of 512.) */
RBE_INLINE __m512i load_lanes(const uint8_t *const *lanes, size_t offset)
{
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(lanes[0] + offset))),
                                                _mm_loadu_si128((const __m128i *)(lanes[1] + offset)), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(lanes[2] + offset))),
                                                 _mm_loadu_si128((const __m128i *)(lanes[3] + offset)), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Where each lane begins, and the two units before. */
typedef struct lane_runs {
    const uint8_t *blocks[4], *last[4], *before_last[4];
} lane_runs;

/* Gives n_lanes lanes from `lane` on a run each, run_bytes long. Where the group ends earlier, a lane has the last run once more. */
RBE_INLINE void deal_group(lane_runs *to, uint32_t lane, uint32_t n_lanes, rbe_group_bytes group, uint32_t run_bytes, uint32_t last_run)
{
    RBE_UNROLL(4)
    for (uint32_t l = 0; l < n_lanes; l++) {
        const uint32_t at = l * run_bytes < last_run ? l * run_bytes : last_run;
        to->blocks[lane + l] = group.units + at;
        to->last[lane + l] = at >= RBE_UNIT_BYTES ? group.units + at - RBE_UNIT_BYTES : group.last;
        to->before_last[lane + l] = at >= 2 * RBE_UNIT_BYTES ? group.units + at - 2 * RBE_UNIT_BYTES : at ? group.last : group.before_last;
    }
}

/* Deals out group g, with the next one where two fill the lanes; the activations of each lane's group. units: where group g begins. */
RBE_INLINE __m512i take_groups(int pairs, rbe_cell_walk *walk, const int8_t *x, uint32_t g, uint32_t end, uint32_t run_bytes,
                               uint32_t last_run, lane_runs *lanes, const uint8_t **units)
{
    const rbe_group_bytes one = rbe__cell_walk_next(walk);
    int32_t x_group;
    memcpy(&x_group, x + (size_t)4 * g, sizeof x_group);
    __m512i activations = _mm512_set1_epi32(x_group);
    deal_group(lanes, 0, pairs ? 2 : 4, one, run_bytes, last_run);
    if (pairs) { /* a group without a partner is its own, times 0 */
        rbe_group_bytes two = one;
        x_group = 0;
        if (g + 1 < end) {
            two = rbe__cell_walk_next(walk);
            memcpy(&x_group, x + (size_t)4 * g + 4, sizeof x_group);
        }
        activations = _mm512_mask_set1_epi32(activations, 0xff00, x_group);
        deal_group(lanes, 2, 2, two, run_bytes, last_run);
    }
    *units = one.units;
    return activations;
}

/* The sums of the lanes' blocks to their rows. run, steps, n_lanes: constants. */
RBE_INLINE void store_runs(uint32_t run, uint32_t steps, uint32_t n_lanes, uint32_t n_blocks, const __m512 *total, float *sum)
{
    RBE_UNROLL(3)
    for (uint32_t v = 0; v < run; v++) {
        RBE_UNROLL(8)
        for (uint32_t s = 0; s < steps; s++) {
            __m512 of_lanes = total[v * steps + s];
            RBE_UNROLL(4)
            for (uint32_t l = 0; l < n_lanes; l++) {
                const uint32_t block = l * run < n_blocks - run ? l * run + v : n_blocks - run + v;
                _mm_storeu_ps(sum + 4 * (steps * block + s), _mm512_castps512_ps128(of_lanes));
                of_lanes = _mm512_shuffle_f32x4(of_lanes, of_lanes, 0x39);
            }
        }
    }
}

/* run: blocks of a lane, a constant; pairs: 1 where two groups fill the lanes, a constant. */
RBE_INLINE void dot_runs(uint32_t bits, uint32_t run, int pairs, const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    generator from = generator_make(strip, 128);
    const uint32_t steps = block_steps(bits), units = block_units(bits), bytes = RBE_UNIT_BYTES * units;
    const uint32_t n_blocks = strip->row_steps / steps, n_lanes = pairs ? 2 : 4;
    __m512 total[MOST_RUN_ACCUMULATORS];
    RBE_UNROLL(24)
    for (uint32_t i = 0; i < run * steps; i++) {
        total[i] = _mm512_setzero_ps();
    }
    rbe_cell_walk walk = rbe__cell_walk_start(strip, 0);
    for (uint32_t first = 0; first < strip->n_groups; first += RBE_BLOCK_GROUPS) {
        const uint32_t end = strip->n_groups - first < RBE_BLOCK_GROUPS ? strip->n_groups : first + RBE_BLOCK_GROUPS;
        const __m512i start = _mm512_maskz_set1_epi32(pairs ? 0x00ff : 0xffff,
                                                      -128 * rbe__avx512_sum(x + (size_t)4 * first, 4 * (end - first)));
        __m512i sums[MOST_RUN_ACCUMULATORS];
        RBE_UNROLL(24)
        for (uint32_t i = 0; i < run * steps; i++) {
            sums[i] = start;
        }
        for (uint32_t g = first; g < end; g += pairs ? 2 : 1) {
            lane_runs lanes;
            const uint8_t *units_at;
            const __m512i activations = take_groups(pairs, &walk, x, g, end, bytes * run, bytes * (n_blocks - run), &lanes, &units_at);
            block_bytes of;
            of.byte[0] = load_lanes(lanes.last, 0);
            of.change[0] = _mm512_xor_si512(of.byte[0], load_lanes(lanes.before_last, 0));
            prefetch_ahead(units_at, (pairs ? 2 : 1) * bytes * n_blocks);
            RBE_UNROLL(3)
            for (uint32_t v = 0; v < run; v++) {
                RBE_UNROLL(3)
                for (uint32_t i = 1; i <= units; i++) {
                    of.byte[i] = load_lanes(lanes.blocks, RBE_UNIT_BYTES * (units * v + i - 1));
                    of.change[i] = _mm512_xor_si512(of.byte[i], of.byte[i - 1]);
                }
                keep_in_memory(bits, &from);
                RBE_UNROLL(8)
                for (uint32_t s = 0; s < steps; s++) {
                    const __m512i weights = generate_step(&from, bits, s, &of);
                    sums[v * steps + s] = _mm512_dpbusd_epi32(sums[v * steps + s], weights, activations);
                }
                of.byte[0] = of.byte[units];
                of.change[0] = of.change[units];
            }
        }
        __m512i block_sums[MOST_RUN_ACCUMULATORS];
        RBE_UNROLL(24)
        for (uint32_t i = 0; i < run * steps; i++) {
            block_sums[i] = pairs ? _mm512_add_epi32(sums[i], _mm512_shuffle_i64x2(sums[i], sums[i], 0x4e)) : sums[i];
        }
        gather_block(run * steps, block_sums, scales[first / RBE_BLOCK_GROUPS], total);
    }
    store_runs(run, steps, n_lanes, n_blocks, total, sum);
}

/* 1 where two groups fill the lanes and one does not. */
RBE_INLINE int dot_in_pairs(uint32_t bits, uint32_t n_blocks, const rbe_strip *strip, const int8_t *x, const float *scales, float *sum)
{
    switch (n_blocks) {
    case 2: dot_runs(bits, 1, 1, strip, x, scales, sum); return 1;
    case 6: dot_runs(bits, 3, 1, strip, x, scales, sum); return 1;
    default: return 0;
    }
}

#endif
