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
    size_t width;
} rows_job;

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
    float *read = job->memory->read + token * job->width;
    for (size_t c = 0; c < job->width; c++) {
        read[c] = gate[c] * x[c];
    }
}

static void mix(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const float *gate = third(job, token, 1), *sum = job->memory->sum + token * job->width;
    float *mixed = job->memory->mixed + token * job->width;
    for (size_t c = 0; c < job->width; c++) {
        mixed[c] = sum[c] * gate[c];
    }
}

rbe_status rbe__convolution_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__convolution_block *convolution = &block->as.convolution;
    rbe__convolution_memory *memory = &gradients->convolution;
    rows_job job = {gradients, memory, block->width};
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__matrix_forward(gradients, &convolution->in, 0, 3 * block->width, memory->input, memory->thirds));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, open_gate, &job);
    rbe__taps_forward(gradients, &convolution->taps, memory->read, memory->sum);
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, mix, &job);
    return rbe__branch_forward(gradients, block, &convolution->out, memory->mixed, memory->branch, memory->summed, x, out);
}

/* d_mixed becomes the gradient by what the convolution gives; that by C. */
static void unmix(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const size_t at = token * job->width;
    const float *gate = third(job, token, 1), *sum = job->memory->sum + at;
    float *d = job->memory->d_mixed + at, *d_gate = job->memory->d_thirds + 3 * at + job->width;
    for (size_t c = 0; c < job->width; c++) {
        d_gate[c] = d[c] * sum[c];
        d[c] *= gate[c];
    }
}

/* The gradients by B and x from d_read. */
static void close_gate(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const size_t at = token * job->width;
    const float *gate = third(job, token, 0), *x = third(job, token, 2), *d = job->memory->d_read + at;
    float *d_gate = job->memory->d_thirds + 3 * at, *d_x = d_gate + 2 * job->width;
    for (size_t c = 0; c < job->width; c++) {
        d_gate[c] = d[c] * x[c];
        d_x[c] = d[c] * gate[c];
    }
}

rbe_status rbe__convolution_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__convolution_block *convolution = &block->as.convolution;
    const rbe__convolution_memory *memory = &gradients->convolution;
    rows_job job = {gradients, memory, block->width};
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "convolution", memory->branch, memory->summed, d, &d_branch));
    const rbe__matrix out = {&convolution->out, name_of(gradients, name, layer, "out"), layer, memory->mixed, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &out, d_branch, 0, memory->d_mixed));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, unmix, &job);
    const rbe__matrix taps = {&convolution->taps, name_of(gradients, name, layer, "taps"), layer, memory->read, NULL};
    RBE_TRY(rbe__taps_backward(gradients, &taps, memory->d_mixed, memory->d_taps, memory->d_read));
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, close_gate, &job);
    const rbe__matrix in = {&convolution->in, name_of(gradients, name, layer, "in"), layer, memory->input, memory->thirds};
    RBE_TRY(rbe__matrix_backward(gradients, &in, memory->d_thirds, 0, gradients->d_normed));
    return rbe__read_stream_backward(gradients, block, layer, "convolution", x, d);
}
