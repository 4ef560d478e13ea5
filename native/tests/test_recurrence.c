/* Recurrences: what a layer of them gives, against sums in double precision, and the same bits however a sequence came to be and went back. */
#include <math.h>
#include <unistd.h>

#include "blocks/recurrence_state.h"
#include "check.h"
#include "recurrent_model.h"
#include "session/session.h"

#define N_TOKENS 700u
#define DELTA RBE_MIXER_DELTA_NET
#define SPACE RBE_MIXER_STATE_SPACE

static const rbe__recurrence_shape shapes[] = {
    {DELTA, 1, 1, 4, 4, 1},  {DELTA, 2, 6, 16, 40, 4}, {DELTA, 3, 3, 70, 17, 2},
    {SPACE, 1, 3, 20, 8, 4}, {SPACE, 2, 4, 66, 37, 3}, {SPACE, 1, 1, 1, 1, 32},
};

enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static rbe_session *open_session(const rbe_model *model, uint32_t context, uint32_t n_threads, uint32_t pass_tokens, uint32_t sinks)
{
    const rbe_session_options options = {.struct_bytes = sizeof options,
                                         .context_tokens = context,
                                         .n_threads = n_threads,
                                         .pass_tokens = pass_tokens,
                                         .sink_tokens = sinks};
    rbe_session *session = NULL;
    CHECK(rbe_session_create(model, &options, &session) == RBE_OK, "%s", rbe_last_error());
    return session;
}

static void fill_tokens(const rbe_model *model, uint32_t *tokens, uint32_t n)
{
    uint32_t random = 5;
    for (uint32_t i = 0; i < n; i++) {
        tokens[i] = (uint32_t)((next_random(&random) + 1) * 1e6f) % model->stack.n_vocabulary;
    }
}

static void append(rbe_session *session, const uint32_t *tokens, uint32_t n)
{
    if (n) {
        CHECK(rbe_session_append(session, tokens, n, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
}

/* ---- the layer against doubles ---------------------------------------------------------------------------------------------- */

/* y[rows] = W x + bias of a part. */
static void multiply(const recurrent_model *from, const char *part, uint32_t rows, uint32_t cols, const double *x, double *y)
{
    char bias_name[24];
    snprintf(bias_name, sizeof bias_name, "%s.bias", part);
    const float *weight = recurrent_values(from, part), *bias = recurrent_values(from, bias_name);
    for (uint32_t r = 0; r < rows; r++) {
        y[r] = bias ? (double)bias[r] : 0;
        for (uint32_t c = 0; c < cols; c++) {
            y[r] += (double)weight[(size_t)r * cols + c] * x[c];
        }
    }
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Of channel c of a part: the convolution of token n, of raw [n_tokens][rows] as it comes out of its matrix. */
static double convolved(const recurrent_model *from, const char *part, uint32_t rows, const double *raw, uint32_t n, uint32_t c)
{
    char name[24];
    snprintf(name, sizeof name, "%s_taps", part);
    const float *taps = recurrent_values(from, name);
    snprintf(name, sizeof name, "%s_taps.bias", part);
    const float *bias = recurrent_values(from, name);
    double sum = bias ? (double)bias[c] : 0;
    for (uint32_t t = 0; t < from->shape.taps; t++) {
        const uint32_t back = from->shape.taps - 1 - t;
        sum += back <= n ? (double)taps[c * from->shape.taps + t] * raw[(size_t)(n - back) * rows + c] : 0;
    }
    return silu(sum);
}

static void to_unit(double *x, uint32_t n, double scale)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= scale / sqrt(squares + 1e-6);
    }
}

static void to_norm(double *x, uint32_t n, const float *weight)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= (double)weight[i] / sqrt(squares / n + 1e-5);
    }
}

/* A head of one token: q, k [key_dim], v [value_dim], its matrix, and what it gives. */
static void step_head(const recurrent_model *from, uint32_t head, double raw_decay, double raw_beta, const double *q, const double *k,
                      const double *v, double *matrix, double *y)
{
    const rbe__recurrence_shape *shape = &from->shape;
    const double step = log1p(exp(raw_decay)), decay = exp(-(double)recurrent_values(from, "rate")[head] * step);
    const double share = shape->rule == DELTA ? 1 / (1 + exp(-raw_beta)) : step;
    const double skip = shape->rule == DELTA ? 0 : (double)recurrent_values(from, "skip")[head];
    for (uint32_t c = 0; c < shape->value_dim; c++) {
        double seen = 0;
        y[c] = skip * v[c];
        for (uint32_t i = 0; i < shape->key_dim; i++) {
            matrix[i * shape->value_dim + c] *= decay;
            seen += shape->rule == DELTA ? k[i] * matrix[i * shape->value_dim + c] : 0;
        }
        for (uint32_t i = 0; i < shape->key_dim; i++) {
            matrix[i * shape->value_dim + c] += k[i] * (v[c] - seen) * share;
            y[c] += q[i] * matrix[i * shape->value_dim + c];
        }
    }
}

typedef struct reference {
    double *raw[3]; /* q, k and v of all tokens as they come out of their matrices */
    double *read[3]; /* of one token */
    double *gate, *decay, *beta, *matrices, *mixed, *x;
} reference;

static double *doubles(size_t n)
{
    return calloc(n, sizeof(double));
}

/* Token n: read and the rest to `mixed`, what the last matrix reads. */
static void mix_token(const recurrent_model *from, reference *at, uint32_t n)
{
    static const char *const parts[3] = {"q", "k", "v"};
    const rbe__recurrence_shape *shape = &from->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, values = shape->n_values * shape->value_dim;
    for (int part = 0; part < 3; part++) {
        const uint32_t rows = part < 2 ? keys : values;
        for (uint32_t c = 0; c < rows; c++) {
            at->read[part][c] = convolved(from, parts[part], rows, at->raw[part], n, c);
        }
        for (uint32_t h = 0; part < 2 && shape->rule == DELTA && h < shape->n_keys; h++) {
            to_unit(at->read[part] + h * shape->key_dim, shape->key_dim, part == 0 ? 1 / sqrt(shape->key_dim) : 1);
        }
    }
    for (uint32_t h = 0; h < shape->n_values; h++) {
        const uint32_t key_head = h / (shape->n_values / shape->n_keys);
        double *y = at->mixed + h * shape->value_dim;
        step_head(from, h, at->decay[h], at->beta[h], at->read[0] + key_head * shape->key_dim, at->read[1] + key_head * shape->key_dim,
                  at->read[2] + h * shape->value_dim, at->matrices + (size_t)h * shape->key_dim * shape->value_dim, y);
        if (shape->rule == DELTA) {
            to_norm(y, shape->value_dim, recurrent_values(from, "gated_norm"));
        }
        for (uint32_t c = 0; c < shape->value_dim; c++) {
            y[c] *= silu(at->gate[h * shape->value_dim + c]);
        }
    }
    for (uint32_t g = 0; shape->rule == SPACE && g < shape->n_keys; g++) {
        const uint32_t width = values / shape->n_keys;
        to_norm(at->mixed + g * width, width, recurrent_values(from, "gated_norm") + g * width);
    }
}

/* hidden [n][width] and what the layer adds to it. */
static void reference_layer(const recurrent_model *from, uint32_t width, const float *hidden, uint32_t n_tokens, double *out)
{
    static const char *const parts[3] = {"q", "k", "v"};
    const rbe__recurrence_shape *shape = &from->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, values = shape->n_values * shape->value_dim;
    reference at = {.gate = doubles(values),
                    .decay = doubles(shape->n_values),
                    .beta = doubles(shape->n_values),
                    .matrices = doubles((size_t)values * shape->key_dim),
                    .mixed = doubles(values),
                    .x = doubles(width)};
    for (int part = 0; part < 3; part++) {
        at.raw[part] = doubles((size_t)n_tokens * (part < 2 ? keys : values));
        at.read[part] = doubles(part < 2 ? keys : values);
    }
    for (uint32_t n = 0; n < n_tokens; n++) {
        for (uint32_t c = 0; c < width; c++) {
            at.x[c] = (double)hidden[(size_t)n * width + c];
        }
        to_norm(at.x, width, recurrent_values(from, "norm"));
        for (int part = 0; part < 3; part++) {
            const uint32_t rows = part < 2 ? keys : values;
            multiply(from, parts[part], rows, width, at.x, at.raw[part] + (size_t)n * rows);
        }
        multiply(from, "gate", values, width, at.x, at.gate);
        multiply(from, "decay", shape->n_values, width, at.x, at.decay);
        if (shape->rule == DELTA) {
            multiply(from, "beta", shape->n_values, width, at.x, at.beta);
        }
        mix_token(from, &at, n);
        multiply(from, "o", width, values, at.mixed, out + (size_t)n * width);
    }
    double *const owned[] = {at.raw[0], at.raw[1], at.raw[2], at.read[0],  at.read[1], at.read[2],
                             at.gate,   at.decay,  at.beta,   at.matrices, at.mixed,   at.x};
    for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) {
        free(owned[i]);
    }
}

static void check_against_doubles(const recurrent_model *from)
{
    enum { N = 40 };
    rbe_model *model = from->model;
    rbe__layer *layer = &model->stack.layers[0];
    const uint32_t width = model->stack.width, n_blocks = layer->n_blocks;
    float *hidden = malloc((size_t)N * width * sizeof *hidden), *x = malloc((size_t)N * width * sizeof *x);
    double *expected = doubles((size_t)N * width), worst = 0, largest = 0;
    uint32_t random = 9;
    for (size_t i = 0; i < (size_t)N * width; i++) {
        x[i] = hidden[i] = 2 * next_random(&random);
    }
    reference_layer(from, width, hidden, N, expected);
    layer->n_blocks = 1;
    rbe_session *session = open_session(model, 64, 2, 16, 0);
    CHECK(rbe_session_run_layers(session, 0, 1, 0, x, N, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    layer->n_blocks = n_blocks;
    for (size_t i = 0; i < (size_t)N * width; i++) {
        const double error = fabs((double)x[i] - ((double)hidden[i] + expected[i]));
        worst = error > worst || isnan(error) ? error : worst;
        largest = fabs(expected[i]) > largest ? fabs(expected[i]) : largest;
    }
    CHECK(largest > 0.1 && worst < 1e-5 * largest, "%s: off by %g, of %g", model->kernels.name, worst, largest);
    rbe_session_free(session);
    free(hidden);
    free(x);
    free(expected);
}

/* ---- the same bits ----------------------------------------------------------------------------------------------------------- */

static int same_logits(const rbe_session *session, const rbe_session *other)
{
    const size_t n = session->pass.stack->n_vocabulary;
    return memcmp(rbe_session_logits(session), rbe_session_logits(other), n * sizeof(float)) == 0;
}

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

static int stop_at(size_t done, size_t total, void *user)
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

/* Every set of kernels gives the bits of the scalar one. */
static void check_sets(const rbe__recurrence_shape *shape, int with_biases)
{
    recurrent_model scalar, other;
    uint32_t tokens[N_TOKENS];
    const char *name;
    open_recurrent("scalar", shape, with_biases, &scalar);
    CHECK(scalar.model != NULL, "%s", rbe_last_error());
    fill_tokens(scalar.model, tokens, N_TOKENS);
    rbe_session *expected = open_session(scalar.model, 128, 1, 64, 0);
    append(expected, tokens, 100);
    check_against_doubles(&scalar);
    for (uint32_t i = 1; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        if (!rbe_kernel_set_available(name) || rbe__kernels_use_amx(name)) {
            continue;
        }
        open_recurrent(name, shape, with_biases, &other);
        rbe_session *session = open_session(other.model, 128, 2, 17, 0);
        append(session, tokens, 100);
        CHECK(same_logits(session, expected), "%s", name);
        check_against_doubles(&other);
        rbe_session_free(session);
        close_recurrent(&other);
    }
    rbe_session_free(expected);
    close_recurrent(&scalar);
}

int main(void)
{
    for (int i = 0; i < N_SHAPES; i++) {
        recurrent_model found;
        check_sets(&shapes[i], i % 2);
        open_recurrent(NULL, &shapes[i], i % 2, &found);
        CHECK(found.model != NULL, "%s", rbe_last_error());
        check_passes(&found);
        check_places(&found);
        check_layers_alone(&found);
        check_left_out(&found);
        check_stopped(&found);
        if (i == 1 || i == 4) {
            check_batch(&found);
            check_going_back(&found);
            check_saved(&found);
            check_slide(&found);
        }
        close_recurrent(&found);
    }
    return check_finish();
}
