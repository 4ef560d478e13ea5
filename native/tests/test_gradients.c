/* Gradients on the golden packs, made dense: finite differences of every matrix; the same bits whatever threads, kernels and windows; labels drawn
 * as often as they are probable; sources; what is no call gives a status; a call that is cancelled ends. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "dense_model.h"
#include "golden_files.h"
#include "gradients/gradients.h"
#include "rbe/gradients.h"

#define N 15u /* tokens */
#define MOST_LAYERS 8u

/* All gradients of one text, by tensor of the file. */
typedef struct sums {
    rbe_gradients *gradients;
    const rbe_model *model;
    float **of; /* [n_tensors][rows][cols] */
    double vectors; /* sum of squares of what is no matrix */
    double gains;
    uint64_t curvature; /* a digest of G^T G of matrices */
} sums;

static void fill_tokens(const rbe_model *model, uint32_t *tokens, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (i * i * 5 + 3 * i + 1) % model->stack.n_vocabulary;
    }
}

static void fill_labels(const rbe_model *model, uint32_t *labels, uint32_t n)
{
    uint32_t tokens[N + 1];
    fill_tokens(model, tokens, n);
    memcpy(labels, tokens + 1, (n - 1) * sizeof *labels);
    labels[n - 1] = RBE_NO_TOKEN;
}

/* In windows of 4 tokens: the lower triangle, which is all that is promised. */
static void add_curvature(sums *to, const rbe_gradient *gradient)
{
    const rbe_curvature_rows rows = {.struct_bytes = sizeof rows,
                                     .x = gradient->x,
                                     .d = gradient->d,
                                     .n_tokens = gradient->n_tokens,
                                     .window_tokens = 4,
                                     .n_rows = gradient->n_rows,
                                     .cols = gradient->cols};
    float *sum = calloc((size_t)gradient->cols * gradient->cols, sizeof *sum);
    CHECK(rbe_gradients_add_curvature(to->gradients, &rows, sum) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t r = 0; r < gradient->cols; r++) {
        to->curvature = digest_of(to->curvature, sum + (size_t)r * gradient->cols, (r + 1) * sizeof *sum);
    }
    free(sum);
}

static int add_gradient(const rbe_gradient *gradient, void *user)
{
    sums *to = user;
    const uint32_t index = tensor_of(to->model, gradient->name);
    CHECK(gradient->rows == to->model->pack.tensors[index].rows && gradient->cols == to->model->pack.tensors[index].cols, "shape of %s",
          gradient->name);
    if (!gradient->x) {
        for (uint32_t c = 0; c < gradient->cols; c++) {
            to->vectors += (double)gradient->d[c] * (double)gradient->d[c];
        }
        return 0;
    }
    for (uint32_t r = 0; gradient->gains && r < gradient->n_rows; r++) {
        to->gains += (double)gradient->gains[r];
    }
    float *sum = to->of[index] + (size_t)gradient->first_row * gradient->cols;
    CHECK(rbe_gradients_add(to->gradients, gradient->x, gradient->d, gradient->n_tokens, gradient->n_rows, gradient->cols, sum) == RBE_OK,
          "%s", rbe_last_error());
    add_curvature(to, gradient);
    return 0;
}

static void take_sums(sums *to)
{
    to->of = calloc(to->model->pack.n_tensors, sizeof *to->of);
    for (uint32_t i = 0; i < to->model->pack.n_tensors; i++) {
        to->of[i] = calloc((size_t)to->model->pack.tensors[i].rows * to->model->pack.tensors[i].cols, sizeof(float));
    }
}

static void free_sums(sums *of)
{
    for (uint32_t i = 0; i < of->model->pack.n_tensors; i++) {
        free(of->of[i]);
    }
    free(of->of);
}

static rbe_gradients *open_gradients(const rbe_model *model, uint32_t n_threads)
{
    const rbe_gradients_options options = {.struct_bytes = sizeof options, .most_tokens = N, .n_threads = n_threads, .gains = 1};
    rbe_gradients *gradients = NULL;
    CHECK(rbe_gradients_create(model, &options, &gradients) == RBE_OK, "%s", rbe_last_error());
    return gradients;
}

/* Hidden states [n_layers + 1][N][width] of the text. */
static float *states_of(const rbe_model *model)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = N, .n_threads = 1, .kv_type = RBE_KV_F32};
    rbe_session *session = NULL;
    uint32_t tokens[N];
    const size_t one = (size_t)N * model->stack.width;
    float *states = malloc((model->stack.n_layers + 1) * one * sizeof *states);
    fill_tokens(model, tokens, N);
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_embed(session, tokens, N, states) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < model->stack.n_layers; i++) {
        memcpy(states + (i + 1) * one, states + i * one, one * sizeof *states);
        CHECK(rbe_session_run_layers(session, i, 1, 0, states + (i + 1) * one, N, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
    rbe_session_free(session);
    return states;
}

/* The loss of the text as the session has it, in nats. */
static double loss_of(const rbe_model *model)
{
    const rbe_session_options options = {.struct_bytes = sizeof options, .context_tokens = N, .n_threads = 1, .kv_type = RBE_KV_F32};
    rbe_session *session = NULL;
    uint32_t tokens[N];
    float log_probabilities[N - 1];
    double loss = 0;
    fill_tokens(model, tokens, N);
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_session_score(session, tokens, N, log_probabilities, NULL, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    for (uint32_t i = 0; i < N - 1; i++) {
        loss -= (double)log_probabilities[i];
    }
    rbe_session_free(session);
    return loss;
}

/* The whole way back; returns the loss. d_hidden [N][width]: the gradient before the first layer. */
static double go_back(sums *to, const float *states, float *d_hidden)
{
    const rbe__stack *stack = &to->model->stack;
    const size_t one = (size_t)N * stack->width;
    uint32_t labels[N], tokens[N];
    double nats[N], loss = 0;
    fill_labels(to->model, labels, N);
    fill_tokens(to->model, tokens, N);
    CHECK(rbe_gradients_head(to->gradients, states + stack->n_layers * one, N, 0, labels, 0, nats, d_hidden, add_gradient, to) == RBE_OK,
          "%s", rbe_last_error());
    for (uint32_t i = stack->n_layers; i-- > 0;) {
        CHECK(rbe_gradients_layer(to->gradients, i, states + i * one, N, 0, d_hidden, add_gradient, to) == RBE_OK, "%s", rbe_last_error());
    }
    float *positions = stack->positions ? to->of[tensor_of(to->model, "positions")] : NULL;
    CHECK(rbe_gradients_embedding(to->gradients, tokens, N, 0, d_hidden, to->of[tensor_of(to->model, "embedding")], positions) == RBE_OK,
          "%s", rbe_last_error());
    for (uint32_t i = 0; i < N; i++) {
        loss += nats[i];
    }
    return loss;
}

static double norm_of(const float *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i] * (double)values[i];
    }
    return sqrt(sum);
}

/* A step along the gradient of a matrix changes the loss by its norm. */
static void check_differences(dense_model *dense, const sums *found)
{
    for (uint32_t i = 0; i < dense->model->pack.n_tensors; i++) {
        const rbe__tensor *tensor = &dense->model->pack.tensors[i];
        const size_t n = (size_t)tensor->rows * tensor->cols;
        const double norm = norm_of(found->of[i], n), step = .02 / norm;
        if (!dense->weights[i] || norm < 1e-3) { /* rotary tables */
            continue;
        }
        double losses[2];
        float *before = malloc(n * sizeof *before);
        memcpy(before, dense->weights[i], n * sizeof *before);
        for (int side = 0; side < 2; side++) {
            for (size_t c = 0; c < n; c++) {
                dense->weights[i][c] = before[c] + (float)((side ? step : -step) / norm) * found->of[i][c];
            }
            losses[side] = loss_of(dense->model);
        }
        memcpy(dense->weights[i], before, n * sizeof *before);
        free(before);
        const double slope = (losses[1] - losses[0]) / (2 * step);
        CHECK(fabs(slope - norm) < 1e-2 * norm, "%.*s: gradient %g, difference %g", (int)tensor->name_bytes, tensor->name, norm, slope);
    }
}

/* 64-bit FNV-1a of all that was found. */
static uint64_t digest(const sums *found, const float *d_hidden)
{
    uint64_t hash = 14695981039346656037u;
    for (uint32_t i = 0; i <= found->model->pack.n_tensors; i++) {
        const int last = i == found->model->pack.n_tensors;
        const rbe__tensor *tensor = &found->model->pack.tensors[last ? 0 : i];
        const size_t bytes = last ? sizeof(float) * N * found->model->stack.width : sizeof(float) * tensor->rows * tensor->cols;
        hash = digest_of(hash, last ? d_hidden : found->of[i], bytes);
    }
    uint64_t bits;
    memcpy(&bits, &found->vectors, sizeof bits);
    return hash ^ bits ^ found->curvature;
}

static uint64_t digest_with(const char *path, const char *kernel_set, uint32_t n_threads, const float *states)
{
    dense_model dense = open_dense(path, kernel_set);
    sums found = {.model = dense.model, .gradients = open_gradients(dense.model, n_threads)};
    float *d_hidden = malloc(sizeof *d_hidden * N * dense.model->stack.width);
    take_sums(&found);
    (void)go_back(&found, states, d_hidden);
    const uint64_t result = digest(&found, d_hidden);
    free(d_hidden);
    free_sums(&found);
    rbe_gradients_free(found.gradients);
    close_dense(&dense);
    return result;
}

/* What every machine finds. */
static const struct {
    const char *file;
    uint64_t digest, curvature;
} known[] = {{"v1/half.rbe", 0x1591f25cedb86ea3u, 0xcfa83ee227f0e5a2u},
             {"v1/odd.rbe", 0xd1dc31f29ac3c0e3u, 0xe2e07b51b693559bu},
             {"v3/parts.rbe", 0x0b894c9cff23765eu, 0xe1b7ebb3dd119195u}};

/* Every kernel set, and numbers of threads, on some of the files: scalar sums take long. 1 where it is one of these. */
static int check_bits(const char *path, const float *states)
{
    uint64_t expected = 0;
    const char *name;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const size_t bytes = strlen(path), tail = strlen(known[i].file);
        expected = bytes > tail && strcmp(path + bytes - tail, known[i].file) == 0 ? known[i].digest ^ known[i].curvature : expected;
    }
    for (uint32_t i = 0; expected && (name = rbe_kernel_set_name(i)) != NULL; i++) {
        for (uint32_t threads = 1; threads <= (i < 2 ? 3u : 1u) && rbe_kernel_set_available(name); threads += i == 0 ? 2u : 1u) {
            const uint64_t found = digest_with(path, name, threads, states);
            CHECK(found == expected, "%s, %s, %u threads: 0x%016llxu", path, name, threads, (unsigned long long)found);
        }
    }
    return expected != 0;
}

#include "gradient_calls.h"
#include "gradient_sources.h"

int main(void)
{
    const golden_files files = list_golden_files();
    int n_known = 0;
    CHECK(files.n > 0, "no golden packs under %s", RBE_GOLDEN_DIR);
    for (int i = 0; i < files.n; i++) {
        dense_model dense = open_dense(files.path[i], NULL);
        CHECK(dense.weights && dense.model->stack.n_layers <= MOST_LAYERS, "%s", rbe_last_error());
        if (!dense.weights) {
            continue;
        }
        if (dense.model->stack.stream_width != dense.model->stack.width) { /* tests/parity has those */
            close_dense(&dense);
            continue;
        }
        sums found = {.model = dense.model, .gradients = open_gradients(dense.model, 2)};
        float *states = states_of(dense.model), *d_hidden = malloc(sizeof *d_hidden * N * dense.model->stack.width);
        take_sums(&found);
        const double loss = go_back(&found, states, d_hidden);
        CHECK(fabs(loss - loss_of(dense.model)) < 1e-4 * loss, "%s: loss %g", files.path[i], loss);
        check_differences(&dense, &found);
        n_known += check_bits(files.path[i], states);
        check_windows(&found, states);
        check_cancelling(&found, states, d_hidden);
        if (i == 0 || !getenv("RBE_TEST_BRIEF")) { /* the reference in double precision is slow under an emulator */
            check_divergence(&found, states);
        }
        check_source_refusals(files.path[i], &found, states, d_hidden);
        if (i == 0) {
            check_draws(&found, states);
            check_parts(&found, states);
            check_pieces(&found);
            check_refusals(files.path[i], &found, states, d_hidden);
            check_source_bits(files.path[i], states);
            check_source_parts(&found, states);
        }
        free(d_hidden);
        free(states);
        free_sums(&found);
        rbe_gradients_free(found.gradients);
        close_dense(&dense);
    }
    CHECK(n_known == sizeof known / sizeof known[0], "%d of the files have digests", n_known);
    return check_finish();
}
