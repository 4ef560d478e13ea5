/* Keys and values of one attention, of the positions so far. */
#ifndef RBE_KV_CACHE_H
#define RBE_KV_CACHE_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "layers/workspace.h"
#include "rbe/rbe.h"

#define RBE_KV_MAX_DIM_QUANTIZED 256u /* of a head: it has one scale */

/* One layer's cache. Keys stand by dimension: those of KV head h and of the block of RBE_KV_BLOCK positions from p on at
 * (h * context + p) * head_dim, [head_dim][RBE_KV_BLOCK], so that scores need no sums across a vector; values of position p at
 * (h * context + p) * head_dim, [head_dim]. fp16, fp32, int8, or int8 keys and 4-bit values (from_i4 of kernels.h); the latter two
 * with one scale per head and position, [n_kv_heads][context], and keys and values rotated head by head: Hadamard transforms of
 * `rotation` values, the largest power of two that divides head_dim, so that no dimension is much larger than the others. */
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

/* Stores k and v [n_kv_heads * head_dim] of one position; may overwrite them. */
void rbe__kv_store(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v);

/* Reads k and v [n_kv_heads * head_dim] of one position that was stored; the types of 8 bits and fewer round. */
void rbe__kv_load(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t position, float *k, float *v);

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

#endif
