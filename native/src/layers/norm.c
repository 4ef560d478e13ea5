#include "layers/norm.h"

#include <math.h>

void rbe__normalize(const rbe_kernels *kernels, rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width,
                    uint32_t n_tokens, float *y)
{
    for (uint32_t n = 0; n < n_tokens; n++, x += width, y += width) {
        kernels->normalize(x, width, kind, epsilon, norm->weight, norm->bias, y);
    }
}

void rbe__normalize_vectors(const rbe_kernels *kernels, const rbe__vector_norm *norm, float *x)
{
    for (uint32_t i = 0; i < norm->n; i++, x += norm->width) {
        kernels->normalize(x, norm->width, norm->kind, norm->epsilon, norm->weight + (size_t)i * norm->stride, NULL, x);
    }
}

void rbe__normalize_to_one(uint32_t n, uint32_t width, float epsilon, float *x)
{
    for (uint32_t i = 0; i < n; i++, x += width) {
        double squares = 0;
        for (uint32_t c = 0; c < width; c++) {
            squares += (double)x[c] * (double)x[c];
        }
        const float scale = (float)(1.0 / sqrt(squares / width + (double)epsilon));
        for (uint32_t c = 0; c < width; c++) {
            x[c] *= scale;
        }
    }
}
