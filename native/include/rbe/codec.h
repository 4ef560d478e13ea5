/* codec.h: matrices into the planes of trellis codes that a .rbe file holds, and back. docs/codec.md, docs/format.md ("Planes").
 *
 * For packers; opening and running a model needs none of it. Present where the library was built with RBE_CODEC=ON. The
 * conventions are those of rbe.h. Functions keep no state: any thread may call them at any time, on arrays of its own.
 */
#ifndef RBE_CODEC_H
#define RBE_CODEC_H

#include "rbe/rbe.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rbe_codebook {
    uint32_t bits;            /* K, 1 to 4 */
    int8_t t1[16];
    int8_t t2[16];            /* every sum t1[i] + t2[j] within +-127 */
} rbe_codebook;

/* Where the streams of a plane lie (docs/format.md, "Planes"). unit_rows is P of the tensor: 32, 16, 32, 8 for K = 1..4,
 * the largest among its planes; 0 means that of `bits`. */
typedef struct rbe_plane_layout {
    uint32_t unit_rows;       /* P */
    uint32_t n_strips;
    uint32_t n_groups;        /* ceil(cols / 4) */
    uint32_t min_steps;       /* the shortest lane; under 32 the tensor is to be stored dense */
    uint64_t stream_bytes;
} rbe_plane_layout;

RBE_API rbe_status rbe_plane_get_layout(uint32_t rows, uint32_t cols, uint32_t bits, uint32_t unit_rows, rbe_plane_layout *out);

typedef struct rbe_encode_options {
    size_t struct_bytes;
    uint32_t n_threads;       /* 0: all cores; the bytes do not depend on it */
    rbe_progress_callback progress;
    void *user;
    const float *feedback;    /* NULL: none. U of inverse(E[x x^T]) = U^T U, rotated and damped: float[4 G][4 G], upper triangular,
                               * positive diagonal, G = ceil(cols / 4); identity where columns do not exist (docs/codec.md) */
    uint32_t residual;        /* 1: the weights are what planes before leave, so errors may depend on them (docs/codec.md, "Error
                               * feedback"); read with feedback alone */
    uint32_t quick;           /* 1: about half of the search, for 1 to 5 % more error (docs/codec.md, "Tail-biting") */
} rbe_encode_options;

/* Encodes weights float[rows][cols] (already rotated) into one plane: row_scales uint16[rows] (fp16 bits, finite;
 * weight = tensor_scale x row_scale x (T1 + T2)), stream uint8[layout.stream_bytes], and the total squared error. */
RBE_API rbe_status rbe_encode_plane(const float *weights, uint32_t rows, uint32_t cols, const rbe_codebook *codebook, uint32_t unit_rows,
                                    float tensor_scale, const rbe_encode_options *options, uint16_t *row_scales, uint8_t *stream,
                                    double *squared_error);

/* The weights of one plane, float[rows][cols], still rotated. The inverse of rbe_encode_plane up to its error. */
RBE_API rbe_status rbe_decode_plane(const uint8_t *stream, size_t stream_bytes, const uint16_t *row_scales, uint32_t rows, uint32_t cols,
                                    const rbe_codebook *codebook, uint32_t unit_rows, float tensor_scale, float *weights);

/* In place on float[rows][cols]: W <- W D H, or the inverse W H D where inverse is 1. `block`: a power of two that divides cols. */
RBE_API rbe_status rbe_rotate_rows(float *weights, uint32_t rows, uint32_t cols, uint32_t block, uint64_t seed, int inverse);

/* moment[cols][cols] += x^T x, for x float[n_tokens][cols]: the lower triangle; what is above it has no meaning. cols at most 2^18.
 * Statistics for rbe_inverse_factor. n_threads 0: all cores; the bits do not depend on it. */
RBE_API rbe_status rbe_moment_add(const float *x, size_t n_tokens, uint32_t cols, uint32_t n_threads, float *moment);

/* In place on float[n][n]: a symmetric positive definite H, whose lower triangle is read, becomes U, upper triangular with a
 * positive diagonal and zeros below, of inverse(H) = U^T U. RBE_ERROR_ARGUMENT where H is not positive definite. n_threads as above. */
RBE_API rbe_status rbe_inverse_factor(float *h, uint32_t n, uint32_t n_threads);

/* out[n][v] = the natural log-probability of token v from hidden states x[n], float[n_tokens][width]: log softmax of head x, for head
 * float[n_vocabulary][width], behind softcap tanh(/ softcap) where softcap is not 0. n_threads 0: all cores; the bits depend neither on it nor
 * on the processor. */
RBE_API rbe_status rbe_log_probabilities(const float *head, uint32_t n_vocabulary, uint32_t width, const float *x, uint32_t n_tokens,
                                         float softcap, uint32_t n_threads, float *out);

/* nats[n] = KL(expected[n] || given[n]) for log-probabilities float[n_tokens][n_vocabulary]. n_threads and bits as above. */
RBE_API rbe_status rbe_divergence(const float *expected, const float *given, uint32_t n_tokens, uint32_t n_vocabulary, uint32_t n_threads,
                                  double *nats);

#ifdef __cplusplus
}
#endif

#endif
