/* Gradients of recurrent blocks, delta nets and state spaces: against differences of a reference in double precision, the same bits whatever threads,
 * kernels and windows, and an end where they are cancelled. The block stands in the first layer of a golden pack, whose feed-forward part gives
 * nothing. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "dense_model.h"
#include "gradients/gradients.h"
#include "rbe/gradients.h"
#include "recurrent_layer.h"

#define MODEL RBE_GOLDEN_DIR "/v1/half.rbe"
#define SHORT 9u /* tokens of a window where there are several; the last one has less */

/* With what every machine finds. */
static const struct {
    sizes of;
    uint64_t digest;
} cases[] = {{{RBE_MIXER_DELTA_NET, 2, 6, 5, 7, 4}, 0xf8e0a593c3d51e84u},
             {{RBE_MIXER_DELTA_NET, 3, 3, 16, 4, 1}, 0x4971d014daf955f5u},
             {{RBE_MIXER_STATE_SPACE, 2, 4, 7, 5, 4}, 0xb17eb5c4d5df3507u},
             {{RBE_MIXER_STATE_SPACE, 1, 5, 3, 16, 1}, 0xeec9576a368da804u}};

/* A model with the block, and its gradients. The block reads the numbers of `parameters`. */
typedef struct recurrent_model {
    dense_model dense;
    rbe_model model;
    rbe__layer layer;
    rbe_gradients *gradients;
} recurrent_model;

static rbe__projection projection(const parameters *of, uint32_t tensor, uint32_t bias)
{
    return (rbe__projection){of->tensors[tensor].rows ? &of->tensors[tensor] : NULL, bias ? of->values[bias] : NULL};
}

static rbe__block block_of(const parameters *of)
{
    const sizes *s = &of->of;
    rbe__block block = {.kind = &rbe__recurrence_kind, .width = of->width, .norm_kind = RBE_NORM_RMS, .norm_epsilon = of->epsilon};
    block.norm.weight = of->values[NORM];
    block.as.recurrence = (rbe__recurrence_block){.shape = {s->rule, s->n_keys, s->n_values, s->key_dim, s->value_dim, s->taps},
                                                  .q = projection(of, Q, Q_BIAS),
                                                  .k = projection(of, K, K_BIAS),
                                                  .v = projection(of, V, V_BIAS),
                                                  .gate = projection(of, GATE, GATE_BIAS),
                                                  .q_taps = projection(of, Q_TAPS, Q_TAPS_BIAS),
                                                  .k_taps = projection(of, K_TAPS, K_TAPS_BIAS),
                                                  .v_taps = projection(of, V_TAPS, V_TAPS_BIAS),
                                                  .decay = projection(of, DECAY, DECAY_BIAS),
                                                  .beta = projection(of, BETA, 0),
                                                  .rate = of->values[RATE],
                                                  .skip = of->tensors[SKIP].rows ? of->values[SKIP] : NULL,
                                                  .gated_norm = {of->values[GATED_NORM], NULL},
                                                  .epsilon = of->gated_epsilon,
                                                  .o = projection(of, O, O_BIAS)};
    return block;
}

/* The first layer alone is left of the golden pack. */
static void open_recurrent(recurrent_model *on, const parameters *of, const char *kernel_set, uint32_t n_threads, uint32_t gains)
{
    *on = (recurrent_model){.dense = open_dense(MODEL, kernel_set)};
    on->model = *on->dense.model;
    on->layer = on->model.stack.layers[0];
    const rbe__tensor *down = on->layer.blocks[1].as.feed_forward.down.weight;
    memset((void *)(uintptr_t)down->data, 0, sizeof(float) * down->rows * down->cols);
    on->layer.blocks[1].as.feed_forward.down.bias = NULL;
    on->layer.blocks[0] = block_of(of);
    on->model.stack.layers = &on->layer;
    on->model.stack.end_layer = on->model.stack.n_layers = 1;
    const rbe_gradients_options options = {
        .struct_bytes = sizeof options, .most_tokens = N, .context_tokens = of->window, .n_threads = n_threads, .gains = gains};
    CHECK(rbe_gradients_create(&on->model, &options, &on->gradients) == RBE_OK, "%s", rbe_last_error());
}

static void close_recurrent(recurrent_model *on)
{
    rbe_gradients_free(on->gradients);
    close_dense(&on->dense);
}

/* The tensor of that name of the block; N_TENSORS: of the feed-forward part. */
static uint32_t number_of(const char *name)
{
    static const char place[] = "layers.0.recurrence.";
    uint32_t t = strncmp(name, place, sizeof place - 1) == 0 ? 0 : N_TENSORS;
    while (t < N_TENSORS && strcmp(name + sizeof place - 1, names[t]) != 0) {
        t++;
    }
    CHECK(t < N_TENSORS || strstr(name, "feed_forward"), "%s", name);
    return t;
}

static int gather(const rbe_gradient *gradient, void *user)
{
    parameters *of = user;
    const uint32_t t = number_of(gradient->name);
    const size_t n_d = gradient->x ? (size_t)gradient->n_tokens * gradient->n_rows : (size_t)gradient->rows * gradient->cols;
    of->digest = digest_of(of->digest, gradient->name, strlen(gradient->name));
    of->digest = digest_of(of->digest, gradient->d, sizeof(float) * n_d);
    if (t == N_TENSORS) {
        return 0;
    }
    CHECK(gradient->rows == of->tensors[t].rows && gradient->cols == of->tensors[t].cols, "%s: %u x %u", gradient->name, gradient->rows,
          gradient->cols);
    for (size_t i = 0; !gradient->x && i < count(of, t); i++) {
        of->found[t][i] = (double)gradient->d[i];
    }
    for (uint32_t n = 0; gradient->x && n < gradient->n_tokens; n++) {
        for (size_t i = 0; i < count(of, t); i++) {
            const size_t row = i / gradient->cols, col = i % gradient->cols;
            of->found[t][i] += (double)gradient->d[(size_t)n * gradient->rows + row] *
                               (double)gradient->x[(size_t)n * gradient->cols + col];
        }
    }
    for (uint32_t r = 0; gradient->gains && r < gradient->n_rows; r++) {
        of->gains[t] += (double)gradient->gains[r];
    }
    return 0;
}

/* hidden and the gradient of the loss behind the layer, [N][width] both. */
static void fill(const parameters *of, float *hidden, float *d)
{
    for (uint32_t n = 0; n < N; n++) {
        for (uint32_t c = 0; c < of->width; c++) {
            hidden[(size_t)n * of->width + c] = (float)of->hidden[(size_t)n * of->width + c];
            d[(size_t)n * of->width + c] = (float)weight_of(n, c);
        }
    }
}

/* What is moved by `by` in a direction of ones and minus ones changes the loss by the sum of its gradients with these signs. */
static void check_direction(parameters *of, const char *name, double *exact, const double *found, size_t n, uint64_t seed)
{
    const double by = 1e-5 / sqrt((double)n);
    double losses[2], along = 0, norm = 0;
    double *before = malloc(n * sizeof *before);
    memcpy(before, exact, n * sizeof *before);
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t signs = seed;
        along = norm = 0;
        for (size_t i = 0; i < n; i++) {
            const double sign = rbe__splitmix64(&signs) & 1 ? 1 : -1;
            exact[i] = before[i] + (side ? by : -by) * sign;
            along += sign * found[i];
            norm += found[i] * found[i];
        }
        losses[side] = loss_of(of, NULL);
    }
    memcpy(exact, before, n * sizeof *before);
    free(before);
    const double slope = (losses[1] - losses[0]) / (2 * by);
    CHECK(norm > 0 && fabs(slope - along) < 1e-4 * sqrt(norm), "%s: gradient %g, difference %g, norm %g", name, along, slope, sqrt(norm));
}

/* A factor of all rows of a matrix changes what it gives as its own gradient says. */
static void check_gains(const parameters *of)
{
    for (uint32_t t = Q; t <= O; t++) {
        double along = 0, size = 0;
        for (size_t i = 0; i < count(of, t); i++) {
            along += of->exact[t][i] * of->found[t][i];
            size += fabs(of->exact[t][i] * of->found[t][i]);
        }
        CHECK(fabs(along - of->gains[t]) <= 1e-4 * size, "%s: gain %g, expected %g", names[t], of->gains[t], along);
    }
}

/* All gradients of a block, in windows of so many tokens. */
static void check_differences(const sizes *s, uint32_t window)
{
    dense_model dense = open_dense(MODEL, NULL);
    const uint32_t width = dense.model->stack.width;
    close_dense(&dense);
    parameters *of = make_parameters(s, width, window);
    recurrent_model on;
    open_recurrent(&on, of, NULL, 2, 1);
    float *hidden = malloc(sizeof *hidden * N * width), *d = malloc(sizeof *d * N * width);
    double *behind = malloc(sizeof *behind * N * width), *d_hidden = malloc(sizeof *d_hidden * N * width);
    fill(of, hidden, d);
    (void)loss_of(of, behind);
    CHECK(rbe_gradients_layer(on.gradients, 0, hidden, N, window, d, gather, of) == RBE_OK, "%s", rbe_last_error());
    CHECK(rbe_gradients_forward(on.gradients, 0, hidden, N, window, NULL) == RBE_OK, "%s", rbe_last_error());
    for (size_t i = 0; i < (size_t)N * width; i++) {
        CHECK(fabs((double)hidden[i] - behind[i]) < 1e-5 * (1 + fabs(behind[i])), "forward: %g, expected %g", (double)hidden[i], behind[i]);
        d_hidden[i] = (double)d[i];
    }
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (uint32_t t = 0; t < N_TENSORS; t++) {
            if (count(of, t)) {
                check_direction(of, names[t], of->exact[t], of->found[t], count(of, t), seed);
            }
        }
        check_direction(of, "hidden states", of->hidden, d_hidden, (size_t)N * width, seed);
    }
    check_gains(of);
    free(hidden);
    free(d);
    free(behind);
    free(d_hidden);
    close_recurrent(&on);
    free_parameters(of);
}

/* A digest of all that is shown, and of the gradient before the layer. parts: windows one by one. */
static uint64_t digest_with(const sizes *s, const char *kernel_set, uint32_t n_threads, uint32_t window, int parts)
{
    dense_model dense = open_dense(MODEL, NULL);
    const uint32_t width = dense.model->stack.width;
    close_dense(&dense);
    parameters *of = make_parameters(s, width, N);
    recurrent_model on;
    open_recurrent(&on, of, kernel_set, n_threads, 0);
    float *hidden = malloc(sizeof *hidden * N * width), *d = malloc(sizeof *d * N * width);
    fill(of, hidden, d);
    for (uint32_t first = 0; parts && first < N; first += window) {
        const uint32_t n = N - first < window ? N - first : window;
        const size_t at = (size_t)first * width;
        CHECK(rbe_gradients_layer(on.gradients, 0, hidden + at, n, 0, d + at, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    }
    if (!parts) {
        CHECK(rbe_gradients_layer(on.gradients, 0, hidden, N, window, d, gather, of) == RBE_OK, "%s", rbe_last_error());
    }
    const uint64_t of_hidden = digest_of(14695981039346656037u, d, sizeof *d * N * width);
    const uint64_t found = window == N ? digest_of(of->digest, d, sizeof *d * N * width) : of_hidden;
    free(hidden);
    free(d);
    close_recurrent(&on);
    free_parameters(of);
    return found;
}

static void check_bits(const sizes *s, uint64_t expected)
{
    const char *name;
    for (uint32_t i = 0; (name = rbe_kernel_set_name(i)) != NULL; i++) {
        for (uint32_t threads = 1; threads <= 3 && rbe_kernel_set_available(name); threads++) {
            const uint64_t found = digest_with(s, name, threads, N, 0);
            CHECK(found == expected, "%s, %u threads: 0x%016llxu", name, threads, (unsigned long long)found);
        }
    }
    CHECK(digest_with(s, NULL, 2, SHORT, 0) == digest_with(s, NULL, 2, SHORT, 1), "windows together and apart");
    CHECK(digest_with(s, NULL, 2, 1, 0) == digest_with(s, NULL, 2, 1, 1), "windows of one token");
}

static int stop_at_taps(const rbe_gradient *gradient, void *user)
{
    ++*(int *)user;
    return strstr(gradient->name, "k_taps") != NULL;
}

static int cancel(const rbe_gradient *gradient, void *user)
{
    if (strstr(gradient->name, "recurrence.o")) {
        rbe_gradients_cancel(user);
    }
    return 0;
}

/* Calls that are cancelled, and matrices that are not fp32. */
static void check_ends(const sizes *s)
{
    dense_model dense = open_dense(MODEL, NULL);
    const uint32_t width = dense.model->stack.width;
    close_dense(&dense);
    parameters *of = make_parameters(s, width, N);
    recurrent_model on;
    open_recurrent(&on, of, NULL, 2, 0);
    float *hidden = malloc(sizeof *hidden * N * width), *d = malloc(sizeof *d * N * width);
    int n = 0;
    fill(of, hidden, d);
    CHECK(rbe_gradients_layer(on.gradients, 0, hidden, N, 0, d, stop_at_taps, &n) == RBE_ERROR_CANCELLED && n > 0, "by a callback");
    CHECK(rbe_gradients_layer(on.gradients, 0, hidden, N, 0, d, cancel, on.gradients) == RBE_ERROR_CANCELLED, "on the way back");
    CHECK(rbe_gradients_layer(on.gradients, 0, hidden, N, 0, d, NULL, NULL) == RBE_OK, "%s", rbe_last_error());
    rbe_gradients_cancel(on.gradients);
    CHECK(rbe_gradients_forward(on.gradients, 0, hidden, N, 0, NULL) == RBE_ERROR_CANCELLED, "on the way forward");
    rbe_gradients *none = NULL;
    of->tensors[DECAY].kind = RBE_KIND_F16;
    CHECK(rbe_gradients_create(&on.model, NULL, &none) == RBE_ERROR_UNSUPPORTED && !none, "a matrix that is not fp32");
    free(hidden);
    free(d);
    close_recurrent(&on);
    free_parameters(of);
}

int main(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_differences(&cases[i].of, N);
        check_differences(&cases[i].of, SHORT);
        check_bits(&cases[i].of, cases[i].digest);
        check_ends(&cases[i].of);
    }
    return check_finish();
}
