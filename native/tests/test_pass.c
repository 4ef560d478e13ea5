/* Passes and blocks on the golden packs: runs of several states mix, with the bits of passes of their own; what a block reads and adds, and
 * where it is normed, are fields; a block that cannot go back has its tokens computed again; layers of two models, each opened in part. */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "golden_files.h"
#include "layers/norm.h"
#include "session/session.h"

#define CONTEXT 24u
#define N_TOKENS 12u

/* For a loop's largest value; a NaN stays. gcc 12 for ARM stops at a loop over fmax. */
static double larger(double most, double value)
{
    return value > most || isnan(value) ? value : most;
}

static rbe_session *open_session(const rbe_model *model, uint32_t n_threads, uint32_t pass_tokens)
{
    rbe_session_options options = {
        .struct_bytes = sizeof options, .context_tokens = CONTEXT, .n_threads = n_threads, .pass_tokens = pass_tokens};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static void fill_tokens(uint32_t *tokens, uint32_t n, uint32_t first, uint32_t n_vocabulary)
{
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (first + i * 7) % n_vocabulary;
    }
}

/* A prompt of one state, a token of another and a piece of a third, in one pass. */
static void check_mixed_runs(const rbe_model *model)
{
    enum { N = 3 };
    const uint32_t counts[N] = {5, 1, 3}, before[N] = {0, 4, 2}, n_vocabulary = model->stack.n_vocabulary;
    rbe_session *single[N], *mixed[N], *work = open_session(model, 2, 16);
    uint32_t tokens[N_TOKENS], all[N_TOKENS], n_all = 0;
    rbe__run runs[N];
    for (uint32_t i = 0; i < N; i++) {
        single[i] = open_session(model, 1, 16);
        mixed[i] = open_session(model, 1, 16);
        fill_tokens(tokens, N_TOKENS, i, n_vocabulary);
        if (before[i]) {
            CHECK(rbe_session_append(single[i], tokens, before[i], NULL, NULL) == RBE_OK, "%s", rbe_last_error());
            CHECK(rbe_session_append(mixed[i], tokens, before[i], NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        }
        CHECK(rbe_session_append(single[i], tokens + before[i], counts[i], NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        memcpy(all + n_all, tokens + before[i], counts[i] * sizeof *all);
        runs[i] = (rbe__run){&mixed[i]->state, before[i], counts[i]};
        n_all += counts[i];
    }
    CHECK(rbe__pass_run(&work->pass, runs, N, all) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0, row = 0; i < N; i++) {
        row += counts[i];
        rbe__pass_logits(&work->pass, row - 1, 1, work->pass.logits);
        CHECK(memcmp(work->pass.logits, rbe_session_logits(single[i]), n_vocabulary * sizeof(float)) == 0, "run %u differs", i);
    }
    for (uint32_t i = 0; i < N; i++) {
        rbe_session_free(single[i]);
        rbe_session_free(mixed[i]);
    }
    rbe_session_free(work);
}

/* hidden [N_TOKENS][width] through layer 0 of which only block `only` is left (-1: all), from malloc. */
static float *run_layer(rbe_model *model, const float *hidden, int only)
{
    rbe__layer *layer = &model->stack.layers[0];
    const rbe__layer whole = *layer;
    const size_t bytes = (size_t)N_TOKENS * model->stack.width * sizeof(float);
    float *x = malloc(bytes);
    memcpy(x, hidden, bytes);
    if (only >= 0) {
        layer->blocks[0] = whole.blocks[only];
        layer->n_blocks = 1;
    }
    rbe_session *session = open_session(model, 1, 16);
    CHECK(rbe_session_run_layers(session, 0, 1, 0, x, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(session);
    *layer = whole;
    return x;
}

static float *embed(const rbe_model *model)
{
    uint32_t tokens[N_TOKENS];
    float *hidden = malloc((size_t)N_TOKENS * model->stack.stream_width * sizeof *hidden);
    rbe_session *session = open_session(model, 1, 16);
    fill_tokens(tokens, N_TOKENS, 3, model->stack.n_vocabulary);
    CHECK(rbe_session_embed(session, tokens, N_TOKENS, hidden) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(session);
    return hidden;
}

/* x + A(x) + F(x) where both blocks read what the layer began with. */
static void check_side_by_side(rbe_model *model)
{
    const size_t n = (size_t)N_TOKENS * model->stack.width;
    float *x = embed(model), *a = run_layer(model, x, 0), *f = run_layer(model, x, 1);
    model->stack.layers[0].blocks[1].reads = RBE_READS_LAYER_INPUT;
    float *both = run_layer(model, x, -1);
    model->stack.layers[0].blocks[1].reads = RBE_READS_STREAM;
    float *after = run_layer(model, x, -1);
    double worst = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        worst = larger(worst, fabs((double)both[i] - ((double)a[i] + f[i] - x[i])));
        apart = larger(apart, fabs((double)both[i] - after[i]));
    }
    CHECK(worst < 1e-4 && apart > 1e-3, "side by side: %g from the sum, %g from one after the other", worst, apart);
    free(x);
    free(a);
    free(f);
    free(both);
    free(after);
}

/* norm(x + A(x)), as encoders have it: a third place of a norm. */
static void check_stream_norm(rbe_model *model)
{
    rbe__block *block = &model->stack.layers[0].blocks[0];
    const uint32_t width = model->stack.width;
    float *x = embed(model), *plain = run_layer(model, x, 0);
    block->stream_norm = model->stack.norm;
    float *normed = run_layer(model, x, 0);
    block->stream_norm = (rbe__norm){0};
    rbe__normalize(model->stack.kernels, block->norm_kind, &model->stack.norm, block->norm_epsilon, plain, width, N_TOKENS, plain);
    CHECK(memcmp(plain, normed, (size_t)N_TOKENS * width * sizeof *plain) == 0, "a norm of the stream");
    free(x);
    free(plain);
    free(normed);
}

/* Attention over an earlier block's keys and values: with the same weights and the same input the result is that block's own. */
static void check_shared_state(rbe_model *model)
{
    rbe__layer *layer = &model->stack.layers[0];
    const rbe__layer whole = *layer;
    float *x = embed(model), *a = run_layer(model, x, 0);
    layer->blocks[1] = whole.blocks[0];
    layer->blocks[1].shares_state = 1;
    layer->blocks[1].reads = RBE_READS_LAYER_INPUT;
    float *twice = run_layer(model, x, -1);
    *layer = whole;
    double worst = 0;
    for (size_t i = 0; i < (size_t)N_TOKENS * model->stack.width; i++) {
        worst = larger(worst, fabs((double)twice[i] - (2.0 * a[i] - x[i])));
    }
    CHECK(worst < 1e-4, "shared keys and values: %g", worst);
    free(x);
    free(a);
    free(twice);
}

/* Rows that were filled in without attending are what attending over them finds: the last of N_TOKENS reads the others. */
static void check_fill(rbe_model *model)
{
    rbe__layer *layer = &model->stack.layers[0];
    const size_t width = model->stack.width, bytes = width * sizeof(float);
    float *x = embed(model), *whole = run_layer(model, x, 0);
    rbe_session *session = open_session(model, 2, 16);
    rbe__pass *pass = &session->pass;
    const rbe__run run = {&session->state, 0, N_TOKENS};
    rbe__pass_begin(pass, &run, 1);
    memcpy(pass->hidden, x, N_TOKENS * bytes);
    CHECK(rbe__pass_fill(pass, 0) == RBE_OK && memcmp(pass->hidden, x, N_TOKENS * bytes) == 0, "%s", rbe_last_error());
    const rbe__layer both = *layer;
    layer->n_blocks = 1;
    layer->blocks[0].shares_state = 1;
    float *last = malloc(bytes);
    memcpy(last, x + (N_TOKENS - 1) * width, bytes);
    CHECK(rbe_session_run_layers(session, 0, 1, N_TOKENS - 1, last, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    *layer = both;
    CHECK(memcmp(last, whole + (N_TOKENS - 1) * width, bytes) == 0, "over rows that were filled in");
    rbe_session_free(session);
    free(x);
    free(whole);
    free(last);
}

static uint32_t reach_checkpoint(const rbe__block_state *state, uint32_t n)
{
    (void)state;
    return n / 4 * 4;
}

/* A kind that can go back to every fourth position only. */
static void check_replay(rbe_model *model)
{
    rbe__block *block = &model->stack.layers[0].blocks[0];
    rbe__block_kind checkpointed = *block->kind;
    checkpointed.reach = reach_checkpoint;
    uint32_t tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, 1, model->stack.n_vocabulary);
    rbe_session *plain = open_session(model, 1, 16);
    CHECK(rbe_session_append(plain, tokens, 8, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    const rbe__block_kind *kind = block->kind;
    block->kind = &checkpointed;
    rbe_session *session = open_session(model, 1, 2);
    uint32_t other[N_TOKENS];
    memcpy(other, tokens, sizeof other);
    other[7] = (tokens[7] + 1) % model->stack.n_vocabulary;
    CHECK(rbe_session_append(session, other, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    size_t n_held = 0, n = 0;
    CHECK(rbe_session_resume(session, tokens, 8, &n_held) == RBE_OK && n_held == 7, "%s: %zu", rbe_last_error(), n_held);
    CHECK(memcmp(rbe_session_tokens(session, &n), tokens, 7 * sizeof *tokens) == 0 && n == 7, "%zu tokens", n);
    CHECK(rbe_session_append(session, tokens + 7, 1, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    CHECK(memcmp(rbe_session_logits(session), rbe_session_logits(plain), model->stack.n_vocabulary * sizeof(float)) == 0, "replayed");
    rbe_session_cancel(session);
    CHECK(rbe_session_rewind(session, 6) == RBE_ERROR_CANCELLED, "a replay can be cancelled");
    CHECK(rbe_session_tokens(session, &n) && n == 4, "%zu tokens are left", n);
    rbe_session_free(session);
    block->kind = kind;
    rbe_session_free(plain);
}

/* Layers in models that were opened with one layer each, against all of them in one, in a single call. The golden packs have one layer, so what is
 * left of it here is a call for each piece of the text; tests/runtime has models of several. */
static void check_parts(const char *path, rbe_model *whole)
{
    const uint32_t n_layers = whole->stack.n_layers, width = whole->stack.stream_width;
    float *x = embed(whole), *y = embed(whole);
    rbe_session *session = open_session(whole, 1, 16);
    CHECK(rbe_session_run_layers(session, 0, n_layers, 0, x, N_TOKENS, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t first = 0; first < n_layers; first++) {
        rbe_model_options options = {.struct_bytes = sizeof options, .first_layer = first, .n_layers = 1};
        rbe_model *part = NULL;
        CHECK(rbe_model_open(path, &options, &part) == RBE_OK, "%s", rbe_last_error());
        rbe_session *of_part = open_session(part, 1, 16);
        uint32_t token = 1;
        CHECK(n_layers == 1 || rbe_session_append(of_part, &token, 1, NULL, NULL) == RBE_ERROR_UNSUPPORTED, "tokens through a part");
        for (uint32_t done = 0; done < N_TOKENS; done += 4) { /* in pieces: each continues the one before */
            CHECK(rbe_session_run_layers(of_part, first, 1, done, y + (size_t)done * width, 4, NULL, NULL) == RBE_OK, "%s",
                  rbe_last_error());
        }
        CHECK(rbe_session_run_layers(of_part, first + 1, 1, 0, y, 1, NULL, NULL) == RBE_ERROR_ARGUMENT, "a layer that is not there");
        rbe_session_free(of_part);
        rbe_model_close(part);
    }
    CHECK(memcmp(x, y, (size_t)N_TOKENS * width * sizeof *x) == 0, "layers in parts");
    rbe_model_options options = {.struct_bytes = sizeof options, .first_layer = n_layers};
    rbe_model *none = NULL;
    CHECK(rbe_model_open(path, &options, &none) == RBE_ERROR_ARGUMENT && !none, "layers that do not exist");
    rbe_session_free(session);
    free(x);
    free(y);
}

/* What a model with a part of the layers, or a file that says other things of the same tensors, may not do to a whole session and its file. */
static void check_other_layers(const char *path, const rbe_model *whole)
{
    char file[] = "/tmp/rbe-pass-XXXXXX";
    const uint32_t tokens[4] = {1, 2, 3, 4};
    rbe_model *other = NULL;
    const int descriptor = mkstemp(file);
    CHECK(descriptor >= 0 && close(descriptor) == 0, "no temporary file");
    CHECK(rbe_model_open(path, NULL, &other) == RBE_OK, "%s", rbe_last_error());
    rbe_session *from = open_session(whole, 1, 16);
    CHECK(rbe_session_append(from, tokens, 4, NULL, NULL) == RBE_OK && rbe_session_save(from, file) == RBE_OK, "%s", rbe_last_error());

    const rbe__stack stack = other->stack;
    other->stack.n_states = other->stack.end_layer = 0; /* none of its layers was bound */
    rbe_session *part = open_session(other, 1, 16);
    CHECK(rbe_session_copy(part, from, 4) == RBE_ERROR_UNSUPPORTED && rbe_session_copy(from, part, 0) == RBE_ERROR_UNSUPPORTED, "a part");
    CHECK(rbe_session_restore(part, file) == RBE_ERROR_UNSUPPORTED, "a part restores");
    CHECK(rbe_session_save(part, file) == RBE_ERROR_UNSUPPORTED, "a part saves");
    rbe_session_free(part);

    other->stack.n_layers = 0; /* it says that there are none */
    rbe_session *shallow = open_session(other, 1, 16);
    CHECK(rbe_session_copy(shallow, from, 4) == RBE_ERROR_UNSUPPORTED, "fewer layers");
    CHECK(rbe_session_restore(shallow, file) == RBE_ERROR_FORMAT, "a file of more layers");
    rbe_session_free(shallow);

    other->stack = stack;
    rbe_session *same = open_session(other, 1, 16);
    CHECK(rbe_session_copy(same, from, 4) == RBE_OK && rbe_session_restore(same, file) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(same);
    rbe_session_free(from);
    rbe_model_close(other);
    unlink(file);
}

/* The scratch memory of the largest heads and widths that a file may name is counted in full, or is more than there can be. */
static void check_scratch_bytes(const rbe_model *model)
{
    const double least = 2.0 * sizeof(float) * 512 * 4096 * 4096;
    rbe__block attention = model->stack.layers[0].blocks[0];
    attention.as.attention.shape.n_heads = attention.as.attention.shape.n_kv_heads = 4096;
    attention.as.attention.shape.head_dim = 4096;
    const size_t bytes = rbe__attention_kind.scratch_bytes(&attention, 512, 4096);
    CHECK(bytes == SIZE_MAX || (double)bytes > least, "%zu bytes", bytes);
    CHECK(rbe__arena_count(SIZE_MAX / 3, 4) == SIZE_MAX && rbe__arena_count(0, SIZE_MAX) == 0 && rbe__arena_count(6, 7) == 42, "a product");
}

/* Threads and planes change between two calls; a state says the least that it was read with, and may be copied whatever it says. */
static void check_configure(const rbe_model *model)
{
    const uint32_t n_vocabulary = model->stack.n_vocabulary;
    uint32_t tokens[N_TOKENS];
    fill_tokens(tokens, N_TOKENS, 2, n_vocabulary);
    rbe_session *session = open_session(model, 1, 16), *threads = open_session(model, 1, 16);
    rbe_session_options one = {.struct_bytes = sizeof one, .context_tokens = CONTEXT, .n_threads = 1, .n_planes = 1};
    rbe_session *base = NULL;
    CHECK(rbe_session_create(model, &one, &base) == RBE_OK, "%s", rbe_last_error());
    rbe_pass_options options = {.struct_bytes = sizeof options, .n_threads = 3};
    for (uint32_t n = 0; n < 4; n++) {
        CHECK(rbe_session_append(session, tokens + 3 * n, 3, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        options.n_threads = 3 - n % 3; /* 3, 2, 1, 3 */
        CHECK(rbe_session_configure(threads, &options) == RBE_OK, "%s", rbe_last_error());
        CHECK(rbe_session_append(threads, tokens + 3 * n, 3, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
        CHECK(memcmp(rbe_session_logits(session), rbe_session_logits(threads), n_vocabulary * sizeof(float)) == 0, "%u threads",
              options.n_threads);
    }
    CHECK(session->state.planes[RBE_PLANES_ATTENTION] == RBE_MAX_PLANES, "all planes");
    CHECK(rbe_session_rewind(session, 0) == RBE_OK, "rewind");
    options = (rbe_pass_options){.struct_bytes = sizeof options, .n_planes = 1};
    CHECK(rbe_session_configure(session, &options) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_append(session, tokens, 6, NULL, NULL) == RBE_OK && rbe_session_append(base, tokens, 6, NULL, NULL) == RBE_OK, "%s",
          rbe_last_error());
    CHECK(memcmp(rbe_session_logits(session), rbe_session_logits(base), n_vocabulary * sizeof(float)) == 0, "one plane from now on");
    options = (rbe_pass_options){.struct_bytes = sizeof options, .planes = {[RBE_PLANES_FEED_FORWARD] = 2}};
    CHECK(rbe_session_configure(session, &options) == RBE_OK && rbe_session_append(session, tokens, 1, NULL, NULL) == RBE_OK, "%s",
          rbe_last_error());
    CHECK(session->state.planes[RBE_PLANES_FEED_FORWARD] == 1, "the least is kept");
    CHECK(rbe_session_copy(threads, session, 6) == RBE_OK && threads->state.planes[RBE_PLANES_ATTENTION] == 1, "%s", rbe_last_error());
    CHECK(rbe_session_rewind(session, 0) == RBE_OK && session->state.planes[RBE_PLANES_FEED_FORWARD] == RBE_MAX_PLANES, "nothing is left");
    CHECK(rbe_session_copy(threads, session, 0) == RBE_OK && threads->state.planes[RBE_PLANES_ATTENTION] == RBE_MAX_PLANES, "nothing");
    rbe_session_cancel(session);
    CHECK(rbe_session_append(session, tokens, 1, NULL, NULL) == RBE_ERROR_CANCELLED, "cancelled");
    CHECK(session->state.planes[RBE_PLANES_FEED_FORWARD] == RBE_MAX_PLANES, "what was cancelled leaves nothing");
    options.planes[0] = RBE_MAX_PLANES + 1;
    CHECK(rbe_session_configure(session, &options) == RBE_ERROR_ARGUMENT, "5 planes");
    options = (rbe_pass_options){.struct_bytes = sizeof options, .n_threads = RBE_MAX_THREADS + 1};
    CHECK(rbe_session_configure(session, &options) == RBE_ERROR_ARGUMENT, "too many threads");
    rbe_session_free(session);
    rbe_session_free(threads);
    rbe_session_free(base);
}

int main(void)
{
    golden_files files = list_golden_files();
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    for (int i = 0; i < files.n; i++) {
        rbe_model *model = NULL;
        CHECK(rbe_model_open(files.path[i], NULL, &model) == RBE_OK, "%s", rbe_last_error());
        if (!model) {
            continue;
        }
        CHECK(!rbe__operation_name(RBE_MAX_OPERATIONS), "a profile has no place for all operations");
        /* These two go back to where a recurrence has no state: test_recurrence.c and test_recurrence_state.c have what it does. */
        const int recurs = model->stack.layers[0].blocks[0].kind == &rbe__recurrence_kind;
        check_mixed_runs(model);
        if (model->stack.stream_width == model->stack.width) { /* two blocks, and nothing else that a layer needs */
            check_side_by_side(model);
            check_stream_norm(model);
            check_shared_state(model);
            if (!recurs) {
                check_fill(model);
            }
        }
        if (!recurs) {
            check_replay(model);
        }
        check_parts(files.path[i], model);
        check_other_layers(files.path[i], model);
        check_scratch_bytes(model);
        check_configure(model);
        rbe_model_close(model);
    }
    return check_finish();
}
