#include "blocks/routing.h"

#include <math.h>

#include "layers/activation.h"

/* Of finite logits; the same bits with every kernel set. */
static void score(const rbe_kernels *kernels, const rbe__experts_shape *shape, float *scores)
{
    if (shape->score == RBE_SCORE_SOFTMAX) {
        float largest = -INFINITY;
        const float sum = kernels->online_softmax(scores, shape->n, &largest);
        for (uint32_t e = 0; e < shape->n; e++) {
            scores[e] /= sum;
        }
        return;
    }
    rbe__logistic(kernels, shape->n, scores);
}

/* The largest key's place, the first of equal ones. All keys are finite, or -infinity once they are taken. */
static uint32_t largest_of(const float *keys, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t e = 1; e < n; e++) {
        best = keys[e] > keys[best] ? e : best;
    }
    return best;
}

static void insert(uint32_t *sorted, uint32_t n, uint32_t number)
{
    uint32_t at = n;
    for (; at && sorted[at - 1] > number; at--) {
        sorted[at] = sorted[at - 1];
    }
    sorted[at] = number;
}

static int all_finite(const float *x, uint32_t n)
{
    int finite = 1;
    for (uint32_t i = 0; i < n; i++) {
        finite &= isfinite(x[i]) != 0;
    }
    return finite;
}

int rbe__route(const rbe_kernels *kernels, const rbe__experts_shape *shape, const float *bias, float *scores, float *keys, uint32_t *chosen,
               float *weights)
{
    if (!all_finite(scores, shape->n)) {
        return 0;
    }
    score(kernels, shape, scores);
    for (uint32_t e = 0; e < shape->n; e++) {
        keys[e] = bias ? scores[e] + bias[e] : scores[e];
    }
    if (!all_finite(keys, shape->n)) {
        return 0;
    }
    float sum = 0.0f;
    for (uint32_t i = 0; i < shape->n_used; i++) {
        const uint32_t best = largest_of(keys, shape->n);
        keys[best] = -INFINITY;
        insert(chosen, i, best);
    }
    for (uint32_t i = 0; i < shape->n_used; i++) {
        weights[i] = scores[chosen[i]];
        sum += weights[i];
    }
    const float divisor = !shape->normalizes ? 1.0f : sum > RBE_LEAST_SCORES ? sum : RBE_LEAST_SCORES;
    for (uint32_t i = 0; i < shape->n_used; i++) {
        weights[i] = weights[i] / divisor * shape->scale;
    }
    return 1;
}
