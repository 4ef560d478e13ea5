/* The parts of a transformer, on views of tensors and buffers of a workspace. They know nothing of files and allocate
 * nothing. Activations are fp32, token by token: x of token n begins at x + n * stride. Results do not depend on the
 * number of threads, nor on how many tokens are done at once. */
#ifndef RBE_LAYERS_H
#define RBE_LAYERS_H

#include "base/arena.h"
#include "model/model.h"
#include "parallel/profile.h"
#include "parallel/thread_pool.h"

typedef struct rbe__thread_scratch {
    int8_t *tile;   /* [RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4] */
    int32_t *acc;   /* [batch * RBE_STRIP_ROWS] */
    float *sum;     /* [batch * RBE_STRIP_ROWS] */
    float *row_scale; /* [RBE_STRIP_ROWS] */
    float *rotated;   /* [max_cols] */
    float *block_scale; /* [max_cols / RBE_BLOCK_COLS + 1] */
    float *queries, *attended, *joined; /* [RBE_ATTENTION_QUERIES][head_dim] */
    float *scores;   /* [RBE_ATTENTION_QUERIES][RBE_KV_BLOCK] */
    float *expanded; /* [RBE_KV_BLOCK][head_dim] */
    float *row;     /* [max_cols] where the model multiplies by matrices that exist row by row only, else nothing */
} rbe__thread_scratch;

typedef struct rbe__workspace {
    const rbe_kernels *kernels;
    rbe__thread_pool *pool;
    uint32_t batch;    /* tokens done at once, at most */
    uint32_t max_cols; /* columns of the widest input, a multiple of 64 */
    uint32_t n_planes; /* read of each trellis tensor, at most; 0: all */
    int8_t *quantized; /* [batch][max_cols], 64-byte aligned */
    float *partials;   /* [n_heads][most_chunks][head_dim + 2] */
    uint32_t most_chunks; /* RBE_ATTENTION_CHUNK positions each */
    float *scales;     /* [batch][max_cols / RBE_BLOCK_COLS + 1] */
    const rbe__residency *residency; /* NULL: the whole file may stay in memory */
    rbe__profile *profile;           /* NULL: not wanted */
    rbe__thread_scratch threads[RBE_MAX_THREADS];
} rbe__workspace;

typedef struct rbe__linear_job {
    const rbe__projection *projection;
    float *y; /* [n_tokens][rows] at y_stride */
    size_t y_stride;
    int adds; /* 1: y is added to, as the residual stream is */
} rbe__linear_job;

#define RBE_MAX_LINEAR_JOBS 3u

/* y = W x + bias for up to RBE_MAX_LINEAR_JOBS matrices that read the same x (and are rotated alike). n_tokens <= batch. */
void rbe__linear(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const float *x, size_t x_stride,
                 uint32_t n_tokens);

/* The input of a linear step before its norm: x and normed [n_tokens][width]. */
typedef struct rbe__normed_input {
    rbe__norm_kind kind;
    const rbe__norm *norm;
    float epsilon;
    const float *x;
    float *normed;
} rbe__normed_input;

/* The same of norm(x), which is left in `normed`: norm, rotation and rounding of a token in one go. */
void rbe__linear_normed(rbe__workspace *workspace, const rbe__linear_job *jobs, uint32_t n_jobs, const rbe__normed_input *input,
                        uint32_t width, uint32_t n_tokens);

/* The input of a linear step before its activation function: up and gate [n_tokens][width]; gate NULL: activation(up) alone. */
typedef struct rbe__activated_input {
    rbe__activation activation;
    const float *gate;
    float *up;
} rbe__activated_input;

/* The same of activation(gate) * up, which is left in `up`: activation, rotation and rounding of a token in one go. */
void rbe__linear_activated(rbe__workspace *workspace, const rbe__linear_job *job, const rbe__activated_input *input, uint32_t width,
                           uint32_t n_tokens);

/* y[n] = norm(x[n]) for vectors of `width`; y may be x. */
void rbe__normalize(const rbe_kernels *kernels, rbe__norm_kind kind, const rbe__norm *norm, float epsilon, const float *x, uint32_t width,
                    uint32_t n_tokens, float *y);

/* RMS norm of each of n_heads vectors of head_dim, in place (q/k norm). */
void rbe__normalize_heads(const rbe_kernels *kernels, const float *weight, float epsilon, float *x, uint32_t n_heads, uint32_t head_dim);

/* cosines, sines [n_pairs] of position * frequency, times factor. */
void rbe__rope_angles(const float *frequencies, uint32_t n_pairs, uint32_t position, float factor, float *cosines, float *sines);

/* Rotates pair (d, d + n_pairs) of each of n_heads vectors of head_dim, in place; 2 n_pairs <= head_dim. */
void rbe__rope_apply(const float *cosines, const float *sines, uint32_t n_pairs, float *x, uint32_t n_heads, uint32_t head_dim);

#define RBE_KV_BLOCK 64u              /* positions */
#define RBE_KV_MAX_DIM_QUANTIZED 256u /* of a head: it has one scale */

/* One layer's cache. Keys stand by dimension: those of KV head h and of the block of RBE_KV_BLOCK positions from p on at
 * (h * context + p) * head_dim, [head_dim][RBE_KV_BLOCK], so that scores need no sums across a vector; values of position p at
 * (h * context + p) * head_dim, [head_dim]. fp16, fp32, int8, or int8 keys and 4-bit values (from_i4 of kernels.h); the latter two
 * with one scale per head and position, [n_kv_heads][context], and keys and values rotated head by head: Hadamard transforms
 * of `rotation` values, the largest power of two that divides head_dim, so that no dimension stands out. */
typedef struct rbe__kv_layer {
    void *keys, *values;
    float *key_scales, *value_scales; /* NULL: none */
    rbe_kv_type type;
    uint32_t context; /* a multiple of RBE_KV_BLOCK */
    uint32_t n_kv_heads, head_dim;
    uint32_t rotation; /* 0: none */
} rbe__kv_layer;

/* A cache of at least `context` positions; without memory while the arena measures. */
rbe__kv_layer rbe__kv_take(rbe__arena *arena, rbe_kv_type type, uint32_t context, uint32_t n_kv_heads, uint32_t head_dim);

/* Stores k and v [n_kv_heads * head_dim] of one position; may use them up. */
void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v);

/* A rotary embedding of n_pairs pairs, as of rbe__rope_apply; 0: none. */
typedef struct rbe__kv_turn {
    const float *cosines, *sines;
    uint32_t n_pairs;
} rbe__kv_turn;

/* Moves keys and values of n positions from `first` down to `to`, and turns the keys. to <= first. */
void rbe__kv_move(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n, uint32_t to,
                  const rbe__kv_turn *turn);

/* Calls visit for every piece of memory that holds keys, values or scales of the first n positions, always in the same order and
 * with the same sizes for the same n, until one fails. */
typedef rbe_status rbe__kv_visit(void *context, void *piece, size_t bytes);
rbe_status rbe__kv_visit_used(const rbe__kv_layer *cache, uint32_t n_positions, rbe__kv_visit *visit, void *context);

#define RBE_MAX_HEAD_DIM 4096u

/* Rows for `weighted_sum`; scales: one per position, or NULL. */
typedef struct rbe__kv_rows {
    const void *rows;
    rbe_weighted_sum_kernel *weighted_sum;
    const float *scales;
} rbe__kv_rows;

/* The keys of a block from position `first` on, [head_dim][RBE_KV_BLOCK]: as fp32 in `expanded` of that size, or as they are
 * stored where that is NULL. The same bits result from both. */
rbe__kv_rows rbe__kv_keys(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, float *expanded);

/* The same of the values, [n_positions][head_dim], n_positions <= RBE_KV_BLOCK; 4-bit ones are expanded always. */
rbe__kv_rows rbe__kv_values(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n_positions,
                            int expand, float *expanded);

#define RBE_ATTENTION_QUERIES 32u /* of a tile: with 64 positions of 64 values they fill the first-level cache */
#define RBE_ATTENTION_CHUNK 512u  /* positions that one thread does at once for one token */

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

/* The same for n queries of one token each that have caches of their own, of the same heads: the same bits. */
void rbe__attend_each(rbe__workspace *workspace, const rbe__attention *attentions, uint32_t n);

/* out[width] = scale * row of the embedding, plus the row of `positions` where that is not NULL; most_planes of each (0: all). */
void rbe__embed(const rbe_kernels *kernels, const rbe__tensor *embedding, const rbe__tensor *positions, uint32_t most_planes,
                uint32_t token, uint32_t position, float scale, float *scratch, float *out);

#endif
