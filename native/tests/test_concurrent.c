/* One model, many threads: sessions that change their threads, are cancelled, saved and copied; batches; encoders. Each answer is, bit for bit,
 * what one thread alone computed before. Built with RBE_SANITIZE_THREADS, this is what ThreadSanitizer looks at. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "rbe/effort.h"
#include "rbe/encoder.h"
#include "rbe/rbe.h"
#include "rbe/threads.h"

enum { N_PROMPT = 11, N_DECODED = 12, N_CALLERS = 3, N_BATCHED = 3, N_ROUNDS = 6, MOST_VOCABULARY = 512, N_TEXTS = 3 };

typedef struct shared {
    rbe_model *model;
    uint32_t n_vocabulary, n_encoded; /* n_encoded: floats of the texts' hidden states */
    uint32_t tokens[N_PROMPT + N_DECODED];
    float logits[MOST_VOCABULARY]; /* behind all tokens, by one thread alone */
    float *encoded;
    const char *folder; /* for saved states */
    atomic_int stop;
    _Atomic(rbe_session *) cancelled[N_CALLERS]; /* what the canceller may touch; its owner takes it away before it frees it */
    pthread_mutex_t lock; /* held while one is cancelled, and while one is taken away */
} shared;

typedef struct caller {
    shared *all;
    uint32_t index;
    uint32_t n_cancelled;
    const char *failure; /* NULL: none; the message of a thread is its own */
    char text[256];
} caller;

static void pause_us(long microseconds)
{
    nanosleep(&(struct timespec){0, microseconds * 1000}, NULL);
}

static void fail(caller *self, const char *what)
{
    if (!self->failure) {
        snprintf(self->text, sizeof self->text, "thread %u: %s: %s", self->index, what, rbe_last_error());
        self->failure = self->text;
    }
}

static rbe_session *open_session(const shared *all, uint32_t n_threads)
{
    const rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = N_PROMPT + N_DECODED, .n_threads = n_threads, .pass_tokens = 4};
    rbe_session *session = NULL;
    (void)rbe_session_create(all->model, &options, &session);
    return session;
}

/* Again where it was cancelled: the session is then as before. */
static int append(caller *self, rbe_session *session, const uint32_t *tokens, size_t n)
{
    rbe_status status;
    while ((status = rbe_session_append(session, tokens, n, NULL, NULL)) == RBE_ERROR_CANCELLED) {
        self->n_cancelled++;
    }
    if (status != RBE_OK) {
        fail(self, "append");
    }
    return status == RBE_OK;
}

/* What may change from one token to the next without changing a bit. */
static void change_threads(caller *self, rbe_session *session, uint32_t step)
{
    const rbe_pass_options pass = {.struct_bytes = sizeof pass, .n_threads = 1 + (step + self->index) % 3};
    const rbe_workers workers = {.struct_bytes = sizeof workers, .n_threads = 1 + step % 2, .sleep = step & 1, .slow_cores = step >> 1 & 1};
    const rbe_status status = step % 3 == 0 ? rbe_session_set_workers(session, &workers) : rbe_session_configure(session, &pass);
    if (status != RBE_OK) {
        fail(self, "threads");
    }
}

/* Through a file and back into another session of the same thread. */
static rbe_session *move_by_file(caller *self, rbe_session *session)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%u.state", self->all->folder, self->index);
    rbe_session *other = open_session(self->all, 2);
    if (!other || rbe_session_save(session, path) != RBE_OK || rbe_session_restore(other, path) != RBE_OK) {
        fail(self, "save and restore");
        rbe_session_free(other);
        return session;
    }
    unlink(path);
    rbe_session_free(session);
    return other;
}

static void show(caller *self, rbe_session *session)
{
    pthread_mutex_lock(&self->all->lock);
    atomic_store(&self->all->cancelled[self->index], session);
    pthread_mutex_unlock(&self->all->lock);
}

static void answer_once(caller *self)
{
    shared *all = self->all;
    rbe_session *session = open_session(all, 1 + self->index % 3);
    if (!session) {
        fail(self, "session");
        return;
    }
    show(self, session);
    int good = append(self, session, all->tokens, N_PROMPT);
    for (uint32_t step = 0; good && step < N_DECODED; step++) {
        change_threads(self, session, step);
        if (step == 5) {
            show(self, NULL);
            session = move_by_file(self, session);
            show(self, session);
        }
        good = append(self, session, all->tokens + N_PROMPT + step, 1);
    }
    show(self, NULL);
    const float *logits = rbe_session_logits(session);
    if (good && (!logits || memcmp(logits, all->logits, all->n_vocabulary * sizeof *logits) != 0)) {
        fail(self, "other logits");
    }
    rbe_session_free(session);
}

/* Some answers, and more until one of them was cancelled. */
static void *answer(void *context)
{
    caller *self = context;
    for (int round = 0; !self->failure && (round < N_ROUNDS || self->n_cancelled == 0); round++) {
        answer_once(self);
    }
    return NULL;
}

/* Until the others have ended: cancels, takes back, asks, gives memory back. */
static void *disturb(void *context)
{
    shared *all = context;
    for (uint32_t round = 0; !atomic_load(&all->stop); round++) {
        pthread_mutex_lock(&all->lock);
        rbe_session *session = atomic_load(&all->cancelled[round % N_CALLERS]);
        if (session) {
            rbe_session_cancel(session);
            if (round % 4 == 1) {
                rbe_session_uncancel(session);
            }
        }
        pthread_mutex_unlock(&all->lock);
        rbe_model_memory memory = {.struct_bytes = sizeof memory};
        (void)rbe_model_get_memory(all->model, &memory);
        if (round % 8 == 3) {
            rbe_model_trim_memory(all->model);
        }
        pause_us(1000 + round % 5 * 700); /* so that a call comes to its end now and then */
    }
    return NULL;
}

static void *verify(void *context)
{
    shared *all = context;
    return (void *)(uintptr_t)rbe_model_verify(all->model, NULL, NULL);
}

static void *cancel_batch(void *batch)
{
    for (int i = 0; i < 20; i++) {
        rbe_batch_cancel(batch);
        pause_us(1500);
    }
    return NULL;
}

/* One step after the other, again where it was cancelled. */
static int step_batch(caller *self, rbe_batch *batch, rbe_session *const *sessions)
{
    rbe_status statuses[N_BATCHED], status = RBE_OK;
    for (uint32_t step = 0; status == RBE_OK && step < N_DECODED; step++) {
        const rbe_workers workers = {.struct_bytes = sizeof workers, .n_threads = 1 + step % 3, .sleep = step & 1};
        const uint32_t token = self->all->tokens[N_PROMPT + step], tokens[N_BATCHED] = {token, token, token};
        status = rbe_batch_set_workers(batch, &workers);
        if (status == RBE_OK) {
            while ((status = rbe_batch_decode(batch, sessions, tokens, N_BATCHED, statuses)) == RBE_ERROR_CANCELLED) {
                self->n_cancelled++;
            }
        }
    }
    return status == RBE_OK;
}

/* Several contexts step together while another thread cancels the batch, whose threads change too. */
static void *answer_together(void *context)
{
    caller *self = context;
    shared *all = self->all;
    rbe_session *sessions[N_BATCHED] = {NULL};
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = N_BATCHED, .n_threads = 2};
    rbe_batch *batch = NULL;
    pthread_t canceller;
    int good = rbe_batch_create(all->model, &options, &batch) == RBE_OK;
    for (int i = 0; i < N_BATCHED && good; i++) {
        good = (sessions[i] = open_session(all, 1)) != NULL;
    }
    const int has_canceller = good && pthread_create(&canceller, NULL, cancel_batch, batch) == 0;
    good = has_canceller;
    if (!good) {
        fail(self, "batch");
    }
    for (int round = 0; good && (round < N_ROUNDS || self->n_cancelled == 0); round++) {
        for (int i = 0; i < N_BATCHED && good; i++) {
            good = rbe_session_rewind(sessions[i], 0) == RBE_OK && append(self, sessions[i], all->tokens, N_PROMPT);
        }
        good = good && step_batch(self, batch, sessions);
        for (int i = 0; i < N_BATCHED && good; i++) {
            const float *logits = rbe_session_logits(sessions[i]);
            good = logits && memcmp(logits, all->logits, all->n_vocabulary * sizeof *logits) == 0;
        }
        if (!good) {
            fail(self, "a batch of other logits, or none");
        }
    }
    if (has_canceller) {
        pthread_join(canceller, NULL);
    }
    for (int i = 0; i < N_BATCHED; i++) {
        rbe_session_free(sessions[i]);
    }
    rbe_batch_free(batch);
    return NULL;
}

static void check_decoder(const char *name, const char *folder, uint32_t skip_checksums)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", RBE_GOLDEN_DIR, name);
    const rbe_model_options options = {.struct_bytes = sizeof options, .skip_checksums = skip_checksums};
    rbe_model_info info = {.struct_bytes = sizeof info};
    shared all = {.folder = folder, .lock = PTHREAD_MUTEX_INITIALIZER};
    CHECK(rbe_model_open(path, &options, &all.model) == RBE_OK, "%s: %s", path, rbe_last_error());
    if (!all.model) {
        return;
    }
    CHECK(rbe_model_get_info(all.model, &info) == RBE_OK && info.n_vocabulary <= MOST_VOCABULARY, "%s: %u tokens", name, info.n_vocabulary);
    all.n_vocabulary = info.n_vocabulary;
    for (uint32_t i = 0; i < N_PROMPT + N_DECODED; i++) {
        all.tokens[i] = (i * 7 + 1) % info.n_vocabulary;
    }
    rbe_session *alone = open_session(&all, 1);
    CHECK(alone && rbe_session_append(alone, all.tokens, N_PROMPT + N_DECODED, NULL, NULL) == RBE_OK, "%s: %s", name, rbe_last_error());
    memcpy(all.logits, rbe_session_logits(alone), info.n_vocabulary * sizeof *all.logits);
    rbe_session_free(alone);

    caller callers[N_CALLERS + 1] = {{0}};
    pthread_t threads[N_CALLERS + 1], disturber, verifier;
    CHECK(pthread_create(&disturber, NULL, disturb, &all) == 0 && pthread_create(&verifier, NULL, verify, &all) == 0, "threads");
    for (uint32_t i = 0; i <= N_CALLERS; i++) {
        callers[i] = (caller){.all = &all, .index = i};
        CHECK(pthread_create(&threads[i], NULL, i < N_CALLERS ? answer : answer_together, &callers[i]) == 0, "thread");
    }
    for (uint32_t i = 0; i <= N_CALLERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!callers[i].failure, "%s: %s", name, callers[i].failure);
    }
    atomic_store(&all.stop, 1);
    void *verified = NULL;
    pthread_join(disturber, NULL);
    pthread_join(verifier, &verified);
    CHECK((uintptr_t)verified == RBE_OK, "%s: verified with status %u", name, (unsigned)(uintptr_t)verified);
    rbe_model_close(all.model);
}

static const uint32_t encoded_tokens[] = {1, 2, 3, 4, 5, 6, 7};
static const rbe_encoder_text encoded_texts[N_TEXTS] = {
    {encoded_tokens, NULL, 7}, {encoded_tokens + 1, NULL, 3}, {encoded_tokens, NULL, 1}};
enum { N_ENCODED_TOKENS = 11 };

static rbe_status encode(const shared *all, uint32_t n_threads, float *out, rbe_encoder **encoder)
{
    const rbe_encoder_options options = {.struct_bytes = sizeof options, .n_threads = n_threads, .pass_tokens = 4};
    rbe_status status = *encoder ? RBE_OK : rbe_encoder_create(all->model, &options, encoder);
    if (status == RBE_OK) {
        status = rbe_encoder_hidden(*encoder, encoded_texts, N_TEXTS, out, NULL, NULL);
    }
    return status;
}

static void *cancel_encoder(void *encoder)
{
    for (int i = 0; i < 10; i++) {
        rbe_encoder_cancel(encoder);
        pause_us(500);
    }
    return NULL;
}

static void *encode_often(void *context)
{
    caller *self = context;
    const shared *all = self->all;
    float *out = malloc(all->n_encoded * sizeof *out);
    rbe_encoder *encoder = NULL;
    pthread_t canceller;
    if (!out || encode(all, 1 + self->index, out, &encoder) != RBE_OK || pthread_create(&canceller, NULL, cancel_encoder, encoder) != 0) {
        fail(self, "encoder");
    } else {
        for (int round = 0; !self->failure && (round < N_ROUNDS || self->n_cancelled == 0); round++) {
            rbe_status status;
            while ((status = encode(all, 0, out, &encoder)) == RBE_ERROR_CANCELLED) {
                self->n_cancelled++;
            }
            if (status != RBE_OK || memcmp(out, all->encoded, all->n_encoded * sizeof *out) != 0) {
                fail(self, "other hidden states");
            }
        }
        pthread_join(canceller, NULL);
    }
    rbe_encoder_free(encoder);
    free(out);
    return NULL;
}

static void check_encoder(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", RBE_GOLDEN_DIR, name);
    rbe_model_info info = {.struct_bytes = sizeof info};
    shared all = {.lock = PTHREAD_MUTEX_INITIALIZER};
    CHECK(rbe_model_open(path, NULL, &all.model) == RBE_OK && rbe_model_get_info(all.model, &info) == RBE_OK, "%s", rbe_last_error());
    all.n_encoded = N_ENCODED_TOKENS * info.width;
    all.encoded = malloc(all.n_encoded * sizeof *all.encoded);
    rbe_encoder *alone = NULL;
    CHECK(all.encoded && encode(&all, 1, all.encoded, &alone) == RBE_OK, "%s: %s", name, rbe_last_error());
    rbe_encoder_free(alone);
    caller callers[N_CALLERS];
    pthread_t threads[N_CALLERS];
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        callers[i] = (caller){.all = &all, .index = i};
        CHECK(pthread_create(&threads[i], NULL, encode_often, &callers[i]) == 0, "thread");
    }
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!callers[i].failure, "%s: %s", name, callers[i].failure);
    }
    free(all.encoded);
    rbe_model_close(all.model);
}

/* Models opened and closed at once by several threads: the verifying of each stops with it. */
static void *open_and_close(void *context)
{
    char path[512];
    uintptr_t n_failed = 0;
    snprintf(path, sizeof path, "%s/v3/experts.rbe", RBE_GOLDEN_DIR);
    for (int round = 0; round < 20; round++) {
        rbe_model *model = NULL;
        n_failed += rbe_model_open(path, NULL, &model) != RBE_OK;
        rbe_model_close(model);
    }
    (void)context;
    return (void *)n_failed;
}

static void check_opening(void)
{
    pthread_t threads[N_CALLERS];
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        CHECK(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0, "thread");
    }
    for (uint32_t i = 0; i < N_CALLERS; i++) {
        void *n_failed = NULL;
        pthread_join(threads[i], &n_failed);
        CHECK(!n_failed, "%u openings failed", (unsigned)(uintptr_t)n_failed);
    }
}

int main(void)
{
    char folder[] = "concurrent_XXXXXX";
    CHECK(mkdtemp(folder) != NULL, "a folder for saved states");
    check_decoder("v1/planes.rbe", folder, 0);
    check_decoder("v3/layers.rbe", folder, 0);
    check_decoder("v3/experts.rbe", folder, 1);
    check_decoder("v3/hybrid.rbe", folder, 0);
    check_decoder("v3/delta_net.rbe", folder, 0);
    check_encoder("v3/encoder.rbe");
    check_encoder("v3/encoder_modern.rbe");
    check_opening();
    CHECK(rmdir(folder) == 0, "states remain in %s", folder);
    return check_finish();
}
