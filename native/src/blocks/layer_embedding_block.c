/* The layer embedding block: what a layer is given of each token, gated by the stream: output(activation(gate x) input). */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "blocks/bind.h"
#include "blocks/pass.h"
#include "rbe/layer_embeddings.h"

enum { OPERATION_GATE, OPERATION_OUTPUT, N_OPERATIONS };

static const char *const operations[N_OPERATIONS] = {"layer embedding gate", "layer embedding output"};

/* It reads the stream as it is: there is no norm before it. */
static void bind(rbe__binder *binder, uint32_t index, const rbe__layer_shape *shape, rbe__block *block)
{
    rbe__layer_embedding_block *embedding = &block->as.layer_embedding;
    embedding->shape = shape->layer_embedding;
    const uint32_t inner = embedding->shape.width;
    char place[64], name[96];
    embedding->first = index * inner;
    snprintf(place, sizeof place, "%slayers.%u.layer_embedding", binder->prefix, index);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, place), name)
    embedding->gate = rbe__bind_projection(binder, NAME("gate"), inner, shape->width, 0);
    embedding->output = rbe__bind_projection(binder, NAME("projection"), shape->width, inner, 0);
    block->post_norm = rbe__bind_norm(binder, NAME("post_norm"), shape->width, 0);
#undef NAME
}

static uint32_t inner_width(const rbe__block *block)
{
    return block->as.layer_embedding.shape.width;
}

typedef struct embedding_scratch {
    float *gate, *input; /* [n_tokens][width] */
} embedding_scratch;

static embedding_scratch take_scratch(const rbe__block *block, uint32_t n_tokens, rbe__arena *arena)
{
    const size_t values = rbe__arena_count(n_tokens, block->as.layer_embedding.shape.width);
    embedding_scratch scratch;
    scratch.gate = rbe__arena_take(arena, values, sizeof(float));
    scratch.input = rbe__arena_take(arena, values, sizeof(float));
    return scratch;
}

static size_t scratch_bytes(const rbe__block *block, uint32_t n_tokens, uint32_t context)
{
    (void)context;
    rbe__arena arena = {0};
    (void)take_scratch(block, n_tokens, &arena);
    return arena.used;
}

static rbe_status forward(rbe__pass *pass, const rbe__block *block, uint32_t layer)
{
    const rbe__layer_embedding_block *embedding = &block->as.layer_embedding;
    const uint32_t inner = embedding->shape.width;
    const size_t all = pass->stack->layer_inputs.n;
    rbe__arena arena = {.memory = pass->scratch};
    const embedding_scratch scratch = take_scratch(block, pass->workspace.most_tokens, &arena);

    const rbe__linear_job gate = {&embedding->gate, scratch.gate, inner, 0};
    const float *x;
    rbe__block_project(pass, block, &gate, 1, &x);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_GATE);
    RBE_TRY(rbe__capture(pass, layer, RBE_CAPTURE_LAYER_GATE, x, block->width));

    for (uint32_t n = 0; n < pass->n_tokens; n++) {
        memcpy(scratch.input + (size_t)n * inner, pass->layer_inputs + n * all + embedding->first, inner * sizeof(float));
    }
    const rbe__linear_job output = rbe__block_output_job(pass, block, &embedding->output);
    const rbe__activated_input activated = {.n_tokens = pass->n_tokens,
                                            .most_planes = pass->planes,
                                            .width = inner,
                                            .activation = embedding->shape.activation,
                                            .gate = scratch.gate,
                                            .up = scratch.input};
    rbe__linear_activated(&pass->workspace, &output, &activated);
    rbe__profile_lap(pass->workspace.profile, block->first_operation + OPERATION_OUTPUT);
    rbe__block_add(pass, block);
    return rbe__capture(pass, layer, RBE_CAPTURE_LAYER_OUTPUT, scratch.input, inner);
}

static uint64_t read_bytes(const rbe__block *block, uint32_t planes)
{
    const rbe__layer_embedding_block *embedding = &block->as.layer_embedding;
    return planes == RBE_SKIP
               ? 0
               : rbe__tensor_read_bytes(embedding->gate.weight, planes) + rbe__tensor_read_bytes(embedding->output.weight, planes);
}

const rbe__block_kind rbe__layer_embedding_kind = {
    .bind = bind,
    .inner_width = inner_width,
    .scratch_bytes = scratch_bytes,
    .forward = forward,
    .read_bytes = read_bytes,
    .matrices = RBE_PLANES_FEED_FORWARD,
    .operations = operations,
    .n_operations = N_OPERATIONS,
};
