/* rbe_gradients: opening and closing, and what every call begins and ends with. */
#include "gradients/gradients.h"

#include <stdlib.h>

#include "base/status.h"
#include "model/model.h"

#define DEFAULT_TOKENS 512u
#define MOST_TOKENS 65536u

/* ---- opening and closing --------------------------------------------------------------------------------------------- */

static int is_dense(const rbe__projection *projection)
{
    return !projection->weight || projection->weight->kind == RBE_KIND_F32;
}

static int is_dense_inside(const rbe__block *block)
{
    const rbe__experts_block *experts = block->kind == &rbe__experts_kind ? &block->as.experts : NULL;
    const rbe__feed_forward_block *feed_forward = experts ? &experts->shared : &block->as.feed_forward;
    int dense = is_dense(&feed_forward->gate) && is_dense(&feed_forward->up) && is_dense(&feed_forward->down);
    if (!experts) {
        return dense;
    }
    dense &= is_dense(&experts->router) && is_dense(&experts->share);
    for (uint32_t e = 0; e < experts->shape.n; e++) {
        const rbe__expert *expert = &experts->shape.experts[e];
        dense &= is_dense(&expert->gate) && is_dense(&expert->up) && is_dense(&expert->down);
    }
    return dense;
}

static int is_dense_recurrence(const rbe__recurrence_block *of)
{
    const rbe__projection *const all[] = {&of->q,      &of->k,      &of->v,     &of->gate, &of->q_taps,
                                          &of->k_taps, &of->v_taps, &of->decay, &of->beta, &of->o};
    int dense = 1;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        dense &= is_dense(all[i]);
    }
    return dense;
}

static uint32_t gate_rows(const rbe__block *block)
{
    return block && block->as.attention.gate.weight ? block->as.attention.gate.weight->rows : 0;
}

/* What all layers of a model have in common: a norm of the stream behind their blocks, what the feed-forward part reads, and the size of the gates of
 * attention. */
typedef struct alike {
    int post_norms;
    rbe__block_input reads;
    uint32_t gate_rows;
} alike;

static int has_gradients(const rbe__block *block, const rbe__block_kind *kind, rbe__block_input reads, const alike *all)
{
    return block->kind == kind && block->reads == reads && (!block->shares_state || block->stream_at) &&
           (block->stream_norm.weight != NULL) == all->post_norms;
}

static int has_dense_matrices(const rbe__block *block)
{
    if (block->kind == &rbe__convolution_kind) {
        const rbe__convolution_block *convolution = &block->as.convolution;
        return is_dense(&convolution->in) && is_dense(&convolution->taps) && is_dense(&convolution->out);
    }
    if (block->kind == &rbe__recurrence_kind) {
        return is_dense_recurrence(&block->as.recurrence);
    }
    if (block->kind == &rbe__attention_kind || block->kind == &rbe__cross_kind) {
        const rbe__attention_block *attention = &block->as.attention;
        return is_dense(&attention->q) && is_dense(&attention->k) && is_dense(&attention->v) && is_dense(&attention->o) &&
               is_dense(&attention->gate);
    }
    if (block->kind == &rbe__layer_embedding_kind) {
        return is_dense(&block->as.layer_embedding.gate) && is_dense(&block->as.layer_embedding.output);
    }
    return is_dense_inside(block);
}

/* The block number of the feed-forward part or the experts. */
static uint32_t inner_of(const rbe__stack *stack)
{
    return stack->crosses ? 2 : 1;
}

/* The blocks after the first one, up to the layer embedding that may be the last. */
static int has_known_rest(const rbe__stack *stack, const rbe__layer *layer, const alike *all)
{
    const uint32_t at = inner_of(stack);
    if (layer->n_blocks <= at || layer->n_blocks > 3) {
        return 0;
    }
    const rbe__block *inner = &layer->blocks[at];
    const int adds_embedding = layer->n_blocks == at + 2;
    if ((stack->crosses || adds_embedding) && (all->post_norms || all->reads != RBE_READS_STREAM)) {
        return 0;
    }
    return (!stack->crosses || has_gradients(&layer->blocks[1], &rbe__cross_kind, RBE_READS_STREAM, all)) &&
           (has_gradients(inner, &rbe__feed_forward_kind, all->reads, all) || has_gradients(inner, &rbe__experts_kind, all->reads, all)) &&
           (!adds_embedding || has_gradients(&layer->blocks[at + 1], &rbe__layer_embedding_kind, RBE_READS_STREAM, all));
}

/* What layers of this format have: attention, a short convolution or a recurrence, where the stack crosses cross attention, a feed-forward part or
 * experts, one after the other or side by side, and behind blocks one after the other a layer embedding. */
static rbe_status check_layer(const rbe__stack *stack, uint32_t index, const alike *all)
{
    const rbe__layer *layer = &stack->layers[index];
    const rbe__block *first = &layer->blocks[0];
    const int is_known = (has_gradients(first, &rbe__convolution_kind, RBE_READS_STREAM, all) ||
                          has_gradients(first, &rbe__recurrence_kind, RBE_READS_STREAM, all) ||
                          (has_gradients(first, &rbe__attention_kind, RBE_READS_STREAM, all) && gate_rows(first) == all->gate_rows)) &&
                         has_known_rest(stack, layer, all);
    if (!is_known) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u is made of blocks whose gradients this build does not compute", index);
    }
    for (uint32_t b = 0; b < layer->n_blocks; b++) {
        if (!has_dense_matrices(&layer->blocks[b])) {
            return rbe_fail(RBE_ERROR_UNSUPPORTED, "layer %u has matrices that are not fp32; pack the model with --bits 32 for gradients",
                            index);
        }
    }
    return RBE_OK;
}

static rbe_status check_model(const rbe__stack *stack)
{
    const rbe__layer *layer = &stack->layers[stack->first_layer];
    const alike all = {layer->blocks[0].stream_norm.weight != NULL, layer->blocks[inner_of(stack)].reads,
                       gate_rows(rbe__first_block(stack, &rbe__attention_kind))};
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
    rbe__gradients_take(gradients);
    const size_t bytes = gradients->arena.used;
    if (rbe__arena_allocate(&gradients->arena) != 0) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for gradients of %zu MB; choose fewer tokens at once than %u", bytes >> 20,
                        gradients->most_tokens);
    }
    rbe__gradients_take(gradients);
    rbe__gradients_fill(gradients);
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
