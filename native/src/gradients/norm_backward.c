/* Norms: y = (x - shift) scale w + b. With g = w d_y and x' = (x - shift) scale, the gradient by x is scale (g - mean(g) - x' mean(g x')), where the
 * mean of g is left out by a norm that subtracts nothing. The sums of a row are in double precision, four beside one another. */
#include <math.h>
#include <stdio.h>

#include "base/status.h"
#include "gradients/gradients.h"

enum { COLUMNS = 16, LANES = 4 }; /* columns of a sum over tokens that one thread takes; sums side by side in a row */

static void sum_some_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const rbe__column_sum *sum = context;
    const uint32_t first = item * COLUMNS, n = sum->cols - first < COLUMNS ? sum->cols - first : COLUMNS;
    double sums[COLUMNS] = {0};
    for (size_t row = 0; row < sum->n_rows; row++) {
        const float *a = sum->a + row * sum->cols + first, *b = sum->b ? sum->b + row * sum->cols + first : NULL;
        for (uint32_t c = 0; c < n; c++) {
            const double shift = sum->shift ? sum->shift[first + c] : 0.0;
            sums[c] += b ? (double)a[c] * ((double)b[c] - shift) : (double)a[c];
        }
    }
    for (uint32_t c = 0; c < n; c++) {
        sum->out[first + c] = (float)sums[c];
    }
}

void rbe__sum_columns(const rbe_gradients *gradients, const rbe__column_sum *sum)
{
    rbe__column_sum job = *sum;
    rbe__thread_pool_run(gradients->thread_pool, (sum->cols - 1) / COLUMNS + 1, sum_some_columns, &job);
}

/* ---- norms ---------------------------------------------------------------------------------------------------------- */

typedef struct norm_job {
    const rbe_gradients *gradients;
    const rbe__norm_call *call;
    const float *d_y;
    int add;
    float *d_x; /* or y */
} norm_job;

static uint32_t weights_of(const rbe__norm_call *call)
{
    return call->n_weights ? call->n_weights : 1;
}

static const float *weight_of(const rbe__norm_call *call, uint32_t row)
{
    return call->norm->weight + (size_t)(row % weights_of(call)) * call->cols;
}

static void normalize_row(void *context, uint32_t row, uint32_t thread)
{
    (void)thread;
    const norm_job *job = context;
    const rbe__norm_call *call = job->call;
    const size_t at = (size_t)row * call->cols;
    job->gradients->stack->kernels->normalize(call->x + at, call->cols, call->kind, call->epsilon, weight_of(call, row), call->norm->bias,
                                              job->d_x + at);
}

void rbe__norm_forward(const rbe_gradients *gradients, const rbe__norm_call *call, float *y)
{
    norm_job job = {.gradients = gradients, .call = call, .d_x = y};
    rbe__thread_pool_run(gradients->thread_pool, (uint32_t)call->n_rows, normalize_row, &job);
}

static double sum_of(const double lanes[LANES])
{
    return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

/* Shift and scale of a row, by the formulas of rbe__norm_kind. */
static void statistics_of(const rbe__norm_call *call, const float *x, double *shift, double *scale)
{
    double lanes[LANES] = {0};
    for (uint32_t c = 0; call->kind == RBE_NORM_LAYER && c < call->cols; c++) {
        lanes[c % LANES] += (double)x[c];
    }
    *shift = sum_of(lanes) / call->cols;
    double squares[LANES] = {0};
    for (uint32_t c = 0; c < call->cols; c++) {
        const double value = (double)x[c] - *shift;
        squares[c % LANES] += value * value;
    }
    *scale = 1.0 / sqrt(sum_of(squares) / call->cols + (double)call->epsilon);
}

/* The gradient by x of one row. */
static void norm_row(void *context, uint32_t row, uint32_t thread)
{
    (void)thread;
    const norm_job *job = context;
    const rbe__norm_call *call = job->call;
    if (rbe__gradients_stopped(job->gradients)) {
        return;
    }
    const size_t at = (size_t)row * call->cols;
    const float *x = call->x + at, *d_y = job->d_y + at, *weight = weight_of(call, row);
    double shift, scale, of_g[LANES] = {0}, of_products[LANES] = {0};
    statistics_of(call, x, &shift, &scale);
    for (uint32_t c = 0; c < call->cols; c++) {
        const double g = (double)d_y[c] * (double)weight[c];
        of_g[c % LANES] += g;
        of_products[c % LANES] += g * (((double)x[c] - shift) * scale);
    }
    const double mean = call->kind == RBE_NORM_LAYER ? sum_of(of_g) / call->cols : 0.0, slope = sum_of(of_products) / call->cols;
    for (uint32_t c = 0; c < call->cols; c++) {
        const double g = (double)d_y[c] * (double)weight[c], value = ((double)x[c] - shift) * scale;
        const float d = (float)(scale * (g - mean - value * slope));
        job->d_x[at + c] = job->add ? job->d_x[at + c] + d : d;
    }
}

static uint32_t column_items(const rbe__norm_call *call)
{
    return (call->cols - 1) / COLUMNS + 1;
}

/* Columns of the gradients by weight and bias, of the rows that have the same weights. */
static void norm_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const norm_job *job = context;
    const rbe__norm_call *call = job->call;
    if (rbe__gradients_stopped(job->gradients)) {
        return;
    }
    const uint32_t which = item / column_items(call), first = item % column_items(call) * COLUMNS;
    const uint32_t n = call->cols - first < COLUMNS ? call->cols - first : COLUMNS;
    double of_weight[COLUMNS] = {0}, of_bias[COLUMNS] = {0};
    for (size_t row = which; row < call->n_rows; row += weights_of(call)) {
        const float *x = call->x + row * call->cols + first, *d_y = job->d_y + row * call->cols + first;
        const double shift = job->gradients->statistics[2 * row], scale = job->gradients->statistics[2 * row + 1];
        for (uint32_t c = 0; c < n; c++) {
            of_weight[c] += (double)d_y[c] * (((double)x[c] - shift) * scale);
            of_bias[c] += (double)d_y[c];
        }
    }
    for (uint32_t c = 0; c < n; c++) {
        job->gradients->vector[(size_t)which * call->cols + first + c] = (float)of_weight[c];
        job->gradients->second_vector[(size_t)which * call->cols + first + c] = (float)of_bias[c];
    }
}

/* Of one row, for the sums of columns. */
static void keep_statistics(void *context, uint32_t row, uint32_t thread)
{
    (void)thread;
    const norm_job *job = context;
    double shift, scale;
    if (rbe__gradients_stopped(job->gradients)) {
        return;
    }
    statistics_of(job->call, job->call->x + (size_t)row * job->call->cols, &shift, &scale);
    job->gradients->statistics[2 * (size_t)row] = (float)shift;
    job->gradients->statistics[2 * (size_t)row + 1] = (float)scale;
}

static rbe_status show_norm(const rbe_gradients *gradients, const rbe__norm_call *call)
{
    rbe_gradient gradient = {
        .name = call->name, .layer = call->layer, .rows = 1, .cols = weights_of(call) * call->cols, .n_rows = 1, .d = gradients->vector};
    RBE_TRY(rbe__gradients_show(gradients, gradient));
    if (!call->norm->bias) {
        return RBE_OK;
    }
    char name[RBE_GRADIENT_NAME_BYTES];
    snprintf(name, sizeof name, "%s.bias", call->name);
    gradient.name = name;
    gradient.d = gradients->second_vector;
    return rbe__gradients_show(gradients, gradient);
}

rbe_status rbe__norm_backward(rbe_gradients *gradients, const rbe__norm_call *call, const float *d_y, int add, float *d_x)
{
    norm_job job = {gradients, call, d_y, add, d_x};
    const uint32_t n_rows = (uint32_t)call->n_rows;
    if (gradients->show && call->name) {
        rbe__thread_pool_run(gradients->thread_pool, n_rows, keep_statistics, &job);
        rbe__thread_pool_run(gradients->thread_pool, weights_of(call) * column_items(call), norm_columns, &job);
        RBE_TRY(show_norm(gradients, call));
    }
    rbe__thread_pool_run(gradients->thread_pool, n_rows, norm_row, &job);
    return rbe__gradients_check(gradients);
}
