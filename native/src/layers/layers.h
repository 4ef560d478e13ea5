/* The parts of a transformer, on views of tensors and buffers of a workspace. They know nothing of files and allocate
 * nothing. Activations are fp32, token by token: x of token n begins at x + n * stride. Results do not depend on the
 * number of threads, nor on how many tokens are done at once. */
#ifndef RBE_LAYERS_H
#define RBE_LAYERS_H

#include "model.h"
#include "threads.h"

/* Dense matrices are split into pieces of this many rows between threads. */
#define RBE_DENSE_ROWS 64u

typedef struct rbe__thread_scratch {
    int8_t *tile;   /* [RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4] */
    int32_t *acc;   /* [batch * RBE_STRIP_ROWS] */
    float *sum;     /* [batch * RBE_STRIP_ROWS] */
    float *row_scale; /* [RBE_STRIP_ROWS] */
    float *scores;  /* [context] */
    float *row;     /* [max_cols] where the model multiplies by matrices that exist row by row only, else nothing */
} rbe__thread_scratch;

typedef struct rbe__workspace {
    const rbe_kernels *kernels;
    rbe__pool *pool;
    uint32_t batch;    /* tokens done at once, at most */
    uint32_t max_cols; /* columns of the widest input, a multiple of 64 */
    uint32_t n_planes; /* read of each trellis tensor, at most; 0: all */
    float *rotated;    /* [batch][max_cols] */
    int8_t *quantized; /* [batch][max_cols], 64-byte aligned */
    float *scales;     /* [batch][max_cols / RBE_BLOCK_COLS + 1] */
    rbe__thread_scratch threads[RBE_MAX_THREADS];
} rbe__workspace;

typedef struct rbe__linear_job {
    const rbe__projection *projection;
    float *y; /* [n_tokens][rows] at y_stride */
    size_t y_stride;
} rbe__linear_job;

#define RBE_MAX_LINEAR_JOBS 3u

/* y = W x + bias for up to RBE_MAX_LINEAR_JOBS matrices that read the same x (and are rotated alike). n_tokens <= batch. */
void rbe__linear(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const float *x, size_t x_stride,
                 uint32_t n_tokens);

/* y[n] = norm(x[n]) for vectors of `width`; y may be x. */
void rbe__normalize(rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width, uint32_t n_tokens,
                    float *y);

/* x += y over n values. */
void rbe__add(float *x, const float *y, size_t n);

/* RMS norm of each of n_heads vectors of head_dim, in place (q/k norm). */
void rbe__normalize_heads(const float *weight, float epsilon, float *x, uint32_t n_heads, uint32_t head_dim);

/* cosines, sines [n_pairs] of position * frequency, times factor. */
void rbe__rope_angles(const float *frequencies, uint32_t n_pairs, uint32_t position, float factor, float *cosines, float *sines);

/* Rotates pair (d, d + n_pairs) of each of n_heads vectors of head_dim, in place; 2 n_pairs <= head_dim. */
void rbe__rope_apply(const float *cosines, const float *sines, uint32_t n_pairs, float *x, uint32_t n_heads, uint32_t head_dim);

/* One layer's cache: keys and values of KV head h, position p at ((h * context) + p) * head_dim; fp16 or fp32. */
typedef struct rbe__kv_layer {
    void *keys, *values;
    int f32;
    uint32_t context, n_kv_heads, head_dim;
} rbe__kv_layer;

/* Stores k and v [n_kv_heads * head_dim] of one position. */
void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, const float *k, const float *v);

typedef struct rbe__attention {
    const rbe__kv_layer *cache;
    uint32_t n_heads;
    uint32_t window;  /* 0: all */
    float scale, softcap;
    const float *q;   /* [n_tokens][n_heads * head_dim] */
    float *out;       /* the same */
    uint32_t first_position, n_tokens;
} rbe__attention;

/* Causal attention of n_tokens consecutive positions, whose keys and values are stored already. */
void rbe__attend(rbe__workspace *workspace, const rbe__attention *attention);

/* up = activation(gate) * up, or activation(up) where gate is NULL; [n_tokens][n]. */
void rbe__activate(rbe__workspace *workspace, rbe__activation activation, const float *gate, float *up, uint32_t n, uint32_t n_tokens);

/* out[width] = scale * row of the embedding, plus the row of `positions` where that is not NULL; most_planes of each (0: all). */
void rbe__embed(const rbe_kernels *kernels, const rbe__tensor *embedding, const rbe__tensor *positions, uint32_t most_planes,
                uint32_t token, uint32_t position, float scale, float *scratch, float *out);

/* x = cap * tanh(x / cap). */
void rbe__softcap(float *x, size_t n, float cap);

#endif
