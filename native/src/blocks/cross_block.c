/* The block of cross attention, of a decoder that answers to an encoder's text: queries of the rows, attention over the keys and values of the
 * text, which are computed once, and the output matrix. Every row sees all of the text. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/pass.h"
#include "layers/attention.h"
#include "rbe/encoder_decoder.h"

enum { OPERATION_TEXT, OPERATION_Q, OPERATION_ATTENTION, OPERATION_O, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"keys and values of the text", "cross query", "cross attention", "cross output"};

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__attention_block *cross = &block->as.attention;
    cross->shape = shape->attention;
    cross->shape.window = 0;
    cross->shape.distances = NULL;
    const uint32_t head_dim = cross->shape.head_dim;
    const uint32_t q_rows = cross->shape.n_heads * head_dim, kv_rows = cross->shape.n_kv_heads * head_dim;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.cross", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    cross->q = rbe__bind_projection(binder, NAME("q"), q_rows, shape->width, 0);
    cross->k = rbe__bind_projection(binder, NAME("k"), kv_rows, shape->width, 0);
    cross->v = rbe__bind_projection(binder, NAME("v"), kv_rows, shape->width, 0);
    cross->o = rbe__bind_projection(binder, NAME("o"), shape->width, q_rows, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&cross->k, &cross->v}, 2);
}

static uint32_t widest(const rbe__block *block)
{
    const uint32_t q_width = block->as.attention.shape.n_heads * block->as.attention.shape.head_dim;
    return q_width > block->width ? q_width : block->width;
}

static uint32_t head_dim_of(const rbe__block *block)
{
    return block->as.attention.shape.head_dim;
}

typedef struct cross_scratch {
    float *q, *mixed; /* [n_tokens][n_heads * head_dim] */
    float *k, *v; /* [n_tokens][n_kv_heads * head_dim], of the text */
    rbe__attention *attentions; /* of the runs: [n_tokens] at most */
    float *partials; /* of rbe__attend */
    uint32_t most_chunks;
} cross_scratch;

static cross_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, uint32_t context, rbe__arena *arena)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_values = rbe__arena_count(n_tokens, (size_t)shape->n_heads * shape->head_dim);
    const size_t kv_values = rbe__arena_count(n_tokens, (size_t)shape->n_kv_heads * shape->head_dim);
    cross_scratch scratch = {.most_chunks = (context - 1) / RBE_ATTENTION_CHUNK + 1};
    scratch.q = rbe__arena_take(arena, q_values, sizeof(float));
    scratch.mixed = rbe__arena_take(arena, q_values, sizeof(float));
    scratch.k = rbe__arena_take(arena, kv_values, sizeof(float));
    scratch.v = rbe__arena_take(arena, kv_values, sizeof(float));
    scratch.attentions = rbe__arena_take(arena, n_tokens, sizeof *scratch.attentions);
    scratch.partials = rbe__arena_take(arena, rbe__attention_partials(shape->n_heads, shape->head_dim, scratch.most_chunks), sizeof(float));
    return scratch;
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, context, &arena);
    return arena.used;
}

typedef struct keys_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const cross_scratch *scratch;
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

static rbe_status fill_text(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *cross = &block->as.attention;
    const size_t kv_width = (size_t)cross->shape.n_kv_heads * cross->shape.head_dim;
    rbe__arena arena = {.memory = pass->scratch};
    const cross_scratch scratch = take_scratch(block, pass->workspace.most_tokens, pass->context, &arena);
    const rbe__linear_job jobs[] = {{&cross->k, scratch.k, kv_width, 0}, {&cross->v, scratch.v, kv_width, 0}};
    const rbe__linear_input input = {pass->n_tokens, pass->planes, block->width, pass->hidden};
    rbe__linear(&pass->workspace, jobs, 2, &input);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_CROSS_KV, pass->hidden, block->width));
    keys_call keys = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, store_keys, &keys);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_TEXT);
    return RBE_OK;
}

static void attend(rbe__pass *pass, const rbe__block *block, const cross_scratch *scratch)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_width = (size_t)shape->n_heads * shape->head_dim;
    size_t first = 0;
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        scratch->attentions[r] = (rbe__attention){.cache = &run->state->blocks[block->state].kv,
                                                  .n_heads = shape->n_heads,
                                                  .n_positions = run->state->n_text,
                                                  .scale = shape->scale,
                                                  .softcap = shape->softcap,
                                                  .q = scratch->q + first * q_width,
                                                  .out = scratch->mixed + first * q_width,
                                                  .n_tokens = run->n_tokens};
        first += run->n_tokens;
    }
    rbe__attend(&pass->workspace, scratch->attentions, pass->n_runs, scratch->partials, scratch->most_chunks);
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *cross = &block->as.attention;
    const uint32_t q_width = cross->shape.n_heads * cross->shape.head_dim;
    rbe__profile *profile = pass->workspace.profile;
    rbe__arena arena = {.memory = pass->scratch};
    const cross_scratch scratch = take_scratch(block, pass->workspace.most_tokens, pass->context, &arena);

    const rbe__linear_job q = {&cross->q, scratch.q, q_width, 0};
    const float *x;
    rbe__block_project(pass, block, &q, 1, &x);
    rbe__profile_lap(profile, block->first_operation + OPERATION_Q);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_CROSS_Q, x, block->width));
    attend(pass, block, &scratch);
    rbe__profile_lap(profile, block->first_operation + OPERATION_ATTENTION);

    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_CROSS_O, scratch.mixed, q_width));
    const rbe__linear_job o = rbe__block_output_job(pass, block, &cross->o);
    const rbe__linear_input mixed = {pass->n_tokens, pass->planes, q_width, scratch.mixed};
    rbe__linear(&pass->workspace, &o, 1, &mixed);
    rbe__profile_lap(profile, block->first_operation + OPERATION_O);
    rbe__block_add(pass, block);
    return RBE_OK;
}

/* There is room for a text of as many tokens as the context has positions. */
static void take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    out->kv = rbe__kv_take(arena, type, context, shape->n_kv_heads, shape->head_dim);
}

/* The text stands before every position. */
static uint32_t rewind_state(const rbe__block_state *state, uint32_t n_held, uint32_t n)
{
    (void)state;
    return n < n_held ? n : n_held;
}

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
    .widest = widest,
    .head_dim = head_dim_of,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .fill_text = fill_text,
    .take_state = take_state,
    .rewind = rewind_state,
    .slide = slide_state,
    .visit = visit_state,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
