#include <math.h>

#include "layers/layers.h"

#define LANES 8u /* independent sums, so that the loops vectorise without reordering by the compiler */

static float sum_of(const float *x, uint32_t n, float shift, int squared)
{
    float lanes[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (uint32_t l = 0; l < LANES; l++) {
            float value = x[i + l] - shift;
            lanes[l] += squared ? value * value : value;
        }
    }
    for (; i < n; i++) {
        float value = x[i] - shift;
        lanes[i % LANES] += squared ? value * value : value;
    }
    float total = 0;
    for (uint32_t l = 0; l < LANES; l++) {
        total += lanes[l];
    }
    return total;
}

void rbe__normalize(rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width, uint32_t n_tokens,
                    float *y)
{
    for (uint32_t n = 0; n < n_tokens; n++, x += width, y += width) {
        float mean = kind == RBE_NORM_LAYER ? sum_of(x, width, 0.0f, 0) / (float)width : 0.0f;
        float scale = 1.0f / sqrtf(sum_of(x, width, mean, 1) / (float)width + epsilon);
        for (uint32_t i = 0; i < width; i++) {
            y[i] = (x[i] - mean) * scale * norm->weight[i];
        }
        if (norm->bias) {
            rbe__add(y, norm->bias, width);
        }
    }
}

void rbe__normalize_heads(const float *weight, float epsilon, float *x, uint32_t n_heads, uint32_t head_dim)
{
    rbe__norm norm = {weight, NULL};
    rbe__normalize(RBE_NORM_RMS, &norm, epsilon, x, head_dim, n_heads, x);
}

void rbe__add(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i] += y[i];
    }
}
