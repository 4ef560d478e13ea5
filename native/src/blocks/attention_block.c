/* The attention block: queries, keys and values of the rows, attention over each state's cache, and the output matrix. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/pass.h"
#include "layers/attention.h"
#include "layers/norm.h"
#include "layers/position.h"

enum { OPERATION_QKV, OPERATION_HEADS, OPERATION_ATTENTION, OPERATION_O, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"query, key, value", "rotary, cache", "attention", "attention output"};

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__attention_block *attention = &block->as.attention;
    attention->shape = shape->attention;
    const uint32_t head_dim = attention->shape.head_dim;
    const uint32_t q_rows = attention->shape.n_heads * head_dim, kv_rows = attention->shape.n_kv_heads * head_dim;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.attention", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, shape->attention.both, block);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    attention->q_norm = rbe__bind_vector(binder, NAME("q_norm"), head_dim, 1);
    attention->k_norm = rbe__bind_vector(binder, NAME("k_norm"), head_dim, 1);
    attention->q = rbe__bind_projection(binder, NAME("q"), q_rows, shape->width, 0);
    attention->k = rbe__bind_projection(binder, NAME("k"), kv_rows, shape->width, 0);
    attention->v = rbe__bind_projection(binder, NAME("v"), kv_rows, shape->width, 0);
    attention->o = rbe__bind_projection(binder, NAME("o"), shape->width, q_rows, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&attention->q, &attention->k, &attention->v}, 3);
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

typedef struct attention_scratch {
    float *q, *mixed;            /* [n_tokens][n_heads * head_dim] */
    float *k, *v;                /* [n_tokens][n_kv_heads * head_dim] */
    rbe__attention *attentions;  /* of the runs: [n_tokens] at most */
    float *partials;             /* of rbe__attend */
    uint32_t most_chunks;
} attention_scratch;

static attention_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, uint32_t context, rbe__arena *arena)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_values = rbe__arena_count(n_tokens, (size_t)shape->n_heads * shape->head_dim);
    const size_t kv_values = rbe__arena_count(n_tokens, (size_t)shape->n_kv_heads * shape->head_dim);
    attention_scratch scratch = {.most_chunks = (context - 1) / RBE_ATTENTION_CHUNK + 1};
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

typedef struct heads_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const attention_scratch *scratch;
} heads_call;

/* Norm and rotary embedding of the heads of row n, in place. */
static void turn_heads(const heads_call *call, uint32_t n, const float *norm, float *x, uint32_t n_heads)
{
    const rbe__pass *pass = call->pass;
    const rbe__stack *stack = pass->stack;
    const rbe__attention_shape *shape = &call->block->as.attention.shape;
    if (norm) {
        rbe__normalize_heads(stack->kernels, norm, call->block->norm_epsilon, x, n_heads, shape->head_dim);
    }
    if (stack->rope_frequencies) {
        const size_t at = ((size_t)shape->rope_table * pass->workspace.most_tokens + n) * stack->rope_pairs;
        rbe__rope_apply(pass->cosines + at, pass->sines + at, stack->rope_pairs, x, n_heads, shape->head_dim);
    }
}

/* Keys and values of one row to the cache. */
static void finish_keys(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const heads_call *call = context;
    const rbe__attention_block *attention = &call->block->as.attention;
    const size_t kv_width = (size_t)attention->shape.n_kv_heads * attention->shape.head_dim;
    const rbe__row *row = &call->pass->rows[n];
    float *k = call->scratch->k + n * kv_width;
    turn_heads(call, n, attention->k_norm, k, attention->shape.n_kv_heads);
    rbe__kv_store(call->pass->stack->kernels, &row->state->blocks[call->block->state].kv, row->position, k,
                  call->scratch->v + n * kv_width);
}

/* 1: keys and values are computed and stored; 0: they stand already. */
static int appends(const rbe__pass *pass, const rbe__block *block)
{
    return !block->shares_state && !pass->filled_positions;
}

static void finish_heads(void *context, uint32_t n, uint32_t thread)
{
    const heads_call *call = context;
    const rbe__attention_block *attention = &call->block->as.attention;
    float *q = call->scratch->q + (size_t)n * attention->shape.n_heads * attention->shape.head_dim;
    turn_heads(call, n, attention->q_norm, q, attention->shape.n_heads);
    if (appends(call->pass, call->block)) {
        finish_keys(context, n, thread);
    }
}

static rbe_status fill(rbe__pass *pass, const rbe__block *block)
{
    const rbe__attention_block *attention = &block->as.attention;
    const size_t kv_width = (size_t)attention->shape.n_kv_heads * attention->shape.head_dim;
    rbe__arena arena = {.memory = pass->scratch};
    const attention_scratch scratch = take_scratch(block, pass->workspace.most_tokens, pass->context, &arena);
    const rbe__linear_job jobs[] = {{&attention->k, scratch.k, kv_width, 0}, {&attention->v, scratch.v, kv_width, 0}};
    const float *x;
    rbe__block_project(pass, block, jobs, 2, &x);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_QKV);
    heads_call keys = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, finish_keys, &keys);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_HEADS);
    return RBE_OK;
}

/* Of the text that the run is of. */
static uint32_t positions_of(const rbe__pass *pass, const rbe__run *run)
{
    return pass->filled_positions ? pass->filled_positions : run->first_position + run->n_tokens;
}

static void attend(rbe__pass *pass, const rbe__block *block, const attention_scratch *scratch)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const size_t q_width = (size_t)shape->n_heads * shape->head_dim;
    size_t first = 0;
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        scratch->attentions[r] = (rbe__attention){.cache = &run->state->blocks[block->state].kv,
                                                  .n_heads = shape->n_heads,
                                                  .window = shape->window,
                                                  .n_positions = shape->both ? positions_of(pass, run) : 0,
                                                  .scale = shape->scale,
                                                  .softcap = shape->softcap,
                                                  .distances = shape->distances,
                                                  .q = scratch->q + first * q_width,
                                                  .out = scratch->mixed + first * q_width,
                                                  .first_position = run->first_position,
                                                  .n_tokens = run->n_tokens};
        first += run->n_tokens;
    }
    rbe__attend(&pass->workspace, scratch->attentions, pass->n_runs, scratch->partials, scratch->most_chunks);
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *attention = &block->as.attention;
    const uint32_t q_width = attention->shape.n_heads * attention->shape.head_dim;
    const size_t kv_width = (size_t)attention->shape.n_kv_heads * attention->shape.head_dim;
    rbe__profile *profile = pass->workspace.profile;
    rbe__arena arena = {.memory = pass->scratch};
    const attention_scratch scratch = take_scratch(block, pass->workspace.most_tokens, pass->context, &arena);

    const rbe__linear_job qkv[] = {
        {&attention->q, scratch.q, q_width, 0}, {&attention->k, scratch.k, kv_width, 0}, {&attention->v, scratch.v, kv_width, 0}};
    const float *x;
    rbe__block_project(pass, block, qkv, appends(pass, block) ? 3 : 1, &x);
    rbe__profile_lap(profile, block->first_operation + OPERATION_QKV);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_QKV, x, block->width));

    heads_call heads = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, finish_heads, &heads);
    rbe__profile_lap(profile, block->first_operation + OPERATION_HEADS);
    attend(pass, block, &scratch);
    rbe__profile_lap(profile, block->first_operation + OPERATION_ATTENTION);

    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_O, scratch.mixed, q_width));
    const rbe__linear_job o = rbe__block_output_job(pass, block, &attention->o);
    const rbe__linear_input mixed = {pass->n_tokens, pass->planes, q_width, scratch.mixed};
    rbe__linear(&pass->workspace, &o, 1, &mixed);
    rbe__profile_lap(profile, block->first_operation + OPERATION_O);
    rbe__block_add(pass, block);
    return RBE_OK;
}

static void take_state(const rbe__block *block, rbe__arena *arena, rbe_kv_type type, uint32_t context, rbe__block_state *out)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    out->kv = rbe__kv_take(arena, type, context, shape->n_kv_heads, shape->head_dim);
}

/* A cache keeps all positions before the one that it goes back to. */
static uint32_t rewind_state(const rbe__block_state *state, uint32_t n_held, uint32_t n)
{
    (void)state;
    return n < n_held ? n : n_held;
}

typedef struct slide_call {
    const rbe_kernels *kernels;
    const rbe__kv_layer *kv;
    const rbe__slide *slide;
    rbe__kv_turn turn;
} slide_call;

static void slide_head(void *context, uint32_t head, uint32_t thread)
{
    (void)thread;
    const slide_call *call = context;
    rbe__kv_move(call->kernels, call->kv, head, call->slide->first, call->slide->n, call->slide->to, &call->turn);
}

static void slide_state(const rbe__workspace *workspace, const rbe__block_state *state, const rbe__slide *slide)
{
    const rbe__attention_shape *shape = &state->block->as.attention.shape;
    const size_t at = shape->rope_table * slide->angle_stride;
    slide_call call = {workspace->kernels, &state->kv, slide, {slide->cosines + at, slide->sines + at, slide->n_pairs}};
    rbe__thread_pool_run(workspace->thread_pool, shape->n_kv_heads, slide_head, &call);
}

static rbe_status visit_state(const rbe__block_state *state, uint32_t n_positions, rbe__kv_visit *visit, void *context)
{
    return rbe__kv_visit_used(&state->kv, n_positions, visit, context);
}

static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__attention_block *attention = &block->as.attention;
    const int skips = planes == RBE_SKIP;
    const uint32_t most = skips ? 0 : planes;
    uint64_t bytes = 0;
    if (!block->shares_state) {
        bytes += rbe__tensor_read_bytes(attention->k.weight, most) + rbe__tensor_read_bytes(attention->v.weight, most);
    }
    if (!skips) {
        bytes += rbe__tensor_read_bytes(attention->q.weight, most) + rbe__tensor_read_bytes(attention->o.weight, most);
    }
    return bytes;
}

const rbe__block_kind rbe__attention_kind = {
    .bind = bind,
    .widest = widest,
    .head_dim = head_dim_of,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .fill = fill,
    .take_state = take_state,
    .rewind = rewind_state,
    .slide = slide_state,
    .visit = visit_state,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
