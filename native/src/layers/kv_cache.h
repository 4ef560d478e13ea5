/* Keys and values of one attention, of the positions so far. */
#ifndef RBE_KV_CACHE_H
#define RBE_KV_CACHE_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "layers/kv_tiles.h"
#include "layers/workspace.h"
#include "rbe/rbe.h"

/* One layer's cache. fp16 and fp32: keys stand by dimension: those of KV head h and of the block of RBE_KV_BLOCK positions from p on at
 * (h * context + p) * head_dim, [head_dim][RBE_KV_BLOCK], so that scores need no sums across a vector; values of position p at
 * (h * context + p) * head_dim, [head_dim]. int8, or int8 keys and 4-bit values: a tile for each block (kv_tiles.h), with one scale per head
 * and position, [n_kv_heads][context], and keys and values rotated head by head: Hadamard transforms of `rotation` values, the largest power
 * of two that divides head_dim, so that no dimension is much larger than the others. */
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

/* Calls visit for keys, values and scales of the first n positions, always in the same order and with the same sizes for the same n, until
 * one fails. A visit may change what it is shown, and what it shows stays where it is until the next one. */
rbe_status rbe__kv_visit_used(const rbe__kv_layer *cache, uint32_t n_positions, rbe__kv_visit *visit, void *context);

#define RBE_MAX_HEAD_DIM 4096u

/* Rows for `weighted_sum`. */
typedef struct rbe__kv_rows {
    const void *rows;
    rbe_weighted_sum_kernel *weighted_sum;
} rbe__kv_rows;

/* fp16 and fp32: the keys of a block from position `first` on, [head_dim][RBE_KV_BLOCK]: as fp32 in `expanded` of that size, or as they are
 * stored where that is NULL. The same bits result from both. */
rbe__kv_rows rbe__kv_keys(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, float *expanded);

/* The same of the values, [n_positions][head_dim], n_positions <= RBE_KV_BLOCK. */
rbe__kv_rows rbe__kv_values(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, uint32_t n_positions,
                            float *expanded);

/* Other types: tiles for multiply_tile. Values are value_factor times what the tile holds. */
typedef struct rbe__kv_tiles {
    const int8_t *keys, *values;
    const float *key_scales, *value_scales; /* [RBE_KV_BLOCK] */
    rbe_multiply_tile_kernel *multiply_values;
    float value_factor;
} rbe__kv_tiles;

/* Those of a block; expanded: [RBE_KV_BLOCK][rbe__kv_tile_dim], for values of 4 bits. */
rbe__kv_tiles rbe__kv_tiles_at(const rbe_kernels *kernels, const rbe__kv_layer *cache, uint32_t head, uint32_t first, int8_t *expanded);

#endif
