#include "layers/norm.h"

void rbe__normalize(const rbe_kernels *kernels, rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width,
                    uint32_t n_tokens, float *y)
{
    for (uint32_t n = 0; n < n_tokens; n++, x += width, y += width) {
        kernels->normalize(x, width, kind, epsilon, norm->weight, norm->bias, y);
    }
}

void rbe__normalize_heads(const rbe_kernels *kernels, const float *weight, float epsilon, float *x, uint32_t n_heads, uint32_t head_dim)
{
    rbe__norm norm = {weight, NULL};
    rbe__normalize(kernels, RBE_NORM_RMS, &norm, epsilon, x, head_dim, n_heads, x);
}
