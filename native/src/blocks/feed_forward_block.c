/* The feed-forward block: up (and gate), the activation function, down. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/pass.h"
#include "layers/activation.h"
#include "layers/norm.h"

enum { OPERATION_GATE_UP, OPERATION_DOWN, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"gate, up", "down"};

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    feed_forward->shape = shape->feed_forward;
    const uint32_t inner = feed_forward->shape.width;
    char place[64], name[96];
    snprintf(place, sizeof place, "%slayers.%u.feed_forward", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    if (feed_forward->shape.gated) {
        feed_forward->gate = rbe__bind_projection(binder, NAME("gate"), inner, shape->width, 0);
    }
    feed_forward->up = rbe__bind_projection(binder, NAME("up"), inner, shape->width, 0);
    feed_forward->inner_norm.weight = rbe__bind_vector(binder, NAME("inner_norm"), inner, 1);
    feed_forward->down = rbe__bind_projection(binder, NAME("down"), shape->width, inner, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&feed_forward->gate, &feed_forward->up}, 2);
}

static uint32_t inner_width(const rbe__block *block)
{
    return block->as.feed_forward.shape.width;
}

typedef struct feed_forward_scratch {
    float *gate, *up; /* [n_tokens][width]; gate NULL where there is none */
} feed_forward_scratch;

static feed_forward_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, rbe__arena *arena)
{
    const rbe__feed_forward_shape *shape = &block->as.feed_forward.shape;
    feed_forward_scratch scratch = {0};
    scratch.gate = shape->gated ? rbe__arena_take(arena, rbe__arena_count(n_tokens, shape->width), sizeof(float)) : NULL;
    scratch.up = rbe__arena_take(arena, rbe__arena_count(n_tokens, shape->width), sizeof(float));
    return scratch;
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, &arena);
    return arena.used;
}

typedef struct inner_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const feed_forward_scratch *scratch;
} inner_call;

static void norm_inner(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const inner_call *call = context;
    const rbe__feed_forward_block *feed_forward = &call->block->as.feed_forward;
    const rbe_kernels *kernels = call->pass->stack->kernels;
    const uint32_t inner = feed_forward->shape.width;
    const size_t first = (size_t)n * inner;
    float *x = call->scratch->up + first;
    rbe__activate(kernels, feed_forward->shape.activation, call->scratch->gate ? call->scratch->gate + first : NULL, inner, x);
    rbe__normalize(kernels, call->block->norm_kind, &feed_forward->inner_norm, call->block->norm_epsilon, x, inner, 1, x);
}

/* down of the activation, which is normed before it where the block says so. */
static void project_down(rbe__pass *pass, const rbe__block *block, const feed_forward_scratch *scratch)
{
    const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    const uint32_t inner = feed_forward->shape.width;
    const rbe__linear_job down = rbe__block_output_job(pass, block, &feed_forward->down);
    if (feed_forward->inner_norm.weight) {
        inner_call call = {pass, block, scratch};
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, norm_inner, &call);
        const rbe__linear_input input = {pass->n_tokens, pass->planes, inner, scratch->up};
        rbe__linear(&pass->workspace, &down, 1, &input);
        return;
    }
    const rbe__activated_input activated = {.n_tokens = pass->n_tokens,
                                            .most_planes = pass->planes,
                                            .width = inner,
                                            .activation = feed_forward->shape.activation,
                                            .gate = scratch->gate,
                                            .up = scratch->up};
    rbe__linear_activated(&pass->workspace, &down, &activated);
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    const uint32_t inner = feed_forward->shape.width;
    rbe__arena arena = {.memory = pass->scratch};
    const feed_forward_scratch scratch = take_scratch(block, pass->workspace.most_tokens, &arena);

    const rbe__linear_job up[] = {{&feed_forward->up, scratch.up, inner, 0}, {&feed_forward->gate, scratch.gate, inner, 0}};
    const float *x;
    rbe__block_project(pass, block, up, feed_forward->shape.gated ? 2 : 1, &x);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_GATE_UP);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_UP, x, block->width));

    project_down(pass, block, &scratch);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_DOWN);
    rbe__block_add(pass, block);
    return rbe__capture(pass, layer, RBE_CAPTURE_DOWN, scratch.up, inner);
}

static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    return planes == RBE_SKIP
               ? 0
               : rbe__tensor_read_bytes(feed_forward->gate.weight, planes) + rbe__tensor_read_bytes(feed_forward->up.weight, planes) +
                     rbe__tensor_read_bytes(feed_forward->down.weight, planes);
}

const rbe__block_kind rbe__feed_forward_kind = {
    .bind = bind,
    .inner_width = inner_width,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_FEED_FORWARD,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
