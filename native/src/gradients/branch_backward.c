/* What blocks have in common: the norm before them, how the result is added to the stream, and the norm of that. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"

const char *rbe__gradient_name(const rbe_gradients *gradients, char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *place,
                               const char *part)
{
    snprintf(name, RBE_GRADIENT_NAME_BYTES, "%slayers.%u.%s.%s", gradients->prefix, layer, place, part);
    return name;
}

rbe__norm_call rbe__block_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm,
                               const float *x, const char *name)
{
    return (rbe__norm_call){.kind = block->norm_kind,
                            .norm = norm,
                            .epsilon = block->norm_epsilon,
                            .cols = block->width,
                            .n_rows = gradients->n,
                            .x = x,
                            .name = name,
                            .layer = layer};
}

const float *rbe__read_stream(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *normed)
{
    if (!block->norm.weight) {
        return x;
    }
    const rbe__norm_call norm = rbe__block_norm(gradients, block, layer, &block->norm, x, NULL);
    rbe__norm_forward(gradients, &norm, normed);
    return normed;
}

static rbe__norm_call inner_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm,
                                 uint32_t cols, const float *x, const char *name)
{
    rbe__norm_call call = rbe__block_norm(gradients, block, layer, norm, x, name);
    call.cols = cols;
    return call;
}

const float *rbe__inner_norm_forward(const rbe_gradients *gradients, const rbe__block *block, const rbe__norm *norm, uint32_t cols,
                                     const float *x, float *normed)
{
    if (!norm->weight) {
        return x;
    }
    const rbe__norm_call call = inner_norm(gradients, block, 0, norm, cols, x, NULL);
    rbe__norm_forward(gradients, &call, normed);
    return normed;
}

rbe_status rbe__inner_norm_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place,
                                    const rbe__norm *norm, uint32_t cols, const float *x, float *d)
{
    if (!norm->weight) {
        return RBE_OK;
    }
    char name[RBE_GRADIENT_NAME_BYTES];
    const rbe__norm_call call = inner_norm(gradients, block, layer, norm, cols, x,
                                           rbe__gradient_name(gradients, name, layer, place, "inner_norm"));
    return rbe__norm_backward(gradients, &call, d, 0, d);
}

typedef struct stream_job {
    const rbe_kernels *kernels;
    const float *x, *branch;
    uint32_t width;
    float *out;
} stream_job;

/* out may be where the branch's norm lies */
static void add_to_stream(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const stream_job *job = context;
    const size_t at = (size_t)token * job->width;
    if (job->out != job->branch) {
        memcpy(job->out + at, job->branch + at, job->width * sizeof *job->out);
    }
    job->kernels->add(job->out + at, job->x + at, job->width);
}

rbe_status rbe__branch_forward(rbe_gradients *gradients, const rbe__block *block, const rbe__projection *projection, const float *input,
                               float *branch, float *summed, const float *x, float *out)
{
    const int sums = block->stream_norm.weight != NULL;
    if (!out && !sums && !block->post_norm.weight && !gradients->wants_gains) {
        return RBE_OK; /* nobody reads it */
    }
    RBE_TRY(rbe__matrix_forward(gradients, projection, 0, block->width, input, branch));
    return rbe__branch_sum(gradients, block, branch, summed, x, out);
}

rbe_status rbe__branch_sum(rbe_gradients *gradients, const rbe__block *block, const float *branch, float *summed, const float *x,
                           float *out)
{
    const int sums = block->stream_norm.weight != NULL;
    if (!out && !sums) {
        return RBE_OK;
    }
    stream_job job = {gradients->stack->kernels, x, branch, block->width, sums ? summed : out};
    if (block->post_norm.weight) {
        const rbe__norm_call norm = rbe__block_norm(gradients, block, 0, &block->post_norm, branch, NULL);
        rbe__norm_forward(gradients, &norm, job.out);
        job.branch = job.out;
    }
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_to_stream, &job);
    if (out && sums) {
        const rbe__norm_call norm = rbe__block_norm(gradients, block, 0, &block->stream_norm, summed, NULL);
        rbe__norm_forward(gradients, &norm, out);
    }
    return RBE_OK;
}

rbe_status rbe__branch_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place, const float *branch,
                                const float *summed, float *d, const float **d_branch)
{
    char name[RBE_GRADIENT_NAME_BYTES];
    if (block->stream_norm.weight) {
        rbe__gradient_name(gradients, name, layer, place, "stream_norm");
        const rbe__norm_call norm = rbe__block_norm(gradients, block, layer, &block->stream_norm, summed, name);
        RBE_TRY(rbe__norm_backward(gradients, &norm, d, 0, d));
    }
    *d_branch = d;
    if (!block->post_norm.weight) {
        return RBE_OK;
    }
    rbe__gradient_name(gradients, name, layer, place, "post_norm");
    const rbe__norm_call norm = rbe__block_norm(gradients, block, layer, &block->post_norm, branch, name);
    *d_branch = gradients->d_branch;
    return rbe__norm_backward(gradients, &norm, d, 0, gradients->d_branch);
}

static void add_row(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const stream_job *job = context;
    const size_t at = (size_t)token * job->width;
    job->kernels->add(job->out + at, job->branch + at, job->width);
}

rbe_status rbe__read_stream_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *place, const float *x,
                                     float *d)
{
    if (!block->norm.weight) {
        stream_job job = {gradients->stack->kernels, NULL, gradients->d_normed, block->width, d};
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_row, &job);
        return rbe__gradients_check(gradients);
    }
    char name[RBE_GRADIENT_NAME_BYTES];
    rbe__gradient_name(gradients, name, layer, place, "norm");
    const rbe__norm_call norm = rbe__block_norm(gradients, block, layer, &block->norm, x, name);
    return rbe__norm_backward(gradients, &norm, gradients->d_normed, 1, d);
}
