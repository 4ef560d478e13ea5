/* The block of cross attention, of a decoder that answers to an encoder's text: queries of the rows, attention over the keys and values of the
 * text, which are computed once, and the output matrix. Every row sees all of the text. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/heads.h"

enum { OPERATION_TEXT, OPERATION_Q, OPERATION_ATTENTION, OPERATION_O, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"keys and values of the text", "cross query", "cross attention", "cross output"};

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__attention_block *cross = &block->as.attention;
    cross->shape = shape->attention;
    cross->shape.window = 0;
    cross->shape.distances = NULL;
    char place[64];
    snprintf(place, sizeof place, "%slayers.%u.cross", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
    rbe__heads_bind(binder, place, shape, block);
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&cross->k, &cross->v}, 2);
}

typedef struct keys_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const rbe__heads_scratch *scratch;
} keys_call;

static void store_keys(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const keys_call *call = context;
    const rbe__attention_shape *shape = &call->block->as.attention.shape;
    const size_t at = (size_t)n * shape->n_kv_heads * shape->head_dim;
    const rbe__row *row = &call->pass->rows[n];
    rbe__kv_store(call->pass->stack->kernels, &row->state->blocks[call->block->state].kv, row->position, call->scratch->k + at,
                  call->scratch->v + at);
}

static rbe_status fill_text(rbe__pass *pass, const rbe__block *block)
{
    const rbe__attention_block *cross = &block->as.attention;
    const size_t kv_width = (size_t)cross->shape.n_kv_heads * cross->shape.head_dim;
    const rbe__heads_scratch scratch = rbe__heads_of_pass(pass, block);
    const rbe__linear_job jobs[] = {{&cross->k, scratch.k, kv_width, 0}, {&cross->v, scratch.v, kv_width, 0}};
    const rbe__linear_input input = {pass->n_tokens, pass->planes, block->width, pass->hidden};
    rbe__linear(&pass->workspace, jobs, 2, &input);
    keys_call keys = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, store_keys, &keys);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_TEXT);
    return RBE_OK;
}

static void see(const rbe__pass *pass, const rbe__block *block, const rbe__run *run, rbe__attention *attention)
{
    (void)pass;
    (void)block;
    attention->n_positions = run->state->n_text;
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    (void)layer;
    const rbe__attention_block *cross = &block->as.attention;
    const uint32_t q_width = cross->shape.n_heads * cross->shape.head_dim;
    rbe__profile *profile = pass->workspace.profile;
    const rbe__heads_scratch scratch = rbe__heads_of_pass(pass, block);

    const rbe__linear_job q = {&cross->q, scratch.q, q_width, 0};
    const float *x;
    rbe__block_project(pass, block, &q, 1, &x);
    rbe__profile_lap(profile, block->first_operation + OPERATION_Q);
    rbe__heads_attend(pass, block, &scratch, see);
    rbe__profile_lap(profile, block->first_operation + OPERATION_ATTENTION);

    rbe__heads_output(pass, block, &scratch, OPERATION_O);
    return RBE_OK;
}

/* The text stands before every position. */
static void slide_state(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide)
{
    (void)workspace;
    (void)state;
    (void)slide;
}

static rbe_status visit_state(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    (void)n_positions;
    return rbe__kv_visit_used(&state->kv, state->n_text, visit, context);
}

/* Keys and values of the text are no part of a step. */
static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__attention_block *cross = &block->as.attention;
    return planes == RBE_SKIP ? 0 : rbe__tensor_read_bytes(cross->q.weight, planes) + rbe__tensor_read_bytes(cross->o.weight, planes);
}

const rbe__block_kind rbe__cross_kind = {
    .bind = bind,
    .inner_width = rbe__heads_width,
    .head_dim = rbe__heads_dim,
    .scratch_bytes = rbe__heads_scratch_bytes,
    .forward = forward,
    .fill_text = fill_text,
    .take_state = rbe__heads_take_state, /* there is room for a text of as many tokens as the context has positions */
    .reach = rbe__heads_reach,
    .slide = slide_state,
    .visit = visit_state,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
