/* Generations: the tokens and the text of drawing, appending and detokenizing by hand, alone and in a batch; every way to end; the callback. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/rbe.h"

#define CONTEXT 24u
#define N_PROMPT 4u

typedef struct taken {
    uint32_t tokens[CONTEXT];
    uint32_t n_tokens, finish;
    char text[1024];
    size_t bytes;
} taken;

static void take_text(taken *out, const char *text, size_t bytes)
{
    bytes = bytes < sizeof out->text - out->bytes ? bytes : sizeof out->text - out->bytes;
    if (bytes) {
        memcpy(out->text + out->bytes, text, bytes);
    }
    out->bytes += bytes;
}

static void take_event(taken *out, const rbe_generation_event *event)
{
    if (event->token != RBE_NO_TOKEN && event->finish != RBE_FINISH_END && out->n_tokens < CONTEXT) {
        out->tokens[out->n_tokens++] = event->token;
    }
    take_text(out, event->text, event->text_bytes);
    take_text(out, event->rest, event->rest_bytes);
    out->finish = event->finish;
}

static rbe_session *open_session(const rbe_model *model, uint32_t first, uint32_t n_vocabulary)
{
    rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = 1};
    rbe_session *session = NULL;
    uint32_t prompt[N_PROMPT];
    for (uint32_t i = 0; i < N_PROMPT; i++) {
        prompt[i] = (first + 5 * i) % n_vocabulary;
    }
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_append(session, prompt, N_PROMPT, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static rbe_generation_options options_of(uint64_t seed, uint32_t max_tokens)
{
    rbe_generation_options options = {.struct_bytes = sizeof options, .max_tokens = max_tokens, .ignore_end = 1};
    static rbe_sampling_options by_seed[16]; /* they outlive the options, which point to them */
    by_seed[seed] = (rbe_sampling_options){.struct_bytes = sizeof *by_seed, .temperature = 1, .repeat_penalty = 1.2f, .seed = seed};
    options.sampling = &by_seed[seed];
    return options;
}

static taken generate(rbe_session *session, const rbe_generation_options *options)
{
    taken out = {0};
    rbe_generation *generation = NULL;
    rbe_generation_event event = {.struct_bytes = sizeof event};
    CHECK(rbe_generation_create(session, options, &generation) == RBE_OK, "%s", rbe_last_error());
    while (generation && out.finish == RBE_FINISH_NONE) {
        if (rbe_generation_step(generation, &event) != RBE_OK) {
            CHECK(0, "%s", rbe_last_error());
            break;
        }
        take_event(&out, &event);
    }
    CHECK(rbe_generation_step(generation, &event) == RBE_ERROR_ARGUMENT, "a step behind the end");
    rbe_generation_free(generation);
    return out;
}

/* The same by hand. */
static taken by_hand(rbe_session *session, const rbe_generation_options *options, uint32_t n_vocabulary, const rbe_tokenizer *tokenizer)
{
    taken out = {0};
    rbe_sampler *sampler = NULL;
    rbe_text_stream *stream = NULL;
    const char *text;
    size_t bytes, n;
    int stopped;
    CHECK(rbe_sampler_create(n_vocabulary, options->sampling, &sampler) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_text_stream_create(tokenizer, NULL, 0, &stream) == RBE_OK, "%s", rbe_last_error());
    const uint32_t *context = rbe_session_tokens(session, &n);
    for (size_t i = 0; i < n; i++) {
        CHECK(rbe_sampler_accept(sampler, context[i]) == RBE_OK, "accept");
    }
    while (out.n_tokens < options->max_tokens) {
        uint32_t token = 0;
        CHECK(rbe_sampler_draw(sampler, rbe_session_logits(session), &token) == RBE_OK, "%s", rbe_last_error());
        out.tokens[out.n_tokens++] = token;
        CHECK(rbe_sampler_accept(sampler, token) == RBE_OK, "accept");
        CHECK(rbe_text_stream_push(stream, token, &text, &bytes, &stopped) == RBE_OK, "%s", rbe_last_error());
        take_text(&out, text, bytes);
        if (out.n_tokens < options->max_tokens) {
            CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        }
    }
    CHECK(rbe_text_stream_finish(stream, &text, &bytes) == RBE_OK, "%s", rbe_last_error());
    take_text(&out, text, bytes);
    rbe_sampler_free(sampler);
    rbe_text_stream_free(stream);
    return out;
}

static int same(const taken *a, const taken *b)
{
    return a->n_tokens == b->n_tokens && memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0 && a->bytes == b->bytes &&
           memcmp(a->text, b->text, a->bytes) == 0;
}

static void check_single(const rbe_model *model, uint32_t n_vocabulary)
{
    const rbe_generation_options options = options_of(7, 9);
    rbe_session *a = open_session(model, 3, n_vocabulary), *b = open_session(model, 3, n_vocabulary);
    const taken generated = generate(a, &options), expected = by_hand(b, &options, n_vocabulary, rbe_model_tokenizer(model));
    CHECK(same(&generated, &expected) && generated.finish == RBE_FINISH_LENGTH, "%u tokens, %u", generated.n_tokens, expected.n_tokens);
    size_t n_a, n_b;
    CHECK(rbe_session_tokens(a, &n_a) && rbe_session_tokens(b, &n_b) && n_a == n_b && n_a == N_PROMPT + 8, "the last one is not appended");
    const rbe_generation_options endless = options_of(8, 0);
    const taken all = generate(a, &endless);
    CHECK(all.finish == RBE_FINISH_CONTEXT && all.n_tokens == CONTEXT - n_a + 1, "%u tokens until the context is full", all.n_tokens);
    rbe_session_free(a);
    rbe_session_free(b);
}

/* The caller's sampler goes on from one generation to the next: two of 4 and 5 tokens draw what one of 9 does. */
static void check_own_sampler(const rbe_model *model, uint32_t n_vocabulary)
{
    rbe_generation_options options = options_of(5, 9);
    rbe_sampler *samplers[2] = {NULL, NULL};
    rbe_session *a = open_session(model, 3, n_vocabulary), *b = open_session(model, 3, n_vocabulary);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(rbe_sampler_create(n_vocabulary, options.sampling, &samplers[i]) == RBE_OK, "%s", rbe_last_error());
    }
    options.sampler = samplers[0];
    const taken whole = generate(a, &options);
    options.sampler = samplers[1];
    options.max_tokens = 4;
    const taken first = generate(b, &options);
    CHECK(rbe_session_append(b, &first.tokens[3], 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    options.max_tokens = 5;
    const taken second = generate(b, &options);
    CHECK(memcmp(first.tokens, whole.tokens, 4 * sizeof *whole.tokens) == 0, "the first four");
    CHECK(memcmp(second.tokens, whole.tokens + 4, 5 * sizeof *whole.tokens) == 0, "the other five");
    rbe_session_free(a);
    rbe_session_free(b);
    rbe_sampler_free(samplers[0]);
    rbe_sampler_free(samplers[1]);
}

/* The first printable ASCII character of a text that is known, as a stop sequence; 0 where there is none. */
static uint32_t check_stop(const rbe_model *model, uint32_t n_vocabulary)
{
    rbe_generation_options options = options_of(7, 12);
    rbe_session *session = open_session(model, 3, n_vocabulary), *stopping = open_session(model, 3, n_vocabulary);
    const taken whole = generate(session, &options);
    size_t at = 0;
    while (at < whole.bytes && (whole.text[at] <= ' ' || whole.text[at] > '~')) {
        at++;
    }
    if (at < whole.bytes) {
        const char stop[2] = {whole.text[at], 0}, *const stops[] = {stop};
        options.stops = stops;
        options.n_stops = 1;
        const taken part = generate(stopping, &options);
        CHECK(part.finish == RBE_FINISH_STOP && part.bytes == at && memcmp(part.text, whole.text, at) == 0, "finish %u, %zu bytes of %zu",
              part.finish, part.bytes, at);
    }
    rbe_session_free(session);
    rbe_session_free(stopping);
    return at < whole.bytes;
}

typedef struct choice {
    uint32_t only, calls, last_call;
    int by_token;
} choice;

static int choose(float *logits, uint32_t n_vocabulary, rbe_sampler *sampler, uint32_t *token, void *user)
{
    choice *made = user;
    CHECK(sampler != NULL && *token == RBE_NO_TOKEN, "what a callback begins with");
    if (made->by_token) {
        *token = made->only;
    } else {
        for (uint32_t i = 0; i < n_vocabulary; i++) {
            logits[i] = i == made->only ? logits[i] : -INFINITY;
        }
    }
    return ++made->calls == made->last_call;
}

static void check_callback(const rbe_model *model, uint32_t n_vocabulary)
{
    for (int by_token = 0; by_token < 2; by_token++) {
        choice made = {.only = 9 % n_vocabulary, .last_call = 5, .by_token = by_token};
        rbe_generation_options options = options_of(1, 0);
        options.draw = choose;
        options.draw_user = &made;
        rbe_session *session = open_session(model, 1, n_vocabulary);
        const taken out = generate(session, &options);
        CHECK(out.finish == RBE_FINISH_CALLER && out.n_tokens == 4 && out.tokens[3] == made.only, "%u tokens", out.n_tokens);
        rbe_session_free(session);
    }
}

/* A callback that calls back: nothing happens to the generation that asks it. */
static int call_back(float *logits, uint32_t n_vocabulary, rbe_sampler *sampler, uint32_t *token, void *user)
{
    rbe_generation *generation = *(rbe_generation **)user;
    rbe_generation_event event = {.struct_bytes = sizeof event};
    CHECK(rbe_generation_step(generation, &event) == RBE_ERROR_ARGUMENT && rbe_generation_end(generation, &event) == RBE_ERROR_ARGUMENT &&
              rbe_generation_next(generation, logits, &event) == RBE_ERROR_ARGUMENT,
          "a call from the callback");
    *token = n_vocabulary; /* and no token */
    return sampler == NULL;
}

static void check_wrong_callback(const rbe_model *model, uint32_t n_vocabulary)
{
    rbe_generation *generation = NULL;
    rbe_generation_event event = {.struct_bytes = sizeof event};
    rbe_generation_options options = options_of(1, 0);
    options.draw = call_back;
    options.draw_user = &generation;
    rbe_session *session = open_session(model, 1, n_vocabulary);
    CHECK(rbe_generation_create(session, &options, &generation) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_generation_step(generation, &event) == RBE_ERROR_ARGUMENT, "a token outside the vocabulary");
    CHECK(rbe_generation_end(generation, &event) == RBE_OK && event.finish == RBE_FINISH_CALLER, "%s", rbe_last_error());
    rbe_generation_free(generation);
    rbe_session_free(session);
}

/* A sampler for more tokens than the model has would read behind the logits. */
static void check_wrong_sampler(const rbe_model *model, uint32_t n_vocabulary)
{
    rbe_generation *generation = NULL;
    rbe_generation_options options = options_of(1, 4);
    rbe_session *session = open_session(model, 1, n_vocabulary);
    CHECK(rbe_sampler_create(n_vocabulary + 1, options.sampling, &options.sampler) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_generation_create(session, &options, &generation) == RBE_ERROR_ARGUMENT && !generation, "a sampler of another vocabulary");
    rbe_sampler_free(options.sampler);
    rbe_session_free(session);
}

/* Three generations of unequal length in one batch: each as alone. */
static void check_batch(const rbe_model *model, uint32_t n_vocabulary)
{
    enum { N = 3 };
    const uint32_t lengths[N] = {3, 0, 7};
    rbe_batch *batch = NULL;
    const rbe_batch_options batch_options = {.struct_bytes = sizeof batch_options, .max_sessions = N, .n_threads = 2};
    CHECK(rbe_batch_create(model, &batch_options, &batch) == RBE_OK, "%s", rbe_last_error());
    rbe_session *sessions[N];
    rbe_generation *generations[N], *active[N];
    taken out[N] = {{{0}, 0, 0, {0}, 0}};
    for (uint32_t i = 0; i < N; i++) {
        const rbe_generation_options options = options_of(i, lengths[i]);
        sessions[i] = open_session(model, i, n_vocabulary);
        CHECK(rbe_generation_create(sessions[i], &options, &generations[i]) == RBE_OK, "%s", rbe_last_error());
    }
    for (uint32_t step = 0; step < CONTEXT; step++) {
        uint32_t n = 0, who[N];
        rbe_status statuses[N];
        rbe_generation_event events[N] = {
            {.struct_bytes = sizeof *events}, {.struct_bytes = sizeof *events}, {.struct_bytes = sizeof *events}};
        for (uint32_t i = 0; i < N; i++) {
            if (out[i].finish == RBE_FINISH_NONE) {
                who[n] = i;
                active[n++] = generations[i];
            }
        }
        if (n == 0) {
            break;
        }
        CHECK(rbe_batch_step(batch, active, n, events, statuses) == RBE_OK, "%s", rbe_last_error());
        for (uint32_t i = 0; i < n; i++) {
            CHECK(statuses[i] == RBE_OK, "%s", rbe_last_error());
            take_event(&out[who[i]], &events[i]);
        }
    }
    for (uint32_t i = 0; i < N; i++) {
        const rbe_generation_options options = options_of(i, lengths[i]);
        rbe_session *alone = open_session(model, i, n_vocabulary);
        const taken expected = generate(alone, &options);
        CHECK(same(&out[i], &expected) && out[i].finish == expected.finish, "generation %u: finish %u", i, out[i].finish);
        rbe_session_free(alone);
        rbe_generation_free(generations[i]);
        rbe_session_free(sessions[i]);
    }
    rbe_batch_free(batch);
}

/* Events of a caller of another version: shorter, and longer with what this build does not know. */
static void check_event_sizes(const rbe_model *model, uint32_t n_vocabulary)
{
    typedef struct longer_event {
        rbe_generation_event known;
        uint64_t later;
    } longer_event;
    const rbe_generation_options options = options_of(7, 0);
    rbe_session *session = open_session(model, 3, n_vocabulary), *other = open_session(model, 4, n_vocabulary);
    rbe_generation *generations[2] = {NULL, NULL};
    rbe_generation_event event = {.struct_bytes = offsetof(rbe_generation_event, text), .text = "untouched"};
    longer_event longer[2] = {{{.struct_bytes = sizeof *longer}, 7}, {{.struct_bytes = sizeof *longer}, 7}};
    rbe_batch *batch = NULL;
    rbe_status statuses[2];
    CHECK(rbe_generation_create(session, &options, &generations[0]) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_generation_create(other, &options, &generations[1]) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_generation_step(generations[0], &event) == RBE_OK && event.token < n_vocabulary, "%s", rbe_last_error());
    CHECK(event.text && strcmp(event.text, "untouched") == 0, "what the caller does not have");
    event.struct_bytes = 0;
    CHECK(rbe_generation_step(generations[0], &event) == RBE_ERROR_ARGUMENT, "a structure that was never set");
    CHECK(rbe_batch_create(model, NULL, &batch) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_batch_step(batch, generations, 2, &longer[0].known, statuses) == RBE_OK && !statuses[0] && !statuses[1], "%s",
          rbe_last_error());
    CHECK(longer[1].known.token < n_vocabulary && longer[0].later == 0 && longer[1].later == 0, "longer events");
    longer[1].known.struct_bytes = sizeof event;
    CHECK(rbe_batch_step(batch, generations, 2, &longer[0].known, statuses) == RBE_ERROR_ARGUMENT, "events of two sizes");
    rbe_generation_free(generations[0]);
    rbe_generation_free(generations[1]);
    rbe_batch_free(batch);
    rbe_session_free(session);
    rbe_session_free(other);
}

/* Cancelling changes nothing; the next step goes on. */
static void check_cancel(const rbe_model *model, uint32_t n_vocabulary)
{
    const rbe_generation_options options = options_of(7, 6);
    rbe_session *session = open_session(model, 3, n_vocabulary), *other = open_session(model, 3, n_vocabulary);
    rbe_generation *generation = NULL;
    rbe_generation_event event = {.struct_bytes = sizeof event};
    taken out = {0};
    CHECK(rbe_generation_create(session, &options, &generation) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t step = 0; out.finish == RBE_FINISH_NONE && step < CONTEXT; step++) {
        if (step == 2) {
            rbe_session_cancel(session);
            CHECK(rbe_generation_step(generation, &event) == RBE_ERROR_CANCELLED, "cancelled");
        }
        CHECK(rbe_generation_step(generation, &event) == RBE_OK, "%s", rbe_last_error());
        take_event(&out, &event);
    }
    const taken expected = generate(other, &options);
    CHECK(same(&out, &expected), "%u tokens", out.n_tokens);
    CHECK(rbe_generation_end(generation, &event) == RBE_ERROR_ARGUMENT, "it has ended");
    rbe_generation_free(generation);
    CHECK(rbe_generation_create(session, &options, &generation) == RBE_OK && rbe_generation_step(generation, &event) == RBE_OK, "%s",
          rbe_last_error());
    CHECK(rbe_generation_end(generation, &event) == RBE_OK && event.finish == RBE_FINISH_CALLER && event.token == RBE_NO_TOKEN, "%s",
          rbe_last_error());
    rbe_generation_free(generation);
    rbe_session_free(session);
    rbe_session_free(other);
}

int main(void)
{
    golden_files files = list_golden_files();
    uint32_t n_with_tokenizer = 0, n_stopped = 0;
    for (int i = 0; i < files.n; i++) {
        rbe_model *model = NULL;
        rbe_model_info info = {.struct_bytes = sizeof info};
        CHECK(rbe_model_open(files.path[i], NULL, &model) == RBE_OK && rbe_model_get_info(model, &info) == RBE_OK, "%s", rbe_last_error());
        if (model && rbe_model_tokenizer(model)) {
            n_with_tokenizer++;
            check_single(model, info.n_vocabulary);
            n_stopped += check_stop(model, info.n_vocabulary);
            check_own_sampler(model, info.n_vocabulary);
            check_callback(model, info.n_vocabulary);
            check_wrong_callback(model, info.n_vocabulary);
            check_wrong_sampler(model, info.n_vocabulary);
            check_batch(model, info.n_vocabulary);
            check_event_sizes(model, info.n_vocabulary);
            check_cancel(model, info.n_vocabulary);
        } else if (model) {
            rbe_session *session = open_session(model, 0, info.n_vocabulary);
            rbe_generation *generation = NULL;
            CHECK(rbe_generation_create(session, NULL, &generation) == RBE_ERROR_UNSUPPORTED && !generation, "without a tokenizer");
            rbe_session_free(session);
        }
        rbe_model_close(model);
    }
    CHECK(n_with_tokenizer > 0 && n_stopped > 0, "%u golden packs with a tokenizer, %u texts with a stop", n_with_tokenizer, n_stopped);
    return check_finish();
}
