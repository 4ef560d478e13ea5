#include "blocks/recurrence_rule.h"

#include <math.h>
#include <string.h>

#include "base/elementary.h"

#define COLUMNS 16u /* of the matrix that are done at once: their sums stay in registers */

/* `width` columns of a matrix whose rows have shape->value_dim, 1 to COLUMNS. */
static inline void delta_columns(const rbe__recurrence_shape *shape, const rbe__recurrence_token *token, uint32_t first, uint32_t width,
                                 const float *from, float *to, float *y)
{
    const float decay = token->decay;
    float sum[COLUMNS] = {0}, change[COLUMNS];
    for (uint32_t i = 0; i < shape->key_dim; i++) {
        const float *row = from + (size_t)i * shape->value_dim + first, k = token->k[i];
        for (uint32_t c = 0; c < width; c++) {
            sum[c] += k * (decay * row[c]);
        }
    }
    for (uint32_t c = 0; c < width; c++) {
        change[c] = (token->v[first + c] - sum[c]) * token->share;
        sum[c] = 0.0f;
    }
    for (uint32_t i = 0; i < shape->key_dim; i++) {
        const float *row = from + (size_t)i * shape->value_dim + first, k = token->k[i], q = token->q[i];
        float *out = to + (size_t)i * shape->value_dim + first;
        float value[COLUMNS]; /* out may be row */
        for (uint32_t c = 0; c < width; c++) {
            value[c] = decay * row[c] + k * change[c];
        }
        for (uint32_t c = 0; c < width; c++) {
            out[c] = value[c];
            sum[c] += q * value[c];
        }
    }
    memcpy(y + first, sum, width * sizeof *y);
}

static inline void space_columns(const rbe__recurrence_shape *shape, const rbe__recurrence_token *token, uint32_t first, uint32_t width,
                                 const float *from, float *to, float *y)
{
    const float decay = token->decay;
    float sum[COLUMNS] = {0}, change[COLUMNS];
    for (uint32_t c = 0; c < width; c++) {
        change[c] = token->v[first + c] * token->share;
    }
    for (uint32_t i = 0; i < shape->key_dim; i++) {
        const float *row = from + (size_t)i * shape->value_dim + first, k = token->k[i], q = token->q[i];
        float *out = to + (size_t)i * shape->value_dim + first;
        float value[COLUMNS]; /* out may be row */
        for (uint32_t c = 0; c < width; c++) {
            value[c] = decay * row[c] + k * change[c];
        }
        for (uint32_t c = 0; c < width; c++) {
            out[c] = value[c];
            sum[c] += q * value[c];
        }
    }
    for (uint32_t c = 0; c < width; c++) {
        y[first + c] = sum[c] + token->skip * token->v[first + c];
    }
}

void rbe__recurrence_token_step(const rbe__recurrence_shape *shape, const rbe__recurrence_token *token, const float *from, float *to,
                                float *y)
{
    const uint32_t whole = shape->value_dim / COLUMNS * COLUMNS, rest = shape->value_dim - whole;
    if (shape->rule == RBE_MIXER_DELTA_NET) {
        for (uint32_t first = 0; first < whole; first += COLUMNS) {
            delta_columns(shape, token, first, COLUMNS, from, to, y);
        }
        delta_columns(shape, token, whole, rest, from, to, y);
    } else {
        for (uint32_t first = 0; first < whole; first += COLUMNS) {
            space_columns(shape, token, first, COLUMNS, from, to, y);
        }
        space_columns(shape, token, whole, rest, from, to, y);
    }
}

/* With e = exp(-|x|): log(1 + e) = e - e^2 / 2 where that is all that a float holds. */
void rbe__softplus(const rbe_kernels *kernels, uint32_t n, float *x, float *scratch)
{
    for (uint32_t i = 0; i < n; i++) {
        scratch[i] = -fabsf(x[i]);
    }
    kernels->exponential(scratch, n);
    for (uint32_t i = 0; i < n; i++) {
        const double e = (double)scratch[i], positive = x[i] < 0.0f ? 0.0 : (double)x[i]; /* x where it is NaN */
        x[i] = (float)(positive + (e < 0x1p-13 ? e - 0.5 * e * e : rbe__log(1.0 + e)));
    }
}

float rbe__recurrence_unit(uint32_t n, double scale, float *x)
{
    double squares[4] = {0}, sum;
    for (uint32_t i = 0; i < n; i++) {
        squares[i % 4] += (double)x[i] * (double)x[i];
    }
    sum = (squares[0] + squares[1]) + (squares[2] + squares[3]);
    const float factor = (float)(scale / sqrt(sum + 1e-6));
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
    return factor;
}
