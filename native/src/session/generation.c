#include "session/generation.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "rbe/sampling.h"
#include "text/sampling.h"
#include "text/tokenizer/text_stream.h"

static const rbe_generation_event empty = {.struct_bytes = sizeof empty, .token = RBE_NO_TOKEN, .text = "", .rest = ""};

/* Tokens that are already in the context count for the repetition penalty. A context of BOS alone is the beginning of a text. */
static rbe_status begin(rbe_generation *generation)
{
    const rbe_session *session = generation->session;
    for (uint32_t i = 0; generation->own_sampler && i < session->position; i++) { /* it keeps the latest ones itself */
        RBE_TRY(rbe_sampler_accept(generation->sampler, session->tokens[i]));
    }
    if (session->position == 1) {
        const char *text;
        size_t bytes;
        int stopped;
        RBE_TRY(rbe_token_bytes(rbe_model_tokenizer(session->model), session->tokens[0], 0, &text, &bytes));
        if (bytes == 0) {
            RBE_TRY(rbe_text_stream_push(generation->stream, session->tokens[0], &text, &bytes, &stopped));
        }
    }
    return RBE_OK;
}

static rbe_status create_into(rbe_generation *generation, const rbe_generation_options *options)
{
    const rbe_session *session = generation->session;
    const uint32_t n_vocabulary = session->pass.stack->n_vocabulary;
    generation->pending = RBE_NO_TOKEN;
    generation->max_tokens = options->max_tokens;
    generation->ignore_end = options->ignore_end != 0;
    generation->draw = options->draw;
    generation->draw_user = options->draw_user;
    if (options->sampler && rbe__sampler_vocabulary(options->sampler) != n_vocabulary) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "the sampler is one of %u tokens, and the vocabulary has %u",
                        rbe__sampler_vocabulary(options->sampler), n_vocabulary);
    }
    if (!options->sampler) {
        RBE_TRY(rbe_sampler_create(n_vocabulary, options->sampling, &generation->own_sampler));
    }
    generation->sampler = options->sampler ? options->sampler : generation->own_sampler;
    RBE_TRY(rbe_text_stream_create(rbe_model_tokenizer(session->model), options->stops, options->n_stops, &generation->stream));
    if (options->draw) {
        generation->logits = malloc(n_vocabulary * sizeof *generation->logits);
        if (!generation->logits) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for a generation");
        }
    }
    return begin(generation);
}

rbe_status rbe_generation_create(rbe_session *session, const rbe_generation_options *options, rbe_generation **out)
{
    if (!session || !out) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "rbe_generation_create: session or out is NULL");
    }
    *out = NULL;
    rbe_generation_options chosen = {0};
    RBE_TRY(rbe__copy_options(&chosen, sizeof chosen, options));
    if (!rbe_model_tokenizer(session->model)) {
        return rbe_fail(RBE_ERROR_UNSUPPORTED, "the model's file holds no tokenizer, so its tokens are no text");
    }
    rbe_generation *generation = calloc(1, sizeof *generation);
    if (!generation) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a generation");
    }
    generation->session = session;
    const rbe_status status = create_into(generation, &chosen);
    if (status != RBE_OK) {
        rbe_generation_free(generation);
        return status;
    }
    *out = generation;
    return RBE_OK;
}

rbe_sampler *rbe_generation_sampler(rbe_generation *generation)
{
    return generation ? generation->sampler : NULL;
}

void rbe_generation_free(rbe_generation *generation)
{
    if (generation) {
        rbe_sampler_free(generation->own_sampler);
        rbe_text_stream_free(generation->stream);
        free(generation->logits);
        free(generation->text);
        free(generation);
    }
}

/* Takes the memory of a draw. Behind it nothing allocates: a token that was drawn is not lost, and what was held back neither. */
static rbe_status reserve(rbe_generation *generation)
{
    size_t most;
    RBE_TRY(rbe__text_stream_reserve(generation->stream, &most));
    if (most > generation->text_capacity) {
        char *grown = realloc(generation->text, most);
        if (!grown) {
            return rbe_fail(RBE_ERROR_MEMORY, "no memory for a token's text");
        }
        generation->text = grown;
        generation->text_capacity = most;
    }
    return RBE_OK;
}

/* The text of the last token, copied because what the stream gives next takes its place; then what was held back. */
static rbe_status finish(rbe_generation *generation, rbe_finish reason, rbe_generation_event *event)
{
    if (reason != RBE_FINISH_CALLER) { /* no answer ends well before that is known */
        RBE_TRY(rbe_model_verify(generation->session->model, NULL, NULL));
    }
    generation->has_ended = 1;
    event->finish = reason;
    if (reason == RBE_FINISH_STOP) { /* what is held back stands behind the stop sequence */
        return RBE_OK;
    }
    if (event->text_bytes) {
        memcpy(generation->text, event->text, event->text_bytes);
        event->text = generation->text;
    }
    return rbe_text_stream_finish(generation->stream, &event->rest, &event->rest_bytes);
}

/* *token stays RBE_NO_TOKEN where the callback ended it. */
static rbe_status draw(rbe_generation *generation, const float *logits, uint32_t *token)
{
    *token = RBE_NO_TOKEN;
    if (!generation->draw) {
        return rbe_sampler_draw(generation->sampler, logits, token);
    }
    const uint32_t n_vocabulary = generation->session->pass.stack->n_vocabulary;
    memcpy(generation->logits, logits, n_vocabulary * sizeof *logits);
    generation->in_callback = 1;
    const int ended = generation->draw(generation->logits, n_vocabulary, generation->sampler, token, generation->draw_user);
    generation->in_callback = 0;
    if (ended) {
        *token = RBE_NO_TOKEN;
        return RBE_OK;
    }
    if (*token != RBE_NO_TOKEN) {
        return *token < n_vocabulary
                   ? RBE_OK
                   : rbe_fail(RBE_ERROR_ARGUMENT, "the callback chose token %u, and the vocabulary has %u", *token, n_vocabulary);
    }
    return rbe_sampler_draw(generation->sampler, generation->logits, token);
}

rbe_status rbe__generation_draw(rbe_generation *generation, const float *logits, rbe_generation_event *event)
{
    *event = empty;
    logits = logits ? logits : rbe_session_logits(generation->session);
    if (generation->has_ended || !logits) {
        return rbe_fail(RBE_ERROR_ARGUMENT, generation->has_ended ? "the generation has ended"
                                                                  : "there are no logits before the first token, or after a rewind");
    }
    uint32_t token;
    int stopped;
    RBE_TRY(rbe__session_right(generation->session));
    RBE_TRY(reserve(generation));
    RBE_TRY(draw(generation, logits, &token));
    generation->pending = RBE_NO_TOKEN;
    event->token = token;
    if (token == RBE_NO_TOKEN) {
        return finish(generation, RBE_FINISH_CALLER, event);
    }
    if (!generation->ignore_end && rbe_token_ends_text(rbe_model_tokenizer(generation->session->model), token)) {
        return finish(generation, RBE_FINISH_END, event);
    }
    generation->n_generated++;
    RBE_TRY(rbe_sampler_accept(generation->sampler, token));
    RBE_TRY(rbe_text_stream_push(generation->stream, token, &event->text, &event->text_bytes, &stopped));
    if (stopped) {
        return finish(generation, RBE_FINISH_STOP, event);
    }
    if (generation->n_generated == generation->max_tokens) {
        return finish(generation, RBE_FINISH_LENGTH, event);
    }
    generation->pending = token;
    return RBE_OK;
}

rbe_status rbe__generation_end(rbe_generation *generation, rbe_finish reason, rbe_generation_event *event)
{
    *event = empty;
    RBE_TRY(reserve(generation));
    generation->pending = RBE_NO_TOKEN;
    return finish(generation, reason, event);
}

static rbe_status check_call(const char *function, const rbe_generation *generation, const rbe_generation_event *event)
{
    RBE_TRY(rbe__check_info(function, event));
    if (!generation || generation->has_ended || generation->in_callback) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "%s: the generation %s", function,
                        !generation             ? "is NULL"
                        : generation->has_ended ? "has ended"
                                                : "is in its callback");
    }
    return RBE_OK;
}

rbe_status rbe_generation_next(rbe_generation *generation, const float *logits, rbe_generation_event *event)
{
    rbe_generation_event drawn;
    RBE_TRY(check_call("rbe_generation_next", generation, event));
    RBE_TRY(rbe__generation_draw(generation, logits, &drawn));
    return rbe__give_info("rbe_generation_next", event, &drawn, sizeof drawn);
}

rbe_status rbe_generation_end(rbe_generation *generation, rbe_generation_event *event)
{
    rbe_generation_event last;
    RBE_TRY(check_call("rbe_generation_end", generation, event));
    RBE_TRY(rbe__generation_end(generation, RBE_FINISH_CALLER, &last));
    return rbe__give_info("rbe_generation_end", event, &last, sizeof last);
}

rbe_status rbe_generation_step(rbe_generation *generation, rbe_generation_event *event)
{
    rbe_generation_event drawn;
    RBE_TRY(check_call("rbe_generation_step", generation, event));
    rbe_status status = RBE_OK;
    if (generation->pending != RBE_NO_TOKEN) {
        status = rbe_session_append(generation->session, &generation->pending, 1, NULL, NULL);
        generation->pending = status == RBE_OK ? RBE_NO_TOKEN : generation->pending;
    }
    if (status == RBE_OK) {
        status = rbe__generation_draw(generation, NULL, &drawn);
    } else if (status == RBE_ERROR_CONTEXT) {
        status = rbe__generation_end(generation, RBE_FINISH_CONTEXT, &drawn);
    }
    RBE_TRY(status);
    return rbe__give_info("rbe_generation_step", event, &drawn, sizeof drawn);
}
