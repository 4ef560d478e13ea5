/* rbe_gradients_layer, rbe_gradients_embedding, rbe_gradients_add. */
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"

static rbe_status blocks_back(rbe_gradients *gradients, uint32_t index, const float *hidden, float *d_hidden)
{
    const rbe__layer *layer = &gradients->stack->layers[index];
    const rbe__block *attention = &layer->blocks[0], *feed_forward = &layer->blocks[1];
    const rbe__block *embedding = layer->n_blocks == 3 ? &layer->blocks[2] : NULL;
    RBE_TRY(rbe__attention_forward(gradients, attention, index, hidden, gradients->middle));
    RBE_TRY(rbe__feed_forward_forward(gradients, feed_forward, index, gradients->middle, embedding ? gradients->behind : NULL));
    if (embedding) {
        RBE_TRY(rbe__layer_embedding_forward(gradients, embedding, index, gradients->behind));
        RBE_TRY(rbe__layer_embedding_backward(gradients, embedding, index, gradients->behind, d_hidden));
    }
    RBE_TRY(rbe__feed_forward_backward(gradients, feed_forward, index, gradients->middle, d_hidden));
    return rbe__attention_backward(gradients, attention, index, hidden, d_hidden);
}

/* rows: of hidden states, or with more behind them, which blocks look up. */
static rbe_status layer_back(rbe_gradients *gradients, uint32_t index, const float *rows, float *d_rows)
{
    const rbe__stack *stack = gradients->stack;
    const size_t width = stack->width, stride = stack->stream_width;
    const float *scale = stack->layers[index].scale;
    const float *hidden = rows;
    float *d_hidden = d_rows;
    gradients->rows = rows;
    gradients->d_rows = d_rows;
    for (size_t n = 0; stride != width && n < gradients->n; n++) {
        memcpy(gradients->narrow + n * width, rows + n * stride, width * sizeof *rows);
        memcpy(gradients->d_narrow + n * width, d_rows + n * stride, width * sizeof *rows);
        hidden = gradients->narrow;
        d_hidden = gradients->d_narrow;
    }
    for (size_t i = 0; scale && i < gradients->n * width; i++) {
        d_hidden[i] *= *scale;
    }
    RBE_TRY(blocks_back(gradients, index, hidden, d_hidden));
    for (size_t n = 0; stride != width && n < gradients->n; n++) {
        memcpy(d_rows + n * stride, d_hidden + n * width, width * sizeof *d_rows);
    }
    return RBE_OK;
}

rbe_status rbe_gradients_layer(rbe_gradients *gradients, uint32_t layer, const float *hidden, size_t n_tokens, uint32_t window_tokens,
                               float *d_hidden, rbe_gradient_callback show, void *user)
{
    if (gradients && (layer < gradients->stack->first_layer || layer >= gradients->stack->end_layer)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the model holds layers %u to %u, not %u", gradients->stack->first_layer,
                        gradients->stack->end_layer - 1, layer);
    }
    RBE_TRY(rbe__gradients_begin(gradients, hidden && d_hidden, n_tokens, window_tokens, show, user));
    return rbe__gradients_end(gradients, layer_back(gradients, layer, hidden, d_hidden));
}

/* ---- embedding -------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 64 }; /* of one item: tokens that are the same are added one after the other */

typedef struct look_up_job {
    const rbe_gradients *gradients;
    const uint32_t *tokens;
    const float *d; /* [n][stream_width] */
    float *embedding, *positions;
} look_up_job;

static void add_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const look_up_job *job = context;
    const rbe__stack *stack = job->gradients->stack;
    const size_t width = stack->width, first = (size_t)item * COLUMNS, past = width - first < COLUMNS ? width : first + COLUMNS;
    for (uint32_t n = 0; n < job->gradients->n; n++) {
        const float *d = job->d + (size_t)n * stack->stream_width;
        float *row = job->embedding ? job->embedding + job->tokens[n] * width : NULL;
        float *position = job->positions ? job->positions + n % job->gradients->window * width : NULL;
        for (size_t c = first; row && c < past; c++) {
            row[c] += d[c] * stack->embedding_scale;
        }
        for (size_t c = first; position && c < past; c++) {
            position[c] += d[c];
        }
    }
}

rbe_status rbe_gradients_embedding(rbe_gradients *gradients, const uint32_t *tokens, size_t n_tokens, uint32_t window_tokens,
                                   const float *d_hidden, float *embedding, float *positions)
{
    RBE_TRY(rbe__gradients_begin(gradients, tokens && d_hidden, n_tokens, window_tokens, NULL, NULL));
    const rbe__stack *stack = gradients->stack;
    for (size_t n = 0; n < n_tokens; n++) {
        if (tokens[n] >= stack->n_vocabulary) {
            return rbe__gradients_end(
                gradients, rbe_fail(RBE_ERROR_ARGUMENT, "token %u at %zu: the vocabulary has %u", tokens[n], n, stack->n_vocabulary));
        }
    }
    if (positions && !stack->positions) {
        return rbe__gradients_end(gradients,
                                  rbe_fail(RBE_ERROR_ARGUMENT, "this model's positions are not learned; positions must be NULL"));
    }
    look_up_job job = {gradients, tokens, d_hidden, embedding, positions};
    const rbe_status status = rbe__gradients_check(gradients);
    if (status == RBE_OK) {
        rbe__thread_pool_run(gradients->thread_pool, (stack->width - 1) / COLUMNS + 1, add_columns, &job);
    }
    return rbe__gradients_end(gradients, status);
}

/* ---- sums ------------------------------------------------------------------------------------------------------------- */

rbe_status rbe_gradients_add(rbe_gradients *gradients, const float *x, const float *d, size_t n_tokens, uint32_t rows, uint32_t cols,
                             float *sum)
{
    if (!gradients || !x || !d || !sum || rows == 0 || cols == 0 || n_tokens > UINT32_MAX) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_gradients_add: an argument is NULL, or a size is none");
    }
    const rbe__dense_product_call call = {
        .a = {d, 1, rows}, .b = {x, cols, 1}, .c = sum, .c_stride = cols, .m = rows, .n = cols, .k = (uint32_t)n_tokens, .add = 1};
    const rbe_status status = rbe__gradients_multiply(gradients, &call);
    return gradients->n ? status : rbe__gradients_end(gradients, status);
}
