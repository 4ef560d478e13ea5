/* How fast the encoder is, in millions of weights per second, and what error it leaves on Gaussian weights:
 *     bench_encoder [SIDE [THREADS]]
 * First the search alone, for each instruction set, in processor time; then rbe_encode_plane on SIDE x SIDE weights (512), without and
 * with error feedback, in processor time and in wall time on THREADS threads (0, the default: one per core). */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../tests/encoder_samples.h"
#include "codec/viterbi.h"

enum { ROUNDS = 5, N_STEPS = 64 };

static double seconds(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void bench_search(uint32_t k)
{
    static rbe__trellis trellis;
    static rbe__sweep_lanes lanes;
    static rbe__sweep_space space;
    static uint16_t branches[RBE_MAX_LANE_STEPS][RBE_SWEEP_LANES];
    uint64_t state = 1;
    rbe__trellis_make(&codebooks[k], &trellis);
    lanes.n_steps = N_STEPS;
    lanes.n_lanes = RBE_SWEEP_LANES;
    for (uint32_t t = 0; t < N_STEPS; t++) {
        for (uint32_t lane = 0; lane < RBE_SWEEP_LANES; lane++) {
            const double target = trellis.usual_rms * trellis.resolution * gaussian(&state);
            lanes.target[t][lane] = (int16_t)fmin(fmax(target, trellis.low), trellis.high);
            lanes.gain[t][lane] = trellis.full_gain;
            lanes.limit[t][lane] = (int16_t)(trellis.cost_limit / trellis.full_gain);
        }
    }
    const char *name;
    const rbe__sweeps *before = NULL;
    for (uint32_t set = 0; (name = rbe_kernel_set_name(set)) != NULL; set++) {
        rbe_kernels table;
        double best = INFINITY;
        if (rbe__kernels_select(name, &table) != 0 || table.sweeps == before) {
            continue; /* not on this processor, or those of the set before */
        }
        before = table.sweeps;
        for (int round = 0; round < 2 * ROUNDS; round++) {
            const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
            rbe__viterbi(table.sweeps, &trellis, &lanes, &space, branches);
            best = fmin(best, seconds(CLOCK_PROCESS_CPUTIME_ID) - start);
        }
        printf("search  K=%u  %-12s %7.2f M weights/s per core\n", k + 1, name, N_STEPS * RBE_SWEEP_LANES / best / 1e6);
    }
}

/* A factor whose columns take a little from all before them; with feedback the error that is printed has no meaning. */
static float *feedback_factor(uint32_t side, uint64_t state)
{
    float *factor = calloc((size_t)side * side, sizeof *factor);
    for (size_t row = 0; factor != NULL && row < side; row++) {
        for (size_t col = row; col < side; col++) {
            factor[row * side + col] = row == col ? 1 : 0.5f / sqrtf((float)side) * gaussian(&state);
        }
    }
    return factor;
}

static int bench_plane(uint32_t k, uint32_t side, uint32_t n_threads, int with_feedback)
{
    rbe_plane_layout layout;
    if (rbe_plane_get_layout(side, side, k + 1, 0, &layout) != RBE_OK) {
        fprintf(stderr, "%s\n", rbe_last_error());
        return 1;
    }
    const size_t n = (size_t)side * side;
    float *weights = malloc(n * sizeof *weights);
    uint16_t *scales = malloc(side * sizeof *scales);
    uint8_t *stream = malloc(layout.stream_bytes);
    uint64_t state = 2;
    double norm = 0, error = 0, wall = INFINITY, processor = INFINITY;
    float *factor = with_feedback ? feedback_factor((side + 3) / 4 * 4, 3) : NULL;
    rbe_status status = weights && scales && stream && (factor || !with_feedback) ? RBE_OK : RBE_ERROR_MEMORY;
    for (size_t i = 0; status == RBE_OK && i < n; i++) {
        weights[i] = gaussian(&state);
        norm += (double)weights[i] * weights[i];
    }
    const rbe_encode_options options = {.struct_bytes = sizeof options, .n_threads = n_threads, .feedback = factor};
    for (int round = 0; status == RBE_OK && round < ROUNDS; round++) {
        const double wall_start = seconds(CLOCK_MONOTONIC), processor_start = seconds(CLOCK_PROCESS_CPUTIME_ID);
        status = rbe_encode_plane(weights, side, side, &codebooks[k], 0, 0.02f, &options, scales, stream, &error);
        wall = fmin(wall, seconds(CLOCK_MONOTONIC) - wall_start);
        processor = fmin(processor, seconds(CLOCK_PROCESS_CPUTIME_ID) - processor_start);
    }
    if (status == RBE_OK) {
        printf("%s K=%u  error %.5f  %7.2f M weights/s per core, %7.2f M weights/s in all\n", with_feedback ? "fed back" : "plane   ",
               k + 1, error / norm, (double)n / processor / 1e6, (double)n / wall / 1e6);
    } else {
        fprintf(stderr, "%s\n", rbe_last_error());
    }
    free(factor);
    free(weights);
    free(scales);
    free(stream);
    return status != RBE_OK;
}

int main(int argc, char **argv)
{
    const uint32_t side = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 512;
    const uint32_t n_threads = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    int failed = 0;
    for (uint32_t k = 0; k < 4; k++) {
        bench_search(k);
    }
    for (uint32_t k = 0; k < 4; k++) {
        failed |= bench_plane(k, side, n_threads, 0) | bench_plane(k, side, n_threads, 1);
    }
    return failed;
}
