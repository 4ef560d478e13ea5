/* rbe_encode_plane: scales, then all cells on all threads, then scales again. */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "codec/feedback.h"
#include "kernels/kernels.h"
#include "rbe/codec.h"

#define NO_CELL 0xFFFFFFFFu
#define MIN_SAMPLES 8u   /* pairs of cells on which the spread is chosen, about 2048 weights each */
#define MAX_SAMPLES 64u
#define PAIRS_PER_SAMPLE 64u /* 5 spreads on a 64th of the cells: under 8 % more work */
#define SPREADS 5u       /* tried at once */

/* Root mean squares of the rows that are tried, relative to that of the plane's scales; the first wins ties. */
static const double spreads[SPREADS] = {1.0, 0.97, 1.03, 0.94, 1.06};
#define INNER_SPREADS 3u

/* One or two cells of a strip with lanes of one length. */
typedef struct cell_pair {
    uint32_t strip, cells[RBE_SWEEP_CELLS];
} cell_pair;

typedef struct ranked_pair {
    double energy; /* sum of the squared targets */
    uint32_t pair;
} ranked_pair;

typedef struct thread_space {
    rbe__cell_space cells;
    float targets[RBE_SWEEP_CELLS][RBE_MAX_LANE_STEPS * RBE_LANES];
    uint8_t stream[RBE_SWEEP_CELLS][RBE_MAX_LANE_STEPS * RBE_LANES / 2];
    int8_t values[RBE_SWEEP_CELLS][RBE_MAX_LANE_STEPS * RBE_LANES];
} thread_space;

typedef struct plane_job {
    rbe__plane_encoder plane;
    cell_pair *pairs;
    uint32_t n_pairs;
    thread_space *spaces;

    ranked_pair *ranking; /* [n_pairs], most energy first */
    uint32_t n_samples;
    rbe__trellis sample_trellis; /* one start state per lane is enough to compare spreads */
    double sample_errors[SPREADS][MAX_SAMPLES];

    const float *feedback; /* NULL: none */
    int residual, quick;
    rbe_progress_callback progress;
    void *user;
    atomic_uint pairs_done;
    atomic_int cancelled;
} plane_job;

/* Weights of a cell as targets, multiplied by `spread`. */
static void gather_targets(const rbe__plane_encoder *plane, const rbe__strip_layout *strip, uint32_t first_group, uint32_t n_groups,
                           float spread, float *targets)
{
    const rbe__layout *layout = &plane->layout;
    memset(targets, 0, (size_t)n_groups * strip->row_steps * RBE_LANES * sizeof *targets);
    for (uint32_t r = 0; r < strip->rows; r++) {
        const uint32_t row = strip->first_row + r;
        const float units = plane->units_per_weight[row] * spread;
        for (uint32_t g = 0; g < n_groups; g++) {
            const uint32_t col = 4 * (first_group + g), left = layout->cols - col, width = left < 4 ? left : 4;
            const float *w = plane->weights + (size_t)row * layout->cols + col;
            float *to = targets + ((size_t)g * strip->row_steps * 4 + r) * 4;
            for (uint32_t j = 0; j < width; j++) {
                to[j] = w[j] * units;
            }
        }
    }
}

/* Describes the cells of a pair and gathers their targets; returns how many. */
static uint32_t prepare(const plane_job *job, const cell_pair *pair, float spread, thread_space *space, rbe__cell *cells)
{
    const rbe__plane_encoder *plane = &job->plane;
    const rbe__strip_layout strip = rbe__layout_strip(&plane->layout, pair->strip);
    uint32_t n = 0;
    for (; n < RBE_SWEEP_CELLS && pair->cells[n] != NO_CELL; n++) {
        const uint32_t first = rbe__cell_first_group(&plane->layout, &strip, pair->cells[n]);
        const uint32_t past = rbe__cell_first_group(&plane->layout, &strip, pair->cells[n] + 1);
        gather_targets(plane, &strip, first, past - first, spread, space->targets[n]);
        cells[n].n_groups = past - first;
        cells[n].row_steps = strip.row_steps;
        cells[n].targets = space->targets[n];
        cells[n].gains = plane->gains + strip.first_row;
        cells[n].stream = plane->stream + rbe__strip_offset(&plane->layout, &strip, job->plane.trellis.bits) +
                          (size_t)first * rbe__group_bytes(&strip, job->plane.trellis.bits);
        cells[n].values = plane->values + rbe__values_offset(&plane->layout, &strip, first);
    }
    return n;
}

static void report(plane_job *job, uint32_t thread)
{
    const uint32_t done = atomic_fetch_add(&job->pairs_done, 1) + 1;
    /* Thread 0 is the caller's. */
    if (thread == 0 && done < job->n_pairs && job->progress && job->progress(done, job->n_pairs, job->user)) {
        atomic_store(&job->cancelled, 1);
    }
}

static void encode_pair(void *context, uint32_t item, uint32_t thread)
{
    plane_job *job = context;
    if (atomic_load(&job->cancelled)) {
        return;
    }
    thread_space *space = &job->spaces[thread];
    rbe__cell cells[RBE_SWEEP_CELLS];
    const uint32_t n = prepare(job, &job->pairs[item], 1.0f, space, cells);
    rbe__encode_cells(job->plane.sweeps, &job->plane.trellis, cells, n, &space->cells);
    report(job, thread);
}

static void measure_pair(void *context, uint32_t item, uint32_t thread)
{
    plane_job *job = context;
    thread_space *space = &job->spaces[thread];
    rbe__cell cells[RBE_SWEEP_CELLS];
    const uint32_t n = prepare(job, &job->pairs[item], 1.0f, space, cells);
    double energy = 0;
    for (uint32_t c = 0; c < n; c++) {
        for (uint32_t i = 0; i < cells[c].n_groups * cells[c].row_steps * RBE_LANES; i++) {
            energy += (double)cells[c].targets[i] * cells[c].targets[i];
        }
    }
    job->ranking[item] = (ranked_pair){energy, item};
}

static int by_energy(const void *a, const void *b)
{
    const ranked_pair *first = a, *second = b;
    if (first->energy != second->energy) {
        return first->energy > second->energy ? -1 : 1;
    }
    return first->pair < second->pair ? -1 : first->pair > second->pair;
}

/* A few cells, whose columns stay large down all rows, can hold most of what is lost. So the cells are ranked by energy, and
 * sample i of n stands for those between the fractions (i / n)^2 and ((i + 1) / n)^2 of the ranking. */
static void choose_samples(plane_job *job, rbe__thread_pool *thread_pool)
{
    const uint32_t least = job->n_pairs < MIN_SAMPLES ? job->n_pairs : MIN_SAMPLES, wanted = job->n_pairs / PAIRS_PER_SAMPLE;
    job->n_samples = wanted < least ? least : wanted > MAX_SAMPLES ? MAX_SAMPLES : wanted;
    job->sample_trellis = job->plane.trellis;
    job->sample_trellis.n_starts = job->quick ? 0 : 1;
    rbe__thread_pool_run(thread_pool, job->n_pairs, measure_pair, job);
    qsort(job->ranking, job->n_pairs, sizeof *job->ranking, by_energy);
}

/* Item: which spread, which sample. Leaves the plane as it is. */
static void encode_sample(void *context, uint32_t item, uint32_t thread)
{
    plane_job *job = context;
    thread_space *space = &job->spaces[thread];
    const uint32_t sample = item % job->n_samples, which = item / job->n_samples;
    const float spread = (float)spreads[which];
    const uint64_t twice = 2 * (uint64_t)sample + 1, n_twice = 2 * (uint64_t)job->n_samples;
    const cell_pair *pair = &job->pairs[job->ranking[twice * twice * job->n_pairs / (n_twice * n_twice)].pair];
    const rbe__strip_layout strip = rbe__layout_strip(&job->plane.layout, pair->strip);
    rbe__cell cells[RBE_SWEEP_CELLS];
    const uint32_t n = prepare(job, pair, spread, space, cells);
    for (uint32_t c = 0; c < n; c++) {
        cells[c].stream = space->stream[c];
        cells[c].values = space->values[c];
    }
    rbe__encode_cells(job->plane.sweeps, &job->sample_trellis, cells, n, &space->cells);
    double sum = 0;
    for (uint32_t c = 0; c < n; c++) {
        for (uint32_t i = 0; i < cells[c].n_groups * strip.row_steps * RBE_LANES; i++) {
            const uint32_t row = strip.first_row + i / 4 % (4 * strip.row_steps);
            const double units = (double)job->plane.units_per_weight[row] * spread;
            const double error = units > 0 ? (cells[c].targets[i] - (float)cells[c].values[i]) / units : 0;
            sum += error * error;
        }
    }
    job->sample_errors[which][sample] = sum;
}

/* Sets the scales at which a sample of the matrix is encoded best. The search moves on while the best of its points is an
 * outer one. */
static void choose_scales(plane_job *job, rbe__thread_pool *thread_pool)
{
    double units = job->plane.trellis.usual_rms;
    uint32_t best = SPREADS;
    rbe__plane_set_scales(&job->plane, units);
    if (job->quick && job->n_pairs < MIN_SAMPLES * PAIRS_PER_SAMPLE / 2) {
        return; /* the sample would take as long as the matrix, for a hundredth of the error */
    }
    choose_samples(job, thread_pool);
    for (int round = 0; round < 8 && best >= INNER_SPREADS; round++) {
        rbe__plane_set_scales(&job->plane, units);
        rbe__thread_pool_run(thread_pool, SPREADS * job->n_samples, encode_sample, job);
        double smallest = 0;
        for (uint32_t i = 0; i < SPREADS; i++) {
            double sum = 0;
            for (uint32_t sample = 0; sample < job->n_samples; sample++) {
                sum += (2 * sample + 1) * job->sample_errors[i][sample];
            }
            if (i == 0 || sum < smallest) {
                smallest = sum;
                best = i;
            }
        }
        units *= spreads[best];
    }
    rbe__plane_set_scales(&job->plane, units);
}

/* Cells of a strip come in two lengths at most; those of one length are paired. */
static uint32_t list_pairs(const rbe__layout *layout, cell_pair *pairs)
{
    uint32_t n_pairs = 0;
    for (uint32_t s = 0; s < layout->n_strips; s++) {
        const rbe__strip_layout strip = rbe__layout_strip(layout, s);
        const uint32_t shorter = layout->n_groups / strip.n_cells;
        uint32_t open[2] = {NO_CELL, NO_CELL}; /* the pair that has room, by length */
        for (uint32_t cell = 0; cell < strip.n_cells; cell++) {
            const uint32_t length = rbe__cell_first_group(layout, &strip, cell + 1) - rbe__cell_first_group(layout, &strip, cell);
            uint32_t *room = &open[length - shorter];
            if (*room != NO_CELL) {
                pairs[*room].cells[1] = cell;
                *room = NO_CELL;
            } else {
                pairs[n_pairs] = (cell_pair){s, {cell, NO_CELL}};
                *room = n_pairs++;
            }
        }
    }
    return n_pairs;
}

/* Upper bound of what list_pairs writes: half the cells, and a pair more per strip and length. */
static uint64_t most_pairs(const rbe__layout *layout)
{
    uint64_t n = 0;
    for (uint32_t s = 0; s < layout->n_strips; s++) {
        n += rbe__layout_strip(layout, s).n_cells / 2 + 2;
    }
    return n;
}

static void take_memory(plane_job *job, uint32_t n_threads, rbe__arena *arena)
{
    rbe__plane_encoder *plane = &job->plane;
    const size_t rows = plane->layout.rows, padded_rows = rbe__padded_rows(&plane->layout);
    plane->units_per_weight = rbe__arena_take(arena, padded_rows, sizeof(float));
    plane->decoded_scales = rbe__arena_take(arena, padded_rows, sizeof(float));
    plane->gains = rbe__arena_take(arena, padded_rows, sizeof(float));
    plane->squares = rbe__arena_take(arena, rows, sizeof(double));
    plane->sizes = rbe__arena_take(arena, rows, sizeof(double));
    plane->errors = rbe__arena_take(arena, rows, sizeof(double));
    plane->values = rbe__arena_take(arena, padded_rows, (size_t)4 * plane->layout.n_groups);
    job->pairs = rbe__arena_take(arena, most_pairs(&plane->layout), sizeof(cell_pair));
    job->ranking = rbe__arena_take(arena, most_pairs(&plane->layout), sizeof(ranked_pair));
    job->spaces = rbe__arena_take(arena, n_threads, sizeof(thread_space));
}

static rbe_status run(plane_job *job, rbe__thread_pool *thread_pool, double *squared_error)
{
    job->n_pairs = list_pairs(&job->plane.layout, job->pairs);
    choose_scales(job, thread_pool);
    if (job->feedback != NULL) {
        rbe__plane_set_decoded_scales(&job->plane, !job->residual);
        RBE_TRY(rbe__plane_encode_feedback(&job->plane, job->feedback, thread_pool, job->progress, job->user));
    } else {
        rbe__thread_pool_run(thread_pool, job->n_pairs, encode_pair, job);
    }
    if (atomic_load(&job->cancelled) || (job->progress && job->progress(job->n_pairs, job->n_pairs, job->user))) {
        return rbe_fail(RBE_ERROR_CANCELLED, "encoding was cancelled");
    }
    *squared_error = rbe__plane_finish(&job->plane, job->feedback == NULL, thread_pool);
    return RBE_OK;
}

rbe_status rbe_encode_plane(const float *weights, uint32_t rows, uint32_t cols, const rbe_codebook *codebook, uint32_t unit_rows,
                            float tensor_scale, const rbe_encode_options *options, uint16_t *row_scales, uint8_t *stream,
                            double *squared_error)
{
    if (squared_error != NULL) {
        *squared_error = 0;
    }
    if (weights == NULL || codebook == NULL || row_scales == NULL || stream == NULL || squared_error == NULL) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encode_plane: an argument is NULL");
    }
    if (!(tensor_scale > 0) || !isfinite(tensor_scale)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "tensor_scale is %g; it must be positive and finite", (double)tensor_scale);
    }
    rbe_encode_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    uint32_t n_threads;
    RBE_TRY(rbe__thread_count(chosen.n_threads, &n_threads));

    plane_job job;
    memset(&job, 0, sizeof job);
    rbe__plane_encoder *plane = &job.plane;
    RBE_TRY(rbe__plane_check(rows, cols, codebook, unit_rows, &plane->layout));
    plane->weights = weights;
    plane->tensor_scale = tensor_scale;
    plane->row_scales = row_scales;
    plane->stream = stream;
    rbe_kernels kernels;
    rbe__kernels_select(NULL, &kernels);
    plane->sweeps = kernels.sweeps;
    rbe__trellis_make(codebook, &plane->trellis);
    job.progress = chosen.progress;
    job.user = chosen.user;
    job.feedback = chosen.feedback;
    job.residual = chosen.residual != 0;
    job.quick = chosen.quick != 0;
    if (job.quick) {
        plane->trellis.n_starts = 0;
    }

    rbe__arena arena = {NULL, 0};
    take_memory(&job, n_threads, &arena);
    if (rbe__arena_allocate(&arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to encode a matrix of %u x %u", rows, cols);
    }
    take_memory(&job, n_threads, &arena);
    rbe__thread_pool *thread_pool = NULL;
    rbe_status status = rbe__plane_measure_rows(plane);
    if (status == RBE_OK) {
        status = rbe__thread_pool_create(n_threads, &thread_pool);
    }
    if (status == RBE_OK) {
        status = run(&job, thread_pool, squared_error);
    }
    rbe__thread_pool_free(thread_pool);
    rbe__aligned_free(arena.memory);
    return status;
}
