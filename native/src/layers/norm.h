/* Norms of one vector per token, or per head. */
#ifndef RBE_NORM_H
#define RBE_NORM_H

#include "kernels/kernels.h"
#include "weights/projection.h"

/* y[n] = norm(x[n]) for vectors of `width`; y may be x. */
void rbe__normalize(const rbe_kernels *kernels, rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width,
                    uint32_t n_tokens, float *y);

/* A norm of n vectors, in place: vector i has weights [width] from i * stride on. */
typedef struct rbe__vector_norm {
    rbe__norm_kind kind;
    const float *weight;
    uint32_t n, width, stride;
    float epsilon;
} rbe__vector_norm;
void rbe__normalize_vectors(const rbe_kernels *kernels, const rbe__vector_norm *norm, float *x);

/* RMS norm of each of n vectors of `width`, in place, without weights. */
void rbe__normalize_to_one(uint32_t n, uint32_t width, float epsilon, float *x);

#endif
