/* The sweeps of the encoder's search for the best stream of a lane (codec/viterbi.h), on int16 costs, for many lanes side by side. Results are
 * equal on every instruction set.
 *
 * Notation. A branch w is the 12-bit window of a step (docs/format.md, "Planes"); it leads from state w >> K to state
 * w mod 2^(12-K): a state is the newest 12 - K bits. Branch w of predecessor tag h = w >> (12 - K), one of 2^K.
 *
 * Range of the metrics. Any state is reached from any other in D = ceil((12 - K) / K) steps, so at all times the metrics of
 * two states differ by at most D x cost_cap; with the metric of state 0 subtracted at each step they and any sum of one and
 * a cost stay within (D + 1) x cost_cap <= 32767. The low K bits of a metric hold the predecessor tag, so that one
 * minimum finds both the best metric and where it came from.
 */
#ifndef RBE_KERNELS_SWEEPS_H
#define RBE_KERNELS_SWEEPS_H

#include "kernels/kernels.h"

#define RBE_SWEEP_CELLS 2u
#define RBE_SWEEP_LANES (RBE_SWEEP_CELLS * RBE_LANES)
#define RBE_MAX_STATES 2048u

/* A codebook as the search uses it. */
typedef struct rbe__trellis {
    _Alignas(64) int16_t t1[16][RBE_SWEEP_LANES], t2[16][RBE_SWEEP_LANES]; /* x resolution, once per lane */
    uint32_t bits;
    uint32_t n_states; /* 2^(12-K) */
    uint32_t settle_steps; /* D */
    uint32_t n_starts; /* start states tried per lane; 0: one, which a sweep over the turned lane finds (codec/viterbi.h) */
    int16_t resolution; /* cost units per unit of T1 + T2: a power of two */
    int16_t low, high; /* of the values, widened by what a target may lie outside; in cost units */
    int16_t full_gain; /* gain of a row of full weight */
    int16_t cost_limit; /* largest |target - value| x gain */
    int16_t cost_cap; /* largest cost: of cost_limit */
    int8_t values[4096]; /* T1 + T2 of each branch */
    double reach; /* the smaller of the largest value and minus the smallest */
    double usual_rms; /* of Gaussian targets that are encoded well, in units of T1 + T2: a first guess */
    double expected_error; /* relative squared error that is then left */
} rbe__trellis;

/* One lane step has the cost floor(min(|target - value|, limit)^2 gain^2 / 2^16), rounded to a multiple of 2^K. */
typedef struct rbe__sweep_lanes {
    _Alignas(64) int16_t target[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES]; /* cost units */
    int16_t gain[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES]; /* 0: the step does not count */
    int16_t limit[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES]; /* limit x gain <= cost_limit */
    uint32_t n_steps; /* of every lane, at most RBE_MAX_LANE_STEPS */
    uint32_t n_lanes; /* 16 or 32 */
} rbe__sweep_lanes;

/* Working memory of one thread. Metrics: [state][vector lane]; survivors: [step][state / 16][K, or 4 for K = 3][vector
 * lane], each word with the tags of consecutive states, lowest first. */
typedef struct rbe__sweep_space {
    _Alignas(64) int16_t metrics[2][RBE_MAX_STATES * RBE_SWEEP_LANES];
    int16_t key[RBE_MAX_STATES * RBE_SWEEP_LANES];
    uint16_t survivors[RBE_MAX_LANE_STEPS * 128 * RBE_SWEEP_LANES];
    rbe__sweep_lanes turned;
} rbe__sweep_space;

/* What differs by ISA. n_lanes lanes of a lanes, from first_lane, are swept at once. metrics[0] holds the starting
 * metrics; the result points to the final ones. forward: of the best path that ends in each state, with survivors.
 * backward: of the best path that begins there. */
typedef const int16_t *rbe__sweep(const rbe__trellis *trellis, const rbe__sweep_lanes *lanes, uint32_t first_lane, rbe__sweep_space *space);

/* to[c][r] -= the sum over k < n, ascending, of from[k][r] factors[k stride + c], for c < 4 and r < rows, a multiple of 8. No aliasing. */
typedef void rbe__subtract(float *to, const float *from, const float *factors, size_t stride, size_t rows, size_t n);

struct rbe__sweeps {
    uint32_t n_lanes;
    rbe__sweep *forward[4], *backward[4]; /* by K - 1 */
    rbe__subtract *subtract;
};

/* Of the sets that have their own. */
extern const rbe__sweeps rbe__sweeps_scalar, rbe__sweeps_avx2, rbe__sweeps_avx512;

#endif
