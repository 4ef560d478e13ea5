#include "codec/viterbi.h"

#include <assert.h>
#include <string.h>

/* key[state][lane] = half the metric of the best path through each state at the seam of the circle, past and future both
 * free to begin and end anywhere: a state with a small key is a good start. */
static void rank_starts(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,
                        rbe__sweep_space *space)
{
    const size_t n = (size_t)trellis->n_states * sweeps->n_lanes;
    memset(space->metrics[0], 0, n * sizeof(int16_t));
    const int16_t *past = sweeps->forward[trellis->bits - 1](trellis, lanes, first_lane, space);
    for (size_t i = 0; i < n; i++) {
        space->key[i] = (int16_t)(past[i] >> 1);
    }
    memset(space->metrics[0], 0, n * sizeof(int16_t));
    const int16_t *future = sweeps->backward[trellis->bits - 1](trellis, lanes, first_lane, space);
    for (size_t i = 0; i < n; i++) {
        space->key[i] = (int16_t)(space->key[i] + (future[i] >> 1));
    }
}

/* The state with the smallest key per lane; its key is raised, so that the next call gives the next one. */
static void next_starts(const rbe__trellis *trellis, uint32_t n_lanes, int16_t *key, uint16_t start[RBE_SWEEP_LANES])
{
    int16_t least[RBE_SWEEP_LANES];
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        least[lane] = 32767;
        start[lane] = 0;
    }
    for (uint32_t state = 0; state < trellis->n_states; state++) {
        const int16_t *row = key + (size_t)state * n_lanes;
        for (uint32_t lane = 0; lane < n_lanes; lane++) {
            start[lane] = row[lane] < least[lane] ? (uint16_t)state : start[lane];
            least[lane] = row[lane] < least[lane] ? row[lane] : least[lane];
        }
    }
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        key[(size_t)start[lane] * n_lanes + lane] = 32767;
    }
}

/* The best paths that begin and end in the start states, as survivors. */
static void sweep_from(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,
                       const uint16_t start[RBE_SWEEP_LANES], rbe__sweep_space *space)
{
    const uint32_t n_lanes = sweeps->n_lanes, bits = trellis->bits;
    int16_t *metrics = space->metrics[0];
    for (size_t i = 0; i < (size_t)trellis->n_states * n_lanes; i++) {
        metrics[i] = 32767;
    }
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        metrics[start[lane] * n_lanes + lane] = (int16_t)(start[lane] >> (12 - 2 * bits));
    }
    sweeps->forward[bits - 1](trellis, lanes, first_lane, space);
}

/* The state before step `past` of the path that ends in `state` behind step n_steps - 1. */
static uint32_t state_before(const rbe__trellis *trellis, uint32_t n_steps, uint32_t past, uint32_t n_lanes, uint32_t vector_lane,
                             uint32_t state, const uint16_t *survivors)
{
    const uint32_t bits = trellis->bits, field = bits == 3 ? 4 : bits, per_word = 16 / field;
    const uint32_t words = trellis->n_states / per_word, tag_mask = (1u << bits) - 1;
    for (uint32_t t = n_steps; t-- > past;) {
        const uint32_t word = survivors[((size_t)t * words + state / per_word) * n_lanes + vector_lane];
        state = ((word >> (state % per_word * field) & tag_mask) << (12 - bits) | state) >> bits;
    }
    return state;
}

/* The start of the quick search: the lanes are turned by half, so that their seam lies in the middle of the free path. */
static void find_starts(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane,
                        rbe__sweep_space *space, uint16_t start[RBE_SWEEP_LANES])
{
    const uint32_t n_lanes = sweeps->n_lanes, n_steps = lanes->n_steps, half = n_steps / 2;
    rbe__sweep_lanes *turned = &space->turned;
    turned->n_steps = n_steps;
    turned->n_lanes = lanes->n_lanes;
    for (uint32_t t = 0; t < n_steps; t++) {
        const uint32_t from = t + half < n_steps ? t + half : t + half - n_steps;
        memcpy(turned->target[t], lanes->target[from], sizeof turned->target[t]);
        memcpy(turned->gain[t], lanes->gain[from], sizeof turned->gain[t]);
        memcpy(turned->limit[t], lanes->limit[from], sizeof turned->limit[t]);
    }
    memset(space->metrics[0], 0, (size_t)trellis->n_states * n_lanes * sizeof(int16_t));
    const int16_t *metrics = sweeps->forward[trellis->bits - 1](trellis, turned, first_lane, space);
    int16_t least[RBE_SWEEP_LANES];
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        least[lane] = 32767;
        start[lane] = 0;
    }
    for (uint32_t state = 0; state < trellis->n_states; state++) {
        const int16_t *row = metrics + (size_t)state * n_lanes;
        for (uint32_t lane = 0; lane < n_lanes; lane++) {
            start[lane] = row[lane] < least[lane] ? (uint16_t)state : start[lane];
            least[lane] = row[lane] < least[lane] ? row[lane] : least[lane];
        }
    }
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        start[lane] = (uint16_t)state_before(trellis, n_steps, n_steps - half, n_lanes, lane, start[lane], space->survivors);
    }
}

/* Follows the survivors of one lane back from its start state to its start state: the windows of the path and, as the
 * sum of their exact costs, how good it is. */
static uint64_t trace_back(const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t lane, uint32_t n_lanes,
                           uint32_t vector_lane, uint32_t start, const uint16_t *survivors, uint16_t path[])
{
    const uint32_t bits = trellis->bits, field = bits == 3 ? 4 : bits, per_word = 16 / field;
    const uint32_t words = trellis->n_states / per_word, tag_mask = (1u << bits) - 1;
    uint64_t cost = 0;
    uint32_t state = start;
    for (uint32_t t = lanes->n_steps; t-- > 0;) {
        const uint32_t word = survivors[((size_t)t * words + state / per_word) * n_lanes + vector_lane];
        const uint32_t tag = word >> (state % per_word * field) & tag_mask;
        const uint32_t w = tag << (12 - bits) | state;
        path[t] = (uint16_t)w;
        state = w >> bits;
        const int32_t distance = lanes->target[t][lane] - trellis->values[w] * trellis->resolution;
        const int64_t weighted = (int64_t)distance * lanes->gain[t][lane];
        cost += (uint64_t)(weighted * weighted);
    }
    assert(state == start);
    return cost;
}

void rbe__viterbi(const rbe__sweeps *sweeps, const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, rbe__sweep_space *space,
                  uint16_t branches[][RBE_SWEEP_LANES])
{
    const uint32_t n_lanes = sweeps->n_lanes;
    for (uint32_t first = 0; first < lanes->n_lanes; first += n_lanes) {
        uint64_t least[RBE_SWEEP_LANES];
        uint16_t start[RBE_SWEEP_LANES], path[RBE_MAX_LANE_STEPS];
        if (trellis->n_starts == 0) {
            find_starts(sweeps, trellis, lanes, first, space, start);
        } else {
            rank_starts(sweeps, trellis, lanes, first, space);
        }
        for (uint32_t candidate = 0; candidate == 0 || candidate < trellis->n_starts; candidate++) {
            if (trellis->n_starts > 0) {
                next_starts(trellis, n_lanes, space->key, start);
            }
            sweep_from(sweeps, trellis, lanes, first, start, space);
            for (uint32_t lane = 0; lane < n_lanes && first + lane < lanes->n_lanes; lane++) {
                uint64_t cost = trace_back(trellis, lanes, first + lane, n_lanes, lane, start[lane], space->survivors, path);
                if (candidate == 0 || cost < least[lane]) {
                    least[lane] = cost;
                    for (uint32_t t = 0; t < lanes->n_steps; t++) {
                        branches[t][first + lane] = path[t];
                    }
                }
            }
        }
    }
}
