/* Recurrences: the same bits however a sequence came to be, went back, and was kept elsewhere. */
#include <unistd.h>

#include "blocks/recurrence_state.h"
#include "recurrent_model.h"

#define N_TOKENS 700u

/* Two more tokens are what follows the first n in a session that has read nothing else. */
static void goes_on(rbe_session *session, const uint32_t *tokens, uint32_t n, const char *what)
{
    const uint32_t end[2] = {1, 2};
    rbe_session *fresh = open_session(session->model, RECURRENT_CONTEXT, 1, 64, 0);
    append(fresh, tokens, n);
    append(fresh, end, 2);
    append(session, end, 2);
    CHECK(same_logits(session, fresh), "%s: %u tokens", what, n);
    rbe_session_free(fresh);
}

static void check_passes(const recurrent_model *from)
{
    static const uint32_t sizes[][2] = {{1, 1}, {3, 2}, {7, 3}, {128, 2}, {500, 1}};
    uint32_t tokens[N_TOKENS];
    fill_tokens(from->model, tokens, N_TOKENS);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, sizes[i][1], sizes[i][0], 0);
        append(session, tokens, 250);
        for (uint32_t n = 250; n < 260; n++) {
            append(session, tokens + n, 1);
        }
        append(session, tokens + 260, 40);
        goes_on(session, tokens, 300, "passes");
        rbe_session_free(session);
    }
}

/* Sessions of unequal texts step together. */
static void check_batch(const recurrent_model *from)
{
    enum { N = 4 };
    static const uint32_t lengths[N] = {1, 127, 128, 300};
    uint32_t tokens[N_TOKENS], step[N];
    rbe_session *sessions[N];
    rbe_status statuses[N];
    rbe_batch *batch = NULL;
    const rbe_batch_options options = {.struct_bytes = sizeof options, .max_sessions = N, .n_threads = 2};
    fill_tokens(from->model, tokens, N_TOKENS);
    CHECK(rbe_batch_create(from->model, &options, &batch) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < N; i++) {
        sessions[i] = open_session(from->model, RECURRENT_CONTEXT, 1, 30 + i, 0);
        append(sessions[i], tokens, lengths[i]);
    }
    for (uint32_t n = 0; n < 6; n++) {
        for (uint32_t i = 0; i < N; i++) {
            step[i] = tokens[lengths[i] + n];
        }
        CHECK(rbe_batch_decode(batch, sessions, step, N, statuses) == RBE_OK, "%s", rbe_last_error());
    }
    for (uint32_t i = 0; i < N; i++) {
        goes_on(sessions[i], tokens, lengths[i] + 6, "a batch");
        rbe_session_free(sessions[i]);
    }
    rbe_batch_free(batch);
}

/* ---- going back -------------------------------------------------------------------------------------------------------------- */

static int stop_at(uint64_t done, uint64_t total, void *user)
{
    (void)total;
    return done >= *(const size_t *)user;
}

static void check_going_back(const recurrent_model *from)
{
    static const uint32_t to[] = {0, 1, 127, 128, 129, 256, 511, 512, 640, 698, 699};
    uint32_t tokens[N_TOKENS], others[N_TOKENS];
    fill_tokens(from->model, tokens, N_TOKENS);
    fill_tokens(from->model, others + 3, N_TOKENS - 3);
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 100, 0);
        append(session, tokens, N_TOKENS);
        CHECK(rbe_session_rewind(session, to[i]) == RBE_OK, "%s", rbe_last_error());
        goes_on(session, tokens, to[i], "back");
        rbe_session_free(session);
    }
    rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 2, 50, 0);
    memcpy(others, tokens, 260 * sizeof *tokens);
    append(session, tokens, 600);
    CHECK(rbe_session_rewind(session, 260) == RBE_OK, "%s", rbe_last_error());
    append(session, others + 260, 300);
    CHECK(rbe_session_rewind(session, 530) == RBE_OK, "%s", rbe_last_error());
    goes_on(session, others, 530, "back in other tokens");
    rbe_session_free(session);
}

/* A call that is stopped, in its first pass or later, leaves what it found. */
static void check_stopped(const recurrent_model *from)
{
    static const size_t behind[] = {1, 50, 100, 400};
    uint32_t tokens[N_TOKENS];
    fill_tokens(from->model, tokens, N_TOKENS);
    for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
        for (uint32_t held = 0; held < 200; held += 130) {
            size_t stop = behind[i];
            rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 50, 0);
            append(session, tokens, held);
            CHECK(rbe_session_append(session, tokens + 9, 500, stop_at, &stop) == RBE_ERROR_CANCELLED, "not stopped");
            CHECK(session->position == held, "at %u", session->position);
            rbe_session_cancel(session);
            CHECK(rbe_session_append(session, tokens + 5, 20, NULL, NULL) == RBE_ERROR_CANCELLED, "not cancelled");
            goes_on(session, tokens, held, "a stopped call");
            rbe_session_free(session);
        }
    }
}

/* Steps of one token write the other place and copy nothing; what is computed again is at most half of what was read. */
static void check_places(const recurrent_model *from)
{
    uint32_t tokens[N_TOKENS];
    fill_tokens(from->model, tokens, N_TOKENS);
    rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 64, 0);
    const rbe__block_state *state = &session->state.blocks[0];
    append(session, tokens, 10);
    for (uint32_t n = 10; n < N_TOKENS; n++) {
        const uint32_t latest = *state->recurrence.latest;
        append(session, tokens + n, 1);
        CHECK(*state->recurrence.latest != latest && rbe__recurrence_reach(state, n) == n, "a step at %u", n);
    }
    CHECK(state->recurrence.checkpoints.n_places == RBE_RECURRENCE_CHECKPOINTS, "%u places", state->recurrence.checkpoints.n_places);
    for (uint32_t n = 256; n < N_TOKENS; n++) {
        CHECK(rbe__recurrence_reach(state, n) >= n - (n < 512 ? 256 : n / 2), "%u: back to %u", n, rbe__recurrence_reach(state, n));
    }
    for (uint32_t n = 256; n < N_TOKENS - 1; n++) { /* what it says is what it can do */
        const uint32_t found = rbe__recurrence_reach(state, n);
        CHECK(rbe__recurrence_reach(state, found) == found, "%u", n);
    }
    rbe_session_free(session);
}

/* Layers that run alone go on where they ended, and a session's own state stays. */
static void check_layers_alone(const recurrent_model *from)
{
    const uint32_t width = from->model->stack.width, n_layers = from->model->stack.n_layers;
    uint32_t tokens[N_TOKENS];
    float *first = malloc(20u * width * sizeof *first), *second = malloc(20u * width * sizeof *second);
    fill_tokens(from->model, tokens, N_TOKENS);
    rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 8, 0);
    rbe_session *empty = open_session(from->model, RECURRENT_CONTEXT, 1, 64, 0);
    append(session, tokens, 150);
    CHECK(rbe_session_embed(empty, tokens + 150, 20, first) == RBE_OK, "%s", rbe_last_error());
    memcpy(second, first, 20u * width * sizeof *first);
    CHECK(rbe_session_run_layers(session, 0, n_layers, 150, first, 20, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_run_layers(session, 0, n_layers, 150, second, 20, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(first, second, 20u * width * sizeof *first) == 0, "the same layers twice");
    CHECK(rbe_session_run_layers(empty, 0, n_layers, 5, first, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "behind nothing");
    goes_on(session, tokens, 150, "layers alone");
    rbe_session_free(session);
    rbe_session_free(empty);
    free(first);
    free(second);
}

/* ---- kept elsewhere ---------------------------------------------------------------------------------------------------------- */

static unsigned char *saved(const rbe_session *session, const char *path, size_t *bytes)
{
    unsigned char *data = NULL;
    CHECK(rbe_session_save(session, path) == RBE_OK, "%s", rbe_last_error());
    FILE *file = fopen(path, "rb");
    *bytes = 0;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        const long size = ftell(file);
        rewind(file);
        data = malloc((size_t)size);
        *bytes = fread(data, 1, (size_t)size, file);
    }
    if (file) {
        fclose(file);
    }
    return data;
}

static void check_saved(const recurrent_model *from)
{
    static const uint32_t to[] = {0, 5, 128, 300, 511, 690};
    char path[64];
    uint32_t tokens[N_TOKENS];
    size_t bytes, again;
    fill_tokens(from->model, tokens, N_TOKENS);
    snprintf(path, sizeof path, "test_recurrence.%d", (int)getpid());
    rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 64, 0), *other = open_session(from->model, 800, 2, 9, 0);
    append(session, tokens, 690);
    append(other, tokens + 7, 300);
    unsigned char *first = saved(session, path, &bytes);
    CHECK(rbe_session_restore(other, path) == RBE_OK, "%s", rbe_last_error());
    unsigned char *second = saved(other, path, &again);
    CHECK(bytes == again && memcmp(first, second, bytes) == 0, "another file");
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        CHECK(rbe_session_copy(other, session, to[i]) == RBE_OK, "%s", rbe_last_error());
        goes_on(other, tokens, to[i], "copied");
        CHECK(rbe_session_restore(other, path) == RBE_OK && rbe_session_rewind(other, to[i]) == RBE_OK, "%s", rbe_last_error());
        goes_on(other, tokens, to[i], "restored");
    }
    goes_on(session, tokens, 690, "copied from");
    unlink(path);
    free(first);
    free(second);
    rbe_session_free(session);
    rbe_session_free(other);
}

/* What slid goes on the same where it was restored. */
static void check_slide(const recurrent_model *from)
{
    char path[64];
    uint32_t tokens[N_TOKENS];
    fill_tokens(from->model, tokens, N_TOKENS);
    snprintf(path, sizeof path, "test_recurrence_slide.%d", (int)getpid());
    rbe_session *session = open_session(from->model, 300, 1, 32, 4), *other = open_session(from->model, 300, 2, 32, 4);
    append(session, tokens, N_TOKENS);
    CHECK(rbe_session_save(session, path) == RBE_OK && rbe_session_restore(other, path) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t n = 0; n < 200; n++) {
        append(session, tokens + n, 1);
        append(other, tokens + n, 1);
    }
    CHECK(same_logits(session, other), "it slid again");
    CHECK(rbe_session_save(session, path) == RBE_OK && rbe_session_restore(other, path) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_rewind(session, session->position - 20) == RBE_OK && rbe_session_rewind(other, other->position - 20) == RBE_OK, "%s",
          rbe_last_error());
    append(session, tokens, 3);
    append(other, tokens, 3);
    CHECK(same_logits(session, other), "back in what slid");
    unlink(path);
    rbe_session_free(session);
    rbe_session_free(other);
}

/* A recurrence that is left out goes on all the same: the first one reads the same tokens. */
static void check_left_out(const recurrent_model *from)
{
    const uint32_t width = from->model->stack.width, n_layers = from->model->stack.n_layers;
    uint32_t tokens[N_TOKENS];
    uint8_t attention[64] = {RBE_SKIP}, feed_forward[64] = {0};
    float *x[2];
    fill_tokens(from->model, tokens, N_TOKENS);
    for (int i = 0; i < 2; i++) {
        const rbe_effort effort = {
            .struct_bytes = sizeof effort, .n_layers = n_layers, .attention = attention, .feed_forward = feed_forward};
        rbe_session *session = open_session(from->model, RECURRENT_CONTEXT, 1, 64, 0);
        rbe_session *empty = open_session(from->model, RECURRENT_CONTEXT, 1, 64, 0);
        CHECK(i || rbe_session_set_effort(session, &effort) == RBE_OK, "%s", rbe_last_error());
        append(session, tokens, 200);
        CHECK(rbe_session_set_effort(session, NULL) == RBE_OK, "%s", rbe_last_error());
        x[i] = malloc(width * sizeof(float));
        CHECK(rbe_session_embed(empty, tokens, 1, x[i]) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_session_run_layers(session, 0, 1, 200, x[i], 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        rbe_session_free(session);
        rbe_session_free(empty);
    }
    CHECK(memcmp(x[0], x[1], width * sizeof(float)) == 0, "left out");
    const rbe__block *block = &from->model->stack.layers[0].blocks[0];
    CHECK(block->kind->read_bytes(block, RBE_SKIP) < block->kind->read_bytes(block, 0), "a gate and a matrix less");
    free(x[0]);
    free(x[1]);
}

int main(void)
{
    static const rbe__recurrence_shape shapes[] = {{RBE_MIXER_DELTA_NET, 2, 6, 16, 40, 4},
                                                   {RBE_MIXER_DELTA_NET, 1, 1, 4, 4, 1},
                                                   {RBE_MIXER_STATE_SPACE, 2, 4, 66, 37, 3},
                                                   {RBE_MIXER_STATE_SPACE, 1, 1, 1, 1, 32}};
    for (int i = 0; i < 4; i++) {
        recurrent_model found;
        open_recurrent(NULL, &shapes[i], 1, &found);
        CHECK(found.model != NULL, "%s", rbe_last_error());
        check_passes(&found);
        check_places(&found);
        check_layers_alone(&found);
        check_left_out(&found);
        check_stopped(&found);
        check_saved(&found);
        check_slide(&found);
        if (i % 2 == 0) {
            check_batch(&found);
            check_going_back(&found);
        }
        close_recurrent(&found);
    }
    return check_finish();
}
