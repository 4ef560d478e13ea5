/* Norms of one vector per token, or per head. */
#ifndef RBE_NORM_H
#define RBE_NORM_H

#include "kernels/kernels.h"
#include "weights/projection.h"

/* y[n] = norm(x[n]) for vectors of `width`; y may be x. */
void rbe__normalize(const rbe_kernels *kernels, rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width,
                    uint32_t n_tokens, float *y);

/* RMS norm of each of n_heads vectors of head_dim, in place (q/k norm). */
void rbe__normalize_heads(const rbe_kernels *kernels, const float *weight, float epsilon, float *x, uint32_t n_heads, uint32_t head_dim);

#endif
