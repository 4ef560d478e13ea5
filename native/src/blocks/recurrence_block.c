/* The block of a recurrence: heads that keep a matrix of the sequence. What they read comes out of matrices and goes through short convolutions;
 * the rule (recurrence_rule.h) changes the matrix with every token, and asks it; a norm and a gate stand before the last matrix. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/pass.h"
#include "blocks/recurrence_heads.h"

enum { OPERATION_IN, OPERATION_CONVOLUTION, OPERATION_HEADS, OPERATION_OUT, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"recurrence inputs", "recurrence convolution", "recurrence", "recurrence output"};

/* A matrix of which the binder takes numbers of 32 or 16 bits alone. */
static rbe__projection bind_dense(rbe__binder *binder, const char *name, uint32_t rows, uint32_t cols)
{
    const rbe__projection projection = rbe__bind_projection(binder, name, rows, cols, 0);
    rbe__bind_dense(binder, projection.weight);
    return projection;
}

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__recurrence_block *recurrence = &block->as.recurrence;
    recurrence->shape = shape->recurrence;
    recurrence->shape.rule = shape->mixer;
    recurrence->epsilon = shape->recurrence_epsilon > 0 ? shape->recurrence_epsilon : block->norm_epsilon;
    const rbe__recurrence_shape *of = &recurrence->shape;
    const int is_delta = of->rule == RBE_MIXER_DELTA_NET;
    const uint32_t keys = of->n_keys * of->key_dim, values = of->n_values * of->value_dim;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.recurrence", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    recurrence->q = rbe__bind_projection(binder, NAME("q"), keys, shape->width, 0);
    recurrence->k = rbe__bind_projection(binder, NAME("k"), keys, shape->width, 0);
    recurrence->v = rbe__bind_projection(binder, NAME("v"), values, shape->width, 0);
    recurrence->gate = rbe__bind_projection(binder, NAME("gate"), values, shape->width, 0);
    recurrence->o = rbe__bind_projection(binder, NAME("o"), shape->width, values, 0);
    recurrence->q_taps = bind_dense(binder, NAME("q_taps"), keys, of->taps);
    recurrence->k_taps = bind_dense(binder, NAME("k_taps"), keys, of->taps);
    recurrence->v_taps = bind_dense(binder, NAME("v_taps"), values, of->taps);
    recurrence->decay = bind_dense(binder, NAME("decay"), of->n_values, shape->width);
    recurrence->decay.bias = rbe__bind_vector(binder, NAME("decay.bias"), of->n_values, 0);
    if (is_delta) {
        recurrence->beta = bind_dense(binder, NAME("beta"), of->n_values, shape->width);
        recurrence->beta.bias = NULL;
    }
    recurrence->rate = rbe__bind_vector(binder, NAME("rate"), of->n_values, 0);
    recurrence->skip = is_delta ? NULL : rbe__bind_vector(binder, NAME("skip"), of->n_values, 0);
    recurrence->gated_norm.weight = rbe__bind_vector(binder, NAME("gated_norm"), is_delta ? of->value_dim : values, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&recurrence->q, &recurrence->k, &recurrence->v, &recurrence->gate},
                              4);
}

static rbe__recurrence_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, rbe__arena *arena)
{
    const rbe__recurrence_shape *shape = &block->as.recurrence.shape;
    const size_t rows = rbe__arena_count(n_tokens, rbe__recurrence_channels(shape)), heads = rbe__arena_count(n_tokens, shape->n_values);
    const size_t values = rbe__arena_count(n_tokens, (size_t)shape->n_values * shape->value_dim);
    rbe__recurrence_scratch scratch = {0};
    scratch.rows = rbe__arena_take(arena, rows, sizeof(float));
    scratch.read = rbe__arena_take(arena, rows, sizeof(float));
    scratch.gates = rbe__arena_take(arena, values, sizeof(float));
    scratch.mixed = rbe__arena_take(arena, values, sizeof(float));
    float **const of_heads[] = {&scratch.decay_rows, &scratch.beta_rows, &scratch.decays, &scratch.shares, &scratch.exponents};
    for (size_t i = 0; i < sizeof of_heads / sizeof of_heads[0]; i++) {
        *of_heads[i] = rbe__arena_take(arena, heads, sizeof(float));
    }
    scratch.steps = rbe__arena_take(arena, n_tokens, sizeof *scratch.steps);
    return scratch;
}

static rbe__recurrence_scratch scratch_of(const rbe__pass *pass, const rbe__block *block)
{
    rbe__arena arena = {.memory = pass->scratch};
    return take_scratch(block, pass->workspace.most_tokens, &arena);
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, &arena);
    return arena.used;
}

/* q, k and v of the rows, and where they are wanted their gates; decay and beta. *x: what the matrices read. */
static void project(const rbe__recurrence_call *call, rbe__pass *pass, const float **x)
{
    const rbe__block *block = call->block;
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    const rbe__recurrence_shape *shape = &recurrence->shape;
    const rbe__recurrence_scratch *scratch = call->scratch;
    const size_t stride = rbe__recurrence_channels(shape), keys = (size_t)shape->n_keys * shape->key_dim;
    const rbe__linear_job wide[] = {{&recurrence->q, scratch->rows, stride, 0},
                                    {&recurrence->k, scratch->rows + keys, stride, 0},
                                    {&recurrence->v, scratch->rows + 2 * keys, stride, 0},
                                    {&recurrence->gate, scratch->gates, (size_t)shape->n_values * shape->value_dim, 0}};
    const rbe__linear_job narrow[] = {{&recurrence->decay, scratch->decay_rows, shape->n_values, 0},
                                      {&recurrence->beta, scratch->beta_rows, shape->n_values, 0}};
    rbe__block_project(pass, block, wide, call->has_gates ? 4 : 3, x);
    const rbe__linear_input input = {pass->n_tokens, pass->planes, block->width, *x};
    rbe__linear(&pass->workspace, narrow, recurrence->beta.weight ? 2 : 1, &input);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_IN);
}

/* The states of the runs go on, and scratch.mixed is what the last matrix reads where there are gates. */
static rbe_status advance(const rbe__recurrence_call *call)
{
    const rbe__pass *pass = call->pass;
    const rbe__block *block = call->block;
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        RBE_TRY(rbe__recurrence_begin(&run->state->blocks[block->state], run->first_position, run->n_tokens, &call->scratch->steps[r]));
    }
    rbe__recurrence_convolve(call);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_CONVOLUTION);
    rbe__recurrence_mix(call);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_HEADS);
    for (uint32_t r = 0; r < pass->n_runs; r++) {
        const rbe__run *run = &pass->runs[r];
        rbe__recurrence_end(&run->state->blocks[block->state], run->first_position + run->n_tokens);
    }
    return RBE_OK;
}

static rbe_status fill(rbe__pass *pass, const rbe__block *block)
{
    const rbe__recurrence_scratch scratch = scratch_of(pass, block);
    const rbe__recurrence_call call = {pass, block, &scratch, 0};
    const float *x;
    project(&call, pass, &x);
    return advance(&call);
}

static uint32_t inner_width(const rbe__block *block)
{
    return block->as.recurrence.shape.n_values * block->as.recurrence.shape.value_dim;
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__recurrence_scratch scratch = scratch_of(pass, block);
    const rbe__recurrence_call call = {pass, block, &scratch, 1};
    const float *x;
    project(&call, pass, &x);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_QKV, x, block->width));
    RBE_TRY(advance(&call));

    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_O, scratch.mixed, inner_width(block)));
    const rbe__linear_job o = rbe__block_output_job(pass, block, &block->as.recurrence.o);
    const rbe__linear_input mixed = {pass->n_tokens, pass->planes, inner_width(block), scratch.mixed};
    rbe__linear(&pass->workspace, &o, 1, &mixed);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_OUT);
    rbe__block_add(pass, block);
    return RBE_OK;
}

/* Of a block that is left out: all but the gate and the last matrix. */
static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__recurrence_block *recurrence = &block->as.recurrence;
    const rbe__projection *const wide[] = {&recurrence->q, &recurrence->k, &recurrence->v, &recurrence->gate, &recurrence->o};
    const rbe__projection *const whole[] = {&recurrence->q_taps, &recurrence->k_taps, &recurrence->v_taps, &recurrence->decay,
                                            &recurrence->beta};
    const int skips = planes == RBE_SKIP;
    uint64_t bytes = 0;
    for (int i = 0; i < (skips ? 3 : 5); i++) {
        bytes += rbe__tensor_read_bytes(wide[i]->weight, skips ? 0 : planes);
    }
    for (int i = 0; i < 5; i++) {
        bytes += rbe__tensor_read_bytes(whole[i]->weight, 0);
    }
    return bytes;
}

const rbe__block_kind rbe__recurrence_kind = {
    .bind = bind,
    .inner_width = inner_width,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .fill = fill,
    .take_state = rbe__recurrence_take_state,
    .reach = rbe__recurrence_reach,
    .rewind = rbe__recurrence_rewind,
    .mark = rbe__recurrence_mark,
    .settle = rbe__recurrence_settle,
    .slide = rbe__recurrence_slide,
    .visit = rbe__recurrence_visit,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_ATTENTION,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
