/* A call that fails leaves a session as it was, also where its context slid meanwhile, and a generation loses no token: cancelled, stopped
 * by the caller, and with each allocation refused in turn (the linker wraps the allocator: see CMakeLists.txt). */
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "rbe/rbe.h"
#include "session/session.h"
#include "wrapped_allocator.h"

enum { CONTEXT = 16, SINKS = 3, PASS = 4, MANY = 11 }; /* MANY tokens take three passes */

/* The whole state of a session, as it is saved. */
typedef struct image {
    unsigned char *data;
    size_t bytes;
} image;

static char state_path[] = "/tmp/rbe-test-leftovers-XXXXXX";

static image image_of(const rbe_session *session)
{
    image taken;
    CHECK(rbe_session_save(session, state_path) == RBE_OK, "%s", rbe_last_error());
    taken.data = read_file(state_path, &taken.bytes);
    return taken;
}

static void check_as_before(const char *what, const rbe_session *session, image *before)
{
    image now = image_of(session);
    CHECK(now.bytes == before->bytes && before->bytes > 0 && memcmp(now.data, before->data, now.bytes) == 0, "%s: the session has changed",
          what);
    free(now.data);
    free(before->data);
}

static rbe_session *open_session(const rbe_model *model, uint32_t kv_type, uint32_t n_tokens)
{
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = CONTEXT,
                                         .n_threads = 2,
                                         .pass_tokens = PASS,
                                         .kv_type = kv_type,
                                         .sink_tokens = SINKS};
    rbe_session *session = NULL;
    if (rbe_session_create(model, &options, &session) != RBE_OK) {
        return NULL;
    }
    for (uint32_t i = 0; i < n_tokens; i++) {
        const uint32_t token = (i * i * 5 + 3) % session->pass.stack->n_vocabulary;
        CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
    return session;
}

/* What goes wrong after so many passes. */
typedef struct trouble {
    int passes;
    rbe_session *cancelled; /* NULL: the callback stops the call */
} trouble;

static int make_trouble(uint64_t done, uint64_t total, void *user)
{
    trouble *t = user;
    (void)done, (void)total;
    if (--t->passes != 0) {
        return 0;
    }
    if (t->cancelled) {
        rbe_session_cancel(t->cancelled);
    }
    return !t->cancelled;
}

/* Both sessions are the same, one of them after failures: they stay so. */
static void check_same_future(const char *what, rbe_session *session, rbe_session *twin, const uint32_t *tokens)
{
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(rbe_session_append(session, tokens, MANY, NULL, NULL) == RBE_OK, "%s: %s", what, rbe_last_error());
        CHECK(rbe_session_append(twin, tokens, MANY, NULL, NULL) == RBE_OK, "%s: %s", what, rbe_last_error());
        image expected = image_of(twin);
        check_as_before(what, session, &expected);
    }
}

static void check_append(const rbe_model *model, uint32_t kv_type, uint32_t n_held)
{
    uint32_t tokens[MANY];
    rbe_session *session = open_session(model, kv_type, n_held), *twin = open_session(model, kv_type, n_held);
    const rbe_pass_options planes = {.struct_bytes = sizeof planes, .n_planes = 1};
    for (uint32_t i = 0; i < MANY; i++) {
        tokens[i] = (7 * i + 2) % session->pass.stack->n_vocabulary;
    }
    for (int passes = 1; passes <= 2; passes++) {
        for (int by_cancelling = 0; by_cancelling < 2; by_cancelling++) {
            trouble t = {passes, by_cancelling ? session : NULL};
            image before = image_of(session);
            CHECK(rbe_session_configure(session, &planes) == RBE_OK, "%s", rbe_last_error());
            CHECK(rbe_session_append(session, tokens, MANY, make_trouble, &t) == RBE_ERROR_CANCELLED, "not cancelled");
            check_as_before("append", session, &before);
            CHECK(rbe_session_configure(session, NULL) == RBE_OK, "%s", rbe_last_error());
        }
    }
    image before = image_of(session);
    rbe_session_cancel(session);
    CHECK(rbe_session_append(session, tokens, 1, NULL, NULL) == RBE_ERROR_CANCELLED, "not cancelled");
    check_as_before("a step", session, &before);
    before = image_of(session);
    float scores[MANY];
    trouble t = {2, NULL};
    CHECK(rbe_session_score(session, tokens, MANY, scores, NULL, make_trouble, &t) == RBE_ERROR_CANCELLED, "not cancelled");
    check_as_before("score", session, &before);
    uint32_t n_refused = 0;
    for (rbe_status status = RBE_ERROR_MEMORY; status == RBE_ERROR_MEMORY; n_refused++) {
        before = image_of(session);
        atomic_store(&n_allocations, 0);
        atomic_store(&refused, n_refused + 1);
        t = (trouble){2, NULL}; /* in the end the memory is there, and the call is stopped */
        status = rbe_session_append(session, tokens, MANY, make_trouble, &t);
        atomic_store(&refused, 0);
        CHECK(status == RBE_ERROR_MEMORY || status == RBE_ERROR_CANCELLED, "%s", rbe_status_text(status));
        check_as_before("no memory", session, &before);
    }
    CHECK(n_refused > 1 || n_held + 2 * PASS <= CONTEXT, "nothing was allocated where %u tokens slide", n_held);
    check_same_future("append", session, twin, tokens);
    rbe_session_free(session);
    rbe_session_free(twin);
}

/* A pass that was committed to leaves a cancellation for the next. */
static void check_commit(const rbe_model *model)
{
    rbe_session *session = open_session(model, RBE_KV_F16, 2);
    const uint32_t token = 1;
    const rbe__run run = {&session->state, session->position, 1};
    CHECK(rbe__pass_commit(&session->pass) == RBE_OK, "%s", rbe_last_error());
    rbe_session_cancel(session);
    rbe__state_mark(&session->state, session->position, 1); /* the session stays where it is */
    CHECK(rbe__pass_run(&session->pass, &run, 1, &token) == RBE_OK, "cancelled in spite of it");
    CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_ERROR_CANCELLED, "the cancellation is lost");
    CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_session_cancel(session);
    CHECK(rbe__pass_commit(&session->pass) == RBE_ERROR_CANCELLED, "committed to a pass that was cancelled");
    rbe_session_cancel(session);
    CHECK(rbe__pass_run(&session->pass, &run, 1, &token) == RBE_ERROR_CANCELLED, "a refused commitment stays");
    rbe_session_cancel(session);
    rbe_session_uncancel(session);
    CHECK(rbe_session_append(session, &token, 1, NULL, NULL) == RBE_OK, "cancelled though that was taken back: %s", rbe_last_error());
    rbe_session_uncancel(session);
    rbe_session_uncancel(NULL);
    rbe_session_free(session);
}

/* Three sessions, of which the first and the last slide. */
static void check_batch(const rbe_model *model, uint32_t kv_type)
{
    const uint32_t held[3] = {CONTEXT, 5, CONTEXT}, tokens[3] = {1, 2, 3};
    rbe_session *sessions[3], *twins[3];
    rbe_batch *batch = NULL;
    rbe_status statuses[3];
    image before[3];
    CHECK(rbe_batch_create(model, NULL, &batch) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < 3; i++) {
        sessions[i] = open_session(model, kv_type, held[i]);
        twins[i] = open_session(model, kv_type, held[i]);
        before[i] = image_of(sessions[i]);
    }
    rbe_batch_cancel(batch);
    CHECK(rbe_batch_decode(batch, sessions, tokens, 3, statuses) == RBE_ERROR_CANCELLED, "not cancelled");
    for (uint32_t i = 0; i < 3; i++) {
        check_as_before("a batch that was cancelled", sessions[i], &before[i]);
    }
    rbe_session_cancel(sessions[0]);
    before[0] = image_of(sessions[0]);
    CHECK(rbe_batch_decode(batch, sessions, tokens, 3, statuses) == RBE_OK, "%s", rbe_last_error());
    CHECK(statuses[0] == RBE_ERROR_CANCELLED && statuses[1] == RBE_OK && statuses[2] == RBE_OK, "statuses");
    check_as_before("a session that was cancelled", sessions[0], &before[0]);
    CHECK(rbe_batch_decode(batch, sessions, tokens, 1, statuses) == RBE_OK && statuses[0] == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(rbe_session_append(twins[i], tokens + i, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        image expected = image_of(twins[i]);
        check_as_before("after the step", sessions[i], &expected);
        rbe_session_free(sessions[i]);
        rbe_session_free(twins[i]);
    }
    rbe_batch_free(batch);
}

/* Tokens and text of generations, step by step; refuses allocation number `refuse` of each step once. */
static void generate(const rbe_model *model, uint32_t refuse, char *text, size_t room, uint32_t *n_refused)
{
    rbe_generation *generations[2] = {NULL, NULL};
    rbe_session *sessions[2];
    rbe_batch *batch = NULL;
    const char *stops[] = {"\x7f\x7f\x7f\x7f"};
    rbe_generation_options options = {.struct_bytes = sizeof options, .max_tokens = 30, .ignore_end = 1, .stops = stops, .n_stops = 1};
    rbe_sampling_options sampling = {.struct_bytes = sizeof sampling, .temperature = 3, .repeat_penalty = 1.1f, .seed = 5};
    options.sampling = &sampling;
    CHECK(rbe_batch_create(model, NULL, &batch) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < 2; i++) {
        sessions[i] = open_session(model, RBE_KV_F16, 3 + i);
        sampling.seed += i;
        CHECK(rbe_generation_create(sessions[i], &options, &generations[i]) == RBE_OK, "%s", rbe_last_error());
    }
    size_t used = 0;
    for (uint32_t step = 0; step < 30; step++) {
        rbe_generation_event events[2] = {{.struct_bytes = sizeof *events}, {.struct_bytes = sizeof *events}};
        rbe_status statuses[2] = {RBE_ERROR_MEMORY, RBE_ERROR_MEMORY};
        for (uint32_t attempt = 0; attempt < 2; attempt++) {
            atomic_store(&n_allocations, 0);
            atomic_store(&refused, attempt == 0 ? refuse : 0);
            const uint32_t first = statuses[0] == RBE_OK, n = (statuses[0] != RBE_OK) + (statuses[1] != RBE_OK);
            if (n) { /* both, or the one that failed alone */
                CHECK(rbe_batch_step(batch, generations + first, n, events + first, statuses + first) == RBE_OK, "%s", rbe_last_error());
            }
            atomic_store(&refused, 0);
            *n_refused += (statuses[0] == RBE_ERROR_MEMORY) + (statuses[1] == RBE_ERROR_MEMORY);
        }
        for (uint32_t i = 0; i < 2; i++) {
            const rbe_generation_event *e = &events[i];
            CHECK(statuses[i] == RBE_OK, "%s", rbe_last_error());
            used += (size_t)snprintf(text + used, room - used, "%u %u %.*s%.*s|", e->token, e->finish, (int)e->text_bytes, e->text,
                                     (int)e->rest_bytes, e->rest ? e->rest : "");
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        rbe_generation_free(generations[i]);
        rbe_session_free(sessions[i]);
    }
    rbe_batch_free(batch);
}

static void check_generations(const rbe_model *model)
{
    static char expected[8192], text[8192];
    uint32_t n_refused = 0, total = 0;
    if (!rbe_model_tokenizer(model)) {
        return;
    }
    generate(model, 0, expected, sizeof expected, &n_refused);
    CHECK(n_refused == 0 && strlen(expected) < sizeof expected - 1, "%u", n_refused);
    for (uint32_t refuse = 1; refuse == 1 || n_refused > 0; refuse++) {
        n_refused = 0;
        generate(model, refuse, text, sizeof text, &n_refused);
        CHECK(strcmp(text, expected) == 0, "allocation %u refused:\n%s\nis not\n%s", refuse, text, expected);
        total += n_refused;
    }
    CHECK(total > 0, "no step allocates");
}

int main(void)
{
    golden_files files = list_golden_files();
    uint32_t n_slide = 0;
    const int descriptor = mkstemp(state_path);
    CHECK(files.n > 0 && descriptor >= 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    close(descriptor);
    for (int i = 0; i < files.n; i++) {
        rbe_model *model = NULL;
        CHECK(rbe_model_open(files.path[i], NULL, &model) == RBE_OK, "%s", rbe_last_error());
        rbe_session *session = open_session(model, RBE_KV_F16, 0);
        for (uint32_t kv_type = RBE_KV_F16; session && kv_type <= RBE_KV_Q8Q4; kv_type++) {
            check_append(model, kv_type, CONTEXT);
            check_append(model, kv_type, CONTEXT - 2);
            check_append(model, kv_type, 1);
            check_batch(model, kv_type);
        }
        if (session) { /* its positions are not learned */
            n_slide++;
            check_commit(model);
            check_generations(model);
        }
        rbe_session_free(session);
        rbe_model_close(model);
    }
    CHECK(n_slide >= 2, "only %u of the packs slide", n_slide);
    unlink(state_path);
    return check_finish();
}
