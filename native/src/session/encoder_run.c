/* Texts through the layers: several short ones in one pass, a long one layer by layer. */
#include <string.h>

#include "base/status.h"
#include "session/encoder.h"

/* A pass of n rows has room for the keys and values of texts of this many tokens and more; of shorter ones fewer run at once, since the keys of a
 * text take at least RBE_KV_BLOCK positions. */
#define SHORT_TEXT 8u

static rbe__state state_of(const rbe__stack *stack, uint32_t n_tokens)
{
    return rbe__state_of(stack, RBE_KV_F32, n_tokens);
}

size_t rbe__text_bytes(const rbe__stack *stack, uint32_t n_tokens)
{
    rbe__state state = state_of(stack, n_tokens);
    rbe__arena arena = {0};
    rbe__state_take_one_layer(&state, &arena);
    return arena.used;
}

size_t rbe__text_room_bytes(const rbe__stack *stack, uint32_t most_tokens)
{
    const size_t whole = rbe__text_bytes(stack, most_tokens), parts = rbe__arena_count(most_tokens / SHORT_TEXT, rbe__text_bytes(stack, 1));
    return parts > whole ? parts : whole;
}

static rbe_status check_text(const rbe_encoder *encoder, const rbe_encoder_text *text, size_t index)
{
    const rbe__config *config = &encoder->model->config;
    if (!text->tokens || text->n_tokens == 0) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "text %zu has no tokens", index);
    }
    if (text->n_tokens > config->context) {
        return rbe_fail(RBE_ERROR_CONTEXT, "text %zu has %zu tokens, and the model takes at most %u", index, text->n_tokens,
                        config->context);
    }
    const uint32_t n_segments = config->encoder.n_segments ? config->encoder.n_segments : 1;
    for (size_t i = 0; i < text->n_tokens; i++) {
        if (text->tokens[i] >= config->n_vocabulary) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "text %zu: token %u is not in the vocabulary of %u", index, text->tokens[i],
                            config->n_vocabulary);
        }
        if (text->segments && text->segments[i] >= n_segments) {
            return rbe_fail(RBE_ERROR_ARGUMENT, "text %zu: segment %u, and the model knows %u", index, text->segments[i], n_segments);
        }
    }
    return RBE_OK;
}

/* Texts from `first` on that one pass takes, with their states and tokens; how many. The first one fits. */
static size_t gather(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t first, size_t n)
{
    const rbe__stack *stack = encoder->pass.stack;
    const uint32_t most = encoder->pass.workspace.most_tokens;
    rbe__arena *arena = &encoder->room.arena;
    uint32_t rows = 0;
    size_t count = 0;
    arena->used = 0;
    for (; first + count < n; count++) {
        const rbe_encoder_text *text = &texts[first + count];
        if (text->n_tokens > most - rows || rbe__text_bytes(stack, (uint32_t)text->n_tokens) > encoder->room.bytes - arena->used) {
            break;
        }
        const uint32_t n_tokens = (uint32_t)text->n_tokens;
        encoder->states[count] = state_of(stack, n_tokens);
        rbe__state_take_one_layer(&encoder->states[count], arena);
        encoder->runs[count] = (rbe__run){&encoder->states[count], 0, n_tokens};
        memcpy(encoder->tokens + rows, text->tokens, n_tokens * sizeof *encoder->tokens);
        memset(encoder->segments + rows, 0, n_tokens);
        if (text->segments) {
            memcpy(encoder->segments + rows, text->segments, n_tokens);
        }
        rows += n_tokens;
    }
    return count;
}

static rbe_status run_short(rbe_encoder *encoder, uint32_t n_runs)
{
    rbe__pass *pass = &encoder->pass;
    rbe__pass_begin(pass, encoder->runs, n_runs);
    rbe__pass_embed(pass, encoder->tokens, encoder->segments);
    RBE_TRY(rbe__pass_layers(pass, 0, pass->stack->n_layers));
    rbe__pass_norm(pass);
    return RBE_OK;
}

/* A text in parts of at most a pass, all about as long. */
typedef struct long_text {
    const rbe_encoder_text *text;
    rbe__state state;
    float *rows; /* [n_tokens][width] */
    uint32_t n_parts;
} long_text;

typedef enum part_work { PART_EMBED, PART_FILL, PART_LAYER, PART_NORM } part_work;

static rbe_status run_part(rbe_encoder *encoder, long_text *text, uint32_t part, part_work work, uint32_t layer)
{
    rbe__pass *pass = &encoder->pass;
    const uint32_t n = (uint32_t)text->text->n_tokens, first = rbe__balanced(part, n, text->n_parts);
    const rbe__run run = {&text->state, first, rbe__balanced(part + 1, n, text->n_parts) - first};
    const size_t width = pass->stack->width, bytes = run.n_tokens * width * sizeof(float);
    float *rows = text->rows + first * width;
    rbe__pass_begin(pass, &run, 1);
    if (work != PART_EMBED) {
        memcpy(pass->hidden, rows, bytes);
    }
    switch (work) {
    case PART_EMBED: rbe__pass_embed(pass, text->text->tokens + first, text->text->segments ? text->text->segments + first : NULL); break;
    case PART_FILL: return rbe__pass_fill(pass, layer);
    case PART_LAYER:
        pass->filled_positions = n;
        const rbe_status status = rbe__pass_layers(pass, layer, layer + 1);
        pass->filled_positions = 0;
        RBE_TRY(status);
        break;
    case PART_NORM: rbe__pass_norm(pass); break;
    }
    memcpy(rows, work == PART_NORM ? pass->normed : pass->hidden, bytes);
    return RBE_OK;
}

static rbe_status run_parts(rbe_encoder *encoder, long_text *text, part_work work, uint32_t layer)
{
    for (uint32_t part = 0; part < text->n_parts; part++) {
        RBE_TRY(run_part(encoder, text, part, work, layer));
    }
    return RBE_OK;
}

/* A layer's keys and values of all tokens first, since each token sees all of them. */
static rbe_status run_layers(rbe_encoder *encoder, long_text *text, rbe_progress_callback progress, uint64_t done, uint64_t total,
                             void *user)
{
    const uint32_t n_layers = encoder->pass.stack->n_layers;
    RBE_TRY(run_parts(encoder, text, PART_EMBED, 0));
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        RBE_TRY(run_parts(encoder, text, PART_FILL, layer));
        RBE_TRY(run_parts(encoder, text, PART_LAYER, layer));
        const uint64_t tokens = done + (uint64_t)text->text->n_tokens * (layer + 1) / n_layers;
        if (progress && layer + 1 < n_layers && progress(tokens, total, user)) {
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
    }
    return run_parts(encoder, text, PART_NORM, 0);
}

/* What a call counts. */
typedef struct encode_call {
    const rbe_encoder_text *texts;
    rbe__encoded_visit *visit;
    void *context;
    rbe_progress_callback progress;
    void *user;
    uint64_t done, total; /* tokens */
} encode_call;

static void take_long(const rbe_encoder *encoder, long_text *text, rbe__arena *arena)
{
    rbe__state_take_one_layer(&text->state, arena);
    text->rows = rbe__arena_take(arena, rbe__arena_count(text->text->n_tokens, encoder->pass.stack->width), sizeof(float));
}

static rbe_status run_long(rbe_encoder *encoder, const encode_call *call, size_t index)
{
    const rbe_encoder_text *text = &call->texts[index];
    const uint32_t n = (uint32_t)text->n_tokens, most = encoder->pass.workspace.most_tokens;
    long_text run = {.text = text, .state = state_of(encoder->pass.stack, n), .n_parts = (n - 1) / most + 1};
    rbe__arena arena = {0};
    size_t bytes;
    take_long(encoder, &run, &arena);
    if (rbe__arena_from_model(encoder->model, &arena, &bytes) != RBE_OK) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for text %zu of %u tokens", index, n);
    }
    take_long(encoder, &run, &arena);
    rbe_status status = run_layers(encoder, &run, call->progress, call->done, call->total, call->user);
    if (status == RBE_OK) {
        const rbe__encoded encoded = {call->texts, index, 1, run.rows};
        status = call->visit(encoder, &encoded, call->context);
    }
    rbe__memory_pool_give(encoder->model->memory, arena.memory, bytes);
    return status;
}

static rbe_status run_next(rbe_encoder *encoder, encode_call *call, size_t first, size_t n, size_t *count)
{
    if (call->texts[first].n_tokens > encoder->pass.workspace.most_tokens) {
        *count = 1;
        return run_long(encoder, call, first);
    }
    *count = gather(encoder, call->texts, first, n);
    RBE_TRY(run_short(encoder, (uint32_t)*count));
    const rbe__encoded encoded = {call->texts, first, *count, encoder->pass.normed};
    return call->visit(encoder, &encoded, call->context);
}

rbe_status rbe__encode_texts(rbe_encoder *encoder, const rbe_encoder_text *texts, size_t n, rbe__encoded_visit *visit, void *context,
                             rbe_progress_callback progress, void *user)
{
    encode_call call = {texts, visit, context, progress, user, 0, 0};
    for (size_t i = 0; i < n; i++) {
        RBE_TRY(check_text(encoder, &texts[i], i));
        call.total += texts[i].n_tokens;
    }
    for (size_t first = 0, count = 0; first < n; first += count) {
        RBE_TRY(run_next(encoder, &call, first, n, &count));
        for (size_t i = first; i < first + count; i++) {
            call.done += texts[i].n_tokens;
        }
        const int stop = progress && progress(call.done, call.total, user);
        if (stop && first + count < n) {
            return rbe_fail(RBE_ERROR_CANCELLED, "cancelled");
        }
    }
    return RBE_OK;
}
