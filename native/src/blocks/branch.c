/* What blocks have in common: how they read the residual stream, and how they add to it. */
#include "base/status.h"
#include "blocks/pass.h"
#include "layers/norm.h"

/* What a block reads, [n_tokens][width]. */
static const float *input_rows(const rbe__pass *pass, const rbe__block *block)
{
    return block->reads == RBE_READS_LAYER_INPUT ? pass->layer_input : pass->hidden;
}

void rbe__block_project(rbe__pass *pass, const rbe__block *block, const rbe__linear_job *jobs, uint32_t n_jobs, const float **x)
{
    const float *rows = input_rows(pass, block);
    if (!block->norm.weight) {
        const rbe__linear_input input = {pass->n_tokens, pass->planes, block->width, rows};
        rbe__linear(&pass->workspace, jobs, n_jobs, &input);
        *x = rows;
        return;
    }
    const rbe__normed_input input = {.n_tokens = pass->n_tokens,
                                     .most_planes = pass->planes,
                                     .width = block->width,
                                     .kind = block->norm_kind,
                                     .norm = &block->norm,
                                     .epsilon = block->norm_epsilon,
                                     .x = rows,
                                     .normed = pass->normed};
    rbe__linear_normed(&pass->workspace, jobs, n_jobs, &input);
    *x = pass->normed;
}

rbe__linear_job rbe__block_output_job(const rbe__pass *pass, const rbe__block *block, const rbe__projection *projection)
{
    const int adds = block->post_norm.weight == NULL;
    return (rbe__linear_job){projection, adds ? pass->hidden : pass->branch, block->width, adds};
}

static void norm_stream(rbe__pass *pass, const rbe__block *block)
{
    if (block->stream_norm.weight) {
        rbe__normalize(pass->stack->kernels, block->norm_kind, &block->stream_norm, block->norm_epsilon, pass->hidden, block->width,
                       pass->n_tokens, pass->hidden);
    }
}

void rbe__block_add(rbe__pass *pass, const rbe__block *block)
{
    const rbe_kernels *kernels = pass->stack->kernels;
    for (uint32_t n = 0; block->post_norm.weight && n < pass->n_tokens; n++) {
        float *branch = pass->branch + (size_t)n * block->width;
        rbe__normalize(kernels, block->norm_kind, &block->post_norm, block->norm_epsilon, branch, block->width, 1, branch);
        kernels->add(pass->hidden + (size_t)n * block->width, branch, block->width);
    }
    norm_stream(pass, block);
}

rbe_status rbe__block_skip(rbe__pass *pass, const rbe__block *block)
{
    pass->planes = 0;
    if (block->kind->fill && !block->shares_state) {
        RBE_TRY(block->kind->fill(pass, block));
    }
    norm_stream(pass, block);
    return RBE_OK;
}

rbe_status rbe__capture(rbe__pass *pass, uint32_t layer, uint32_t point, const float *x, size_t cols)
{
    if (pass->capture && pass->capture(layer, point, x, pass->n_tokens, (uint32_t)cols, pass->capture_user)) {
        return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
    }
    return RBE_OK;
}
