/* rbe_gradients_layer, rbe_gradients_cross_layer, rbe_gradients_forward, rbe_gradients_embedding, rbe_gradients_add. */
#include <string.h>

#include "base/status.h"
#include "gradients/gradients.h"
#include "model/model.h"

/* How a kind of block is computed again, and goes back. */
typedef rbe_status forward_block(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *out);
typedef rbe_status backward_block(rbe_gradients *gradients, const rbe__block *block, uint32_t layer, const float *x, float *d);

typedef struct ways {
    const rbe__block_kind *kind;
    forward_block *forward;
    backward_block *backward;
} ways;

static const ways *ways_of(const rbe__block *block)
{
    static const ways all[] = {
        {&rbe__attention_kind, rbe__attention_forward, rbe__attention_backward},
        {&rbe__cross_kind, rbe__cross_forward, rbe__cross_backward},
        {&rbe__convolution_kind, rbe__convolution_forward, rbe__convolution_backward},
        {&rbe__recurrence_kind, rbe__recurrence_forward, rbe__recurrence_backward},
        {&rbe__feed_forward_kind, rbe__feed_forward_forward, rbe__feed_forward_backward},
        {&rbe__experts_kind, rbe__experts_forward, rbe__experts_backward},
        {&rbe__layer_embedding_kind, rbe__layer_embedding_forward, rbe__layer_embedding_backward},
    };
    const ways *found = all;
    while (found->kind != block->kind) { /* gradients.c has refused others */
        found++;
    }
    return found;
}

/* What the block of that number reads: the stream behind the one before it. */
static const float *read_by(const rbe_gradients *gradients, const rbe__layer *layer, uint32_t block, const float *hidden)
{
    const float *const streams[] = {hidden, gradients->middle, gradients->behind};
    return layer->blocks[block].reads == RBE_READS_LAYER_INPUT ? hidden : streams[block];
}

/* The blocks of a layer on their way forward. out: behind the layer, which may be hidden; may be NULL. */
static rbe_status layer_forward(rbe_gradients *gradients, uint32_t index, const float *hidden, float *out)
{
    const rbe__layer *layer = &gradients->stack->layers[index];
    float *const behind[] = {gradients->middle, gradients->behind};
    for (uint32_t b = 0; b < layer->n_blocks; b++) {
        const rbe__block *block = &layer->blocks[b];
        float *to = b + 1 == layer->n_blocks ? out : behind[b];
        RBE_TRY(ways_of(block)->forward(gradients, block, index, read_by(gradients, layer, b, hidden), to));
    }
    return RBE_OK;
}

/* Blocks that both read what stands before the layer: each adds its gradient to what goes past them. Each goes back from the whole gradient
 * behind the layer. */
static rbe_status side_by_side_back(rbe_gradients *gradients, uint32_t index, const float *hidden, float *d_hidden)
{
    const rbe__layer *layer = &gradients->stack->layers[index];
    const rbe__block *first = &layer->blocks[0], *second = &layer->blocks[1];
    const size_t n_values = (size_t)gradients->n * gradients->stack->width;
    memcpy(gradients->d_layer, d_hidden, n_values * sizeof *d_hidden);
    RBE_TRY(ways_of(first)->backward(gradients, first, index, hidden, d_hidden));
    for (size_t i = 0; i < n_values; i++) { /* what goes past counts once, and comes with the second block */
        d_hidden[i] -= gradients->d_layer[i];
    }
    RBE_TRY(ways_of(second)->backward(gradients, second, index, hidden, gradients->d_layer));
    for (size_t i = 0; i < n_values; i++) {
        d_hidden[i] += gradients->d_layer[i];
    }
    return rbe__gradients_check(gradients);
}

static rbe_status blocks_back(rbe_gradients *gradients, uint32_t index, const float *hidden, float *d_hidden)
{
    const rbe__layer *layer = &gradients->stack->layers[index];
    RBE_TRY(layer_forward(gradients, index, hidden, NULL));
    if (layer->n_blocks == 2 && layer->blocks[1].reads == RBE_READS_LAYER_INPUT) {
        return side_by_side_back(gradients, index, hidden, d_hidden);
    }
    for (uint32_t b = layer->n_blocks; b > 0; b--) {
        const rbe__block *block = &layer->blocks[b - 1];
        RBE_TRY(ways_of(block)->backward(gradients, block, index, read_by(gradients, layer, b - 1, hidden), d_hidden));
    }
    return RBE_OK;
}

static void scale_stream(const rbe_gradients *gradients, uint32_t index, float *x)
{
    const float *scale = gradients->stack->layers[index].scale;
    const size_t n_values = (size_t)gradients->n * gradients->stack->width;
    for (size_t i = 0; scale && i < n_values; i++) {
        x[i] *= *scale;
    }
}

/* rows: of hidden states, or with more behind them, which blocks look up. */
static rbe_status layer_back(rbe_gradients *gradients, uint32_t index, const float *rows, float *d_rows)
{
    const rbe__stack *stack = gradients->stack;
    const size_t width = stack->width, stride = stack->stream_width;
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
    scale_stream(gradients, index, d_hidden);
    RBE_TRY(blocks_back(gradients, index, hidden, d_hidden));
    for (size_t n = 0; stride != width && n < gradients->n; n++) {
        memcpy(d_rows + n * stride, d_hidden + n * width, width * sizeof *d_rows);
    }
    return RBE_OK;
}

/* end: one past the layers that may be asked for. */
static rbe_status check_layer(const rbe_gradients *gradients, uint32_t layer, uint32_t end)
{
    if (gradients && (layer < gradients->stack->first_layer || layer >= end)) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the model holds layers %u to %u, not %u", gradients->stack->first_layer,
                        gradients->stack->end_layer - 1, layer);
    }
    return RBE_OK;
}

/* Takes the caller's texts, one for each window of the call. text NULL: none was given. */
static rbe_status take_text(rbe_gradients *gradients, const rbe_gradients_text *given, int back, rbe_gradients_text *text)
{
    *text = (rbe_gradients_text){0};
    if (!gradients->stack->crosses) {
        return given ? rbe_fail(RBE_ERROR_ARGUMENT, "these layers read no text of an encoder") : RBE_OK;
    }
    RBE_TRY(rbe__copy_options(text, sizeof *text, given));
    if (!text->hidden || text->n_tokens == 0 || (back && !text->d_hidden)) {
        return rbe_fail(RBE_ERROR_ARGUMENT,
                        "these layers answer to texts of an encoder, whose hidden states and their gradient are needed");
    }
    RBE_TRY(rbe__gradients_fit(gradients, text->n_tokens, text->window_tokens, &text->window_tokens));
    const uint32_t n_windows = (gradients->n - 1) / gradients->window + 1, n_texts = (text->n_tokens - 1) / text->window_tokens + 1;
    if (n_windows != n_texts) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%u windows answer to as many texts, not to %u", n_windows, n_texts);
    }
    gradients->text = text;
    return RBE_OK;
}

rbe_status rbe_gradients_cross_layer(rbe_gradients *gradients, uint32_t layer, const float *hidden, size_t n_tokens, uint32_t window_tokens,
                                     const rbe_gradients_text *text, float *d_hidden, rbe_gradient_callback show, void *user)
{
    rbe_gradients_text taken;
    RBE_TRY(check_layer(gradients, layer, gradients ? gradients->stack->end_layer : 0));
    RBE_TRY(rbe__gradients_begin(gradients, hidden && d_hidden, n_tokens, window_tokens, show, user));
    rbe_status status = take_text(gradients, text, 1, &taken);
    status = status == RBE_OK ? layer_back(gradients, layer, hidden, d_hidden) : status;
    return rbe__gradients_end(gradients, status);
}

rbe_status rbe_gradients_layer(rbe_gradients *gradients, uint32_t layer, const float *hidden, size_t n_tokens, uint32_t window_tokens,
                               float *d_hidden, rbe_gradient_callback show, void *user)
{
    return rbe_gradients_cross_layer(gradients, layer, hidden, n_tokens, window_tokens, NULL, d_hidden, show, user);
}

static rbe_status forward(rbe_gradients *gradients, uint32_t layer, const rbe_gradients_text *text, float *hidden)
{
    rbe_gradients_text taken;
    if (gradients->stack->stream_width != gradients->stack->width) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layers that need more than hidden states are run by a session");
    }
    if (layer < gradients->stack->end_layer) {
        RBE_TRY(take_text(gradients, text, 0, &taken));
        RBE_TRY(layer_forward(gradients, layer, hidden, hidden));
        scale_stream(gradients, layer, hidden);
    } else if (gradients->stack->norm.weight) {
        rbe__last_norm_forward(gradients, gradients->stack, hidden, hidden);
    }
    return rbe__gradients_check(gradients);
}

rbe_status rbe_gradients_forward(rbe_gradients *gradients, uint32_t layer, float *hidden, size_t n_tokens, uint32_t window_tokens,
                                 const rbe_gradients_text *text)
{
    RBE_TRY(check_layer(gradients, layer, gradients ? gradients->stack->end_layer + 1 : 0));
    RBE_TRY(rbe__gradients_begin(gradients, hidden != NULL, n_tokens, window_tokens, NULL, NULL));
    return rbe__gradients_end(gradients, forward(gradients, layer, text, hidden));
}

/* ---- embedding -------------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 64 }; /* of one item: tokens that are the same are added one after the other */

typedef struct rows_job {
    const rbe_gradients *gradients;
    const rbe__row_sum *sum;
} rows_job;

static void add_columns(void *context, uint32_t item, uint32_t thread)
{
    (void)thread;
    const rows_job *job = context;
    const rbe__row_sum *sum = job->sum;
    const size_t cols = sum->cols, first = (size_t)item * COLUMNS, past = cols - first < COLUMNS ? cols : first + COLUMNS;
    for (uint32_t n = 0; n < job->gradients->n; n++) {
        const float *d = sum->d + n * sum->d_stride;
        float *row = sum->table + (sum->rows ? sum->rows[n] : n % job->gradients->window) * cols;
        for (size_t c = first; c < past; c++) {
            row[c] += d[c] * sum->scale;
        }
    }
}

void rbe__add_rows(const rbe_gradients *gradients, const rbe__row_sum *sum)
{
    rows_job job = {gradients, sum};
    rbe__thread_pool_run(gradients->thread_pool, (sum->cols - 1) / COLUMNS + 1, add_columns, &job);
}

rbe_status rbe__gradients_check_tokens(const rbe_gradients *gradients, const uint32_t *tokens)
{
    const uint32_t n_vocabulary = gradients->model->config.n_vocabulary;
    for (uint32_t n = 0; n < gradients->n; n++) {
        if (tokens[n] >= n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "token %u at %u: the vocabulary has %u", tokens[n], n, n_vocabulary);
        }
    }
    return RBE_OK;
}

static rbe_status embedding_back(const rbe_gradients *gradients, const uint32_t *tokens, const float *d_hidden, float *embedding,
                                 float *positions)
{
    const rbe__stack *stack = gradients->stack;
    RBE_TRY(rbe__gradients_check_tokens(gradients, tokens));
    if (positions && !stack->positions) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "this model's positions are not learned; positions must be NULL");
    }
    RBE_TRY(rbe__gradients_check(gradients));
    if (embedding) {
        rbe__add_rows(gradients, &(rbe__row_sum){tokens, d_hidden, stack->stream_width, stack->width, stack->embedding_scale, embedding});
    }
    if (positions) {
        rbe__add_rows(gradients, &(rbe__row_sum){NULL, d_hidden, stack->stream_width, stack->width, 1.0f, positions});
    }
    return RBE_OK;
}

rbe_status rbe_gradients_embedding(rbe_gradients *gradients, const uint32_t *tokens, size_t n_tokens, uint32_t window_tokens,
                                   const float *d_hidden, float *embedding, float *positions)
{
    RBE_TRY(rbe__gradients_begin(gradients, tokens && d_hidden, n_tokens, window_tokens, NULL, NULL));
    return rbe__gradients_end(gradients, embedding_back(gradients, tokens, d_hidden, embedding, positions));
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
