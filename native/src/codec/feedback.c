/* Encoding with error feedback (LDLQ): the columns not yet encoded compensate for what a cell's columns lose.
 *
 * E. Frantar et al.: "GPTQ", 2022; J. Chee et al.: "QuIP", 2023; docs/codec.md, "Error feedback". With H = E[x x^T] of the rotated
 * activations, damped, and inverse(H) = U^T U, U upper triangular: once the columns g of a cell are encoded as Q_g, the columns behind
 * them become W_rest - (W_g - Q_g) inverse(U_gg) U_g,rest. Rows do not interact, so strips are independent.
 */
#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "codec/feedback.h"

#define PANEL_GROUPS 16u
#define MAX_CELL_COLUMNS (4 * RBE_MAX_LANE_STEPS / 2) /* a strip has two row steps at least */

typedef struct thread_space {
    rbe__cell_space cells;
    float *targets[RBE_SWEEP_CELLS]; /* [column][row], one strip: first the weights, then what is left of them */
    float scaled[RBE_SWEEP_CELLS][RBE_MAX_LANE_STEPS * RBE_LANES], inside[RBE_SWEEP_CELLS][RBE_MAX_LANE_STEPS * RBE_LANES];
    float spread[RBE_SWEEP_CELLS][4 * PANEL_GROUPS * RBE_MAX_STRIP_ROWS]; /* [column of the panel][row]: (W_g - Q_g) inverse(U_gg) */
    float lost[RBE_MAX_LANE_STEPS * 4];
    double by_lane[MAX_CELL_COLUMNS * MAX_CELL_COLUMNS];
} thread_space;

typedef struct feedback_job {
    rbe__plane_encoder *plane;
    const float *feedback; /* U, [4 G][4 G] */
    uint32_t strips_per_item;
    thread_space *spaces;
    rbe_progress_callback progress;
    void *user;
    atomic_uint_fast64_t done;
    atomic_int cancelled;
} feedback_job;

/* The strip's weights as [column][row]; zero where there are none. */
static void load_strip(const rbe__plane_encoder *plane, const rbe__strip_layout *strip, float *targets)
{
    const rbe__layout *layout = &plane->layout;
    const size_t rows = 4 * (size_t)strip->row_steps;
    memset(targets, 0, rows * 4 * layout->n_groups * sizeof *targets);
    for (uint32_t begin = 0; begin < layout->cols; begin += 16) {
        const uint32_t end = layout->cols - begin < 16 ? layout->cols : begin + 16;
        for (uint32_t r = 0; r < strip->rows; r++) {
            const float *w = plane->weights + (size_t)(strip->first_row + r) * layout->cols;
            for (uint32_t col = begin; col < end; col++) {
                targets[col * rows + r] = w[col];
            }
        }
    }
}

/* What is lost of column k of a cell. targets, values: of the cell. */
static void subtract_values(const rbe__plane_encoder *plane, const rbe__strip_layout *strip, uint32_t first, size_t k, const float *targets,
                            const int8_t *values, float *error)
{
    const size_t rows = 4 * (size_t)strip->row_steps;
    const float *units = plane->units_per_weight + strip->first_row, *scales = plane->decoded_scales + strip->first_row;
    const int exists = 4 * (size_t)first + k < plane->layout.cols;
    for (size_t r = 0; r < rows; r++) {
        const size_t at = (k / 4 * rows + r) * 4 + k % 4;
        const float value = (float)values[at];
        error[r] = exists && units[r] > 0 ? targets[k * rows + r] - value * scales[r] : 0.0f;
    }
}

/* spread = (W_g - Q_g) inverse(U_gg), column by column of the cell. */
static void solve_cell(const feedback_job *job, const rbe__strip_layout *strip, uint32_t first, uint32_t n_groups, const float *targets,
                       const int8_t *values, float *spread)
{
    const size_t side = 4 * (size_t)job->plane->layout.n_groups, rows = 4 * (size_t)strip->row_steps;
    for (size_t k = 0; k < 4 * (size_t)n_groups; k++) {
        const size_t col = 4 * (size_t)first + k;
        float *own = spread + k * rows;
        subtract_values(job->plane, strip, first, k, targets, values, own);
        for (size_t i = 0; i < k; i++) {
            const float u = job->feedback[(4 * (size_t)first + i) * side + col];
            for (size_t r = 0; r < rows; r++) {
                own[r] -= spread[i * rows + r] * u;
            }
        }
        const float u = 1.0f / job->feedback[col * side + col];
        for (size_t r = 0; r < rows; r++) {
            own[r] *= u;
        }
    }
}

/* V of V^T V = U_gg^T U_gg with the columns of the cell ordered by lane: column 4 q + j of the cell is number j n_groups + q. */
static void factor_by_lane(const feedback_job *job, uint32_t first, uint32_t n_groups, double *v)
{
    const size_t side = 4 * (size_t)job->plane->layout.n_groups, n = 4 * (size_t)n_groups;
    for (size_t a = 0; a < n; a++) {
        for (size_t b = a; b < n; b++) {
            const size_t column_a = a % n_groups * 4 + a / n_groups, column_b = b % n_groups * 4 + b / n_groups;
            double sum = 0;
            for (size_t k = 0; k <= column_a && k <= column_b; k++) {
                const float *row = job->feedback + (4 * (size_t)first + k) * side + 4 * (size_t)first;
                sum += (double)row[column_a] * row[column_b];
            }
            for (size_t k = 0; k < a; k++) {
                sum -= v[k * n + a] * v[k * n + b];
            }
            v[a * n + b] = a == b ? sqrt(fmax(sum, DBL_MIN)) : sum / v[a * n + a];
        }
    }
}

/* The same feedback inside a cell of several groups: the lanes of columns 4 q + j + 1 on compensate for what those of 4 q + j have lost.
 * lost: [n_groups][rows]. */
static void feed_inside(const feedback_job *job, const rbe__strip_layout *strip, uint32_t first, uint32_t n_groups, uint32_t j,
                        const double *v, const int8_t *values, float *lost, float *targets)
{
    const rbe__plane_encoder *plane = job->plane;
    const size_t n = 4 * (size_t)n_groups, rows = 4 * (size_t)strip->row_steps, own = (size_t)j * n_groups;
    for (size_t q = 0; q < n_groups; q++) {
        float *own_lost = lost + q * rows;
        subtract_values(plane, strip, first, 4 * q + j, targets, values, own_lost);
        for (size_t i = 0; i < q; i++) {
            const float u = (float)v[(own + i) * n + own + q];
            for (size_t r = 0; r < rows; r++) {
                own_lost[r] -= lost[i * rows + r] * u;
            }
        }
        const float u = 1.0f / (float)v[(own + q) * n + own + q];
        for (size_t r = 0; r < rows; r++) {
            own_lost[r] *= u;
        }
    }
    for (size_t to = own + n_groups; to < n; to++) {
        float *column = targets + (to % n_groups * 4 + to / n_groups) * rows;
        for (size_t q = 0; q < n_groups; q++) {
            const float u = (float)v[(own + q) * n + to];
            for (size_t r = 0; r < rows; r++) {
                column[r] -= lost[q * rows + r] * u;
            }
        }
    }
}

/* W_rest -= spread U_g,rest, for the groups from `begin` to `end` and what the groups `first` on have spread. */
static void feed_back(const feedback_job *job, const rbe__strip_layout *strip, uint32_t first, uint32_t n_groups, const float *spread,
                      uint32_t begin, uint32_t end, float *targets)
{
    const size_t side = 4 * (size_t)job->plane->layout.n_groups, rows = 4 * (size_t)strip->row_steps;
    for (uint32_t group = begin; group < end; group++) {
        job->plane->sweeps->subtract(targets + 4 * (size_t)group * rows, spread, job->feedback + 4 * (first * side + group), side, rows,
                                     4 * (size_t)n_groups);
    }
}

/* Cells of a strip are taken in panels: inside one, each cell corrects those behind it at once; the columns behind the panel wait for its
 * end and take all corrections together, while they are in the nearest cache. */
static uint32_t cells_per_panel(const feedback_job *job, const rbe__strip_layout *strip)
{
    const uint32_t longest = (job->plane->layout.n_groups - 1) / strip->n_cells + 1;
    return longest < PANEL_GROUPS ? PANEL_GROUPS / longest : 1;
}

/* Cell c of n strips of one height (n 1 or 2): encoded together. Where vectors are wide, two take little longer than one. */
static uint32_t encode_column(const feedback_job *job, const rbe__strip_layout *strips, uint32_t n, uint32_t c, float *const *targets,
                              thread_space *space)
{
    const rbe__plane_encoder *plane = job->plane;
    const uint32_t bits = plane->trellis.bits, first = rbe__cell_first_group(&plane->layout, strips, c);
    const uint32_t n_groups = rbe__cell_first_group(&plane->layout, strips, c + 1) - first;
    const size_t rows = 4 * (size_t)strips->row_steps;
    rbe__cell cells[RBE_SWEEP_CELLS];
    for (uint32_t s = 0; s < n; s++) {
        memcpy(space->inside[s], targets[s] + 4 * (size_t)first * rows, 4 * (size_t)n_groups * rows * sizeof(float));
        cells[s].n_groups = n_groups;
        cells[s].row_steps = strips->row_steps;
        cells[s].targets = space->scaled[s];
        cells[s].gains = plane->gains + strips[s].first_row;
        cells[s].stream = plane->stream + rbe__strip_offset(&plane->layout, &strips[s], bits) +
                          (size_t)first * rbe__group_bytes(&strips[s], bits);
        cells[s].values = plane->values + rbe__values_offset(&plane->layout, &strips[s], first);
    }
    /* Lanes do not depend on each other, so encoding the finished ones again gives the same result. */
    const uint32_t n_turns = n_groups > 1 ? 4 : 1;
    if (n_turns > 1) {
        factor_by_lane(job, first, n_groups, space->by_lane);
    }
    for (uint32_t j = 0; j < n_turns; j++) {
        for (uint32_t s = 0; s < n; s++) {
            const float *units = plane->units_per_weight + strips[s].first_row;
            for (size_t k = 0; k < 4 * (size_t)n_groups; k++) {
                for (size_t r = 0; r < rows; r++) {
                    space->scaled[s][(k / 4 * rows + r) * 4 + k % 4] = space->inside[s][k * rows + r] * units[r];
                }
            }
        }
        rbe__encode_cells(plane->sweeps, &plane->trellis, cells, n, &space->cells);
        for (uint32_t s = 0; s < n && j + 1 < n_turns; s++) {
            feed_inside(job, &strips[s], first, n_groups, j, space->by_lane, cells[s].values, space->lost, space->inside[s]);
        }
    }
    const uint32_t panel = c - c % cells_per_panel(job, strips), next = panel + cells_per_panel(job, strips),
                   n_all = plane->layout.n_groups;
    const uint32_t begin = rbe__cell_first_group(&plane->layout, strips, panel), past = first + n_groups;
    const uint32_t end = next < strips->n_cells ? rbe__cell_first_group(&plane->layout, strips, next) : n_all;
    for (uint32_t s = 0; s < n; s++) {
        float *spread = space->spread[s] + 4 * (size_t)(first - begin) * rows;
        solve_cell(job, &strips[s], first, n_groups, targets[s] + 4 * (size_t)first * rows, cells[s].values, spread);
        feed_back(job, &strips[s], first, n_groups, spread, past, end, targets[s]);
        if (past == end) {
            feed_back(job, &strips[s], begin, end - begin, space->spread[s], end, n_all, targets[s]);
        }
    }
    return n_groups * n;
}

/* 1 where the work is to stop. */
static int report(feedback_job *job, uint32_t n_groups, uint32_t thread)
{
    const uint64_t total = (uint64_t)job->plane->layout.n_groups * job->plane->layout.n_strips;
    const uint64_t done = atomic_fetch_add(&job->done, n_groups) + n_groups;
    if (thread == 0 && done < total && job->progress && job->progress(done, total, job->user)) { /* thread 0 is the caller's */
        atomic_store(&job->cancelled, 1);
    }
    return atomic_load(&job->cancelled);
}

static void encode_strips(void *context, uint32_t item, uint32_t thread)
{
    feedback_job *job = context;
    const rbe__layout *layout = &job->plane->layout;
    thread_space *space = &job->spaces[thread];
    rbe__strip_layout strips[RBE_SWEEP_CELLS];
    uint32_t n = 0;
    for (uint32_t index = item * job->strips_per_item; n < job->strips_per_item && index < layout->n_strips; n++, index++) {
        strips[n] = rbe__layout_strip(layout, index);
        load_strip(job->plane, &strips[n], space->targets[n]);
    }
    const uint32_t together = n == 2 && strips[0].row_steps == strips[1].row_steps ? 2 : 1;
    for (uint32_t begin = 0; begin < n; begin += together) {
        for (uint32_t c = 0; c < strips[begin].n_cells; c++) {
            const uint32_t n_groups = encode_column(job, &strips[begin], together, c, &space->targets[begin], space);
            if (report(job, n_groups, thread)) {
                return;
            }
        }
    }
}

static void take_memory(feedback_job *job, uint32_t n_threads, rbe__arena *arena)
{
    job->spaces = rbe__arena_take(arena, n_threads, sizeof *job->spaces);
    for (uint32_t t = 0; t < n_threads; t++) {
        for (uint32_t s = 0; s < RBE_SWEEP_CELLS; s++) {
            void *targets = rbe__arena_take(arena, (size_t)job->plane->layout.n_groups * RBE_MAX_STRIP_ROWS * 4, sizeof(float));
            if (job->spaces) {
                job->spaces[t].targets[s] = targets;
            }
        }
    }
}

rbe_status rbe__plane_encode_feedback(rbe__plane_encoder *plane, const float *feedback, rbe__thread_pool *thread_pool,
                                      rbe_progress_callback progress, void *user)
{
    const uint32_t n_threads = rbe__thread_pool_threads(thread_pool), n_strips = plane->layout.n_strips;
    feedback_job job = {.plane = plane, .feedback = feedback, .progress = progress, .user = user};
    rbe__arena arena = {NULL, 0};
    for (size_t col = 0; col < 4 * (size_t)plane->layout.n_groups; col++) {
        if (!(feedback[col * (4 * (size_t)plane->layout.n_groups + 1)] > 0)) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "feedback: element %zu of the diagonal is not positive", col);
        }
    }
    take_memory(&job, n_threads, &arena);
    if (rbe__arena_allocate(&arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory to encode with feedback");
    }
    take_memory(&job, n_threads, &arena);
    job.strips_per_item = n_strips >= 2 * n_threads ? 2 : 1; /* two at once, unless threads would idle */
    rbe__thread_pool_run(thread_pool, (n_strips - 1) / job.strips_per_item + 1, encode_strips, &job);
    rbe__aligned_free(arena.memory);
    return atomic_load(&job.cancelled) ? rbe_fail(RBE_ERROR_CANCELLED, "encoding was cancelled") : RBE_OK;
}
