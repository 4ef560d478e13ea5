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

static void take_gates(rbe_gradients *gradients, const rbe__attention_block *attention)
{
    rbe__attention_memory *memory = &gradients->attention;
    const size_t n = gradients->most_tokens, rows = attention->gate.weight ? attention->gate.weight->rows : 0;
    memory->gate_raw = take(gradients, n, rows);
    memory->gates = take(gradients, n, rows);
    memory->d_gate = take(gradients, n, rows);
    memory->gated = rows ? take(gradients, n, (size_t)attention->shape.n_heads * attention->shape.head_dim) : NULL;
}

/* sums: a norm of the stream follows the block */
static void take_attention(rbe_gradients *gradients, const rbe__attention_block *attention, int sums)
{
    rbe__attention_memory *memory = &gradients->attention;
    const rbe__attention_shape *shape = &attention->shape;
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
    if (shape->options.norms_after_rope) {
        memory->q_turned = take(gradients, n, shape->n_heads * dim);
        memory->k_turned = take(gradients, n, shape->n_kv_heads * dim);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    take_gates(gradients, attention);
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

static void take_cross(rbe_gradients *gradients, const rbe__attention_shape *shape)
{
    rbe__attention_memory *memory = &gradients->cross;
    const size_t n = gradients->most_tokens, width = gradients->stack->width, dim = shape->head_dim;
    float **const of_queries[] = {&memory->q, &memory->mixed, &memory->d_mixed, &memory->d_q, &memory->key_parts, &memory->value_parts};
    float **const of_keys[] = {&memory->k, &memory->v, &memory->d_k, &memory->d_v};
    float **const of_stream[] = {&memory->normed, &memory->branch, &gradients->crossed};
    for (size_t i = 0; i < sizeof of_queries / sizeof of_queries[0]; i++) {
        *of_queries[i] = take(gradients, n, shape->n_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_keys / sizeof of_keys[0]; i++) {
        *of_keys[i] = take(gradients, n, shape->n_kv_heads * dim);
    }
    for (size_t i = 0; i < sizeof of_stream / sizeof of_stream[0]; i++) {
        *of_stream[i] = take(gradients, n, width);
    }
}

static void take_convolution(rbe_gradients *gradients, uint32_t n_taps, int sums)
{
    rbe__convolution_memory *memory = &gradients->convolution;
    const size_t n = gradients->most_tokens, width = gradients->stack->width;
    float **const rows[] = {&memory->normed, &memory->branch, &memory->read, &memory->sum, &memory->mixed, &memory->d_mixed};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *rows[i] = take(gradients, n, width);
    }
    memory->thirds = take(gradients, n, 3 * width);
    memory->d_thirds = take(gradients, n, 3 * width);
    memory->d_taps = take(gradients, width, n_taps);
    memory->summed = sums ? take(gradients, n, width) : NULL;
}

static int has_inner_norm(const rbe__block *block)
{
    return (block->kind == &rbe__attention_kind      ? block->as.attention.inner_norm.weight
            : block->kind == &rbe__feed_forward_kind ? block->as.feed_forward.inner_norm.weight
                                                     : NULL) != NULL;
}

/* norms_inside: a norm stands before the last matrix. width_inside: of the widest feed-forward part or expert */
static void take_feed_forward(rbe_gradients *gradients, uint32_t width_inside, int sums, int norms_inside)
{
    rbe__feed_forward_memory *memory = &gradients->feed_forward;
    const size_t n = gradients->most_tokens, width = gradients->stack->width;
    float **const inner[] = {&memory->gate, &memory->up, &memory->active, &memory->d};
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) {
        *inner[i] = take(gradients, n, width_inside);
    }
    memory->normed = take(gradients, n, width);
    memory->branch = take(gradients, n, width);
    memory->summed = sums ? take(gradients, n, width) : NULL;
    memory->inner_normed = norms_inside ? take(gradients, n, width_inside) : NULL;
}

/* The first block of a kind; NULL: there is none. All of a kind have the same shapes but for their windows. */
static const rbe__block *block_of(const rbe__stack *stack, const rbe__block_kind *kind)
{
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        for (uint32_t b = 0; b < stack->layers[i].n_blocks; b++) {
            if (stack->layers[i].blocks[b].kind == kind) {
                return &stack->layers[i].blocks[b];
            }
        }
    }
    return NULL;
}

/* Of all layers: the widest feed-forward part or expert, and the experts of a layer that has some; NULL: none has. */
static uint32_t widest_inside(const rbe__stack *stack, const rbe__experts_shape **experts)
{
    uint32_t widest = 0;
    *experts = NULL;
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        const rbe__layer *layer = &stack->layers[i];
        const rbe__block *block = &layer->blocks[layer->n_blocks - 1];
        const int has_experts = block->kind == &rbe__experts_kind;
        const uint32_t width = has_experts ? block->as.experts.shape.width : block->as.feed_forward.shape.width;
        widest = width > widest ? width : widest;
        *experts = has_experts ? &block->as.experts.shape : *experts;
    }
    return widest;
}

/* Takes everything; called once to measure and once for real. */
static void take_all(rbe_gradients *gradients)
{
    const rbe__stack *stack = gradients->stack;
    const rbe__block *attention = block_of(stack, &rbe__attention_kind), *convolution = block_of(stack, &rbe__convolution_kind);
    const rbe__layer *layer = &stack->layers[stack->first_layer];
    const rbe__block *last = &layer->blocks[layer->n_blocks - 1];
    const rbe__attention_shape *heads = attention ? &attention->as.attention.shape : NULL;
    const rbe__experts_shape *experts;
    const uint32_t inner = widest_inside(stack, &experts);
    const size_t n = gradients->most_tokens, width = stack->width;
    gradients->middle = take(gradients, n, width);
    gradients->d_layer = layer->blocks[1].reads == RBE_READS_LAYER_INPUT ? take(gradients, n, width) : NULL;
    gradients->d_normed = take(gradients, n, width);
    gradients->d_branch = take(gradients, n, width);
    gradients->statistics = take(gradients, n, 2 * (heads ? (size_t)heads->n_heads : 1));
    size_t widest = largest(largest(stack->n_vocabulary, largest(inner, experts ? experts->n : 0)), convolution ? 3 * width : width);
    widest = largest(widest, heads ? (size_t)heads->n_heads * heads->head_dim : 0);
    gradients->vector = take(gradients, widest, 1);
    gradients->second_vector = take(gradients, widest, 1);
    const size_t angles = rbe__arena_count((size_t)stack->n_rope_tables * stack->rope_pairs, gradients->window_tokens);
    gradients->cosines = take(gradients, angles, 1);
    gradients->sines = take(gradients, angles, 1);
    gradients->back_sines = take(gradients, angles, 1);
    if (attention) {
        take_attention(gradients, &attention->as.attention, attention->stream_norm.weight != NULL);
    }
    if (convolution) {
        take_convolution(gradients, convolution->as.convolution.taps.weight->cols, convolution->stream_norm.weight != NULL);
    }
    if (stack->crosses) {
        take_cross(gradients, &layer->blocks[1].as.attention.shape);
    }
    take_feed_forward(gradients, inner, last->stream_norm.weight != NULL, has_inner_norm(last));
    if (experts) {
        rbe__experts_take_memory(gradients, experts);
    }
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
        for (size_t i = 0; gradients->tiles[t].ones && i < n; i++) {
            gradients->tiles[t].ones[i] = 1.0f;
        }
    }
}

/* ---- opening and closing --------------------------------------------------------------------------------------------- */

static int is_dense(const rbe__projection *projection)
{
    return !projection->weight || projection->weight->kind == RBE_KIND_F32;
}

static int is_dense_inside(const rbe__block *block)
{
    if (block->kind != &rbe__experts_kind) {
        const rbe__feed_forward_block *feed_forward = &block->as.feed_forward;
        return is_dense(&feed_forward->gate) && is_dense(&feed_forward->up) && is_dense(&feed_forward->down);
    }
    const rbe__experts_block *experts = &block->as.experts;
    int dense = is_dense(&experts->router);
    for (uint32_t e = 0; e < experts->shape.n; e++) {
        const rbe__expert *expert = &experts->shape.experts[e];
        dense &= is_dense(&expert->gate) && is_dense(&expert->up) && is_dense(&expert->down);
    }
    return dense;
}

static uint32_t gate_rows(const rbe__block *block)
{
    return block && block->as.attention.gate.weight ? block->as.attention.gate.weight->rows : 0;
}

/* What all layers of a model have in common: a norm of the stream behind their blocks, what the last block reads, and the size of the gates of
 * attention. */
typedef struct alike {
    int post_norms;
    rbe__block_input reads;
    uint32_t gate_rows;
    int norms_inside[2]; /* of attention, of what stands behind it */
} alike;

static int has_gradients(const rbe__block *block, const rbe__block_kind *kind, rbe__block_input reads, const alike *all)
{
    return block->kind == kind && block->reads == reads && !block->shares_state && (block->stream_norm.weight != NULL) == all->post_norms;
}

static int has_dense_matrices(const rbe__block *block)
{
    if (block->kind == &rbe__convolution_kind) {
        const rbe__convolution_block *convolution = &block->as.convolution;
        return is_dense(&convolution->in) && is_dense(&convolution->taps) && is_dense(&convolution->out);
    }
    if (block->kind == &rbe__attention_kind || block->kind == &rbe__cross_kind) {
        const rbe__attention_block *attention = &block->as.attention;
        return is_dense(&attention->q) && is_dense(&attention->k) && is_dense(&attention->v) && is_dense(&attention->o) &&
               is_dense(&attention->gate);
    }
    return is_dense_inside(block);
}

/* What layers of this format have: attention or a short convolution, where the stack crosses cross attention, and a feed-forward part or experts, one
 * after the other or, but for cross attention, side by side. */
static rbe_status check_layer(const rbe__stack *stack, uint32_t index, const alike *all)
{
    const rbe__layer *layer = &stack->layers[index];
    const rbe__block *first = &layer->blocks[0], *last = &layer->blocks[layer->n_blocks - 1];
    int is_known = layer->n_blocks == (stack->crosses ? 3 : 2) && !(stack->crosses && (all->post_norms || all->reads != RBE_READS_STREAM));
    is_known = is_known && (has_gradients(first, &rbe__convolution_kind, RBE_READS_STREAM, all) ||
                            (has_gradients(first, &rbe__attention_kind, RBE_READS_STREAM, all) && gate_rows(first) == all->gate_rows &&
                             has_inner_norm(first) == all->norms_inside[0]));
    is_known = is_known && (!stack->crosses || has_gradients(&layer->blocks[1], &rbe__cross_kind, RBE_READS_STREAM, all));
    is_known = is_known &&
               (has_gradients(last, &rbe__feed_forward_kind, all->reads, all) || has_gradients(last, &rbe__experts_kind, all->reads, all));
    is_known = is_known && has_inner_norm(last) == all->norms_inside[1];
    if (!is_known) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u is made of blocks whose gradients this build does not compute", index);
    }
    if (!has_dense_matrices(first) || !has_dense_matrices(last) || (stack->crosses && !has_dense_matrices(&layer->blocks[1]))) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u has matrices that are not fp32; pack the model with --bits 32 for gradients",
                        index);
    }
    return RBE_OK;
}

static rbe_status check_model(const rbe__stack *stack)
{
    const rbe__layer *layer = &stack->layers[stack->first_layer];
    const rbe__block *attention = block_of(stack, &rbe__attention_kind);
    const alike all = {layer->blocks[0].stream_norm.weight != NULL,
                       layer->blocks[layer->n_blocks - 1].reads,
                       gate_rows(attention),
                       {attention && has_inner_norm(attention), has_inner_norm(&layer->blocks[layer->n_blocks - 1])}};
    for (uint32_t i = stack->first_layer; i < stack->end_layer; i++) {
        RBE_TRY(check_layer(stack, i, &all));
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
    RBE_TRY(rbe_model_verify(model, NULL, NULL));
    rbe_gradients_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    if (chosen.encoder && model->encoder.n_layers == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the model has no encoder in front of a decoder");
    }
    rbe_gradients *gradients = calloc(1, sizeof *gradients);
    if (!gradients) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for gradients");
    }
    gradients->model = model;
    gradients->stack = chosen.encoder ? &model->encoder : &model->stack;
    gradients->prefix = chosen.encoder ? "encoder." : "";
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
    gradients->text = NULL;
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
