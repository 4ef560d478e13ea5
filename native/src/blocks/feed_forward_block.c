/* The feed-forward block, and feed-forward parts wherever they stand. */
#include <stdio.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/feed_forward.h"
#include "layers/activation.h"
#include "layers/norm.h"

enum { OPERATION_GATE_UP, OPERATION_DOWN, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"gate, up", "down"};

void rbe__feed_forward_bind(rbe__binder *binder, const char *place, uint32_t width, const rbe__feed_forward_shape *shape,
                            rbe__feed_forward_block *out)
{
    char name[96];
    out->shape = *shape;
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    if (shape->gated) {
        out->gate = rbe__bind_projection(binder, NAME("gate"), shape->width, width, 0);
    }
    out->up = rbe__bind_projection(binder, NAME("up"), shape->width, width, 0);
    out->inner_norm.weight = rbe__bind_vector(binder, NAME("inner_norm"), shape->width, 1);
    out->down = rbe__bind_projection(binder, NAME("down"), width, shape->width, 0);
#undef NAME
    rbe__bind_shared_rotation(binder, (const rbe__projection *const[]){&out->gate, &out->up}, 2);
}

static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    char place[64];
    snprintf(place, sizeof place, "%slayers.%u.feed_forward", binder->prefix, index);
    rbe__bind_block_norms(binder, place, shape, 0, block);
    rbe__feed_forward_bind(binder, place, shape->width, &shape->feed_forward, &block->as.feed_forward);
}

static uint32_t inner_width(const rbe__block *block)
{
    return block->as.feed_forward.shape.width;
}

rbe__feed_forward_scratch rbe__feed_forward_take(const rbe__feed_forward_shape *shape, size_t n_tokens, rbe__arena *arena)
{
    rbe__feed_forward_scratch scratch = {0};
    scratch.gate = shape->gated ? rbe__arena_take(arena, rbe__arena_count(n_tokens, shape->width), sizeof(float)) : NULL;
    scratch.up = rbe__arena_take(arena, rbe__arena_count(n_tokens, shape->width), sizeof(float));
    return scratch;
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)rbe__feed_forward_take(&block->as.feed_forward.shape, n_tokens, &arena);
    return arena.used;
}

uint32_t rbe__feed_forward_up_jobs(const rbe__feed_forward_block *feed_forward, const rbe__feed_forward_scratch *scratch,
                                   rbe__linear_job jobs[2])
{
    const uint32_t inner = feed_forward->shape.width;
    jobs[0] = (rbe__linear_job){&feed_forward->up, scratch->up, inner, 0};
    jobs[1] = (rbe__linear_job){&feed_forward->gate, scratch->gate, inner, 0};
    return feed_forward->shape.gated ? 2 : 1;
}

typedef struct inner_call {
    const rbe__pass *pass;
    const rbe__block *block;
    const rbe__feed_forward_block *feed_forward;
    const rbe__feed_forward_scratch *scratch;
} inner_call;

static void norm_inner(void *context, uint32_t n, uint32_t thread)
{
    (void)thread;
    const inner_call *call = context;
    const rbe__feed_forward_block *feed_forward = call->feed_forward;
    const rbe_kernels *kernels = call->pass->stack->kernels;
    const uint32_t inner = feed_forward->shape.width;
    const size_t first = (size_t)n * inner;
    float *x = call->scratch->up + first;
    rbe__activate(kernels, feed_forward->shape.activation, call->scratch->gate ? call->scratch->gate + first : NULL, inner, x);
    rbe__normalize(kernels, call->block->norm_kind, &feed_forward->inner_norm, call->block->norm_epsilon, x, inner, 1, x);
}

void rbe__feed_forward_down(rbe__pass *pass, const rbe__block *block, const rbe__feed_forward_block *feed_forward,
                            const rbe__feed_forward_scratch *scratch, const rbe__linear_job *down)
{
    const uint32_t inner = feed_forward->shape.width;
    if (feed_forward->inner_norm.weight) {
        inner_call call = {pass, block, feed_forward, scratch};
        rbe__thread_pool_run(pass->workspace.thread_pool, pass->n_tokens, norm_inner, &call);
        const rbe__linear_input input = {pass->n_tokens, pass->planes, inner, scratch->up};
        rbe__linear(&pass->workspace, down, 1, &input);
        return;
    }
    const rbe__activated_input activated = {.n_tokens = pass->n_tokens,
                                            .most_planes = pass->planes,
                                            .width = inner,
                                            .activation = feed_forward->shape.activation,
                                            .gate = scratch->gate,
                                            .up = scratch->up};
    rbe__linear_activated(&pass->workspace, down, &activated);
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
    rbe__arena arena = {.memory = pass->scratch};
    const rbe__feed_forward_scratch scratch = rbe__feed_forward_take(&feed_forward->shape, pass->workspace.most_tokens, &arena);

    rbe__linear_job up[2];
    const uint32_t n_jobs = rbe__feed_forward_up_jobs(feed_forward, &scratch, up);
    const float *x;
    rbe__block_project(pass, block, up, n_jobs, &x);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_GATE_UP);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_UP, x, block->width));

    const rbe__linear_job down = rbe__block_output_job(pass, block, &feed_forward->down);
    rbe__feed_forward_down(pass, block, feed_forward, &scratch, &down);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_DOWN);
    rbe__block_add(pass, block);
    return rbe__capture(pass, layer, RBE_CAPTURE_DOWN, scratch.up, feed_forward->shape.width);
}

uint64_t rbe__feed_forward_read_bytes(const rbe__feed_forward_block *feed_forward, uint32_t planes)
{
    return planes == RBE_SKIP
               ? 0
               : rbe__tensor_read_bytes(feed_forward->gate.weight, planes) + rbe__tensor_read_bytes(feed_forward->up.weight, planes) +
                     rbe__tensor_read_bytes(feed_forward->down.weight, planes);
}

static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    return rbe__feed_forward_read_bytes(&block->as.feed_forward, planes);
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
