#include "blocks/encoder_ends.h"

#include <math.h>
#include <string.h>

#include "layers/activation.h"
#include "layers/norm.h"
#include "rbe/encoder.h"

/* y [n][rows] = norm(activation(W x + b)) of x [n][cols]; a norm without weights is left out. */
static void run_layer(rbe__pass *pass, const rbe__projection *projection, rbe__activation activation, const rbe__norm *norm, uint32_t n,
                      const float *x, float *y)
{
    const rbe__stack *stack = pass->stack;
    const uint32_t rows = projection->weight->rows;
    const rbe__linear_job job = {projection, y, rows, 0};
    const rbe__linear_input input = {n, pass->effort.lm_head, projection->weight->cols, x};
    rbe__linear(&pass->workspace, &job, 1, &input);
    for (uint32_t i = 0; i < n; i++) {
        rbe__activate(stack->kernels, activation, NULL, rows, y + (size_t)i * rows);
    }
    if (norm->weight) {
        rbe__normalize(stack->kernels, stack->norm_kind, norm, stack->norm_epsilon, y, rows, n, y);
    }
}

void rbe__pass_word_head(rbe__pass *pass, uint32_t n_rows)
{
    const rbe__stack *stack = pass->stack;
    const rbe__word_head *head = &stack->word_head;
    rbe__profile_start(pass->workspace.profile);
    if (head->dense.weight) {
        run_layer(pass, &head->dense, head->activation, &head->norm, n_rows, pass->hidden, pass->normed);
    } else if (head->norm.weight) {
        rbe__normalize(stack->kernels, stack->norm_kind, &head->norm, stack->norm_epsilon, pass->hidden, stack->width, n_rows,
                       pass->normed);
    } else {
        memcpy(pass->normed, pass->hidden, (size_t)n_rows * stack->width * sizeof *pass->normed);
    }
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_LM_HEAD);
}

/* In double precision, row by row: thousands of them lose nothing. */
static void mean_of(const float *rows, size_t n_rows, uint32_t width, double *sums, float *out)
{
    memset(sums, 0, width * sizeof *sums);
    for (size_t n = 0; n < n_rows; n++) {
        for (uint32_t i = 0; i < width; i++) {
            sums[i] += rows[n * width + i];
        }
    }
    for (uint32_t i = 0; i < width; i++) {
        out[i] = (float)(sums[i] / (double)n_rows);
    }
}

void rbe__pool_rows(uint32_t pooling, const float *rows, size_t n_rows, uint32_t width, double *sums, float *out)
{
    if (pooling == RBE_POOLING_MEAN) {
        mean_of(rows, n_rows, width, sums, out);
        return;
    }
    memcpy(out, pooling == RBE_POOLING_LAST ? rows + (n_rows - 1) * width : rows, width * sizeof *out);
    for (size_t n = 1; pooling == RBE_POOLING_MAX && n < n_rows; n++) {
        for (uint32_t i = 0; i < width; i++) {
            const float value = rows[n * width + i];
            out[i] = value > out[i] ? value : out[i];
        }
    }
}

uint32_t rbe__pooled_widest(const rbe__stack *stack)
{
    uint32_t widest = stack->width;
    for (uint32_t i = 0; i < stack->pooled.n_layers; i++) {
        const uint32_t rows = stack->pooled.layers[i].projection.weight->rows;
        widest = rows > widest ? rows : widest;
    }
    return widest;
}

uint32_t rbe__pooled_width(const rbe__stack *stack)
{
    const rbe__pooled *pooled = &stack->pooled;
    return pooled->n_layers ? pooled->layers[pooled->n_layers - 1].projection.weight->rows : stack->width;
}

/* To length 1; a vector of zeros stays. */
static void scale_to_one(float *x, uint32_t n)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)x[i] * x[i];
    }
    const double length = sqrt(sum), factor = length > 1e-12 ? 1.0 / length : 0.0;
    for (uint32_t i = 0; i < n; i++) {
        x[i] = (float)(x[i] * factor);
    }
}

void rbe__pass_pooled(rbe__pass *pass, uint32_t n, float *x, float *y, float *out)
{
    const rbe__pooled *pooled = &pass->stack->pooled;
    const uint32_t width = rbe__pooled_width(pass->stack);
    rbe__profile_start(pass->workspace.profile);
    for (uint32_t i = 0; i < pooled->n_layers; i++) {
        const rbe__pooled_layer *layer = &pooled->layers[i];
        run_layer(pass, &layer->projection, layer->activation, &layer->norm, n, x, y);
        float *const other = x;
        x = y;
        y = other;
    }
    memcpy(out, x, (size_t)n * width * sizeof *out);
    for (uint32_t i = 0; pooled->normalize && i < n; i++) {
        scale_to_one(out + (size_t)i * width, width);
    }
    rbe__profile_lap(pass->workspace.profile, RBE_OPERATION_LM_HEAD);
}
