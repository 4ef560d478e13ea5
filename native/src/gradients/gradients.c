/* rbe_gradients: its memory, and what every call begins and ends with. */
#include "gradients/gradients.h"

#include <stdlib.h>

#include "base/status.h"
#include "layers/position.h"
#include "model/model.h"

#define DEFAULT_TOKENS 512u
#define MOST_TOKENS 65536u

static size_t largest(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- memory ---------------------------------------------------------------------------------------------------------- */

static float *take(rbe_gradients *gradients, size_t rows, size_t cols)
{
    return rbe__arena_take(&gradients->arena, rbe__arena_count(rows, cols), sizeof(float));
}

/* sums: a norm of the stream follows the block */
static void take_attention(rbe_gradients *gradients, const rbe__attention_block *attention, int sums)
{
    const rbe__attention_shape *shape = &attention->shape;
    rbe__attention_memory *memory = &gradients->attention;
    const size_t n = gradients->most_tokens, width = gradients->stack->width, dim = shape->head_dim;
    float **const of_queries[] = {&memory->q_raw, &memory->q,         &memory->mixed,      &memory->d_mixed,
                                  &memory->d_q,   &memory->key_parts, &memory->value_parts};
    float **const of_keys[] = {&memory->k_raw, &memory->k, &memory->v, &memory->d_k, &memory->d_v};
    for (size_t i = 0; i < sizeof of_queries / sizeof of_queries[0]; i++) {
        *of_queries[i] = take(gradients, n, shape->n_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_keys / sizeof of_keys[0]; i++) {
        *of_keys[i] = take(gradients, n, shape->n_kv_heads * dim);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    memory->inner_normed = attention->inner_norm.weight ? take(gradients, n, shape->n_heads * dim) : NULL;
    const size_t stride = ((size_t)gradients->window_tokens + 15) & ~(size_t)15;
    for (uint32_t t = 0; t < rbe__thread_pool_threads(gradients->thread_pool); t++) {
        rbe__tile_memory *tile = &gradients->tiles[t];
        float **const rows[] = {&tile->weights, &tile->slopes, &tile->capped, &tile->weights_across, &tile->slopes_across};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            *rows[i] = take(gradients, stride, RBE_QUERY_TILE);
        }
        tile->queries = take(gradients, RBE_QUERY_TILE, dim);
        tile->keys_across = take(gradients, stride, dim);
        tile->values_across = take(gradients, stride, dim);
        tile->ones = take(gradients, stride, 1);
    }
}

static void take_feed_forward(rbe_gradients *gradients, const rbe__feed_forward_block *feed_forward, int sums)
{
    const rbe__feed_forward_shape *shape = &feed_forward->shape;
    rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const size_t n = gradients->most_tokens, width = gradients->stack->width;
    float **const inner[] = {&memory->gate, &memory->up, &memory->active, &memory->d};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        *inner[i] = take(gradients, n, shape->width);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    memory->inner_normed = feed_forward->inner_norm.weight ? take(gradients, n, shape->width) : NULL;
}

/* Takes everything; called once to measure and once for real. All layers have the same shapes but for their windows. */
static void take_all(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__layer *layer = &stack->layers[stack->first_layer];
    const rbe__attention_shape *heads = &layer->blocks[0].as.attention.shape;
    const rbe__feed_forward_shape *inner = &layer->blocks[1].as.feed_forward.shape;
    const size_t n = gradients->most_tokens, width = stack->width;
    gradients->middle = take(gradients, n, width);
    gradients->d_normed = take(gradients, n, width);
    gradients->d_branch = take(gradients, n, width);
    gradients->statistics = take(gradients, n, 2 * (size_t)heads->n_heads);
    const size_t widest = largest(largest(stack->n_vocabulary, inner->width), largest(width, (size_t)heads->n_heads * heads->head_dim));
    gradients->vector = take(gradients, widest, 1);
    gradients->second_vector = take(gradients, widest, 1);
    const size_t angles = rbe__arena_count((size_t)stack->n_rope_tables * stack->rope_pairs, gradients->window_tokens);
    gradients->cosines = take(gradients, angles, 1);
    gradients->sines = take(gradients, angles, 1);
    gradients->back_sines = take(gradients, angles, 1);
    take_attention(gradients, &layer->blocks[0].as.attention, layer->blocks[0].stream_norm.weight != NULL);
    take_feed_forward(gradients, &layer->blocks[1].as.feed_forward, layer->blocks[1].stream_norm.weight != NULL);
    rbe__head_take(gradients);
}

static void fill_constants(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__state state = rbe__state_of(stack, RBE_KV_F32, gradients->context);
    const size_t pairs = stack->rope_pairs, n = gradients->window_tokens;
    for (size_t row = 0; state.rope_frequencies && row < stack->n_rope_tables * n; row++) {
        const size_t at = row * pairs;
        rbe__rope_angles(state.rope_frequencies + row / n * pairs, (uint32_t)pairs, (uint32_t)(row % n), state.rope_factor,
                         gradients->cosines + at, gradients->sines + at);
        for (size_t d = 0; d < pairs; d++) {
            gradients->back_sines[at + d] = -gradients->sines[at + d];
        }
    }
    for (uint32_t t = 0; t < rbe__thread_pool_threads(gradients->thread_pool); t++) {
        for (size_t i = 0; i < n; i++) {
            gradients->tiles[t].ones[i] = 1.0f;
        }
    }
}

/* ---- opening and closing --------------------------------------------------------------------------------------------- */

static int is_dense(const rbe__projection *projection)
{
    return !projection->weight || projection->weight->kind == RBE_KIND_F32;
}

static int has_inner_norm(const rbe__layer *layer, uint32_t block)
{
    return (block == 0 ? layer->blocks[0].as.attention.inner_norm : layer->blocks[1].as.feed_forward.inner_norm).weight != NULL;
}

/* What layers of this format have: attention, then feed-forward, each reading the stream as it is. A norm of the stream stands behind both blocks
 * of all layers, or behind none; and so do norms before the last matrix of either block. */
static rbe_status check_layer(const rbe__layer *layer, uint32_t index, const rbe__layer *first)
{
    static const rbe__block_kind *const kinds[] = {&rbe__attention_kind, &rbe__feed_forward_kind};
    int is_known = layer->n_blocks == 2;
    for (uint32_t b = 0; is_known && b < 2; b++) {
        const rbe__block *block = &layer->blocks[b];
        is_known = block->kind == kinds[b] && block->reads == RBE_READS_STREAM && !block->shares_state &&
                   (block->stream_norm.weight != NULL) == (first->blocks[0].stream_norm.weight != NULL);
    }
    if (is_known && layer != first) {
        is_known = has_inner_norm(layer, 0) == has_inner_norm(first, 0) && has_inner_norm(layer, 1) == has_inner_norm(first, 1);
    }
    if (!is_known) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u is made of blocks whose gradients this build does not compute", index);
    }
    const rbe__attention_block *attention = &layer->blocks[0].as.attention;
    const rbe__feed_forward_block *feed_forward = &layer->blocks[1].as.feed_forward;
    if (!is_dense(&attention->q) || !is_dense(&attention->k) || !is_dense(&attention->v) || !is_dense(&attention->o) ||
        !is_dense(&feed_forward->gate) || !is_dense(&feed_forward->up) || !is_dense(&feed_forward->down)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u has matrices that are not fp32; pack the model with --bits 32 for gradients",
                        index);
    }
    return RBE_OK;
}

static rbe_status check_model(const rbe__stack *stack)
{
    if (stack->crosses) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the gradients of an encoder-decoder are not computed");
    }
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        RBE_TRY(check_layer(&stack->layers[i], i, &stack->layers[stack->first_layer]));
    }
    return is_dense(&stack->lm_head) && is_dense(&stack->word_head.dense)
               ? RBE_OK
               : rbe_fail(RBE_ERROR_UNSUPPORTED, "the lm_head is not fp32; pack the model with --bits 32 for gradients");
}

static rbe_status choose(rbe_gradients *gradients, const rbe_gradients_options *options)
{
    const uint32_t most_context = gradients->model->config.context;
    gradients->wants_gains = options->gains != 0;
    gradients->most_tokens = options->most_tokens ? options->most_tokens : DEFAULT_TOKENS;
    gradients->context = options->context_tokens ? options->context_tokens
                                                 : (gradients->most_tokens < most_context ? gradients->most_tokens : most_context);
    if (gradients->most_tokens > MOST_TOKENS || gradients->context > most_context || options->n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "most_tokens must be at most %u, context_tokens at most %u, n_threads at most %u", MOST_TOKENS,
                        most_context, RBE_MAX_THREADS);
    }
    gradients->window_tokens = gradients->context < gradients->most_tokens ? gradients->context : gradients->most_tokens;
    uint32_t n_threads;
    RBE_TRY(rbe__thread_count(options->n_threads, &n_threads));
    return rbe__thread_pool_create(n_threads, &gradients->thread_pool);
}

static rbe_status open_into(rbe_gradients *gradients, const rbe_gradients_options *options)
{
    RBE_TRY(check_model(gradients->stack));
    RBE_TRY(choose(gradients, options));
    take_all(gradients);
    const size_t bytes = gradients->arena.used;
    if (rbe__arena_allocate(&gradients->arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for gradients of %zu MB; choose fewer tokens at once than %u", bytes >> 20,
                        gradients->most_tokens);
    }
    take_all(gradients);
    fill_constants(gradients);
    return RBE_OK;
}

rbe_status rbe_gradients_create(const rbe_model *model, const rbe_gradients_options *options, rbe_gradients **out)
{
    if (!model || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_gradients_create: model or out is NULL");
    }
    *out = NULL;
    rbe_gradients_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    rbe_gradients *gradients = calloc(1, sizeof *gradients);
    if (!gradients) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for gradients");
    }
    gradients->model = model;
    gradients->stack = &model->stack;
    const rbe_status status = open_into(gradients, &chosen);
    if (status != RBE_OK) {
        rbe_gradients_free(gradients);
        return status;
    }
    *out = gradients;
    return RBE_OK;
}

void rbe_gradients_free(rbe_gradients *gradients)
{
    if (gradients) {
        rbe__thread_pool_free(gradients->thread_pool);
        rbe__head_free(gradients);
        rbe__aligned_free(gradients->arena.memory);
        free(gradients);
    }
}

/* ---- calls ------------------------------------------------------------------------------------------------------------ */

void rbe_gradients_cancel(rbe_gradients *gradients)
{
    if (gradients) {
        atomic_store_explicit(&gradients->cancelled, 1, memory_order_relaxed);
    }
}

void rbe_gradients_uncancel(rbe_gradients *gradients)
{
    if (gradients) {
        atomic_store_explicit(&gradients->cancelled, 0, memory_order_relaxed);
    }
}

int rbe__gradients_stopped(const rbe_gradients *gradients)
{
    return atomic_load_explicit(&gradients->cancelled, memory_order_relaxed);
}

rbe_status rbe__gradients_check(const rbe_gradients *gradients)
{
    return rbe__gradients_stopped(gradients) ? rbe_fail(RBE_ERROR_CANCELLED, "cancelled") : RBE_OK;
}

rbe_status rbe__gradients_end(rbe_gradients *gradients, rbe_status status)
{
    if (status == RBE_ERROR_CANCELLED) { /* one cancel, one call */
        atomic_store_explicit(&gradients->cancelled, 0, memory_order_relaxed);
    }
    gradients->n = 0;
    return status;
}

rbe_status rbe__gradients_fit(const rbe_gradients *gradients, size_t n_tokens, uint32_t window_tokens, uint32_t *window)
{
    if (n_tokens > gradients->most_tokens) {
        return rbe_fail(RBE_ERROR_CONTEXT, "%zu tokens at once: these gradients were made for %u", n_tokens, gradients->most_tokens);
    }
    *window = window_tokens && window_tokens < n_tokens ? window_tokens : (uint32_t)n_tokens;
    if (*window > gradients->window_tokens) {
        return rbe_fail(RBE_ERROR_CONTEXT, "windows of %u tokens: these gradients were made for %u", *window, gradients->window_tokens);
    }
    return RBE_OK;
}

rbe_status rbe__gradients_begin(rbe_gradients *gradients, int has_arrays, size_t n_tokens, uint32_t window_tokens,
                                rbe_gradient_callback show, void *user)
{
    if (!gradients || !has_arrays || n_tokens == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "gradients need arrays that are not NULL, of at least one token");
    }
    if (gradients->n) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "gradients are computed already: this call comes from a callback");
    }
    RBE_TRY(rbe__gradients_fit(gradients, n_tokens, window_tokens, &gradients->window));
    gradients->n = (uint32_t)n_tokens;
    gradients->show = show;
    gradients->user = user;
    return RBE_OK;
}
