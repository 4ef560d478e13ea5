#include "codec/plane.h"

#include <math.h>

#include "base/status.h"
#include "kernels/half.h"

/* gain = sqrt(row scale / full scale), so that a row's squared error counts by its scale: between one that is the same part of
 * every row and one that is least over the matrix. Full scale is at most this many times the strip's root mean square, and
 * the gain at least this, since the metrics are short integers (docs/codec.md, "Rows of unequal size"). */
static const double full_scale_over_rms = 2.0, least_gain = 0.2;

rbe_status rbe__plane_check(uint32_t rows, uint32_t cols, const rbe_codebook *codebook, uint32_t unit_rows, rbe__layout *layout)
{
    RBE_TRY(rbe__codebook_check(codebook));
    rbe_plane_layout plane;
    RBE_TRY(rbe_plane_get_layout(rows, cols, codebook->bits, unit_rows, &plane));
    RBE_TRY(rbe__layout_make(rows, cols, plane.unit_rows, layout));
    if (layout->min_steps < RBE_MIN_LANE_STEPS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "a matrix of %u x %u has lanes of %u steps; under %u it is to be stored dense", rows, cols,
                        layout->min_steps, RBE_MIN_LANE_STEPS);
    }
    return RBE_OK;
}

static double scale_of(const rbe__plane_encoder *plane, uint32_t row)
{
    return (double)plane->tensor_scale * (double)rbe__from_half(plane->row_scales[row]);
}

static void store_scale(rbe__plane_encoder *plane, uint32_t row, double scale)
{
    double relative = scale / plane->tensor_scale;
    plane->row_scales[row] = relative > 0 ? rbe__to_half((float)fmin(relative, 65504.0)) : 0;
}

/* The size of a row is its root mean square, times a factor >= 1 where its largest weights lie so far out that a larger scale
 * loses less: the factor m with the least expected_error x m + the mean of max(0, |w| - m x reach)^2. A lane cannot
 * stay at the outermost values, so the reach is this much of them (docs/codec.md, "Scales"). */
static const double usable_reach = 0.9, factor_step = 1.05, largest_factor = 4.0;

static double row_size(const rbe__trellis *trellis, const float *w, uint32_t n, double squares)
{
    const double rms = sqrt(squares / n);
    double factor = 1, least = INFINITY, m = 1;
    while (rms > 0 && m <= largest_factor) {
        const float reach = (float)(m * rms * usable_reach * trellis->reach / trellis->usual_rms);
        double beyond = 0;
        for (uint32_t i = 0; i < n; i++) {
            const float excess = fabsf(w[i]) - reach;
            beyond += excess > 0 ? (double)excess * excess : 0;
        }
        const double loss = trellis->expected_error * m * squares + beyond;
        if (loss >= least) {
            break;
        }
        least = loss;
        factor = m;
        m *= factor_step;
    }
    return rms * factor;
}

rbe_status rbe__plane_measure_rows(rbe__plane_encoder *plane)
{
    for (uint32_t row = 0; row < plane->layout.rows; row++) {
        const float *w = plane->weights + (size_t)row * plane->layout.cols;
        double sum = 0;
        for (uint32_t col = 0; col < plane->layout.cols; col++) {
            sum += (double)w[col] * w[col];
        }
        if (!isfinite(sum)) { /* the square of a finite float is far from the largest double */
            return rbe_fail(RBE_ERROR_ARGUMENT, "row %u holds a weight that is not finite", row);
        }
        plane->squares[row] = sum;
        plane->sizes[row] = row_size(&plane->trellis, w, plane->layout.cols, sum);
    }
    return RBE_OK;
}

void rbe__plane_set_scales(rbe__plane_encoder *plane, double units)
{
    const rbe__layout *layout = &plane->layout;
    for (uint32_t row = 0; row < layout->rows; row++) {
        store_scale(plane, row, plane->sizes[row] / units);
    }
    for (uint32_t s = 0; s < layout->n_strips; s++) {
        const rbe__strip_layout strip = rbe__layout_strip(layout, s);
        double sum = 0, largest = 0;
        for (uint32_t r = 0; r < strip.rows; r++) {
            const double scale = scale_of(plane, strip.first_row + r);
            sum += scale * scale;
            largest = fmax(largest, scale);
        }
        const double full = fmin(largest, full_scale_over_rms * sqrt(sum / strip.rows));
        for (uint32_t r = 0; r < 4 * strip.row_steps; r++) {
            const uint32_t row = strip.first_row + r;
            const double scale = r < strip.rows ? scale_of(plane, row) : 0;
            plane->units_per_weight[row] = scale > 0 ? (float)(1 / scale) : 0.0f;
            plane->gains[row] = scale > 0 ? (float)fmin(fmax(sqrt(scale / full), least_gain), 1) : 0.0f;
        }
    }
}

/* A good quantiser shrinks its input: for a unit Gaussian and error D, the variance of its output is 1 - D. The least squares fit keeps
 * this, so the error has a part -D w. Where rows agree with strong inputs that part alone can outweigh the rest: a calibrated 2-bit matrix
 * of a language model loses three times as much (docs/codec.md, "Error feedback"). The residual of an earlier plane is small where inputs
 * are strong, so this does not apply to it. */
void rbe__plane_set_decoded_scales(rbe__plane_encoder *plane, int unbiased)
{
    for (uint32_t row = 0; row < plane->layout.rows; row++) {
        if (unbiased) {
            store_scale(plane, row, scale_of(plane, row) / (1 - plane->trellis.expected_error));
        }
        plane->decoded_scales[row] = (float)scale_of(plane, row);
    }
}

typedef struct finish_job {
    rbe__plane_encoder *plane;
    int fit;
} finish_job;

static void finish_strip(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const finish_job *job = context;
    rbe__plane_encoder *plane = job->plane;
    const rbe__layout *layout = &plane->layout;
    const rbe__strip_layout strip = rbe__layout_strip(layout, item);
    double products[RBE_MAX_STRIP_ROWS] = {0}, norms[RBE_MAX_STRIP_ROWS] = {0};
    for (uint32_t group = 0; group < layout->n_groups; group++) {
        const int8_t *values = plane->values + rbe__values_offset(layout, &strip, group);
        const uint32_t left = layout->cols - 4 * group, width = left < 4 ? left : 4;
        for (uint32_t r = 0; r < strip.rows; r++) {
            const float *w = plane->weights + (size_t)(strip.first_row + r) * layout->cols + 4 * (size_t)group;
            for (uint32_t j = 0; j < width; j++) {
                const double value = values[4 * r + j];
                products[r] += w[j] * value;
                norms[r] += value * value;
            }
        }
    }
    for (uint32_t r = 0; r < strip.rows; r++) {
        const uint32_t row = strip.first_row + r;
        if (job->fit) {
            store_scale(plane, row, norms[r] > 0 ? products[r] / norms[r] : 0);
        }
        const double scale = scale_of(plane, row);
        plane->errors[row] = fmax(plane->squares[row] - scale * (2 * products[r] - scale * norms[r]), 0);
    }
}

double rbe__plane_finish(rbe__plane_encoder *plane, int fit, rbe__thread_pool *thread_pool)
{
    finish_job job = {plane, fit};
    rbe__thread_pool_run(thread_pool, plane->layout.n_strips, finish_strip, &job);
    double sum = 0;
    for (uint32_t row = 0; row < plane->layout.rows; row++) {
        sum += plane->errors[row];
    }
    return sum;
}
