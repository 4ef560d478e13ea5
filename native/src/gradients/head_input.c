/* Between the hidden states behind the last layer and what the lm_head reads of them: the last norm, and what a head that fills in words has
 * before the vocabulary, a matrix, an activation function and a norm. Any of them may be absent. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"

static rbe__norm_call norm_of(const rbe_gradients *gradients, const rbe__stack *stack, const rbe__norm *norm, const float *x,
                              const char *name)
{
    return (rbe__norm_call){.kind = stack->norm_kind,
                            .norm = norm,
                            .epsilon = stack->norm_epsilon,
                            .cols = stack->width,
                            .n_rows = gradients->n,
                            .x = x,
                            .name = name,
                            .layer = stack->n_layers};
}

void rbe__head_input_take(rbe_gradients *gradients)
{
    const rbe__word_head *word = &gradients->stack->word_head;
    const size_t values = rbe__arena_count(gradients->most_tokens, gradients->stack->width);
    if (word->dense.weight || word->norm.weight) {
        gradients->head.states = rbe__arena_take(&gradients->arena, values, sizeof(float));
        gradients->head.inner = rbe__arena_take(&gradients->arena, values, sizeof(float));
        gradients->head.active = rbe__arena_take(&gradients->arena, values, sizeof(float));
    }
}

void rbe__last_norm_forward(const rbe_gradients *gradients, const rbe__stack *stack, const float *hidden, float *normed)
{
    if (stack->norm.weight) {
        const rbe__norm_call norm = norm_of(gradients, stack, &stack->norm, hidden, NULL);
        rbe__norm_forward(gradients, &norm, normed);
    } else {
        memcpy(normed, hidden, (size_t)gradients->n * stack->width * sizeof *normed);
    }
}

rbe_status rbe__head_input(const rbe_gradients *gradients, const float *hidden, float *normed)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__word_head *word = &stack->word_head;
    const rbe__head_memory *memory = &gradients->head;
    const size_t n_values = (size_t)gradients->n * stack->width;
    if (!memory->states) {
        rbe__last_norm_forward(gradients, stack, hidden, normed);
        return RBE_OK;
    }
    rbe__last_norm_forward(gradients, stack, hidden, memory->states);
    const float *active = memory->states;
    if (word->dense.weight) {
        RBE_TRY(rbe__matrix_forward(gradients, &word->dense, 0, stack->width, memory->states, memory->inner));
        rbe__activation_forward(gradients, word->activation, NULL, memory->inner, n_values, memory->active);
        active = memory->active;
    }
    if (word->norm.weight) {
        const rbe__norm_call norm = norm_of(gradients, stack, &word->norm, active, NULL);
        rbe__norm_forward(gradients, &norm, normed);
    } else {
        memcpy(normed, active, n_values * sizeof *normed);
    }
    return RBE_OK;
}

rbe_status rbe__last_norm_backward(rbe_gradients *gradients, const float *hidden, const float *d, float *d_hidden)
{
    const rbe__stack *stack = gradients->stack;
    if (stack->norm.weight) {
        char name[RBE_GRADIENT_NAME_BYTES];
        snprintf(name, sizeof name, "%snorm", gradients->prefix);
        const rbe__norm_call norm = norm_of(gradients, stack, &stack->norm, hidden, name);
        return rbe__norm_backward(gradients, &norm, d, 0, d_hidden);
    }
    if (d_hidden != d) {
        memcpy(d_hidden, d, (size_t)gradients->n * stack->width * sizeof *d_hidden);
    }
    return RBE_OK;
}

rbe_status rbe__head_input_backward(rbe_gradients *gradients, const float *hidden, float *d_hidden)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__word_head *word = &stack->word_head;
    const rbe__head_memory *memory = &gradients->head;
    const size_t n_values = (size_t)gradients->n * stack->width;
    float *d = gradients->d_normed;
    if (word->norm.weight) {
        const float *read = word->dense.weight ? memory->active : memory->states;
        const rbe__norm_call norm = norm_of(gradients, stack, &word->norm, read, "head.norm");
        RBE_TRY(rbe__norm_backward(gradients, &norm, d, 0, d));
    }
    if (word->dense.weight) {
        const rbe__matrix dense = {&word->dense, "head.dense", stack->n_layers, memory->states, memory->inner};
        rbe__activation_backward(gradients, word->activation, NULL, memory->inner, n_values, d, NULL);
        RBE_TRY(rbe__matrix_backward(gradients, &dense, d, 0, memory->active)); /* which nothing reads any more */
        d = memory->active;
    }
    return rbe__last_norm_backward(gradients, hidden, d, d_hidden);
}

rbe_status rbe_gradients_norm(rbe_gradients *gradients, const float *hidden, size_t n_tokens, uint32_t window_tokens, float *d_hidden,
                              rbe_gradient_callback show, void *user)
{
    RBE_TRY(rbe__gradients_begin(gradients, hidden && d_hidden, n_tokens, window_tokens, show, user));
    const rbe_status status = rbe__last_norm_backward(gradients, hidden, d_hidden, d_hidden);
    return rbe__gradients_end(gradients, status == RBE_OK ? rbe__gradients_check(gradients) : status);
}
