/* The attention block: projections, norms and rotary positions of heads, attention, the output matrix, with a norm behind it where the model has
 * one. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"
#include "layers/position.h"

static const char *name_of(char name[RBE_GRADIENT_NAME_BYTES], uint32_t layer, const char *part)
{
    snprintf(name, RBE_GRADIENT_NAME_BYTES, "layers.%u.attention.%s", layer, part);
    return name;
}

/* Heads of all tokens: x [n][n_heads * head_dim]. */
typedef struct heads_job {
    const rbe_gradients *gradients;
    const rbe__attention_shape *shape;
    const float *sines;
    uint32_t n_heads;
    float *x;
} heads_job;

static void turn_token(void *context, uint32_t token, uint32_t thread)
{
    (void)thread;
    const heads_job *job = context;
    const rbe_gradients *gradients = job->gradients;
    const size_t pairs = gradients->stack->rope_pairs, position = token % gradients->window;
    const size_t at = ((size_t)job->shape->rope_table * gradients->window_tokens + position) * pairs;
    rbe__rope_apply(gradients->cosines + at, job->sines + at, (uint32_t)pairs, job->x + (size_t)token * job->n_heads * job->shape->head_dim,
                    job->n_heads, job->shape->head_dim);
}

/* Rotary positions, in place; back: their transpose. */
static void turn(const rbe_gradients *gradients, const rbe__attention_shape *shape, uint32_t n_heads, int back, float *x)
{
    heads_job job = {gradients, shape, back ? gradients->back_sines : gradients->sines, n_heads, x};
    if (gradients->stack->rope_frequencies) {
        rbe__thread_pool_run(gradients->thread_pool, gradients->n, turn_token, &job);
    }
}

static rbe__norm_call heads_norm(const rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const rbe__norm *norm,
                                 uint32_t n_heads, const float *x, const char *name)
{
    return (rbe__norm_call){.kind = RBE_NORM_RMS,
                            .norm = norm,
                            .epsilon = block->norm_epsilon,
                            .cols = block->as.attention.shape.head_dim,
                            .n_rows = (size_t)gradients->n * n_heads,
                            .x = x,
                            .name = name,
                            .layer = layer};
}

/* x [n][n_heads * head_dim] from raw, where it lies apart: its norm, where there is one, and positions. */
static void finish_heads(const rbe_gradients *gradients, const rbe__block *block, const float *weight, uint32_t n_heads, const float *raw,
                         float *x)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    if (weight) {
        const rbe__norm norm = {weight, NULL};
        const rbe__norm_call call = heads_norm(gradients, block, 0, &norm, n_heads, raw, NULL);
        rbe__norm_forward(gradients, &call, x);
    } else {
        memcpy(x, raw, (size_t)gradients->n * n_heads * shape->head_dim * sizeof *x);
    }
    turn(gradients, shape, n_heads, 0, x);
}

rbe_status rbe__attention_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    rbe__attention_memory *memory = &gradients->attention;
    const uint32_t q_rows = shape->n_heads * shape->head_dim, kv_rows = shape->n_kv_heads * shape->head_dim;
    memory->input = rbe__read_stream(gradients, block, layer, x, memory->normed);
    RBE_TRY(rbe__matrix_forward(gradients, &attention->q, 0, q_rows, memory->input, memory->q_raw));
    RBE_TRY(rbe__matrix_forward(gradients, &attention->k, 0, kv_rows, memory->input, memory->k_raw));
    RBE_TRY(rbe__matrix_forward(gradients, &attention->v, 0, kv_rows, memory->input, memory->v));
    finish_heads(gradients, block, attention->q_norm, shape->n_heads, memory->q_raw, memory->q);
    finish_heads(gradients, block, attention->k_norm, shape->n_kv_heads, memory->k_raw, memory->k);
    RBE_TRY(rbe__attend_forward(gradients, shape));
    memory->output_input = rbe__inner_norm_forward(gradients, block, &attention->inner_norm, q_rows, memory->mixed, memory->inner_normed);
    return rbe__branch_forward(gradients, block, &attention->o, memory->output_input, memory->branch, memory->summed, x, out);
}

/* d [n][n_heads * head_dim] by the finished heads becomes that by raw. */
static rbe_status heads_back(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const char *part, const float *weight,
                             uint32_t n_heads, const float *raw, float *d)
{
    char name[RBE_GRADIENT_NAME_BYTES];
    turn(gradients, &block->as.attention.shape, n_heads, 1, d);
    if (!weight) {
        return RBE_OK;
    }
    const rbe__norm norm = {weight, NULL};
    const rbe__norm_call call = heads_norm(gradients, block, layer, &norm, n_heads, raw, name_of(name, layer, part));
    return rbe__norm_backward(gradients, &call, d, 0, d);
}

/* Shows one of the three matrices that read the norm, and adds to d_normed. */
rbe_status rbe__attention_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    const rbe__attention_memory *memory = &gradients->attention;
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "attention", memory->branch, memory->summed, d, &d_branch));
    const rbe__matrix o = {&attention->o, name_of(name, layer, "o"), layer, memory->output_input, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &o, d_branch, 0, memory->d_mixed));
    RBE_TRY(rbe__inner_norm_backward(gradients, block, layer, "attention", &attention->inner_norm, shape->n_heads * shape->head_dim,
                                     memory->mixed, memory->d_mixed));
    RBE_TRY(rbe__attend_backward(gradients, shape));
    RBE_TRY(heads_back(gradients, block, layer, "q_norm", attention->q_norm, shape->n_heads, memory->q_raw, memory->d_q));
    RBE_TRY(heads_back(gradients, block, layer, "k_norm", attention->k_norm, shape->n_kv_heads, memory->k_raw, memory->d_k));
    const rbe__matrix q = {&attention->q, name_of(name, layer, "q"), layer, memory->input, memory->q_raw};
    RBE_TRY(rbe__matrix_backward(gradients, &q, memory->d_q, 0, gradients->d_normed));
    const rbe__matrix k = {&attention->k, name_of(name, layer, "k"), layer, memory->input, memory->k_raw};
    RBE_TRY(rbe__matrix_backward(gradients, &k, memory->d_k, 1, gradients->d_normed));
    const rbe__matrix v = {&attention->v, name_of(name, layer, "v"), layer, memory->input, memory->v};
    RBE_TRY(rbe__matrix_backward(gradients, &v, memory->d_v, 1, gradients->d_normed));
    return rbe__read_stream_backward(gradients, block, layer, "attention", x, d);
}
