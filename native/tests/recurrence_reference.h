/* A layer of recurrences in double precision, as docs/format.md has it. */
#ifndef RBE_TESTS_RECURRENCE_REFERENCE_H
#define RBE_TESTS_RECURRENCE_REFERENCE_H

#include <math.h>

#include "recurrent_model.h"

/* y[rows] = W x + bias of a part. */
static inline void multiply(const recurrent_model *from, const char *part, uint32_t rows, uint32_t cols, const double *x, double *y)
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

static inline double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Of channel c of a part: the convolution of token n, of raw [n_tokens][rows] as it comes out of its matrix. */
static inline double convolved(const recurrent_model *from, const char *part, uint32_t rows, const double *raw, uint32_t n, uint32_t c)
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

static inline void to_unit(double *x, uint32_t n, double scale)
{
    double squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= scale / sqrt(squares + 1e-6);
    }
}

static inline void to_norm(double *x, uint32_t n, const float *weight)
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
static inline void step_head(const recurrent_model *from, uint32_t head, double raw_decay, double raw_beta, const double *q,
                             const double *k, const double *v, double *matrix, double *y)
{
    const rbe__recurrence_shape *shape = &from->shape;
    const double step = log1p(exp(raw_decay)), decay = exp(-(double)recurrent_values(from, "rate")[head] * step);
    const double share = shape->rule == RBE_MIXER_DELTA_NET ? 1 / (1 + exp(-raw_beta)) : step;
    const double skip = shape->rule == RBE_MIXER_DELTA_NET ? 0 : (double)recurrent_values(from, "skip")[head];
    for (uint32_t c = 0; c < shape->value_dim; c++) {
        double seen = 0;
        y[c] = skip * v[c];
        for (uint32_t i = 0; i < shape->key_dim; i++) {
            matrix[i * shape->value_dim + c] *= decay;
            seen += shape->rule == RBE_MIXER_DELTA_NET ? k[i] * matrix[i * shape->value_dim + c] : 0;
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

static inline double *doubles(size_t n)
{
    return calloc(n, sizeof(double));
}

/* Token n: read and the rest to `mixed`, what the last matrix reads. */
static inline void mix_token(const recurrent_model *from, reference *at, uint32_t n)
{
    static const char *const parts[3] = {"q", "k", "v"};
    const rbe__recurrence_shape *shape = &from->shape;
    const uint32_t keys = shape->n_keys * shape->key_dim, values = shape->n_values * shape->value_dim;
    for (int part = 0; part < 3; part++) {
        const uint32_t rows = part < 2 ? keys : values;
        for (uint32_t c = 0; c < rows; c++) {
            at->read[part][c] = convolved(from, parts[part], rows, at->raw[part], n, c);
        }
        for (uint32_t h = 0; part < 2 && shape->rule == RBE_MIXER_DELTA_NET && h < shape->n_keys; h++) {
            to_unit(at->read[part] + h * shape->key_dim, shape->key_dim, part == 0 ? 1 / sqrt(shape->key_dim) : 1);
        }
    }
    for (uint32_t h = 0; h < shape->n_values; h++) {
        const uint32_t key_head = h / (shape->n_values / shape->n_keys);
        double *y = at->mixed + h * shape->value_dim;
        step_head(from, h, at->decay[h], at->beta[h], at->read[0] + key_head * shape->key_dim, at->read[1] + key_head * shape->key_dim,
                  at->read[2] + h * shape->value_dim, at->matrices + (size_t)h * shape->key_dim * shape->value_dim, y);
        if (shape->rule == RBE_MIXER_DELTA_NET) {
            to_norm(y, shape->value_dim, recurrent_values(from, "gated_norm"));
        }
        for (uint32_t c = 0; c < shape->value_dim; c++) {
            y[c] *= silu(at->gate[h * shape->value_dim + c]);
        }
    }
    for (uint32_t g = 0; shape->rule == RBE_MIXER_STATE_SPACE && g < shape->n_keys; g++) {
        const uint32_t width = values / shape->n_keys;
        to_norm(at->mixed + g * width, width, recurrent_values(from, "gated_norm") + g * width);
    }
}

/* hidden [n][width] and what the layer adds to it. */
static inline void reference_layer(const recurrent_model *from, uint32_t width, const float *hidden, uint32_t n_tokens, double *out)
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
        if (shape->rule == RBE_MIXER_DELTA_NET) {
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

#endif
