/* A tile of narrow weights: products of some groups add up in 16 bits before they are widened. Included by multiply_tile.h. The including file
 * defines besides:
 *     NARROW_TILE_GROUPS                                           so many groups add up
 *     vec narrow_tile_load(const int8_t *tile, uint32_t n_lanes)   with the bias of narrow weights; n_lanes 1 to LANES: no more is read
 *     dot_start, dot_step                                          as in trellis.h
 */
#ifndef RBE_KERNELS_SHARED_MULTIPLY_NARROW_TILE_H
#define RBE_KERNELS_SHARED_MULTIPLY_NARROW_TILE_H

/* As multiply_block. */
RBE_INLINE void multiply_narrow_block(const tile_call *call, uint32_t lane, uint32_t n_vectors, uint32_t n_lanes, const int8_t *x,
                                      uint32_t n_tokens, const vec *start, int32_t *acc)
{
    vec sums[ROW_VECTORS * TOKENS];
    const uint32_t n_sums = n_vectors * n_tokens;
    const size_t group_bytes = (size_t)LANE_BYTES * call->row_steps;
    const int8_t *tile = call->tile + (size_t)LANE_BYTES * lane;
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_sums; i++) {
        sums[i] = start[i / n_vectors];
    }
    for (uint32_t g = 0; g < call->n_groups; g += NARROW_TILE_GROUPS) {
        vec weights[ROW_VECTORS * NARROW_TILE_GROUPS], activations[NARROW_TILE_GROUPS];
        RBE_UNROLL(16)
        for (uint32_t i = 0; i < n_vectors * NARROW_TILE_GROUPS; i++) {
            const uint32_t v = i / NARROW_TILE_GROUPS, k = i % NARROW_TILE_GROUPS;
            weights[i] = vec_zero(); /* behind the last group; x is readable there to the end of 16 groups */
            if (k == 0 || g + k < call->n_groups) {
                weights[i] = narrow_tile_load(tile + k * group_bytes + LANE_BYTES * LANES * v, v + 1 < n_vectors ? LANES : n_lanes);
            }
        }
        tile += NARROW_TILE_GROUPS * group_bytes;
        RBE_UNROLL(32)
        for (uint32_t i = 0; i < n_sums; i++) {
            const uint32_t n = i / n_vectors, v = i % n_vectors;
            RBE_UNROLL(4)
            for (uint32_t k = 0; v == 0 && k < NARROW_TILE_GROUPS; k++) {
                activations[k] = load_activations(x + n * call->x_stride + 4 * (g + k));
            }
            sums[i] = dot_step(1, NARROW_TILE_GROUPS, sums[i], weights + NARROW_TILE_GROUPS * v, activations);
        }
    }
    RBE_UNROLL(32)
    for (uint32_t i = 0; i < n_sums; i++) {
        const uint32_t n = i / n_vectors, v = i % n_vectors;
        int32_t *rows = acc + (size_t)LANE_ROWS * (call->row_steps * n + lane + LANES * v);
        store_sums(rows, sums[i], v + 1 < n_vectors ? LANES : n_lanes);
    }
}

#endif
