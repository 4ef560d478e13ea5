/* Every allocation, map and thread of every call is refused once, in turn: the call says RBE_ERROR_MEMORY or does its work without, keeps
 * nothing, and succeeds when it is made again, with the same result. On the golden packs of each kind of model (the linker wraps the
 * allocator: see CMakeLists.txt). */
#include <unistd.h>

#include "base/status.h"
#include "check.h"
#include "dense_model.h"
#include "golden_files.h"
#include "gradients/gradients.h"
#include "rbe/chat.h"
#include "rbe/encoder.h"
#include "rbe/encoder_decoder.h"
#include "rbe/fit.h"
#include "rbe/governor.h"
#include "rbe/gradients.h"
#include "rbe/power.h"
#include "rbe/sampling.h"
#include "rbe/threads.h"
#include "wrapped_allocator.h"
#include "wrapped_maps.h"

#include "allocation_calls.h"

static unsigned n_refusals; /* in all */

/* Blocks that are neither freed nor kept for the next session. */
static long live(const subject *on)
{
    rbe_model_trim_memory(on->model);
    return atomic_load(&n_live);
}

/* The call with the allocation of that number refused; whether it came to that one. */
static int call_refusing(subject *on, call *what, unsigned number, rbe_status *status)
{
    on->digest = 14695981039346656037u;
    atomic_store(&n_allocations, 0);
    atomic_store(&refused, number);
    *status = what(on);
    atomic_store(&refused, 0);
    return number > 0 && atomic_load(&n_allocations) >= number;
}

/* least: so many allocations there are at least. */
static void refuse_each(const char *name, subject *on, call *what, unsigned least)
{
    rbe_status status;
    (void)call_refusing(on, what, 0, &status);
    CHECK(status == RBE_OK, "%s: %s: %s", on->path, name, rbe_last_error());
    const uint64_t expected = on->digest;
    const long before = live(on);
    unsigned number = 1;
    for (; status == RBE_OK && call_refusing(on, what, number, &status); number++) {
        const int is_told = status == RBE_ERROR_MEMORY && rbe_last_error()[0] && !strchr(rbe_last_error(), '\n');
        CHECK(is_told || (status == RBE_OK && on->digest == expected), "%s: %s: allocation %u refused: %s: %s", on->path, name, number,
              rbe_status_text(status), rbe_last_error());
        const long kept = live(on) - before;
        CHECK(kept == 0, "%s: %s: allocation %u refused: %ld blocks kept", on->path, name, number, kept);
        (void)call_refusing(on, what, 0, &status);
        CHECK(status == RBE_OK && on->digest == expected, "%s: %s: made again after allocation %u was refused: %s", on->path, name, number,
              status == RBE_OK ? "another result" : rbe_last_error());
        CHECK(live(on) == before, "%s: %s: made again after allocation %u was refused: blocks kept", on->path, name, number);
    }
    CHECK(number > least, "%s: %s: only %u allocations", on->path, name, number - 1);
    n_refusals += number - 1;
}

/* ---- gradients, of matrices that were made dense ----------------------------------------------------------------- */

static int add_gradient(const rbe_gradient *gradient, void *user)
{
    subject *on = user;
    add_digest(on, gradient->d, (size_t)gradient->n_tokens * gradient->n_rows * sizeof *gradient->d * (gradient->x != NULL));
    return 0;
}

static rbe_status differentiate(subject *on, rbe_gradients *gradients)
{
    static float hidden[N_CALL_TOKENS * 512], theirs[N_CALL_TOKENS * 512], d[N_CALL_TOKENS * 512], sum[512 * 512];
    const uint32_t width = on->model->stack.width;
    uint32_t labels[N_CALL_TOKENS];
    double nats[N_CALL_TOKENS];
    CHECK(width <= 512, "room");
    for (uint32_t i = 0; i < N_CALL_TOKENS * width; i++) {
        hidden[i] = (float)((i * 2654435761u >> 7) % 2001) * 1e-3f - 1.0f;
        theirs[i] = hidden[i] * .5f;
    }
    for (uint32_t i = 0; i < N_CALL_TOKENS; i++) {
        labels[i] = RBE_DRAW_TOKEN;
    }
    RBE_TRY(rbe_gradients_head(gradients, hidden, N_CALL_TOKENS, 0, labels, 1, nats, d, add_gradient, on));
    RBE_TRY(rbe_gradients_head_toward(gradients, hidden, on->model, theirs, N_CALL_TOKENS, 0, nats, d, add_gradient, on));
    for (uint32_t layer = on->model->stack.n_layers; layer-- > 0;) {
        RBE_TRY(rbe_gradients_layer(gradients, layer, hidden, N_CALL_TOKENS, 4, d, add_gradient, on));
    }
    add_digest(on, d, (size_t)N_CALL_TOKENS * width * sizeof *d);
    const rbe_curvature_rows rows = {
        .struct_bytes = sizeof rows, .x = hidden, .d = d, .n_tokens = N_CALL_TOKENS, .window_tokens = 4, .n_rows = width, .cols = width};
    memset(sum, 0, sizeof sum);
    RBE_TRY(rbe_gradients_add(gradients, hidden, d, N_CALL_TOKENS, width, width, sum));
    return rbe_gradients_add_curvature(gradients, &rows, sum);
}

static rbe_status call_gradients(subject *on)
{
    const rbe_gradients_options options = {.struct_bytes = sizeof options, .most_tokens = N_CALL_TOKENS, .n_threads = 2, .gains = 1};
    rbe_gradients *gradients = NULL;
    RBE_TRY(rbe_gradients_create(on->model, &options, &gradients));
    const rbe_status status = differentiate(on, gradients);
    rbe_gradients_free(gradients);
    return status;
}

static void check_gradients(const char *path)
{
    dense_model dense = open_dense(path, NULL);
    subject on = {.path = path, .model = dense.model};
    CHECK(dense.weights != NULL, "%s: %s", path, rbe_last_error());
    if (dense.weights) {
        refuse_each("gradients", &on, call_gradients, 4);
    }
    close_dense(&dense);
}

/* ---- all others -------------------------------------------------------------------------------------------------- */

static void check_session(subject *on)
{
    if (open_session(on, 2, &on->session) != RBE_OK) {
        CHECK(0, "%s: %s", on->path, rbe_last_error());
        return;
    }
    refuse_each("session", on, call_session, 3);
    refuse_each("sparing", on, call_sparing, 8);
    refuse_each("append", on, call_append, on->is_pair ? 1 : 0);
    refuse_each("threads", on, call_threads, 3);
    refuse_each("trial of threads", on, call_trial, 3);
    CHECK(encode_text(on, on->session) == RBE_OK && rbe_session_rewind(on->session, 0) == RBE_OK &&
              rbe_session_append(on->session, on->tokens, N_CALL_TOKENS, NULL, NULL) == RBE_OK &&
              rbe_session_save(on->session, on->state) == RBE_OK,
          "%s", rbe_last_error());
    refuse_each("save", on, call_save, 3);
    refuse_each("restore", on, call_restore, 1);
    refuse_each("copy", on, call_copy, 1);
    refuse_each("generation", on, call_generation, 5);
    CHECK(rbe_session_restore(on->session, on->state) == RBE_OK, "%s", rbe_last_error());
    rbe_session_free(on->session);
    on->session = NULL;
}

/* Its first session is at the same place each time. */
static rbe_status call_batch_of_two(subject *on)
{
    RBE_TRY(open_session(on, 1, &on->session));
    rbe_status status = encode_text(on, on->session);
    status = status == RBE_OK ? call_batch(on) : status;
    rbe_session_free(on->session);
    on->session = NULL;
    return status;
}

static void check_model(const char *path, const char *folder)
{
    subject on = {.path = path};
    rbe_encoder_info about = {.struct_bytes = sizeof about};
    CHECK(rbe_model_open(path, NULL, &on.model) == RBE_OK && rbe_model_get_encoder_info(on.model, &about) == RBE_OK, "%s",
          rbe_last_error());
    if (!on.model) {
        return;
    }
    CHECK(rbe_model_verify(on.model, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_encoder_decoder_info pair = {.struct_bytes = sizeof pair};
    CHECK(rbe_model_get_encoder_decoder_info(on.model, &pair) == RBE_OK, "%s", rbe_last_error());
    on.is_pair = pair.is_encoder_decoder != 0;
    snprintf(on.folder, sizeof on.folder, "%s", folder);
    snprintf(on.state, sizeof on.state, "%s/state", folder);
    snprintf(on.policy, sizeof on.policy, "%s/policy", folder);
    for (uint32_t i = 0; i < N_CALL_TOKENS; i++) {
        on.tokens[i] = (i * i * 5 + 3) % on.model->stack.n_vocabulary;
    }
    refuse_each("open", &on, call_open, 8);
    refuse_each("fit", &on, call_fit, 4);
    refuse_each("tokenize", &on, call_tokenize, 2);
    refuse_each("chat", &on, call_chat, 2);
    refuse_each("power", &on, call_power, 3);
    if (about.is_encoder || on.is_pair) {
        refuse_each("encoder", &on, call_encoder, 4);
    }
    if (!about.is_encoder) {
        check_session(&on);
        refuse_each("batch", &on, call_batch_of_two, 5);
    }
    rbe_model_close(on.model);
    (void)unlink(on.state);
}

int main(void)
{
    golden_files files = list_golden_files();
    char folder[] = "/tmp/rbe-allocations-XXXXXX", policy[64];
    add_golden_files("encoder_decoders", &files);
    add_files("v3", 1, &files);
    CHECK(files.n > 10 && mkdtemp(folder), "no golden packs under %s, or no folder", RBE_GOLDEN_DIR);
    snprintf(policy, sizeof policy, "%s/policy", folder);
    FILE *file = fopen(policy, "w");
    CHECK(file && fputs("mode = saver\n", file) >= 0 && fclose(file) == 0, "%s", policy);
    for (int i = 0; i < files.n; i++) {
        check_model(files.path[i], folder);
    }
    static const char *const differentiable[] = {"v1/half.rbe", "v3/shared.rbe", "v3/delta_net.rbe", "v3/state_space.rbe", "v3/hybrid.rbe"};
    for (size_t i = 0; i < sizeof differentiable / sizeof differentiable[0]; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", RBE_GOLDEN_DIR, differentiable[i]);
        check_gradients(path);
    }
    (void)unlink(policy);
    CHECK(rmdir(folder) == 0, "something was left behind");
    printf("%u allocations refused\n", n_refusals);
    return check_finish();
}
