/* Sessions on the golden packs: the same bits for any number of threads and of tokens in a pass, nearly the same for any kernel set; going
 * back, cancelling, a full context; and no allocation while decoding (the linker wraps the allocator: see CMakeLists.txt). */
#include <math.h>
#include <pthread.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/rbe.h"
#include "wrapped_allocator.h"

#define N_TOKENS 13u

static rbe_model *open_model(const char *path, const char *kernel_set, rbe_model_info *info)
{
    rbe_model_options options = {.struct_bytes = sizeof options, .kernel_set = kernel_set};
    rbe_model *model = NULL;
    info->struct_bytes = sizeof *info;
    CHECK(rbe_model_open(path, &options, &model) == RBE_OK, "%s: %s", path, rbe_last_error());
    CHECK(!model || rbe_model_get_info(model, info) == RBE_OK, "info");
    return model;
}

static rbe_session *open_session(const rbe_model *model, uint32_t n_threads, uint32_t pass_tokens, uint32_t kv_type)
{
    rbe_session_options options = {.struct_bytes = sizeof options,
                                   .context_tokens = N_TOKENS + 3,
                                   .n_threads = n_threads,
                                   .pass_tokens = pass_tokens,
                                   .kv_type = kv_type};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static void fill_tokens(uint32_t *tokens, uint32_t n_vocabulary)
{
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        tokens[i] = (i * 7 + 3) % n_vocabulary;
    }
}

/* Largest difference; infinite where anything is not finite. */
static double distance(const float *a, const float *b, uint32_t n)
{
    double most = 0;
    for (uint32_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        most = difference <= most ? most : isfinite(difference) ? difference : INFINITY;
    }
    return most;
}

/* The logits of all N_TOKENS tokens: float[N_TOKENS][n_vocabulary], from malloc. */
static float *score_all(const rbe_model *model, uint32_t n_vocabulary, uint32_t n_threads, uint32_t pass_tokens)
{
    uint32_t tokens[N_TOKENS];
    float *logits = calloc((size_t)N_TOKENS * n_vocabulary, sizeof *logits);
    fill_tokens(tokens, n_vocabulary);
    rbe_session *session = open_session(model, n_threads, pass_tokens, RBE_KV_F16);
    CHECK(rbe_session_score(session, tokens, N_TOKENS, NULL, logits, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(session);
    return logits;
}

static void check_same_bits(const char *path, const char *kernel_set, const float *first_set)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, kernel_set, &info);
    if (!model) {
        return;
    }
    size_t bytes = (size_t)N_TOKENS * info.n_vocabulary * sizeof(float);
    float *expected = score_all(model, info.n_vocabulary, 1, 1);
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        for (uint32_t pass_tokens = 1; pass_tokens <= 16; pass_tokens = pass_tokens * 3 + 1) {
            float *logits = score_all(model, info.n_vocabulary, n_threads, pass_tokens);
            CHECK(memcmp(logits, expected, bytes) == 0, "%s, %s kernels: %u threads, passes of %u tokens", path, kernel_set, n_threads,
                  pass_tokens);
            free(logits);
        }
    }
    /* Kernel sets round differently in floating point, and a rounded activation may then fall to the next of its 255 steps:
     * about 1 % of the spread of the logits, for any of the few hundred activations of these small models. */
    if (first_set) {
        double spread = distance(first_set, first_set + info.n_vocabulary, info.n_vocabulary);
        double difference = distance(first_set, expected, N_TOKENS * info.n_vocabulary);
        CHECK(difference <= 0.02 * spread + 1e-4, "%s, %s kernels: logits differ by %g from the scalar set's", path, kernel_set,
              difference);
    }
    free(expected);
    rbe_model_close(model);
}

static void check_kernel_sets(const char *path)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, "scalar", &info);
    if (!model) {
        return;
    }
    float *scalar = score_all(model, info.n_vocabulary, 1, 4);
    rbe_model_close(model);
    const char *name;
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        if (rbe_kernel_set_available(name)) {
            check_same_bits(path, name, i ? scalar : NULL);
        }
    }
    free(scalar);
}

static int stop_at_once(uint64_t done, uint64_t total, void *user)
{
    uint64_t *calls = user;
    (*calls)++;
    return done < total;
}

static uint32_t position_of(const rbe_session *session)
{
    rbe_session_info info = {.struct_bytes = sizeof info};
    CHECK(rbe_session_get_info(session, &info) == RBE_OK, "info");
    return info.position;
}

static void check_context(const char *path)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, NULL, &info);
    if (!model) {
        return;
    }
    uint32_t tokens[N_TOKENS], bad = info.n_vocabulary;
    fill_tokens(tokens, info.n_vocabulary);
    float *expected = malloc(info.n_vocabulary * sizeof *expected);
    rbe_session *session = open_session(model, 2, 4, RBE_KV_F16);
    CHECK(rbe_session_logits(session) == NULL, "logits before the first token");
    CHECK(rbe_session_append(session, tokens, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    memcpy(expected, rbe_session_logits(session), info.n_vocabulary * sizeof *expected);

    uint64_t calls = 0;
    CHECK(rbe_session_append(session, tokens, 4, NULL, NULL) == RBE_ERROR_CONTEXT, "17 tokens in a context of 16");
    CHECK(rbe_session_append(session, &bad, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "a token outside the vocabulary");
    CHECK(rbe_session_append(session, tokens, 0, NULL, NULL) == RBE_ERROR_ARGUMENT, "no tokens");
    CHECK(position_of(session) == N_TOKENS, "failures leave the context alone");

    CHECK(rbe_session_rewind(session, N_TOKENS) == RBE_OK && rbe_session_logits(session), "nothing forgotten, logits stay");
    CHECK(rbe_session_rewind(session, 5) == RBE_OK && !rbe_session_logits(session), "logits go with what was forgotten");
    CHECK(rbe_session_rewind(session, 6) == RBE_ERROR_ARGUMENT, "forwards");
    CHECK(rbe_session_append(session, tokens + 5, N_TOKENS - 5, stop_at_once, &calls) == RBE_ERROR_CANCELLED && calls == 1,
          "cancelled by progress");
    CHECK(position_of(session) == 5, "as before");
    rbe_session_cancel(session);
    CHECK(rbe_session_append(session, tokens + 5, 1, NULL, NULL) == RBE_ERROR_CANCELLED, "cancelled");
    CHECK(position_of(session) == 5, "as before");
    CHECK(rbe_session_append(session, tokens + 5, N_TOKENS - 5, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(rbe_session_logits(session), expected, info.n_vocabulary * sizeof *expected) == 0, "the same logits after going back");
    free(expected);
    rbe_session_free(session);
    rbe_model_close(model);
}

static rbe_session *open_sliding(const rbe_model *model, uint32_t sink_tokens, uint32_t kv_type)
{
    rbe_session_options options = {.struct_bytes = sizeof options,
                                   .context_tokens = N_TOKENS + 3,
                                   .n_threads = 2,
                                   .pass_tokens = 4,
                                   .kv_type = kv_type,
                                   .sink_tokens = sink_tokens};
    rbe_session *session = NULL;
    rbe_status status = rbe_session_create(model, &options, &session);
    CHECK(status == RBE_OK || strstr(rbe_last_error(), "learned"), "%s", rbe_last_error());
    return session;
}

/* The golden packs have one layer, whose keys and values follow from tokens and positions alone: after sliding, the session must say
 * what a new one says that is given the tokens which stayed. */
static void check_sliding(const char *path, uint32_t kv_type)
{
    enum { SINKS = 3, MANY = 60 };
    rbe_model_info info;
    rbe_model *model = open_model(path, NULL, &info);
    if (!model || info.n_layers != 1) {
        rbe_model_close(model);
        return;
    }
    uint32_t tokens[MANY], kept[N_TOKENS + 3];
    for (uint32_t i = 0; i < MANY; i++) {
        tokens[i] = (i * i * 5 + 3) % info.n_vocabulary;
    }
    rbe_session *sliding = open_sliding(model, SINKS, kv_type), *fresh = open_session(model, 1, 16, kv_type);
    if (!sliding) {
        rbe_session_free(fresh);
        rbe_model_close(model);
        return;
    }
    uint32_t n_slid = 0;
    for (uint32_t fed = 0, step = 1; fed < MANY; fed += step, step = step % 6 + 1) { /* one, and more than a pass */
        step = MANY - fed < step ? MANY - fed : step;
        const uint32_t before = position_of(sliding);
        CHECK(rbe_session_append(sliding, tokens + fed, step, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        const uint32_t n = position_of(sliding), end = fed + step;
        CHECK(n <= N_TOKENS + 3 && (n == end || n > SINKS), "%u tokens in the context", n);
        if (n == before + step) {
            continue;
        }
        n_slid++;
        memcpy(kept, tokens, SINKS * sizeof *kept);
        memcpy(kept + SINKS, tokens + end - (n - SINKS), (n - SINKS) * sizeof *kept);
        CHECK(rbe_session_rewind(fresh, 0) == RBE_OK && rbe_session_append(fresh, kept, n, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        const float *logits = rbe_session_logits(sliding), *expected = rbe_session_logits(fresh);
        float most = expected[0], least = expected[0];
        for (uint32_t i = 0; i < info.n_vocabulary; i++) {
            most = expected[i] > most ? expected[i] : most;
            least = expected[i] < least ? expected[i] : least;
        }
        const double difference = distance(logits, expected, info.n_vocabulary);
        CHECK(difference <= (kv_type == RBE_KV_Q8 ? 0.04 : 0.02) * (double)(most - least) + 1e-4,
              "%s, cache type %u, slid to %u: logits differ by %g of %g", path, kv_type, n, difference, (double)(most - least));
    }
    CHECK(n_slid >= 4, "slid %u times", n_slid);
    rbe_session_free(fresh);
    rbe_session_free(sliding);

    rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = 8, .sink_tokens = 5};
    rbe_session *none = NULL;
    CHECK(rbe_session_create(model, &options, &none) == RBE_ERROR_ARGUMENT && !none, "5 of 8 tokens as sinks");
    rbe_model_close(model);
}

static void *cancel_later(void *session)
{
    rbe_session_cancel(session);
    return NULL;
}

static void check_cancel_from_thread(const char *path)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, NULL, &info);
    if (!model) {
        return;
    }
    rbe_session *session = open_session(model, 2, 1, RBE_KV_F32);
    pthread_t thread;
    uint32_t token = 1;
    CHECK(pthread_create(&thread, NULL, cancel_later, session) == 0, "thread");
    rbe_status status = RBE_OK;
    while (status == RBE_OK) { /* ends when the other thread has run */
        CHECK(rbe_session_rewind(session, 0) == RBE_OK, "rewind");
        status = rbe_session_append(session, &token, 1, NULL, NULL);
    }
    CHECK(status == RBE_ERROR_CANCELLED, "%s", rbe_status_text(status));
    pthread_join(thread, NULL);
    CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "once");
    rbe_session_free(session);
    rbe_model_close(model);
}

static void check_no_allocation(const char *path, uint32_t kv_type)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, NULL, &info);
    if (!model) {
        return;
    }
    uint32_t tokens[N_TOKENS];
    fill_tokens(tokens, info.n_vocabulary);
    rbe_session *session = open_sliding(model, 2, kv_type);
    const int slides = session != NULL;
    session = slides ? session : open_session(model, 2, 4, kv_type);
    rbe_sampling_options options = {.struct_bytes = sizeof options, .temperature = 1, .top_k = 3, .top_p = 0.9f, .repeat_penalty = 1.1f};
    rbe_sampler *sampler = NULL;
    CHECK(rbe_sampler_create(info.n_vocabulary, &options, &sampler) == RBE_OK, "sampler");
    unsigned before = atomic_load(&n_allocations);
    CHECK(before > 0, "the allocator is not wrapped");
    CHECK(rbe_session_append(session, tokens, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    for (int i = 0; i < (slides ? 12 : 3); i++) { /* of the positions, 3 are left */
        uint32_t token = 0;
        CHECK(rbe_sampler_draw(sampler, rbe_session_logits(session), &token) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_sampler_accept(sampler, token) == RBE_OK, "accept");
        CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
    unsigned allocated = atomic_load(&n_allocations) - before;
    CHECK(allocated == 0, "%u allocations during prefill and decode", allocated);
    rbe_sampler_free(sampler);
    rbe_session_free(session);
    rbe_model_close(model);
}

static void check_batch_allocates_nothing(const char *path)
{
    rbe_model_info info;
    rbe_model *model = open_model(path, NULL, &info);
    if (!model) {
        return;
    }
    rbe_batch *batch = NULL;
    rbe_session *sessions[2] = {open_session(model, 1, 4, RBE_KV_F16), open_session(model, 1, 4, RBE_KV_Q8)};
    rbe_status statuses[2];
    CHECK(rbe_batch_create(model, NULL, &batch) == RBE_OK, "%s", rbe_last_error());
    unsigned before = atomic_load(&n_allocations);
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t tokens[2] = {i % info.n_vocabulary, (i + 1) % info.n_vocabulary};
        CHECK(rbe_batch_decode(batch, sessions, tokens, 2, statuses) == RBE_OK && !statuses[0] && !statuses[1], "%s", rbe_last_error());
    }
    unsigned allocated = atomic_load(&n_allocations) - before;
    CHECK(allocated == 0, "%u allocations during steps of a batch", allocated);
    rbe_session_free(sessions[0]);
    rbe_session_free(sessions[1]);
    rbe_batch_free(batch);
    rbe_model_close(model);
}

/* What a session says of its cache; a number that is no type is refused. */
static void check_types(const char *path)
{
    rbe_model *model = NULL;
    CHECK(rbe_model_open(path, NULL, &model) == RBE_OK, "%s: %s", path, rbe_last_error());
    for (uint32_t type = RBE_KV_F16; model && type <= RBE_KV_AUTO; type++) {
        rbe_session_info info = {.struct_bytes = sizeof info};
        rbe_session *session = open_session(model, 1, 4, type);
        CHECK(rbe_session_get_info(session, &info) == RBE_OK, "%s", rbe_last_error());
        CHECK(info.kv_type == (type == RBE_KV_AUTO ? RBE_KV_Q8 : type), "%s: type %u became %u", path, type, info.kv_type);
        rbe_session_free(session);
    }
    const rbe_session_options unknown = {.struct_bytes = sizeof unknown, .kv_type = RBE_KV_AUTO + 1};
    rbe_session *none = NULL;
    CHECK(rbe_session_create(model, &unknown, &none) == RBE_ERROR_ARGUMENT && !none, "type %u", unknown.kv_type);
    CHECK(strstr(rbe_last_error(), "kv_type at most 4") != NULL, "%s", rbe_last_error());
    rbe_model_close(model);
}

int main(void)
{
    golden_files files = list_golden_files();
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    for (int i = 0; i < files.n; i++) {
        check_kernel_sets(files.path[i]);
        check_context(files.path[i]);
        check_types(files.path[i]);
        check_cancel_from_thread(files.path[i]);
        check_batch_allocates_nothing(files.path[i]);
        for (uint32_t type = RBE_KV_F16; type <= RBE_KV_Q8Q4; type++) {
            check_no_allocation(files.path[i], type);
        }
        for (uint32_t type = RBE_KV_F16; type <= RBE_KV_Q8; type++) {
            check_sliding(files.path[i], type);
        }
    }
    return check_finish();
}
