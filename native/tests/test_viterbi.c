/* The search itself: every instruction set gives the same paths, and they are near the best there are. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "codec/viterbi.h"
#include "encoder_samples.h"

static rbe_kernels scalar;
static rbe__sweep_space space;
static rbe__trellis trellis;
static rbe__sweep_lanes lanes;

/* Gaussian targets; uneven: with outliers, and gains from none to full. */
static void fill(uint32_t n_steps, uint32_t n_lanes, int uneven, uint64_t seed)
{
    memset(&lanes, 0, sizeof lanes);
    lanes.n_steps = n_steps;
    lanes.n_lanes = n_lanes;
    const double unit = trellis.usual_rms * trellis.resolution;
    for (uint32_t t = 0; t < n_steps; t++) {
        for (uint32_t lane = 0; lane < n_lanes; lane++) {
            const double target = gaussian(&seed) * unit * (uneven && uniform(&seed) < 0.02 ? 5 : 1);
            lanes.target[t][lane] = (int16_t)fmin(fmax(target, trellis.low), trellis.high);
            const double gain = uneven ? uniform(&seed) : 1;
            lanes.gain[t][lane] = (int16_t)(gain < 0.1 ? 0 : gain * trellis.full_gain);
            const int16_t divisor = lanes.gain[t][lane];
            lanes.limit[t][lane] = divisor ? (int16_t)(trellis.cost_limit / divisor) : 32767;
        }
    }
}

static double cost_of(uint32_t lane, uint32_t t, uint32_t w)
{
    const double error = (lanes.target[t][lane] - trellis.values[w] * trellis.resolution) * (double)lanes.gain[t][lane];
    return error * error;
}

/* The least cost of any circular path, by trying every start state. */
static double least_cost(uint32_t lane)
{
    static double from[RBE_MAX_STATES], to[RBE_MAX_STATES], costs[RBE_MAX_LANE_STEPS][4096];
    const uint32_t bits = trellis.bits, n_states = trellis.n_states;
    for (uint32_t t = 0; t < lanes.n_steps; t++) {
        for (uint32_t w = 0; w < 4096; w++) {
            costs[t][w] = cost_of(lane, t, w);
        }
    }
    double least = INFINITY;
    for (uint32_t start = 0; start < n_states; start++) {
        for (uint32_t state = 0; state < n_states; state++) {
            from[state] = state == start ? 0 : 1e30;
        }
        for (uint32_t t = 0; t < lanes.n_steps; t++) {
            for (uint32_t n = 0; n < n_states; n++) {
                to[n] = 1e30;
            }
            for (uint32_t h = 0; h < 1u << bits; h++) {
                for (uint32_t n = 0; n < n_states; n++) {
                    const uint32_t w = h << (12 - bits) | n;
                    const double path = from[w >> bits] + costs[t][w];
                    to[n] = path < to[n] ? path : to[n];
                }
            }
            memcpy(from, to, n_states * sizeof *from);
        }
        least = from[start] < least ? from[start] : least;
    }
    return least;
}

static void check_circular(uint16_t branches[][RBE_SWEEP_LANES])
{
    for (uint32_t lane = 0; lane < lanes.n_lanes; lane++) {
        for (uint32_t t = 0; t < lanes.n_steps; t++) {
            const uint32_t before = branches[(t + lanes.n_steps - 1) % lanes.n_steps][lane];
            CHECK(branches[t][lane] < 4096 && (uint32_t)branches[t][lane] >> trellis.bits == (before & (trellis.n_states - 1)),
                  "K %u: step %u of lane %u does not follow from the one before", trellis.bits, t, lane);
        }
    }
}

static void check_sets(uint32_t bits)
{
    static const uint32_t steps[] = {32, 35, 63, 64, 84, RBE_MAX_LANE_STEPS};
    static uint16_t expected[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES], found[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES];
    for (uint32_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        fill(steps[i], i % 2 ? 16 : 32, 1, bits * 100 + i);
        memset(expected, 0, sizeof expected);
        rbe__viterbi(scalar.sweeps, &trellis, &lanes, &space, expected);
        check_circular(expected);
        const char *name;
        for (uint32_t set = 1; (name = rbe_kernel_set_name(set)) != NULL; set++) {
            rbe_kernels table;
            if (rbe__kernels_select(name, &table) != 0) {
                continue;
            }
            memset(found, 0, sizeof found);
            rbe__viterbi(table.sweeps, &trellis, &lanes, &space, found);
            CHECK(memcmp(found, expected, sizeof found) == 0, "K %u, %u steps: %s differs from scalar", bits, steps[i], name);
        }
    }
}

/* n_lanes lanes, so many as a second of trying every start allows. */
static void check_near_best(uint32_t bits, uint32_t n_lanes, int uneven, double tolerance)
{
    static uint16_t branches[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES];
    fill(64, RBE_LANES, uneven, 7 + bits);
    rbe_kernels table;
    CHECK(rbe__kernels_select(NULL, &table) == 0, "best");
    rbe__viterbi(table.sweeps, &trellis, &lanes, &space, branches);
    double found = 0, least = 0;
    for (uint32_t lane = 0; lane < n_lanes; lane++) {
        double cost = 0;
        for (uint32_t t = 0; t < lanes.n_steps; t++) {
            cost += cost_of(lane, t, branches[t][lane]);
        }
        const double best = least_cost(lane);
        CHECK(cost >= best * (1 - 1e-12), "K %u: lane %u costs %g, less than the least, %g", bits, lane, cost, best);
        found += cost;
        least += best;
    }
    CHECK(found <= least * (1 + tolerance), "K %u: %.2f %% above the best", bits, 100 * (found / least - 1));
}

/* Bit for bit the same on every instruction set, and what the header says. */
static void check_subtract(uint32_t rows, uint32_t n)
{
    enum { MOST = 40, STRIDE = 7 };
    static float from[MOST * MOST], factors[MOST * STRIDE], start[4 * MOST], found[4 * MOST], expected[4 * MOST];
    uint64_t seed = rows + n;
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        from[i] = gaussian(&seed);
    }
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        factors[i] = gaussian(&seed);
    }
    for (size_t i = 0; i < sizeof start / sizeof *start; i++) {
        start[i] = expected[i] = gaussian(&seed);
    }
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < 4 * rows; i++) {
            const volatile float product = from[k * rows + i % rows] * factors[k * STRIDE + i / rows];
            expected[i] -= product;
        }
    }
    const char *name;
    for (uint32_t set = 0; (name = rbe_kernel_set_name(set)) != NULL; set++) {
        rbe_kernels table;
        if (rbe__kernels_select(name, &table) == 0) {
            memcpy(found, start, sizeof found);
            table.sweeps->subtract(found, from, factors, STRIDE, rows, n);
            CHECK(memcmp(found, expected, sizeof found) == 0, "%s: %u rows less %u products", name, rows, n);
        }
    }
}

int main(void)
{
    CHECK(rbe__kernels_select("scalar", &scalar) == 0, "scalar");
    check_subtract(8, 1);
    check_subtract(24, 5);
    check_subtract(40, 40);
    for (uint32_t bits = 1; bits <= 4; bits++) {
        rbe__trellis_make(&codebooks[bits - 1], &trellis);
        check_sets(bits);
        trellis.n_starts = 0; /* the quick search */
        check_sets(bits);
    }
    rbe__trellis_make(&codebooks[3], &trellis);
    check_near_best(4, 6, 0, 0.01);
    check_near_best(4, 6, 1, 0.02);
    rbe__trellis_make(&codebooks[2], &trellis);
    check_near_best(3, 3, 0, 0.01);
    trellis.n_starts = 0;
    check_near_best(3, 3, 0, 0.06);
    rbe__trellis_make(&codebooks[3], &trellis);
    trellis.n_starts = 0;
    check_near_best(4, 6, 0, 0.04);
    return check_finish();
}
