/* What the operations of a pass work in: kernels, threads, and scratch memory. Its owner takes the memory; an operation allocates nothing.
 * Activations are fp32, token by token: x of token n begins at x + n * stride. Results depend neither on the number of threads nor on how many
 * tokens are done at once. One thread calls at a time. */
#ifndef RBE_WORKSPACE_H
#define RBE_WORKSPACE_H

#include "base/arena.h"
#include "kernels/kernels.h"
#include "parallel/profile.h"
#include "parallel/thread_pool.h"
#include "weights/residency.h"

#define RBE_ATTENTION_QUERIES 32u /* of a tile: with 64 positions of 64 values they fill the first-level cache */
#define RBE_KV_BLOCK 64u          /* positions */

/* From query to query, where they are int8, or their products: room for head_dim dimensions, as kernels read them, and for a block. */
static inline uint32_t rbe__attention_stride(uint32_t head_dim)
{
    return head_dim < RBE_KV_BLOCK ? RBE_KV_BLOCK : (head_dim + 63) & ~63u;
}

/* Of one thread. */
typedef struct rbe__thread_scratch {
    int8_t *tile;                       /* [RBE_BLOCK_GROUPS * RBE_STRIP_ROWS * 4] */
    int32_t *acc;                       /* [most_tokens * RBE_STRIP_ROWS] */
    float *sum;                         /* [most_tokens * RBE_STRIP_ROWS] */
    float *row_scale;                   /* [RBE_STRIP_ROWS] */
    float *rotated;                     /* [max_cols] */
    float *block_scale;                 /* [max_cols / RBE_BLOCK_COLS + 1] */
    float *queries, *attended, *joined; /* [RBE_ATTENTION_QUERIES][max_head_dim] */
    float *scores;                      /* [RBE_ATTENTION_QUERIES][RBE_KV_BLOCK] */
    float *expanded;                    /* [RBE_KV_BLOCK][max_head_dim] */
    int8_t *rounded;                    /* queries: [RBE_ATTENTION_QUERIES][rbe__attention_stride of max_head_dim] */
    float *rounded_scales;              /* [RBE_ATTENTION_QUERIES] */
    int8_t *weights;                    /* [RBE_ATTENTION_QUERIES][RBE_KV_BLOCK] */
    int32_t *products;                  /* as rounded */
    float *row;                         /* [max_cols] where has_rows_only, else nothing */
} rbe__thread_scratch;

typedef struct rbe__workspace {
    const rbe_kernels *kernels;
    rbe__thread_pool *thread_pool;
    uint32_t most_tokens;  /* done at once */
    uint32_t max_cols;     /* columns of the widest input, a multiple of 64 */
    uint32_t max_head_dim; /* of all attention */
    int has_grouped;       /* 1: some matrix is of a kind of rbe__tensor_is_grouped */
    int has_rows_only;     /* 1: some matrix is of a kind of rbe__tensor_by_row */
    int8_t *quantized;     /* [most_tokens][max_cols], 64-byte aligned */
    float *scales;         /* [most_tokens][max_cols / RBE_BLOCK_COLS + 1] */
    int8_t *plain;         /* as quantized, of the activation before the rotation; NULL unless has_grouped, and so the next */
    float *plain_scales;
    const rbe__residency *residency; /* NULL: the whole file may stay in memory */
    rbe__profile *profile;           /* NULL: not wanted */
    rbe__thread_scratch threads[RBE_MAX_THREADS];
} rbe__workspace;

/* Takes what all threads share, and the scratch of n_threads threads; called once to measure and once for real. The sizes above are set. */
void rbe__workspace_take(rbe__workspace *workspace, rbe__arena *arena);
void rbe__workspace_take_threads(rbe__workspace *workspace, uint32_t n_threads, rbe__arena *arena);

#endif
