/* The block of a short convolution: out(C * convolution(B * x)) of B, C and x = in(norm(rows)), window by window, with a norm behind it where the
 * model has one. */
#include "base/status.h"
#include "gradients/gradients.h"

static const char *name_of(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *part)
{
    return rbe__gradient_name(gradients, name, layer, "convolution", part);
}

typedef struct rows_job {
    const rbe_gradients *gradients;
    const rbe__convolution_memory *memory;
    const float *taps, *bias; /* [width][n_taps]; [width] or NULL */
    uint32_t width, n_taps;
} rows_job;

static rows_job job_of(const rbe_gradients *gradients, const rbe__block *block)
{
    const rbe__projection *taps = &block->as.convolution.taps;
    return (rows_job){gradients,    &gradients->convolution, (const float *)(const void *)taps->weight->data, taps->bias,
                      block->width, taps->weight->cols};
}

/* B, C and x of a token. */
static const float *third(const rows_job *job, uint32_t token, uint32_t which)
{
    return job->memory->thirds + (3 * (size_t)token + which) * job->width;
}

static void open_gate(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const float *gate = third(job, token, 0), *x = third(job, token, 2);
    float *read = job->memory->read + (size_t)token * job->width;
    for (uint32_t c = 0; c < job->width; c++) {
        read[c] = gate[c] * x[c];
    }
}

static void convolve(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const uint32_t position = token % job->gradients->window;
    const size_t at = (size_t)token * job->width;
    const float *gate = third(job, token, 1);
    float *sum = job->memory->sum + at, *mixed = job->memory->mixed + at;
    for (uint32_t c = 0; c < job->width; c++) {
        sum[c] = job->bias ? job->bias[c] : 0.0f;
    }
    for (uint32_t t = 0; t < job->n_taps; t++) {
        const uint32_t back = job->n_taps - 1 - t;
        const float *read = job->memory->read + at - (back <= position ? (size_t)back * job->width : 0);
        for (uint32_t c = 0; back <= position && c < job->width; c++) {
            sum[c] += job->taps[(size_t)c * job->n_taps + t] * read[c];
        }
    }
    for (uint32_t c = 0; c < job->width; c++) {
        mixed[c] = sum[c] * gate[c];
    }
}

rbe_status rbe__convolution_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__convolution_block *convolution = &block->as.convolution;
    rbe__convolution_memory *memory = &gradients->convolution;
    rows_job job = job_of(gradients, block);
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__matrix_forward(gradients, &convolution->in, 0, 3 * block->width, memory->input, memory->thirds));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, open_gate, &job);
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, convolve, &job);
    return rbe__branch_forward(gradients, block, &convolution->out, memory->mixed, memory->branch, memory->summed, x, out);
}

/* d_mixed becomes the gradient by what the convolution gives; that by C. */
static void close_gate(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const size_t at = (size_t)token * job->width;
    const float *gate = third(job, token, 1), *sum = job->memory->sum + at;
    float *d = job->memory->d_mixed + at, *d_gate = job->memory->d_thirds + 3 * at + job->width;
    for (uint32_t c = 0; c < job->width; c++) {
        d_gate[c] = d[c] * sum[c];
        d[c] *= gate[c];
    }
}

/* The gradient by what the convolution has read of a token, which later ones of its window read too; that by B and x. */
static void convolve_back(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const uint32_t position = token % job->gradients->window;
    const size_t at = (size_t)token * job->width;
    const float *gate = third(job, token, 0), *x = third(job, token, 2);
    float *d_gate = job->memory->d_thirds + 3 * at, *d_x = d_gate + 2 * (size_t)job->width;
    for (uint32_t c = 0; c < job->width; c++) {
        d_x[c] = 0.0f;
    }
    for (uint32_t ahead = 0; ahead < job->n_taps; ahead++) {
        if (position + ahead >= job->gradients->window || token + ahead >= job->gradients->n) {
            break;
        }
        const float *d = job->memory->d_mixed + at + (size_t)ahead * job->width;
        for (uint32_t c = 0; c < job->width; c++) {
            d_x[c] += job->taps[(size_t)c * job->n_taps + job->n_taps - 1 - ahead] * d[c];
        }
    }
    for (uint32_t c = 0; c < job->width; c++) {
        d_gate[c] = d_x[c] * x[c];
        d_x[c] *= gate[c];
    }
}

/* The gradient by the taps of one channel: sums over the tokens. */
static void taps_back(void *context, uint32_t channel, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    for (uint32_t t = 0; t < job->n_taps; t++) {
        const uint32_t back = job->n_taps - 1 - t;
        double sum = 0;
        for (uint32_t token = 0; token < job->gradients->n; token++) {
            if (token % job->gradients->window >= back) {
                sum += (double)job->memory->d_mixed[(size_t)token * job->width + channel] *
                       (double)job->memory->read[(size_t)(token - back) * job->width + channel];
            }
        }
        job->memory->d_taps[(size_t)channel * job->n_taps + t] = (float)sum;
    }
}

static rbe_status show_taps(rbe_gradients *gradients, uint32_t layer, rows_job *job)
{
    char name[RBE_GRADIENT_NAME_BYTES];
    if (!gradients->show) {
        return RBE_OK;
    }
    rbe__thread_pool_run(gradients->thread_pool, job->width, taps_back, job);
    RBE_TRY(rbe__gradients_show(gradients, (rbe_gradient){.name = name_of(gradients, name, layer, "taps"),
                                                          .layer = layer,
                                                          .rows = job->width,
                                                          .cols = job->n_taps,
                                                          .n_rows = job->width,
                                                          .d = job->memory->d_taps}));
    if (!job->bias) {
        return RBE_OK;
    }
    const rbe__column_sum sum = {.a = job->memory->d_mixed, .n_rows = gradients->n, .cols = job->width, .out = gradients->vector};
    rbe__sum_columns(gradients, &sum);
    return rbe__gradients_show(gradients, (rbe_gradient){.name = name_of(gradients, name, layer, "taps.bias"),
                                                         .layer = layer,
                                                         .rows = 1,
                                                         .cols = job->width,
                                                         .n_rows = 1,
                                                         .d = gradients->vector});
}

rbe_status rbe__convolution_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__convolution_block *convolution = &block->as.convolution;
    const rbe__convolution_memory *memory = &gradients->convolution;
    rows_job job = job_of(gradients, block);
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "convolution", memory->branch, memory->summed, d, &d_branch));
    const rbe__matrix out = {&convolution->out, name_of(gradients, name, layer, "out"), layer, memory->mixed, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &out, d_branch, 0, memory->d_mixed));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, close_gate, &job);
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, convolve_back, &job);
    RBE_TRY(show_taps(gradients, layer, &job));
    const rbe__matrix in = {&convolution->in, name_of(gradients, name, layer, "in"), layer, memory->input, memory->thirds};
    RBE_TRY(rbe__matrix_backward(gradients, &in, memory->d_thirds, 0, gradients->d_normed));
    return rbe__read_stream_backward(gradients, block, layer, "convolution", x, d);
}
