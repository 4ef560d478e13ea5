#include "blocks/recurrence_rule.h"

#include <math.h>

#include "base/elementary.h"

#define LEAST_DECAY 0x1p-80f /* a smaller one counts as zero */

static double sum_of_products(uint32_t n, const float *a, const float *b)
{
    const uint32_t whole = n / 8 * 8;
    double sums[8] = {0};
    for (uint32_t i = 0; i < whole; i += 8) {
        for (uint32_t lane = 0; lane < 8; lane++) {
            sums[lane] += (double)a[i + lane] * (double)b[i + lane];
        }
    }
    for (uint32_t i = whole; i < n; i++) {
        sums[i - whole] += (double)a[i] * (double)b[i];
    }
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

/* With S' = decay S + k (x) change, q S' = decay q S + (q k) change: both products with a matrix read it once, as it was. */
void rbe__recurrence_step_head(const rbe_kernels *kernels, const rbe__recurrence_shape *shape, const rbe__recurrence_token *token,
                               const float *from, float *to, float *y)
{
    const uint32_t n = shape->value_dim;
    const int is_delta = shape->rule == RBE_MIXER_DELTA_NET;
    float sums[2 * RBE_MOST_RECURRENCE_DIM], change[RBE_MOST_RECURRENCE_DIM]; /* q S and k S */
    const float product = (float)sum_of_products(shape->key_dim, token->q, token->k), *seen = sums + n;
    kernels->weighted_sum_f32(token->q, (size_t)(token->k - token->q), from, n, shape->key_dim, n, is_delta ? 2 : 1, NULL, sums, n);
    for (uint32_t c = 0; c < n; c++) {
        change[c] = is_delta ? (token->v[c] - token->decay * seen[c]) * token->share : token->v[c] * token->share;
    }
    for (uint32_t c = 0; c < n; c++) {
        y[c] = token->decay * sums[c] + product * change[c];
    }
    for (uint32_t c = 0; !is_delta && c < n; c++) {
        y[c] += token->skip * token->v[c];
    }
    kernels->rank_one(from, token->decay, token->k, change, shape->key_dim, n, to);
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

void rbe__recurrence_decays(const rbe_kernels *kernels, uint32_t n, float *x)
{
    kernels->exponential(x, n);
    for (uint32_t i = 0; i < n; i++) { /* no product with a smaller one is to be subnormal, which is slow */
        x[i] = x[i] < LEAST_DECAY ? 0.0f : x[i];
    }
}

float rbe__recurrence_unit(uint32_t n, double scale, float *x)
{
    const float factor = (float)(scale / sqrt(sum_of_products(n, x, x) + 1e-6));
    for (uint32_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
    return factor;
}
