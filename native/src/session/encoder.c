#include "session/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "blocks/encoder_ends.h"

#define MOST_TOKENS 512u

/* Takes everything; called once to measure and once for real. */
static void take_all(rbe_encoder *encoder)
{
    rbe__arena *arena = &encoder->arena;
    const rbe__stack *stack = encoder->pass.stack;
    const size_t most = encoder->pass.workspace.most_tokens;
    rbe__pass_take(&encoder->pass, arena);
    encoder->tokens = rbe__arena_take(arena, most, sizeof *encoder->tokens);
    encoder->segments = rbe__arena_take(arena, most, 1);
    encoder->runs = rbe__arena_take(arena, most, sizeof *encoder->runs);
    encoder->states = rbe__arena_take(arena, most, sizeof *encoder->states);
    for (int i = 0; i < 2; i++) {
        encoder->pooled[i] = rbe__arena_take(arena, rbe__arena_count(most, rbe__pooled_widest(stack)), sizeof(float));
    }
    encoder->sums = rbe__arena_take(arena, stack->width, sizeof *encoder->sums);
    encoder->room.arena.memory = rbe__arena_take(arena, encoder->room.bytes, 1);
}

static rbe_status check_options(const rbe_model *model, rbe_encoder_options *options)
{
    const rbe__config *config = &model->config;
    const int several_kinds = config->convolution_taps || config->recurrence.taps;
    if (config->layers.several || several_kinds || config->layers.embedding_width) { /* all layers share the memory of one */
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "texts are not encoded by models with layers of several shapes or kinds, or layer "
                                               "embeddings; a session's hidden states are");
    }
    rbe__choose_for_cores(&options->n_threads, &options->pass_tokens);
    if (options->n_threads > RBE_MAX_THREADS || options->pass_tokens > MOST_TOKENS || options->pooling > RBE_POOLING_MAX) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads must be at most %u, pass_tokens at most %u, pooling at most %u", RBE_MAX_THREADS,
                        MOST_TOKENS, (unsigned)RBE_POOLING_MAX);
    }
    if (options->pass_tokens > config->context) {
        options->pass_tokens = config->context;
    }
    return rbe__check_layers(model);
}

/* Of an encoder-decoder the encoder's. */
static const rbe__stack *stack_of(const rbe_model *model)
{
    return model->encoder.layers ? &model->encoder : &model->stack;
}

static rbe_status create_into(rbe_encoder *encoder, const rbe_encoder_options *options)
{
    const rbe__stack *stack = stack_of(encoder->model);
    uint32_t planes[RBE_PLANES_KINDS];
    encoder->pooling = options->pooling ? options->pooling : stack->pooled.pooling;
    RBE_TRY(rbe__choose_planes(options->n_planes, options->planes, planes));
    RBE_TRY(rbe__pass_open(&encoder->pass, stack, options->pass_tokens, options->pass_tokens, options->n_threads, options->profile != 0));
    encoder->pass.logits_rows = 1; /* logits are written where the caller wants them */
    encoder->room.bytes = rbe__text_room_bytes(stack, options->pass_tokens);
    take_all(encoder);
    RBE_TRY(rbe__arena_from_model(encoder->model, &encoder->arena, &encoder->arena_bytes));
    take_all(encoder);
    rbe__effort_set(&encoder->pass.effort, stack->n_layers, planes);
    return RBE_OK;
}

rbe_status rbe_encoder_create(const rbe_model *model, const rbe_encoder_options *options, rbe_encoder **out)
{
    if (!model || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encoder_create: model or out is NULL");
    }
    *out = NULL;
    rbe_encoder_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    RBE_TRY(check_options(model, &chosen));
    rbe_encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for an encoder");
    }
    encoder->model = model;
    const rbe_status status = create_into(encoder, &chosen);
    if (status != RBE_OK) {
        rbe_encoder_free(encoder);
        return status;
    }
    *out = encoder;
    return RBE_OK;
}

uint64_t rbe__encoder_measure(const rbe_model *model, uint32_t most_tokens, uint32_t n_threads, uint32_t n_tokens)
{
    const rbe__stack *stack = stack_of(model);
    rbe_encoder measured = {.model = model, .room = {.bytes = rbe__text_room_bytes(stack, most_tokens)}};
    rbe__pass_plan(&measured.pass, stack, most_tokens, most_tokens, n_threads, 0);
    take_all(&measured);
    const uint64_t rows = (uint64_t)n_tokens * stack->width * sizeof(float);
    return measured.arena.used + (n_tokens > most_tokens ? rbe__text_bytes(stack, n_tokens) + rows : 0);
}

void rbe_encoder_free(rbe_encoder *encoder)
{
    if (encoder) {
        rbe__pass_close(&encoder->pass);
        rbe__memory_pool_give(encoder->model->memory, encoder->arena.memory, encoder->arena_bytes);
        free(encoder);
    }
}

static size_t tokens_of(const rbe__encoded *encoded)
{
    size_t n = 0;
    for (size_t i = 0; i < encoded->n; i++) {
        n += encoded->texts[encoded->first + i].n_tokens;
    }
    return n;
}

static rbe_status copy_hidden(rbe_encoder *encoder, const rbe__encoded *encoded, void *context)
{
    float **to = context;
    const size_t n = tokens_of(encoded) * encoder->pass.stack->width;
    memcpy(*to, encoded->rows, n * sizeof **to);
    *to += n;
    return RBE_OK;
}

rbe_status rbe_encoder_hidden(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, float *hidden, rbe_progress_callback progress,
                              void *user)
{
    if (!encoder || (n && (!texts || !hidden))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encoder_hidden: encoder, texts or hidden is NULL");
    }
    RBE_TRY(rbe__encode_texts(encoder, texts, n, copy_hidden, &hidden, progress, user));
    return rbe_model_verify(encoder->model, NULL, NULL);
}

static rbe_status pool(rbe_encoder *encoder, const rbe__encoded *encoded, void *context)
{
    float **to = context;
    const uint32_t width = encoder->pass.stack->width;
    const float *rows = encoded->rows;
    for (size_t i = 0; i < encoded->n; i++) {
        const size_t n_tokens = encoded->texts[encoded->first + i].n_tokens;
        rbe__pool_rows(encoder->pooling, rows, n_tokens, width, encoder->sums, encoder->pooled[0] + i * width);
        rows += n_tokens * width;
    }
    rbe__pass_pooled(&encoder->pass, (uint32_t)encoded->n, encoder->pooled[0], encoder->pooled[1], *to);
    *to += encoded->n * rbe__pooled_width(encoder->pass.stack);
    return RBE_OK;
}

rbe_status rbe_encoder_pool(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, float *pooled, rbe_progress_callback progress,
                            void *user)
{
    if (!encoder || (n && (!texts || !pooled))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encoder_pool: encoder, texts or pooled is NULL");
    }
    if (encoder->pooling == RBE_POOLING_NONE) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED,
                        "the model's file does not say which vector stands for a text; choose a pooling: mean, last, cls or max");
    }
    RBE_TRY(rbe__encode_texts(encoder, texts, n, pool, &pooled, progress, user));
    return rbe_model_verify(encoder->model, NULL, NULL);
}

typedef struct words_call {
    const uint32_t *positions;
    size_t n;
    float *logits;
} words_call;

static rbe_status give_words(rbe_encoder *encoder, const rbe__encoded *encoded, void *context)
{
    const words_call *call = context;
    rbe__pass *pass = &encoder->pass;
    const size_t width = pass->stack->width, n_vocabulary = pass->stack->n_vocabulary;
    const uint32_t most = pass->workspace.most_tokens;
    const float *rows = encoded->rows;
    if (rows == pass->normed) { /* which the head writes to */
        rows = memcpy(encoder->pooled[0], rows, tokens_of(encoded) * width * sizeof(float));
    }
    for (size_t done = 0; done < call->n;) {
        const uint32_t count = call->n - done < most ? (uint32_t)(call->n - done) : most;
        for (uint32_t i = 0; i < count; i++) {
            memcpy(pass->hidden + i * width, rows + call->positions[done + i] * width, width * sizeof(float));
        }
        rbe__pass_word_head(pass, count);
        rbe__pass_logits(pass, 0, count, call->logits + done * n_vocabulary);
        done += count;
    }
    return RBE_OK;
}

rbe_status rbe_encoder_word_logits(rbe_encoder *encoder, const rbe_encoder_text *text, const uint32_t *positions, size_t n, float *logits)
{
    if (!encoder || !text || (n && (!positions || !logits))) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encoder_word_logits: encoder, text, positions or logits is NULL");
    }
    if (encoder->model->config.encoder.head_kind != RBE_HEAD_MASKED) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model has no head that fills in words");
    }
    for (size_t i = 0; i < n; i++) {
        if (positions[i] >= text->n_tokens) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "position %u of a text of %zu tokens", positions[i], text->n_tokens);
        }
    }
    words_call call = {positions, n, logits};
    RBE_TRY(rbe__encode_texts(encoder, text, 1, give_words, &call, NULL, NULL));
    return rbe_model_verify(encoder->model, NULL, NULL);
}

void rbe_encoder_cancel(rbe_encoder *encoder)
{
    if (encoder) {
        rbe__pass_cancel(&encoder->pass);
    }
}

void rbe_encoder_uncancel(rbe_encoder *encoder)
{
    if (encoder) {
        (void)rbe__pass_take_cancelled(&encoder->pass);
    }
}

rbe_status rbe_encoder_get_profile(const rbe_encoder *encoder, rbe_profile_entry *entries, size_t capacity, size_t *n_entries)
{
    if (!encoder || !n_entries || (capacity && !entries) || !encoder->pass.workspace.profile) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_encoder_get_profile: an encoder made with `profile` and room for its entries are needed");
    }
    return rbe__pass_entries(&encoder->pass, entries, capacity, n_entries);
}
