/* The layer embedding block, and what stands before the layers: rbe_gradients_layer_embeddings. */
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"
#include "layers/embedding.h"
#include "rbe/layer_embeddings.h"

static float *take(rbe_gradients *gradients, size_t cols)
{
    return rbe__arena_take(&gradients->arena, rbe__arena_count(gradients->most_tokens, cols), sizeof(float));
}

void rbe__layer_embedding_take(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    rbe__layer_embedding_memory *memory = &gradients->layer_embedding;
    if (!stack->layer_inputs.table) {
        return;
    }
    float **const inner[] = {&memory->input, &memory->gate, &memory->active, &memory->d};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        *inner[i] = take(gradients, stack->layer_inputs.width);
    }
    memory->branch = take(gradients, stack->width);
    gradients->inputs = take(gradients, stack->layer_inputs.n);
    gradients->d_inputs = take(gradients, stack->layer_inputs.n);
}

/* The part of the rows that a block reads: to [n][width], or back. */
static void move_part(const rbe_gradients *gradients, const rbe__block *block, const float *rows, float *d_rows, float *part)
{
    const rbe__stack *stack = gradients->stack;
    const size_t inner = block->as.layer_embedding.shape.width, first = stack->width + block->as.layer_embedding.first;
    for (size_t n = 0; n < gradients->n; n++) {
        const size_t at = n * stack->stream_width + first;
        memcpy(d_rows ? d_rows + at : part + n * inner, d_rows ? part + n * inner : rows + at, inner * sizeof *part);
    }
}

rbe_status rbe__layer_embedding_forward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out)
{
    const rbe__layer_embedding_block *embedding = &block->as.layer_embedding;
    const rbe__layer_embedding_memory *memory = &gradients->layer_embedding;
    const uint32_t inner = embedding->shape.width;
    (void)layer;
    move_part(gradients, block, gradients->rows, NULL, memory->input);
    RBE_TRY(rbe__matrix_forward(gradients, &embedding->gate, 0, inner, x, memory->gate));
    rbe__activation_forward(gradients, embedding->shape.activation, memory->gate, memory->input, (size_t)gradients->n * inner,
                            memory->active);
    return rbe__branch_forward(gradients, block, &embedding->output, memory->active, memory->branch, NULL, x, out);
}

rbe_status rbe__layer_embedding_backward(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d)
{
    const rbe__layer_embedding_block *embedding = &block->as.layer_embedding;
    const rbe__layer_embedding_memory *memory = &gradients->layer_embedding;
    char name[RBE_GRADIENT_NAME_BYTES];
    const float *d_branch;
    RBE_TRY(rbe__branch_backward(gradients, block, layer, "layer_embedding", memory->branch, NULL, d, &d_branch));
    const rbe__matrix output = {&embedding->output, rbe__gradient_name(gradients, name, layer, "layer_embedding", "projection"), layer,
                                memory->active, memory->branch};
    RBE_TRY(rbe__matrix_backward(gradients, &output, d_branch, 0, memory->d));
    float *d_gate = memory->active; /* which nothing reads any more */
    rbe__activation_backward(gradients, embedding->shape.activation, memory->gate, memory->input,
                             (size_t)gradients->n * embedding->shape.width, memory->d, d_gate);
    move_part(gradients, block, NULL, gradients->d_rows, memory->d);
    const rbe__matrix gate = {&embedding->gate, rbe__gradient_name(gradients, name, layer, "layer_embedding", "gate"), layer, x,
                              memory->gate};
    RBE_TRY(rbe__matrix_backward(gradients, &gate, d_gate, 0, gradients->d_normed));
    return rbe__read_stream_backward(gradients, block, layer, "layer_embedding", x, d);
}

/* ---- before the layers ------------------------------------------------------------------------------------------------ */

static int is_dense(const rbe__stack *stack)
{
    const rbe__tensor *projection = stack->layer_inputs.projection.weight;
    return projection && projection->kind == RBE_KIND_F32;
}

/* What the projection reads: the embedding, to narrow; and d_inputs, the gradient by the sum of its norm and the table's row. */
static void look_up(const rbe_gradients *gradients, const uint32_t *tokens, const float *d_hidden)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__layer_inputs *inputs = &stack->layer_inputs;
    const rbe__embedding table = {.tokens = stack->embedding, .scale = stack->embedding_scale};
    for (size_t n = 0; n < gradients->n; n++) {
        const float *d = d_hidden + n * stack->stream_width + stack->width;
        rbe__embed(stack->kernels, &table, 0, tokens[n], 0, 0, NULL, gradients->narrow + n * stack->width);
        for (size_t i = 0; i < inputs->n; i++) {
            gradients->d_inputs[n * inputs->n + i] = d[i] * inputs->sum_scale;
        }
    }
}

static rbe_status inputs_back(rbe_gradients *gradients, const uint32_t *tokens, float *d_hidden, float *table)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__layer_inputs *inputs = &stack->layer_inputs;
    if (!is_dense(stack)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "there are no layer embeddings whose projection is fp32");
    }
    RBE_TRY(rbe__gradients_check_tokens(gradients, tokens));
    look_up(gradients, tokens, d_hidden);
    if (table) {
        rbe__add_rows(gradients, &(rbe__row_sum){tokens, gradients->d_inputs, inputs->n, inputs->n, inputs->scale, table});
    }
    RBE_TRY(rbe__matrix_forward(gradients, &inputs->projection, 0, inputs->n, gradients->narrow, gradients->inputs));
    const rbe__norm_call norm = {.kind = RBE_NORM_RMS,
                                 .norm = &inputs->norm,
                                 .epsilon = inputs->epsilon,
                                 .cols = inputs->width,
                                 .n_rows = (size_t)gradients->n * (inputs->n / inputs->width),
                                 .x = gradients->inputs,
                                 .name = "layer_embedding.norm"};
    RBE_TRY(rbe__norm_backward(gradients, &norm, gradients->d_inputs, 0, gradients->d_inputs));
    const rbe__matrix projection = {&inputs->projection, "layer_embedding.projection", 0, gradients->narrow, gradients->inputs};
    RBE_TRY(rbe__matrix_backward(gradients, &projection, gradients->d_inputs, 0, gradients->d_normed));
    for (size_t n = 0; n < gradients->n; n++) {
        float *row = d_hidden + n * stack->stream_width;
        stack->kernels->add(row, gradients->d_normed + n * stack->width, stack->width);
        memset(row + stack->width, 0, (stack->stream_width - stack->width) * sizeof *row);
    }
    return RBE_OK;
}

rbe_status rbe_gradients_layer_embeddings(rbe_gradients *gradients, const uint32_t *tokens, size_t n_tokens, uint32_t window_tokens,
                                          float *d_hidden, float *table, rbe_gradient_callback show, void *user)
{
    RBE_TRY(rbe__gradients_begin(gradients, tokens && d_hidden, n_tokens, window_tokens, show, user));
    return rbe__gradients_end(gradients, inputs_back(gradients, tokens, d_hidden, table));
}
