/* The attention block: queries, keys and values of the rows, attention over each state's cache, and the output matrix. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/heads.h"
#include "layers/activation.h"
#include "layers/norm.h"
#include "layers/position.h"

enum { OPERATION_QKV, OPERATION_HEADS, OPERATION_ATTENTION, OPERATION_O, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"query, key, value", "rotary, cache", "attention", "attention output"};

/* A number for each head, or for each value of each head. */
static void bind_gate(rbe__binder *binder, const char *place, rbe__block *block)
{
    rbe__attention_block *attention = &block->as.attention;
    const rbe__attention_shape *shape = &attention->shape;
    char name[96];
    snprintf(name, sizeof name, "%s.gate", place);
    const rbe__tensor *found = binder->status == RBE_OK ? binder->find(binder->context, name) : NULL;
    const uint32_t values = shape->n_heads * shape->head_dim;
    if (found) {
        attention->gate = rbe__bind_projection(binder, name, found->rows == values ? values : shape->n_heads, block->width, 0);
    }
}

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__attention_block *attention = &block->as.attention;
    attention->shape = shape->attention;
    const int is_shared = attention->shape.options.norm_span == RBE_HEAD_NORM_SHARED;
    const uint32_t head_dim = attention->shape.head_dim;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.attention", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, shape->attention.both, block);
    snprintf(name, sizeof name, "%s.q_norm", place);
    attention->q_norm = rbe__bind_vector(binder, name, is_shared ? head_dim : attention->shape.n_heads * head_dim, 1);
    snprintf(name, sizeof name, "%s.k_norm", place);
    const uint32_t n_norms = attention->shape.n_kv_heads;
    attention->k_norm = block->shares_state ? NULL : rbe__bind_vector(binder, name, is_shared ? head_dim : n_norms * head_dim, 1);
    snprintf(name, sizeof name, "%s.inner_norm", place);
    attention->inner_norm.weight = rbe__bind_vector(binder, name, attention->shape.n_heads * head_dim, 1);
    rbe__heads_bind(binder, place, shape, block);
    bind_gate(binder, place, block);
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&attention->q, &attention->k, &attention->v, &attention->gate}, 4);
}

typedef struct heads_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const rbe__heads_scratch *scratch;
} heads_call;

static void norm_heads(const heads_call *call, const float *weight, float *x, uint32_t n_heads)
{
    const rbe__attention_shape *shape = &call->block->as.attention.shape;
    const int is_whole = shape->options.norm_span == RBE_HEAD_NORM_WHOLE;
    const rbe__vector_norm norm = {.kind = shape->options.norm_kind,
                                   .weight = weight,
                                   .n = is_whole ? 1 : n_heads,
                                   .width = is_whole ? n_heads * shape->head_dim : shape->head_dim,
                                   .stride = shape->options.norm_span == RBE_HEAD_NORM_EACH ? shape->head_dim : 0,
                                   .epsilon = call->block->norm_epsilon};
    rbe__normalize_vectors(call->pass->stack->kernels, &norm, x);
}

/* Norm and rotary embedding of the heads of row n, in place. */
static void turn_heads(const heads_call *call, uint32_t n, const float *norm, float *x, uint32_t n_heads)
{
    const rbe__pass *pass = call->pass;
    const rbe__stack *stack = pass->stack;
    const rbe__attention_shape *shape = &call->block->as.attention.shape;
    if (norm && !shape->options.norms_after_rope) {
        norm_heads(call, norm, x, n_heads);
    }
    if (stack->rope_frequencies && !shape->options.without_rope) {
        const size_t at = ((size_t)shape->rope_table * pass->workspace.most_tokens + n) * stack->rope_pairs;
        rbe__rope_apply(pass->cosines + at, pass->sines + at, shape->rope_pairs, x, n_heads, shape->head_dim);
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
    float *k = call->scratch->k + n * kv_width, *v = call->scratch->v + n * kv_width;
    if (attention->shape.values_are_keys) {
        memcpy(v, k, kv_width * sizeof *v);
    }
    if (attention->shape.value_norm) {
        const rbe__vector_norm norm = {.kind = RBE_NORM_RMS,
                                       .weight = call->pass->stack->ones,
                                       .n = attention->shape.n_kv_heads,
                                       .width = attention->shape.head_dim,
                                       .epsilon = call->block->norm_epsilon};
        rbe__normalize_vectors(call->pass->stack->kernels, &norm, v);
    }
    turn_heads(call, n, attention->k_norm, k, attention->shape.n_kv_heads);
    if (attention->k_norm && attention->shape.options.norms_after_rope) {
        rbe__normalize_to_one(attention->shape.n_kv_heads, attention->shape.head_dim, call->block->norm_epsilon, k);
    }
    rbe__kv_store(call->pass->stack->kernels, &row->state->blocks[call->block->state].kv, row->position, k, v);
}

/* 1: keys and values are computed and stored; 0: they stand already. */
static int appends(const rbe__pass *pass, const rbe__block *block)
{
    return !block->shares_state && !pass->filled_positions;
}

/* Norms behind the rotary positions: a cached key has no weights, so that it can be turned when it moves. Its weights multiply q. */
static void norm_turned_queries(const heads_call *call, float *q)
{
    const rbe__attention_block *attention = &call->block->as.attention;
    const uint32_t head_dim = attention->shape.head_dim;
    if (attention->q_norm) {
        norm_heads(call, attention->q_norm, q, attention->shape.n_heads);
    }
    for (uint32_t h = 0; attention->k_norm && h < attention->shape.n_heads; h++) {
        call->pass->stack->kernels->multiply(q + (size_t)h * head_dim, attention->k_norm, head_dim);
    }
}

static void finish_heads(void *context, uint32_t n, uint32_t thread)
{
    const heads_call *call = context;
    const rbe__attention_block *attention = &call->block->as.attention;
    const size_t q_width = (size_t)attention->shape.n_heads * attention->shape.head_dim;
    float *q = call->scratch->q + n * q_width;
    const float temperature = rbe__heads_temperature(&attention->shape.options, call->pass->rows[n].position);
    turn_heads(call, n, attention->q_norm, q, attention->shape.n_heads);
    if (attention->shape.options.norms_after_rope) {
        norm_turned_queries(call, q);
    }
    for (size_t i = 0; temperature != 1.0f && i < q_width; i++) {
        q[i] *= temperature;
    }
    if (appends(call->pass, call->block)) {
        finish_keys(context, n, thread);
    }
}

static rbe_status fill(rbe__pass *pass, const rbe__block *block)
{
    const rbe__attention_block *attention = &block->as.attention;
    const size_t kv_width = (size_t)attention->shape.n_kv_heads * attention->shape.head_dim;
    const rbe__heads_scratch scratch = rbe__heads_of_pass(pass, block);
    const rbe__linear_job jobs[] = {{&attention->k, scratch.k, kv_width, 0}, {&attention->v, scratch.v, kv_width, 0}};
    const float *x;
    rbe__block_project(pass, block, jobs, attention->v.weight ? 2 : 1, &x);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_QKV);
    heads_call keys = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, finish_keys, &keys);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_HEADS);
    return RBE_OK;
}

/* What the heads of row n give, times their gates. */
static void gate_heads(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const heads_call *call = context;
    const rbe__attention_shape *shape = &call->block->as.attention.shape;
    const size_t rows = rbe__gate_rows(call->block), width = (size_t)shape->n_heads * shape->head_dim, span = width / rows;
    float *gates = call->scratch->gates + n * rows, *mixed = call->scratch->mixed + n * width;
    rbe__logistic(call->pass->stack->kernels, (uint32_t)rows, gates);
    for (size_t i = 0; i < width; i++) {
        mixed[i] *= gates[i / span];
    }
}

static void norm_mixed(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const heads_call *call = context;
    const rbe__attention_block *attention = &call->block->as.attention;
    const uint32_t width = attention->shape.n_heads * attention->shape.head_dim;
    float *x = call->scratch->mixed + (size_t)n * width;
    rbe__normalize(call->pass->stack->kernels, call->block->norm_kind, &attention->inner_norm, call->block->norm_epsilon, x, width, 1, x);
}

/* A run sees itself and what stands before it; in both directions the text that it is of. */
static void see(const rbe__pass *pass, const rbe__block *block, const rbe__run *run, rbe__attention *attention)
{
    const rbe__attention_shape *shape = &block->as.attention.shape;
    const uint32_t text = pass->filled_positions ? pass->filled_positions : run->first_position + run->n_tokens;
    attention->window = shape->window;
    attention->n_positions = shape->both ? text : 0;
    attention->distances = shape->distances;
    attention->first_position = run->first_position;
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__attention_block *attention = &block->as.attention;
    const uint32_t q_width = attention->shape.n_heads * attention->shape.head_dim;
    const size_t kv_width = (size_t)attention->shape.n_kv_heads * attention->shape.head_dim;
    rbe__profile *profile = pass->workspace.profile;
    const rbe__heads_scratch scratch = rbe__heads_of_pass(pass, block);

    const size_t gate_rows = rbe__gate_rows(block);
    rbe__linear_job jobs[RBE_MAX_LINEAR_JOBS] = {{&attention->q, scratch.q, q_width, 0}};
    uint32_t n_jobs = 1;
    if (gate_rows) {
        jobs[n_jobs++] = (rbe__linear_job){&attention->gate, scratch.gates, gate_rows, 0};
    }
    if (appends(pass, block)) {
        jobs[n_jobs++] = (rbe__linear_job){&attention->k, scratch.k, kv_width, 0};
    }
    if (appends(pass, block) && attention->v.weight) {
        jobs[n_jobs++] = (rbe__linear_job){&attention->v, scratch.v, kv_width, 0};
    }
    const float *x;
    rbe__block_project(pass, block, jobs, n_jobs, &x);
    rbe__profile_lap(profile, block->first_operation + OPERATION_QKV);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_QKV, x, block->width));

    heads_call heads = {pass, block, &scratch};
    rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, finish_heads, &heads);
    rbe__profile_lap(profile, block->first_operation + OPERATION_HEADS);
    rbe__heads_attend(pass, block, &scratch, see);
    if (gate_rows) {
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, gate_heads, &heads);
    }
    rbe__profile_lap(profile, block->first_operation + OPERATION_ATTENTION);
    if (attention->inner_norm.weight) {
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, norm_mixed, &heads);
    }

    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_O, scratch.mixed, q_width));
    rbe__heads_output(pass, block, &scratch, OPERATION_O);
    return RBE_OK;
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
    const uint32_t n_pairs = shape->options.without_rope || slide->n_pairs == 0 ? 0 : shape->rope_pairs;
    slide_call call = {workspace->kernels, &state->kv, slide, {slide->cosines + at, slide->sines + at, n_pairs}};
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
        bytes += rbe__tensor_read_bytes(attention->gate.weight, most);
    }
    return bytes;
}

const rbe__block_kind rbe__attention_kind = {
    .bind = bind,
    .inner_width = rbe__heads_width,
    .head_dim = rbe__heads_dim,
    .scratch_bytes = rbe__heads_scratch_bytes,
    .forward = forward,
    .fill = fill,
    .take_state = rbe__heads_take_state,
    .reach = rbe__heads_reach,
    .slide = slide_state,
    .visit = visit_state,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
