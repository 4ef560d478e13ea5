/* The Viterbi sweeps, written once for every vector width (int16_vector.h) and rate. The including file defines
 * RBE_SWEEPS, the name of the table.
 *
 * Branches come in butterflies: the 2^K predecessors p = h << (12 - 2K) | q and the 2^K successors n = q << K | k share all
 * their branches w = h << (12 - K) | n. With n = top << 8 | a << 4 | b (a, b of 4 bits) the value of w is
 * T2[a] + T1[b ^ (h << (4 - K) | top)]: for one a, 16 costs serve all butterflies.
 */
#include "kernels/shared/inline.h"
#include "kernels/shared/int16_vector.h"
#include "kernels/shared/subtract.h"
#include "kernels/sweeps.h"

#define VL RBE_VECTOR_LANES

/* Costs of the 16 values with T2[a] at one step, less `reference`. */
RBE_INLINE void costs_of(const uint32_t K, const rbe__trellis *trellis, uint32_t a, rbe_vector target, rbe_vector gain, rbe_vector limit,
                         rbe_vector reference, rbe_vector cost[16])
{
    const rbe_vector mask = vector_of((int16_t)-(1 << K)), half = vector_of((int16_t)(1 << (K - 1)));
    rbe_vector rest = target - vector_load(trellis->t2[a]);
    RBE_UNROLL(16)
    for (uint32_t i = 0; i < 16; i++) {
        rbe_vector distance = vector_min(vector_abs(rest - vector_load(trellis->t1[i])), limit);
        cost[i] = ((vector_square_high(distance * gain) + half) & mask) - reference;
    }
}

/* The tags of 16 consecutive states into survivor words; the metrics are left with the states' own tag. */
RBE_INLINE void keep_tags(const uint32_t K, uint32_t own_tag, rbe_vector out[16], uint16_t *words)
{
    const uint32_t field = K == 3 ? 4 : K, per_word = 16 / field;
    const rbe_vector tag_mask = vector_of((int16_t)((1 << K) - 1)), own = vector_of((int16_t)own_tag);
    RBE_UNROLL(16)
    for (uint32_t word = 0; word < field; word++) {
        rbe_vector packed = {0};
        RBE_UNROLL(16)
        for (uint32_t i = 0; i < per_word; i++) {
            rbe_vector tag = out[word * per_word + i] & tag_mask;
            packed |= tag << (int)(i * field);
            out[word * per_word + i] += own - tag;
        }
        vector_store((int16_t *)words + word * VL, packed);
    }
}

RBE_INLINE const int16_t *forward_sweep(const uint32_t K, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,
                                        rbe__sweep_space *space)
{
    const uint32_t field = K == 3 ? 4 : K;
    int16_t *from = space->metrics[0], *to = space->metrics[1];
    const rbe_vector mask = vector_of((int16_t)-(1 << K)), ceiling = vector_of((int16_t)(32767 - trellis->cost_cap));
    for (uint32_t t = 0; t < lanes->n_steps; t++) {
        const rbe_vector target = vector_load(&lanes->target[t][first_lane]);
        const rbe_vector gain = vector_load(&lanes->gain[t][first_lane]), limit = vector_load(&lanes->limit[t][first_lane]);
        /* While states may still hold the "impossible" metric of the start, metrics are not taken relative to state 0. */
        const rbe_vector reference = t < trellis->settle_steps ? (rbe_vector){0} : vector_load(from) & mask;
        for (uint32_t a = 0; a < 16; a++) {
            rbe_vector cost[16];
            costs_of(K, trellis, a, target, gain, limit, reference, cost);
            RBE_UNROLL(8)
            for (uint32_t top = 0; top < 1u << (4 - K); top++) {
                const uint32_t block = top << 4 | a;
                rbe_vector out[16];
                RBE_UNROLL(16)
                for (uint32_t bh = 0; bh < 1u << (4 - K); bh++) {
                    const int16_t *predecessor = from + (block << (4 - K) | bh) * VL;
                    RBE_UNROLL(16)
                    for (uint32_t h = 0; h < 1u << K; h++) {
                        const rbe_vector metric = vector_min(vector_load(predecessor + (h << (12 - 2 * K)) * VL), ceiling);
                        RBE_UNROLL(16)
                        for (uint32_t k = 0; k < 1u << K; k++) {
                            const uint32_t b = bh << K | k;
                            const rbe_vector path = metric + cost[b ^ (h << (4 - K) | top)];
                            out[b] = h == 0 ? path : vector_min(out[b], path);
                        }
                    }
                }
                keep_tags(K, block >> (8 - 2 * K), out, space->survivors + ((size_t)t * (trellis->n_states / 16) + block) * field * VL);
                RBE_UNROLL(16)
                for (uint32_t b = 0; b < 16; b++) {
                    vector_store(to + (block << 4 | b) * VL, out[b]);
                }
            }
        }
        int16_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

RBE_INLINE const int16_t *backward_sweep(const uint32_t K, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,
                                         rbe__sweep_space *space)
{
    int16_t *from = space->metrics[0], *to = space->metrics[1];
    for (uint32_t t = lanes->n_steps; t-- > 0;) {
        const rbe_vector target = vector_load(&lanes->target[t][first_lane]);
        const rbe_vector gain = vector_load(&lanes->gain[t][first_lane]), limit = vector_load(&lanes->limit[t][first_lane]);
        const rbe_vector reference = vector_load(from);
        for (uint32_t a = 0; a < 16; a++) {
            rbe_vector cost[16];
            costs_of(K, trellis, a, target, gain, limit, reference, cost);
            RBE_UNROLL(8)
            for (uint32_t top = 0; top < 1u << (4 - K); top++) {
                const uint32_t block = top << 4 | a;
                RBE_UNROLL(16)
                for (uint32_t bh = 0; bh < 1u << (4 - K); bh++) {
                    const int16_t *successor = from + (block << 4 | bh << K) * VL;
                    int16_t *predecessor = to + (block << (4 - K) | bh) * VL;
                    RBE_UNROLL(16)
                    for (uint32_t h = 0; h < 1u << K; h++) {
                        rbe_vector best = vector_load(successor) + cost[bh << K ^ (h << (4 - K) | top)];
                        RBE_UNROLL(16)
                        for (uint32_t k = 1; k < 1u << K; k++) {
                            best = vector_min(best, vector_load(successor + k * VL) + cost[(bh << K | k) ^ (h << (4 - K) | top)]);
                        }
                        vector_store(predecessor + (h << (12 - 2 * K)) * VL, best);
                    }
                }
            }
        }
        int16_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

#define SWEEPS_OF(K)                                                                                                     \
    static const int16_t *forward_k##K(const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,  \
                                       rbe__sweep_space *space)                                                          \
    {                                                                                                                    \
        return forward_sweep(K, trellis, lanes, first_lane, space);                                                      \
    }                                                                                                                    \
    static const int16_t *backward_k##K(const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane, \
                                        rbe__sweep_space *space)                                                         \
    {                                                                                                                    \
        return backward_sweep(K, trellis, lanes, first_lane, space);                                                     \
    }

SWEEPS_OF(1)
SWEEPS_OF(2)
SWEEPS_OF(3)
SWEEPS_OF(4)

const rbe__sweeps RBE_SWEEPS = {
    .n_lanes = VL,
    .forward = {forward_k1, forward_k2, forward_k3, forward_k4},
    .backward = {backward_k1, backward_k2, backward_k3, backward_k4},
    .subtract = subtract_products,
};
