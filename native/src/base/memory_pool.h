/* Memory for sessions that come and go: blocks of a few sizes, which are kept when they are given back and taken again. Any thread. */
#ifndef RBE_MEMORY_POOL_H
#define RBE_MEMORY_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "rbe/rbe.h"

typedef struct rbe__memory_pool rbe__memory_pool;

typedef struct rbe__memory_pool_counts {
    uint64_t in_use, peak, held; /* bytes of blocks that are out, the most there ever were, those kept for later */
    uint64_t taken, reused;      /* blocks ever given out, and how many of them had been kept */
} rbe__memory_pool_counts;

rbe_status rbe__memory_pool_create(rbe__memory_pool **out);

/* All blocks must have been given back. NULL is allowed. */
void rbe__memory_pool_free(rbe__memory_pool *pool);

/* What a block for `bytes` takes: powers of two and one and a half times these, from 4096 on; 0 where there is none so large. */
size_t rbe__size_class(size_t bytes);

/* At least `bytes`, aligned to 64, with anything in it; NULL where there is no memory. A new block's pages are not touched. */
void *rbe__memory_pool_take(rbe__memory_pool *pool, size_t bytes);

/* bytes: as it was taken with. NULL is allowed. Blocks out and kept together are never more than were out at one time: what exceeds that
 * when another size is needed goes back to the system. */
void rbe__memory_pool_give(rbe__memory_pool *pool, void *memory, size_t bytes);

/* Gives what is kept back to the system. */
void rbe__memory_pool_trim(rbe__memory_pool *pool);

rbe__memory_pool_counts rbe__memory_pool_statistics(rbe__memory_pool *pool);

#endif
