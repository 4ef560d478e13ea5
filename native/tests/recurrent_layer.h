/* A recurrent block with what stands before and behind it, x + block(norm(x)), in double precision, and its numbers in single precision too. */
#ifndef RBE_TESTS_RECURRENT_LAYER_H
#define RBE_TESTS_RECURRENT_LAYER_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "blocks/block.h"

#ifndef N
#define N 23u /* tokens; a test may say another number */
#endif

typedef struct sizes {
    rbe__mixer rule;
    uint32_t n_keys, n_values, key_dim, value_dim, taps;
} sizes;

enum { NORM, Q, K, V, GATE, DECAY, BETA, O, Q_TAPS, K_TAPS, V_TAPS, N_MATRICES }; /* the norm has one row */
enum {
    Q_BIAS = N_MATRICES,
    K_BIAS,
    V_BIAS,
    GATE_BIAS,
    DECAY_BIAS,
    O_BIAS,
    Q_TAPS_BIAS,
    K_TAPS_BIAS,
    V_TAPS_BIAS,
    RATE,
    SKIP,
    GATED_NORM,
    N_TENSORS
};

static const char *const names[N_TENSORS] = {"norm",        "q",           "k",         "v",          "gate",      "decay",
                                             "beta",        "o",           "q_taps",    "k_taps",     "v_taps",    "q.bias",
                                             "k.bias",      "v.bias",      "gate.bias", "decay.bias", "o.bias",    "q_taps.bias",
                                             "k_taps.bias", "v_taps.bias", "rate",      "skip",       "gated_norm"};

/* What a block learns: as the engine has it, the same in double precision, which differences move, and the gradients found. */
typedef struct parameters {
    sizes of;
    uint32_t width;
    float epsilon, gated_epsilon; /* of the norm before the block, of that beside its gate */
    rbe__tensor tensors[N_TENSORS]; /* rows 0: not there */
    float *values[N_TENSORS];
    double *exact[N_TENSORS], *found[N_TENSORS];
    double *hidden; /* [N][width] */
    double gains[N_TENSORS]; /* of a matrix: the gradient by a factor of all its rows */
    uint64_t digest; /* of all that was shown */
    uint32_t window; /* tokens of each but the last */
} parameters;

static size_t count(const parameters *of, uint32_t tensor)
{
    return (size_t)of->tensors[tensor].rows * of->tensors[tensor].cols;
}

/* Between -1 and 1. */
static double draw(uint64_t *seed)
{
    return (double)(rbe__splitmix64(seed) >> 11) * 0x1p-52 - 1.0;
}

static void shape_tensors(parameters *of)
{
    const sizes *s = &of->of;
    const uint32_t keys = s->n_keys * s->key_dim, inner = s->n_values * s->value_dim, delta = s->rule == RBE_MIXER_DELTA_NET;
    const uint32_t shapes[N_TENSORS][2] = {[NORM] = {1, of->width},
                                           [Q] = {keys, of->width},
                                           [K] = {keys, of->width},
                                           [V] = {inner, of->width},
                                           [GATE] = {inner, of->width},
                                           [DECAY] = {s->n_values, of->width},
                                           [BETA] = {delta ? s->n_values : 0, of->width},
                                           [O] = {of->width, inner},
                                           [Q_TAPS] = {keys, s->taps},
                                           [K_TAPS] = {keys, s->taps},
                                           [V_TAPS] = {inner, s->taps},
                                           [Q_BIAS] = {1, keys},
                                           [K_BIAS] = {1, keys},
                                           [V_BIAS] = {1, inner},
                                           [GATE_BIAS] = {1, inner},
                                           [DECAY_BIAS] = {1, s->n_values},
                                           [O_BIAS] = {1, of->width},
                                           [Q_TAPS_BIAS] = {1, keys},
                                           [K_TAPS_BIAS] = {1, keys},
                                           [V_TAPS_BIAS] = {1, inner},
                                           [RATE] = {1, s->n_values},
                                           [SKIP] = {!delta, s->n_values},
                                           [GATED_NORM] = {1, delta ? s->value_dim : inner}};
    for (uint32_t t = 0; t < N_TENSORS; t++) {
        of->tensors[t] = (rbe__tensor){.kind = RBE_KIND_F32, .rows = shapes[t][0], .cols = shapes[t][1]};
    }
}

static parameters *make_parameters(const sizes *s, uint32_t width, uint32_t window)
{
    parameters *of = calloc(1, sizeof *of);
    uint64_t seed = 7;
    of->of = *s;
    of->width = width;
    of->window = window;
    of->epsilon = 1e-3f;
    of->gated_epsilon = 2e-3f;
    of->digest = 14695981039346656037u;
    shape_tensors(of);
    for (uint32_t t = 0; t < N_TENSORS; t++) {
        const size_t n = count(of, t);
        const int is_positive = t == NORM || t == GATED_NORM || t == RATE;
        const double size = is_positive ? .3 : t >= Q_TAPS ? .7 : t == O ? .3 : 2.0 / sqrt((double)width);
        of->values[t] = malloc((n + 1) * sizeof(float));
        of->exact[t] = malloc((n + 1) * sizeof(double));
        of->found[t] = calloc(n + 1, sizeof(double));
        for (size_t i = 0; i < n; i++) {
            of->values[t][i] = (float)((is_positive ? .6 : 0.0) + size * draw(&seed));
            of->exact[t][i] = (double)of->values[t][i];
        }
        of->tensors[t].data = (const uint8_t *)of->values[t];
    }
    of->hidden = malloc(sizeof *of->hidden * N * width);
    for (size_t i = 0; i < (size_t)N * width; i++) {
        of->hidden[i] = (double)(float)draw(&seed);
    }
    return of;
}

static void free_parameters(parameters *of)
{
    for (uint32_t t = 0; t < N_TENSORS; t++) {
        free(of->values[t]);
        free(of->exact[t]);
        free(of->found[t]);
    }
    free(of->hidden);
    free(of);
}

/* ---- the reference -------------------------------------------------------------------------------------------------------- */

static double logistic(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void norm(const double *weight, double epsilon, uint32_t n, double *x)
{
    double squares = 0;
    for (uint32_t c = 0; c < n; c++) {
        squares += x[c] * x[c];
    }
    for (uint32_t c = 0; c < n; c++) {
        x[c] *= weight[c] / sqrt(squares / n + epsilon);
    }
}

/* rows numbers of matrix `tensor` times x; bias: a tensor, 0: none. */
static double *multiply(const parameters *of, uint32_t tensor, uint32_t bias, const double *x)
{
    const uint32_t rows = of->tensors[tensor].rows, cols = of->tensors[tensor].cols;
    double *y = calloc(rows, sizeof *y);
    for (uint32_t r = 0; r < rows; r++) {
        y[r] = bias ? of->exact[bias][r] : 0;
        for (uint32_t c = 0; c < cols; c++) {
            y[r] += of->exact[tensor][(size_t)r * cols + c] * x[c];
        }
    }
    return y;
}

/* What the heads read of q, k or v of a token: raw [position] are rows of all tokens up to that one. */
static double *convolve(const parameters *of, uint32_t taps, uint32_t bias, double *const *raw, uint32_t position)
{
    const uint32_t channels = of->tensors[taps].rows, n_taps = of->tensors[taps].cols;
    double *y = calloc(channels, sizeof *y);
    for (uint32_t c = 0; c < channels; c++) {
        double sum = of->exact[bias][c];
        for (uint32_t back = 0; back < n_taps && back <= position; back++) {
            sum += of->exact[taps][(size_t)c * n_taps + n_taps - 1 - back] * raw[position - back][c];
        }
        y[c] = sum * logistic(sum);
    }
    return y;
}

static void unit(double *x, uint32_t n, double factor)
{
    double squares = 1e-6;
    for (uint32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= factor / sqrt(squares);
    }
}

/* One token of one head: matrix [key_dim][value_dim] goes on, y [value_dim]. */
static void step_head(const parameters *of, uint32_t head, const double *q, const double *k, const double *v, double step, double beta,
                      double *matrix, double *y)
{
    const uint32_t rows = of->of.key_dim, cols = of->of.value_dim;
    const int delta = of->of.rule == RBE_MIXER_DELTA_NET;
    const double decay = exp(-of->exact[RATE][head] * step);
    for (uint32_t c = 0; c < cols; c++) {
        double known = 0;
        for (uint32_t r = 0; r < rows; r++) {
            matrix[r * cols + c] *= decay;
            known += k[r] * matrix[r * cols + c];
        }
        const double update = delta ? (v[c] - known) * beta : v[c] * step;
        y[c] = delta ? 0 : of->exact[SKIP][head] * v[c];
        for (uint32_t r = 0; r < rows; r++) {
            matrix[r * cols + c] += k[r] * update;
            y[c] += q[r] * matrix[r * cols + c];
        }
    }
}

/* What the last matrix reads, of y and the gate. */
static void close_gate(const parameters *of, const double *gate, double *y)
{
    const sizes *s = &of->of;
    const int delta = s->rule == RBE_MIXER_DELTA_NET;
    const uint32_t inner = s->n_values * s->value_dim, n = delta ? s->value_dim : inner / s->n_keys;
    for (uint32_t i = 0; !delta && i < inner; i++) {
        y[i] *= gate[i] * logistic(gate[i]);
    }
    for (uint32_t first = 0; first < inner; first += n) {
        norm(of->exact[GATED_NORM] + (delta ? 0 : first), (double)of->gated_epsilon, n, y + first);
    }
    for (uint32_t i = 0; delta && i < inner; i++) {
        y[i] *= gate[i] * logistic(gate[i]);
    }
}

/* A token of a window: its hidden state behind the layer. raw: q, k and v of the tokens so far; matrices: of all heads. */
static void run_token(const parameters *of, uint32_t token, uint32_t position, double *raw[3][N], double *matrices, double *out)
{
    const sizes *s = &of->of;
    const int delta = s->rule == RBE_MIXER_DELTA_NET;
    double *x = malloc(of->width * sizeof *x);
    memcpy(x, of->hidden + (size_t)token * of->width, of->width * sizeof *x);
    norm(of->exact[NORM], (double)of->epsilon, of->width, x);
    double *read[3], *y = calloc((size_t)s->n_values * s->value_dim, sizeof *y);
    for (uint32_t i = 0; i < 3; i++) {
        raw[i][position] = multiply(of, Q + i, Q_BIAS + i, x);
        read[i] = convolve(of, Q_TAPS + i, Q_TAPS_BIAS + i, raw[i], position);
    }
    for (uint32_t h = 0; delta && h < s->n_keys; h++) {
        unit(read[0] + (size_t)h * s->key_dim, s->key_dim, 1.0 / sqrt(s->key_dim));
        unit(read[1] + (size_t)h * s->key_dim, s->key_dim, 1.0);
    }
    double *decays = multiply(of, DECAY, DECAY_BIAS, x), *betas = delta ? multiply(of, BETA, 0, x) : NULL;
    for (uint32_t h = 0; h < s->n_values; h++) {
        const size_t key = (size_t)(h / (s->n_values / s->n_keys)) * s->key_dim, value = (size_t)h * s->value_dim;
        step_head(of, h, read[0] + key, read[1] + key, read[2] + value, log1p(exp(decays[h])), delta ? logistic(betas[h]) : 0,
                  matrices + (size_t)h * s->key_dim * s->value_dim, y + value);
    }
    double *gate = multiply(of, GATE, GATE_BIAS, x);
    close_gate(of, gate, y);
    double *given = multiply(of, O, O_BIAS, y);
    for (uint32_t c = 0; c < of->width; c++) {
        out[c] = of->hidden[(size_t)token * of->width + c] + given[c];
    }
    double *const all[] = {x, y, decays, betas, gate, given, read[0], read[1], read[2]};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
}

/* What a hidden state behind the layer counts for. */
static double weight_of(uint32_t token, uint32_t c)
{
    uint64_t seed = token * 4096u + c;
    return (double)(float)draw(&seed);
}

/* The loss, which is linear in the hidden states behind the layer; these go to out [N][width] where it is not NULL. */
static double loss_of(const parameters *of, double *out)
{
    const size_t n_numbers = (size_t)of->of.n_values * of->of.key_dim * of->of.value_dim;
    double *matrices = calloc(n_numbers, sizeof *matrices), *behind = malloc(of->width * sizeof *behind), loss = 0;
    double *raw[3][N];
    for (uint32_t first = 0; first < N; first += of->window) {
        const uint32_t n = N - first < of->window ? N - first : of->window;
        memset(matrices, 0, n_numbers * sizeof *matrices);
        for (uint32_t i = 0; i < n; i++) {
            run_token(of, first + i, i, raw, matrices, behind);
            for (uint32_t c = 0; c < of->width; c++) {
                loss += weight_of(first + i, c) * behind[c];
            }
            if (out) {
                memcpy(out + (size_t)(first + i) * of->width, behind, of->width * sizeof *behind);
            }
        }
        for (uint32_t i = 0; i < 3 * n; i++) {
            free(raw[i / n][i % n]);
        }
    }
    free(matrices);
    free(behind);
    return loss;
}

#endif
