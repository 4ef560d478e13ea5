/* dot for strips whose groups fill no whole number of vectors: K = 1 and 3 with 2 or 6 blocks a group (64 and 192 rows). Two groups
 * at a time are 4 or 12 blocks, dealt out to the lanes in runs: lanes 0 and 1 have the halves of the first group, 2 and 3 those of the
 * second. What precedes a block is what its lane read last. Included by trellis.h. */
#ifndef RBE_KERNELS_AVX512_DOT_PAIRS_H
#define RBE_KERNELS_AVX512_DOT_PAIRS_H

enum { MOST_PAIR_ACCUMULATORS = 24 };

/* 16 bytes of each lane. */
RBE_INLINE __m512i load_lanes(const uint8_t *const *lanes, size_t offset)
{
    __m512i v = load_unit(lanes[0] + offset);
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128((const __m128i *)(lanes[1] + offset)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128((const __m128i *)(lanes[2] + offset)));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128((const __m128i *)(lanes[3] + offset)));
}

/* run: blocks of half a group, a constant. */
RBE_INLINE void dot_group_pairs(uint32_t bits, uint32_t run, const rbe_strip *strip, uint32_t first_group, uint32_t n_groups, const int8_t *x,
                                int32_t *acc)
{
    generator from = generator_make(strip, 128);
    const uint32_t steps = block_steps(bits), units = block_units(bits), half_bytes = RBE_UNIT_BYTES * units * run;
    const __m512i start = _mm512_maskz_set1_epi32(0x00ff, -128 * rbe__avx512_sum(x, 4 * n_groups));
    __m512i sums[MOST_PAIR_ACCUMULATORS];
    RBE_UNROLL(24)
    for (uint32_t i = 0; i < run * steps; i++) {
        sums[i] = start;
    }
    rbe_cell_walk walk = rbe__cell_walk_start(strip, first_group);
    for (uint32_t g = 0; g < n_groups; g += 2) {
        const rbe_group_bytes one = rbe__cell_walk_next(&walk);
        int32_t x_one, x_two = 0; /* a group without a partner is its own, times 0 */
        rbe_group_bytes two = one;
        memcpy(&x_one, x + 4 * g, sizeof x_one);
        if (g + 1 < n_groups) {
            two = rbe__cell_walk_next(&walk);
            memcpy(&x_two, x + 4 * g + 4, sizeof x_two);
        }
        const __m512i activations = _mm512_mask_set1_epi32(_mm512_set1_epi32(x_one), 0xff00, x_two);
        const uint8_t *const blocks[] = {one.units, one.units + half_bytes, two.units, two.units + half_bytes};
        const uint8_t *const last[] = {one.last, blocks[1] - RBE_UNIT_BYTES, two.last, blocks[3] - RBE_UNIT_BYTES};
        /* K = 1, one block a half: two units back is what precedes the group */
        const uint8_t *const before_last[] = {one.before_last, half_bytes > RBE_UNIT_BYTES ? blocks[1] - 2 * RBE_UNIT_BYTES : one.last,
                                              two.before_last, half_bytes > RBE_UNIT_BYTES ? blocks[3] - 2 * RBE_UNIT_BYTES : two.last};
        block_bytes of;
        of.byte[0] = load_lanes(last, 0);
        of.change[0] = _mm512_xor_si512(of.byte[0], load_lanes(before_last, 0));
        prefetch_ahead(one.units, 4 * half_bytes);
        RBE_UNROLL(3)
        for (uint32_t v = 0; v < run; v++) {
            RBE_UNROLL(3)
            for (uint32_t i = 1; i <= units; i++) {
                of.byte[i] = load_lanes(blocks, RBE_UNIT_BYTES * (units * v + i - 1));
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
    RBE_UNROLL(3)
    for (uint32_t v = 0; v < run; v++) {
        RBE_UNROLL(8)
        for (uint32_t s = 0; s < steps; s++) {
            const __m512i of_lanes = sums[v * steps + s];
            const __m256i both = _mm256_add_epi32(_mm512_castsi512_si256(of_lanes), _mm512_extracti64x4_epi64(of_lanes, 1));
            _mm_storeu_si128((__m128i *)(acc + 4 * (steps * v + s)), _mm256_castsi256_si128(both));
            _mm_storeu_si128((__m128i *)(acc + 4 * (steps * (run + v) + s)), _mm256_extracti128_si256(both, 1));
        }
    }
}

/* 1 where the groups have a number of blocks that this is for. */
RBE_INLINE int dot_in_pairs(uint32_t bits, uint32_t n_blocks, const rbe_strip *strip, uint32_t first_group, uint32_t n_groups,
                            const int8_t *x, int32_t *acc)
{
    switch (n_blocks) {
    case 2:
        dot_group_pairs(bits, 1, strip, first_group, n_groups, x, acc);
        return 1;
    case 6:
        dot_group_pairs(bits, 3, strip, first_group, n_groups, x, acc);
        return 1;
    default:
        return 0;
    }
}

#endif
