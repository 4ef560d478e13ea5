/* The checksums of tensors, verified beside the first work: what every call says once one is known to be wrong, those who wait, those who end
 * early, and a process that a fork made. */
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "check.h"
#include "kernels/checksum.h"
#include "model/model.h"
#include "platform/threads.h"
#include "rbe/encoder.h"
#include "rbe/gradients.h"

#define GOLDEN RBE_GOLDEN_DIR "/v1/bits4.rbe"
#define BANDS RBE_GOLDEN_DIR "/v3/bands.rbe"
#define ENCODER RBE_GOLDEN_DIR "/v3/encoder.rbe"

static rbe_model *open_unverified(const char *path)
{
    const rbe_model_options options = {.struct_bytes = sizeof options, .skip_checksums = 1};
    rbe_model *model = NULL;
    CHECK(rbe_model_open(path, &options, &model) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_verify(model, NULL, NULL) == RBE_OK, "skipped");
    return model;
}

/* Finds out, now, that the last tensor is damaged. */
static void damage(rbe_model *model)
{
    rbe__tensor *last = &model->pack.tensors[model->pack.n_tensors - 1];
    last = last->n_bands ? (rbe__tensor *)last->bands + last->n_bands - 1 : last; /* which the pack owns */
    last->checksum ^= 1;
    CHECK(rbe__verification_begin(&model->pack, &model->kernels, "a file", 0, &model->verification) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_model_verify(model, NULL, NULL) == RBE_ERROR_FORMAT, "damage");
}

static int says_so(rbe_status status)
{
    const char *said = rbe_last_error();
    return status == RBE_ERROR_FORMAT && strncmp(said, "a file: damaged file: tensor `", 30) == 0 && strstr(said, "field `checksum`");
}

/* A session with a text, its generation and a batch, all made before the damage is known. */
static void test_decoder(const char *path)
{
    enum { CONTEXT = 16 };
    static float numbers[1 << 20];
    const uint32_t tokens[] = {1, 2, 3};
    rbe_model *model = open_unverified(path);
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = 1};
    const rbe_generation_options endless = {.struct_bytes = sizeof endless, .ignore_end = 1};
    rbe_session *session = NULL;
    rbe_generation *generation = NULL;
    rbe_batch *batch = NULL;
    rbe_gradients *gradients = NULL;
    rbe_generation_event event = {.struct_bytes = sizeof event};
    rbe_status status = RBE_OK;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK && rbe_batch_create(model, NULL, &batch) == RBE_OK, "made");
    CHECK(rbe_session_append(session, tokens, 3, NULL, NULL) == RBE_OK && rbe_session_logits(session), "%s", rbe_last_error());
    CHECK(rbe_generation_create(session, &endless, &generation) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_generation_step(generation, &event) == RBE_OK && event.token != RBE_NO_TOKEN, "%s", rbe_last_error());
    damage(model);
    CHECK(!rbe_session_logits(session), "logits of damaged weights");
    CHECK(says_so(rbe_generation_step(generation, &event)), "%s", rbe_last_error());
    CHECK(says_so(rbe_generation_next(generation, numbers, &event)), "%s", rbe_last_error());
    CHECK(says_so(rbe_batch_step(batch, &generation, 1, &event, &status)), "%s", rbe_last_error());
    CHECK(says_so(rbe_batch_decode(batch, &session, tokens, 1, &status)), "%s", rbe_last_error());
    CHECK(says_so(rbe_session_append(session, tokens, 1, NULL, NULL)), "%s", rbe_last_error());
    CHECK(says_so(rbe_session_score(session, tokens, 2, numbers, NULL, NULL, NULL)), "%s", rbe_last_error());
    CHECK(says_so(rbe_session_save(session, "nothing is written here")), "%s", rbe_last_error());
    CHECK(says_so(rbe_session_run_layers(session, 0, 1, CONTEXT - 1, numbers, 1, NULL, NULL)), "%s", rbe_last_error());
    CHECK(says_so(rbe_model_tensor_rows(model, 0, 0, 1, numbers)), "%s", rbe_last_error());
    CHECK(says_so(rbe_gradients_create(model, NULL, &gradients)) && !gradients, "%s", rbe_last_error());
    CHECK(rbe_session_rewind(session, 0) == RBE_OK, "%s", rbe_last_error());
    CHECK(says_so(rbe_session_embed(session, tokens, 1, numbers)), "%s", rbe_last_error());
    CHECK(says_so(rbe_session_append(session, tokens, 1, NULL, NULL)) && !rbe_session_logits(session), "%s", rbe_last_error());
    rbe_generation_free(generation);
    rbe_batch_free(batch);
    rbe_session_free(session);
    rbe_model_close(model);
}

static void test_encoder(void)
{
    static float numbers[1 << 16];
    const uint32_t tokens[] = {1, 2, 3};
    const rbe_encoder_text text = {.tokens = tokens, .n_tokens = 3};
    const rbe_encoder_options options = {.struct_bytes = sizeof options, .n_threads = 1, .pooling = RBE_POOLING_MEAN};
    rbe_model *model = open_unverified(ENCODER);
    rbe_encoder *encoder = NULL;
    CHECK(rbe_encoder_create(model, &options, &encoder) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_encoder_pool(encoder, &text, 1, numbers, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    damage(model);
    CHECK(says_so(rbe_encoder_pool(encoder, &text, 1, numbers, NULL, NULL)), "%s", rbe_last_error());
    CHECK(says_so(rbe_encoder_hidden(encoder, &text, 1, numbers, NULL, NULL)), "%s", rbe_last_error());
    rbe_encoder_free(encoder);
    rbe_model_close(model);
}

/* Work and closing while it runs; every answer ends with what is known. */
static void test_beside(void)
{
    for (int i = 0; i < 200; i++) {
        const uint32_t tokens[] = {1, 2, 3};
        const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 8, .n_threads = 1 + i % 2};
        rbe_model *model = NULL;
        rbe_session *session = NULL;
        CHECK(rbe_model_open(i % 3 ? GOLDEN : BANDS, NULL, &model) == RBE_OK, "%s", rbe_last_error());
        if (i % 4) {
            CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
            CHECK(rbe_session_append(session, tokens, 3, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        }
        if (i % 5 == 0) {
            CHECK(rbe_model_verify(model, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        }
        rbe_session_free(session);
        rbe_model_close(model);
    }
    CHECK(rbe_model_verify(NULL, NULL, NULL) == RBE_ERROR_ARGUMENT, "NULL");
}

/* So many zeros that finding out takes the scalar set a while. */
enum { LARGE_BYTES = 256 << 20 };

typedef struct large {
    rbe_kernels kernels;
    rbe__tensor tensor;
    rbe__pack pack;
    rbe__verification *verification;
} large;

static void begin_large(large *on)
{
    *on = (large){.tensor = {.name = "zeros", .name_bytes = 5, .data = calloc(1, LARGE_BYTES), .data_bytes = LARGE_BYTES, .checksum = 1}};
    on->pack = (rbe__pack){.tensors = &on->tensor, .n_tensors = 1, .tensor_bytes = LARGE_BYTES};
    CHECK(rbe__kernels_select("scalar", &on->kernels) == 0 && on->tensor.data, "no memory");
    CHECK(rbe__verification_begin(&on->pack, &on->kernels, "a file", 0, &on->verification) == RBE_OK, "%s", rbe_last_error());
}

static void end_large(large *on)
{
    rbe__verification_end(on->verification);
    free((void *)on->tensor.data);
}

static void wait_large(void *context)
{
    large *on = context;
    while (rbe__verification_check(on->verification) == RBE_OK) {
        (void)rbe__verification_wait(on->verification, NULL, NULL);
    }
}

static int stop_at_once(uint64_t done, uint64_t total, void *user)
{
    ++*(int *)user;
    return done <= total;
}

static void test_waiting(void)
{
    large on;
    int calls = 0;
    rbe__thread *threads[3];
    begin_large(&on);
    CHECK(rbe__verification_check(on.verification) == RBE_OK && rbe__verification_runs(on.verification), "not known yet");
    CHECK(rbe__verification_wait(on.verification, stop_at_once, &calls) == RBE_ERROR_CANCELLED && calls == 1, "cancelled");
    for (int i = 0; i < 3; i++) {
        threads[i] = rbe__thread_start(wait_large, &on);
    }
    CHECK(says_so(rbe__verification_wait(on.verification, NULL, NULL)), "%s", rbe_last_error());
    for (int i = 0; i < 3; i++) {
        rbe__thread_join(threads[i]);
    }
    CHECK(says_so(rbe__verification_check(on.verification)) && strstr(rbe_last_error(), "`zeros`"), "%s", rbe_last_error());
    end_large(&on);
    begin_large(&on); /* nobody waits */
    end_large(&on);
}

#if !defined(_WIN32)
static void test_fork(void)
{
    large on;
    begin_large(&on);
    for (int i = 0; i < 2; i++) {
        const pid_t child = fork();
        if (child == 0) {
            const int found = i ? says_so(rbe__verification_check(on.verification)) : 1; /* 0: ends it alone */
            rbe__verification_end(on.verification);
            _exit(found ? 7 : 8);
        }
        int status = 0;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7, "status %d", status);
    }
    CHECK(says_so(rbe__verification_wait(on.verification, NULL, NULL)), "%s", rbe_last_error());
    end_large(&on);
}
#endif

int main(void)
{
    test_decoder(GOLDEN);
    test_decoder(BANDS);
    test_encoder();
    test_beside();
    test_waiting();
#if !defined(_WIN32)
    test_fork();
#endif
    return check_finish();
}
