/* Rows of the kinds that are slow to generate (rbe__tensor_by_row), kept once they were needed: docs/engine.md, "Memory". The rows that
 * are needed first stay for good: a pass reads matrices from beginning to end, so a cache that drops the oldest row would drop the one
 * that is needed next. The memory is taken when the model is opened. A row kept is the row generated: results do not depend on any of
 * this. */
#ifndef RBE_WEIGHT_CACHE_H
#define RBE_WEIGHT_CACHE_H

#include "weights/tensor.h"

typedef struct rbe__weight_cache rbe__weight_cache;

#define RBE_CACHE_DEFAULT_BYTES (16u << 20)

typedef struct rbe__cache_statistics {
    uint64_t limit, used; /* bytes; limit: no more than all cacheable rows take */
    uint64_t hits, misses; /* rows */
} rbe__cache_statistics;

/* For those of n_tensors that roles (RBE_CACHE_* of rbe.h) allow: each is told its place. bytes 0: the default. *out is NULL where there
 * are none, or where the cache would be too small for anything. */
rbe_status rbe__weight_cache_create(rbe__tensor *tensors, uint32_t n_tensors, uint32_t roles, uint64_t bytes, rbe__weight_cache **out);
void rbe__weight_cache_free(rbe__weight_cache *cache);

/* A row of a tensor of rbe__tensor_by_row: in the cache, or generated into buffer [cols]. *generated goes up by one where it had to
 * be. Any thread. */
const float *rbe__cached_row(const rbe_kernels *kernels, const rbe__tensor *tensor, uint32_t row, float *buffer, uint32_t *generated);

/* Adds to the statistics; apart from rbe__cached_row so that threads do not contend for the counters at every row. */
void rbe__weight_cache_count(const rbe__tensor *tensor, uint32_t rows, uint32_t generated);

/* All zero where cache is NULL. */
rbe__cache_statistics rbe__weight_cache_statistics(const rbe__weight_cache *cache);

#endif
