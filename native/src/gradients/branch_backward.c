/* What blocks have in common: the norm before them, and how the result is added to the stream. */
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"

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
                               float *branch, const float *x, float *out)
{
    if (!out && !block->post_norm.weight && !gradients->wants_gains) {
        return RBE_OK; /* nobody reads it */
    }
    RBE_TRY(rbe__matrix_forward(gradients, projection, 0, block->width, input, branch));
    if (!out) {
        return RBE_OK;
    }
    stream_job job = {gradients->stack->kernels, x, branch, block->width, out};
    if (block->post_norm.weight) {
        const rbe__norm_call norm = rbe__block_norm(gradients, block, 0, &block->post_norm, branch, NULL);
        rbe__norm_forward(gradients, &norm, out);
        job.branch = out;
    }
    rbe__thread_pool_run(gradients->thread_pool, gradients->n, add_to_stream, &job);
    return RBE_OK;
}

rbe_status rbe__branch_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *name, const float *branch,
                                const float *d, const float **d_branch)
{
    *d_branch = d;
    if (!block->post_norm.weight) {
        return RBE_OK;
    }
    const rbe__norm_call norm = rbe__block_norm(gradients, block, layer, &block->post_norm, branch, name);
    *d_branch = gradients->d_branch;
    return rbe__norm_backward(gradients, &norm, d, 0, gradients->d_branch);
}
