/* A session of an encoder-decoder: the same bits for any number of threads and any size of a pass, what a text that was encoded is kept
 * through, steps together, and what is refused. Made to run under sanitizers too. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "model/model.h"
#include "mutation.h"
#include "rbe/effort.h"
#include "rbe/encoder.h"
#include "rbe/encoder_decoder.h"
#include "rbe/fit.h"
#include "session/batch.h"

#define MODEL RBE_GOLDEN_DIR "/encoder_decoders/t5.rbe"
#define DECODER RBE_GOLDEN_DIR "/v1/bits4.rbe"
#define CONTEXT 48u
#define N_TEXT 37u
#define N_ANSWER 11u
#define MOST_VOCABULARY 64u

static uint32_t text[CONTEXT + 1], other_text[N_TEXT], answer[N_ANSWER];
static uint32_t n_vocabulary;

static rbe_model *open_model(const char *path)
{
    rbe_model *model = NULL;
    CHECK(rbe_model_open(path, NULL, &model) == RBE_OK, "%s", rbe_last_error());
    return model;
}

static rbe_session *open_session(const rbe_model *model, uint32_t kv_type, uint32_t n_threads, uint32_t pass_tokens)
{
    const rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = n_threads, .pass_tokens = pass_tokens, .kv_type = kv_type};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static void encode(rbe_session *session, const uint32_t *tokens, size_t n)
{
    CHECK(rbe_session_encode(session, tokens, n, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_text_tokens(session) == n, "%zu tokens", rbe_session_text_tokens(session));
}

static void append(rbe_session *session, const uint32_t *tokens, size_t n)
{
    CHECK(rbe_session_append(session, tokens, n, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
}

/* Whether the session's logits are these; both are there. */
static int has_logits(const rbe_session *session, const float *expected)
{
    const float *logits = rbe_session_logits(session);
    return logits && memcmp(logits, expected, n_vocabulary * sizeof *logits) == 0;
}

static void keep_logits(const rbe_session *session, float *out)
{
    CHECK(rbe_session_logits(session) != NULL, "no logits");
    if (rbe_session_logits(session)) {
        memcpy(out, rbe_session_logits(session), n_vocabulary * sizeof *out);
    }
}

/* Threads, passes, and steps; and another text says something else. */
static void check_same_bits(const rbe_model *model, uint32_t kv_type)
{
    float expected[MOST_VOCABULARY];
    rbe_session *session = open_session(model, kv_type, 1, CONTEXT);
    encode(session, text, N_TEXT);
    append(session, answer, N_ANSWER);
    keep_logits(session, expected);
    encode(session, other_text, N_TEXT);
    append(session, answer, N_ANSWER);
    CHECK(!has_logits(session, expected), "type %u: another text gives the same", kv_type);
    rbe_session_free(session);
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        for (uint32_t pass_tokens = 1; pass_tokens <= 13; pass_tokens += 6) {
            session = open_session(model, kv_type, n_threads, pass_tokens);
            encode(session, text, N_TEXT);
            for (uint32_t i = 0; i < N_ANSWER; i++) {
                append(session, &answer[i], 1);
            }
            CHECK(has_logits(session, expected), "type %u: %u threads, passes of %u tokens", kv_type, n_threads, pass_tokens);
            rbe_session_free(session);
        }
    }
}

/* Going back, saving, restoring and copying keep the text. */
static void check_kept(const rbe_model *model, uint32_t kv_type, const char *path)
{
    float expected[MOST_VOCABULARY];
    rbe_session *session = open_session(model, kv_type, 1, 8), *other = open_session(model, kv_type, 2, 5);
    encode(session, text, N_TEXT);
    CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
    append(session, answer, N_ANSWER);
    keep_logits(session, expected);
    CHECK(rbe_session_rewind(session, 4) == RBE_OK && rbe_session_text_tokens(session) == N_TEXT, "%s", rbe_last_error());
    append(session, answer + 4, N_ANSWER - 4);
    CHECK(has_logits(session, expected), "after going back");
    CHECK(rbe_session_rewind(session, 0) == RBE_OK, "%s", rbe_last_error());
    append(session, answer, N_ANSWER);
    CHECK(has_logits(session, expected), "after going back to the start");

    CHECK(rbe_session_restore(other, path) == RBE_OK && rbe_session_text_tokens(other) == N_TEXT, "%s", rbe_last_error());
    append(other, answer, N_ANSWER);
    CHECK(has_logits(other, expected), "a text that was restored");
    encode(other, other_text, 3);
    CHECK(rbe_session_copy(other, session, 5) == RBE_OK && rbe_session_text_tokens(other) == N_TEXT, "%s", rbe_last_error());
    append(other, answer + 5, N_ANSWER - 5);
    CHECK(has_logits(other, expected), "a context that was copied");
    CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
    encode(other, other_text, 3);
    CHECK(rbe_session_restore(other, path) == RBE_OK && has_logits(other, expected), "%s", rbe_last_error());
    rbe_session_free(session);
    rbe_session_free(other);
}

static void check_too_small(const rbe_model *model, const char *path)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = N_TEXT - 1, .n_threads = 1};
    rbe_session *session = open_session(model, RBE_KV_F16, 1, 8), *small = NULL, *empty = open_session(model, RBE_KV_F16, 1, 8);
    CHECK(rbe_session_create(model, &options, &small) == RBE_OK, "%s", rbe_last_error());
    encode(session, text, N_TEXT);
    encode(small, text, 5);
    CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_restore(small, path) == RBE_ERROR_CONTEXT, "a text longer than there is room for");
    CHECK(rbe_session_copy(small, session, 0) == RBE_ERROR_CONTEXT, "the same of a copy");
    CHECK(rbe_session_text_tokens(small) == 5, "its own text is gone");
    append(small, answer, 2);
    CHECK(rbe_session_save(empty, path) == RBE_OK && rbe_session_restore(small, path) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_text_tokens(small) == 0 && rbe_session_append(small, answer, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "no text");
    rbe_session_free(session);
    rbe_session_free(small);
    rbe_session_free(empty);
}

/* The estimate counts what an encoder takes while it reads: once where sessions step together, for then they read one after the other. */
static void check_fit(void)
{
    const rbe_session_options session = {.struct_bytes = sizeof session, .context_tokens = CONTEXT, .n_threads = 1, .pass_tokens = 8};
    rbe_fit_options options = {.struct_bytes = sizeof options, .session = &session, .n_sessions = 1};
    rbe_fit one = {.struct_bytes = sizeof one}, two = one, together = one;
    rbe_model_memory memory = {.struct_bytes = sizeof memory};
    rbe_model *model = open_model(MODEL);
    rbe_session *running = open_session(model, RBE_KV_F16, 1, 8);
    CHECK(rbe_fit_file(MODEL, &options, &one) == RBE_OK && one.kv_bytes > 0, "%s", rbe_last_error());
    encode(running, text, CONTEXT);
    CHECK(rbe_model_get_memory(model, &memory) == RBE_OK && 2 * memory.sessions_peak <= 3 * (one.kv_bytes + one.pass_bytes) + 12288 &&
              memory.sessions_peak + 8192 >= one.kv_bytes + one.pass_bytes,
          "%llu bytes were taken, %llu foreseen", (unsigned long long)memory.sessions_peak,
          (unsigned long long)(one.kv_bytes + one.pass_bytes));
    options.n_sessions = 2;
    CHECK(rbe_fit_file(MODEL, &options, &two) == RBE_OK && two.pass_bytes == 2 * one.pass_bytes, "two sessions");
    options.batch_sessions = 2;
    const uint64_t batch = rbe__batch_measure(model, 2, 1);
    CHECK(rbe_fit_file(MODEL, &options, &together) == RBE_OK && together.pass_bytes < two.pass_bytes + batch,
          "sessions that step together");
    rbe_session_free(running);
    rbe_model_close(model);
}

static void write_file(const char *path, const unsigned char *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, bytes, file) == bytes && fclose(file) == 0, "%s cannot be written", path);
}

/* Damaged states, their checksum made right again. */
static void check_damage(const rbe_model *model, const char *path)
{
    rbe_session *session = open_session(model, RBE_KV_Q8, 1, 8), *other = open_session(model, RBE_KV_Q8, 1, 8);
    size_t bytes, n_tokens;
    encode(session, text, N_TEXT);
    append(session, answer, N_ANSWER);
    for (int i = 0; i < 200; i++) {
        CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
        unsigned char *data = read_file(path, &bytes);
        mutate(data, &bytes, 64);
        if (bytes >= 24) {
            repair_head(data, bytes, bytes);
        }
        write_file(path, data, bytes);
        free(data);
        if (rbe_session_restore(other, path) == RBE_OK && rbe_session_tokens(other, &n_tokens) && n_tokens < CONTEXT) {
            const rbe_status status = rbe_session_append(other, answer, 1, NULL, NULL);
            CHECK(status == (rbe_session_text_tokens(other) ? RBE_OK : RBE_ERROR_ARGUMENT), "%s", rbe_last_error());
        }
    }
    rbe_session_free(session);
    rbe_session_free(other);
}

/* Two sessions with texts of their own step together as they do alone; one without a text does not step. */
static void check_batch(const rbe_model *model)
{
    rbe_batch *batch = NULL;
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = 3, .n_threads = 2};
    CHECK(rbe_batch_create(model, &options, &batch) == RBE_OK, "%s", rbe_last_error());
    rbe_session *sessions[3], *alone[2];
    rbe_status statuses[3];
    for (uint32_t i = 0; i < 2; i++) {
        sessions[i] = open_session(model, RBE_KV_F16, 1, 8);
        alone[i] = open_session(model, RBE_KV_F16, 1, 8);
        encode(sessions[i], i ? other_text : text, N_TEXT - 5 * i);
        encode(alone[i], i ? other_text : text, N_TEXT - 5 * i);
    }
    sessions[2] = open_session(model, RBE_KV_F16, 1, 8);
    for (uint32_t step = 0; step < 4; step++) {
        const uint32_t tokens[3] = {answer[step], answer[step + 1], 1};
        CHECK(rbe_batch_decode(batch, sessions, tokens, 3, statuses) == RBE_OK, "%s", rbe_last_error());
        CHECK(statuses[0] == RBE_OK && statuses[1] == RBE_OK && statuses[2] == RBE_ERROR_ARGUMENT, "step %u", step);
        for (uint32_t i = 0; i < 2; i++) {
            append(alone[i], &tokens[i], 1);
            CHECK(has_logits(sessions[i], rbe_session_logits(alone[i])), "step %u of session %u", step, i);
        }
    }
    for (uint32_t i = 0; i < 3; i++) {
        rbe_session_free(sessions[i]);
    }
    rbe_session_free(alone[0]);
    rbe_session_free(alone[1]);
    rbe_batch_free(batch);
}

static int stop(uint64_t done, uint64_t total, void *user)
{
    (void)done;
    (void)total;
    ++*(int *)user;
    return 1;
}

static void check_cancelled(const rbe_model *model)
{
    float expected[MOST_VOCABULARY];
    int calls = 0;
    rbe_session *session = open_session(model, RBE_KV_F32, 1, 4);
    encode(session, text, N_TEXT);
    append(session, answer, N_ANSWER);
    keep_logits(session, expected);
    rbe_session_cancel(session);
    CHECK(rbe_session_encode(session, other_text, N_TEXT, NULL, NULL) == RBE_ERROR_CANCELLED, "%s", rbe_last_error());
    CHECK(rbe_session_encode(session, other_text, N_TEXT, stop, &calls) == RBE_ERROR_CANCELLED && calls == 1, "%d calls", calls);
    CHECK(has_logits(session, expected) && rbe_session_text_tokens(session) == N_TEXT, "the session has changed");
    append(session, answer, 1);
    rbe_session_free(session);
}

static void check_refused(const rbe_model *model)
{
    const uint32_t outside = n_vocabulary;
    float hidden[64] = {0};
    rbe_session *session = open_session(model, RBE_KV_F16, 1, 8);
    CHECK(rbe_session_append(session, answer, 1, NULL, NULL) == RBE_ERROR_ARGUMENT && strstr(rbe_last_error(), "encode one first"), "%s",
          rbe_last_error());
    CHECK(rbe_session_score(session, answer, 2, NULL, NULL, NULL, NULL) == RBE_ERROR_ARGUMENT, "scoring without a text");
    CHECK(rbe_session_run_layers(session, 0, 1, 0, hidden, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "layers without a text");
    CHECK(rbe_session_encode(session, text, CONTEXT + 1, NULL, NULL) == RBE_ERROR_CONTEXT, "a text that is too long");
    CHECK(rbe_session_encode(session, text, 0, NULL, NULL) == RBE_ERROR_ARGUMENT, "no tokens");
    CHECK(rbe_session_encode(session, &outside, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "a token outside the vocabulary");
    CHECK(rbe_session_encode(NULL, text, 1, NULL, NULL) == RBE_ERROR_ARGUMENT && rbe_session_text_tokens(NULL) == 0, "no session");
    CHECK(rbe_session_text_tokens(session) == 0, "a text");
    encode(session, text, CONTEXT);
    append(session, answer, N_ANSWER);
    rbe_session_free(session);

    rbe_model *decoder = open_model(DECODER);
    rbe_encoder_decoder_info info = {.struct_bytes = sizeof info};
    session = NULL;
    CHECK(rbe_session_create(decoder, NULL, &session) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_encode(session, text, 1, NULL, NULL) == RBE_ERROR_UNSUPPORTED, "a decoder");
    CHECK(rbe_model_get_encoder_decoder_info(decoder, &info) == RBE_OK && !info.is_encoder_decoder, "a decoder");
    rbe_session_free(session);
    rbe_model_close(decoder);
    const rbe_model_options part = {.struct_bytes = sizeof part, .first_layer = 1, .n_layers = 1};
    CHECK(rbe_model_open(MODEL, &part, &decoder) == RBE_ERROR_UNSUPPORTED, "a part of the layers");
}

/* The encoder alone gives a row for each token, and one plane of two gives others; of a session too. */
static void check_encoder(const rbe_model *model)
{
    const rbe_encoder_text read = {.tokens = text, .n_tokens = N_TEXT};
    const size_t n = (size_t)N_TEXT * model->config.width;
    float *rows[2] = {malloc(n * sizeof(float)), malloc(n * sizeof(float))}, expected[MOST_VOCABULARY];
    for (uint32_t planes = 0; planes < 2; planes++) {
        const rbe_encoder_options options = {.struct_bytes = sizeof options, .n_threads = 1, .n_planes = planes};
        rbe_encoder *encoder = NULL;
        CHECK(rbe_encoder_create(model, &options, &encoder) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_encoder_hidden(encoder, &read, 1, rows[planes], NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_encoder_word_logits(encoder, &read, &(uint32_t){0}, 1, expected) == RBE_ERROR_UNSUPPORTED, "words for gaps");
        rbe_encoder_free(encoder);
    }
    CHECK(memcmp(rows[0], rows[1], n * sizeof(float)) != 0, "one plane gives what two do");
    free(rows[0]);
    free(rows[1]);
    rbe_session *session = open_session(model, RBE_KV_F16, 1, 8);
    encode(session, text, N_TEXT);
    append(session, answer, 2);
    keep_logits(session, expected);
    const rbe_pass_options one = {.struct_bytes = sizeof one, .n_planes = 1}, all = {.struct_bytes = sizeof all};
    CHECK(rbe_session_configure(session, &one) == RBE_OK, "%s", rbe_last_error());
    encode(session, text, N_TEXT);
    CHECK(rbe_session_configure(session, &all) == RBE_OK, "%s", rbe_last_error());
    append(session, answer, 2);
    CHECK(!has_logits(session, expected), "a text read with one plane gives what one of two does");
    rbe_session_free(session);
}

int main(void)
{
    char folder[] = "/tmp/rbe-encoded-XXXXXX", path[64];
    rbe_encoder_decoder_info info = {.struct_bytes = sizeof info};
    rbe_model *model = open_model(MODEL);
    CHECK(mkdtemp(folder) != NULL, "no temporary directory");
    snprintf(path, sizeof path, "%s/state", folder);
    if (!model) {
        return check_finish();
    }
    n_vocabulary = model->config.n_vocabulary;
    CHECK(n_vocabulary <= MOST_VOCABULARY, "%u tokens", n_vocabulary);
    for (uint32_t i = 0; i <= CONTEXT; i++) {
        text[i] = (i * 7 + 3) % n_vocabulary;
        other_text[i % N_TEXT] = (i * 5 + 1) % n_vocabulary;
        answer[i % N_ANSWER] = (i * 11 + 2) % n_vocabulary;
    }
    CHECK(rbe_model_get_encoder_decoder_info(model, &info) == RBE_OK && info.is_encoder_decoder && info.encoder_layers == 2, "its kind");
    check_fit();
    for (uint32_t type = RBE_KV_F16; type <= RBE_KV_Q8Q4; type++) {
        check_same_bits(model, type);
        check_kept(model, type, path);
    }
    check_too_small(model, path);
    check_damage(model, path);
    check_batch(model);
    check_cancelled(model);
    check_refused(model);
    check_encoder(model);
    rbe_model_close(model);
    unlink(path);
    CHECK(rmdir(folder) == 0, "something was left beside the file");
    return check_finish();
}
