#include "weights/weight_cache.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/aligned_memory.h"
#include "base/status.h"

/* A row's place: one of these, or PLACE_FIRST + the offset in units of 64 bytes. */
enum { PLACE_NONE = 0, PLACE_BEING_FILLED = 1, PLACE_REFUSED = 2, PLACE_FIRST = 3 };

#define MOST_BYTES (64ull * (0xFFFFFFFFu - PLACE_FIRST))

struct rbe__weight_cache {
    uint8_t *memory;
    size_t limit;
    atomic_size_t used;
    atomic_uint *places; /* of all rows of the tensors that are cached */
    atomic_uint_fast64_t hits, misses;
};

static uint64_t row_bytes(const rbe__tensor *tensor)
{
    return (4ull * tensor->cols + 63) & ~63ull;
}

static int starts_with(const rbe__tensor *tensor, const char *prefix)
{
    const size_t n = strlen(prefix);
    return tensor->name_bytes >= n && memcmp(tensor->name, prefix, n) == 0;
}

static int contains(const rbe__tensor *tensor, const char *part)
{
    const size_t n = strlen(part);
    for (size_t i = 0; i + n <= tensor->name_bytes; i++) {
        if (memcmp(tensor->name + i, part, n) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_cached(const rbe__tensor *tensor, uint32_t roles)
{
    const int mixes = contains(tensor, ".attention.") || contains(tensor, ".convolution.") || contains(tensor, ".recurrence.");
    const uint32_t role = !starts_with(tensor, "layers.") ? RBE_CACHE_EMBEDDINGS : mixes ? RBE_CACHE_ATTENTION : RBE_CACHE_FEED_FORWARD;
    return rbe__tensor_by_row(tensor) && (roles & role);
}

static rbe_status create_into(rbe__weight_cache *cache, rbe__tensor *tensors, uint32_t n_tensors, uint32_t roles, uint64_t wanted,
                              uint64_t n_rows)
{
    cache->limit = (size_t)wanted;
    cache->memory = rbe__aligned_allocate(cache->limit);
    cache->places = calloc((size_t)n_rows, sizeof *cache->places);
    if (!cache->memory || !cache->places) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a weight cache of %zu MB; choose a smaller one", cache->limit >> 20);
    }
    size_t first = 0;
    for (uint32_t i = 0; i < n_tensors; i++) {
        if (is_cached(&tensors[i], roles)) {
            tensors[i].cache = cache;
            tensors[i].first_place = first;
            first += tensors[i].rows;
        }
    }
    return RBE_OK;
}

rbe_status rbe__weight_cache_create(rbe__tensor *tensors, uint32_t n_tensors, uint32_t roles, uint64_t bytes, rbe__weight_cache **out)
{
    uint64_t all_bytes = 0, n_rows = 0;
    *out = NULL;
    for (uint32_t i = 0; i < n_tensors; i++) {
        const rbe__tensor *tensor = &tensors[i];
        if (is_cached(tensor, roles)) {
            const uint64_t sum = all_bytes + tensor->rows * row_bytes(tensor);
            all_bytes = sum < MOST_BYTES ? sum : MOST_BYTES;
            n_rows += tensor->rows;
        }
    }
    uint64_t wanted = bytes ? (bytes & ~63ull) : RBE_CACHE_DEFAULT_BYTES;
    wanted = wanted < all_bytes ? wanted : all_bytes;
    /* A row's place takes 4 bytes, its weights as much for every column: with more rows than bytes there is nothing to gain. */
    if (wanted == 0 || n_rows > SIZE_MAX / 8 || 4 * n_rows > wanted || wanted > SIZE_MAX / 2) {
        return RBE_OK;
    }
    rbe__weight_cache *cache = calloc(1, sizeof *cache);
    if (!cache) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a weight cache");
    }
    *out = cache;
    return create_into(cache, tensors, n_tensors, roles, wanted, n_rows);
}

void rbe__weight_cache_free(rbe__weight_cache *cache)
{
    if (cache) {
        rbe__aligned_free(cache->memory);
        free(cache->places);
        free(cache);
    }
}

const float *rbe__cached_row(const rbe_kernels *kernels, const rbe__tensor *tensor, uint32_t row, float *buffer, uint32_t *generated)
{
    rbe__weight_cache *cache = tensor->cache;
    if (!cache) {
        rbe__tensor_row(kernels, tensor, 0, row, buffer);
        return buffer;
    }
    atomic_uint *place = &cache->places[tensor->first_place + row];
    unsigned found = atomic_load_explicit(place, memory_order_acquire);
    if (found >= PLACE_FIRST) {
        return (const float *)(const void *)(cache->memory + 64 * (size_t)(found - PLACE_FIRST));
    }
    ++*generated;
    if (found != PLACE_NONE ||
        !atomic_compare_exchange_strong(place, &found, PLACE_BEING_FILLED)) { /* no room, or another thread is at it */
        rbe__tensor_row(kernels, tensor, 0, row, buffer);
        return buffer;
    }
    const size_t bytes = (size_t)row_bytes(tensor);
    size_t first = atomic_load(&cache->used);
    do {
        if (bytes > cache->limit - first) {
            atomic_store_explicit(place, PLACE_REFUSED, memory_order_relaxed);
            rbe__tensor_row(kernels, tensor, 0, row, buffer);
            return buffer;
        }
    } while (!atomic_compare_exchange_weak(&cache->used, &first, first + bytes));
    float *kept = (float *)(void *)(cache->memory + first);
    rbe__tensor_row(kernels, tensor, 0, row, kept);
    atomic_store_explicit(place, PLACE_FIRST + (unsigned)(first / 64), memory_order_release);
    return kept;
}

void rbe__weight_cache_count(const rbe__tensor *tensor, uint32_t rows, uint32_t generated)
{
    if (tensor->cache) {
        atomic_fetch_add_explicit(&tensor->cache->misses, generated, memory_order_relaxed);
        atomic_fetch_add_explicit(&tensor->cache->hits, rows - generated, memory_order_relaxed);
    }
}

rbe__cache_statistics rbe__weight_cache_statistics(const rbe__weight_cache *cache)
{
    rbe__cache_statistics statistics = {0};
    if (cache) {
        statistics.limit = cache->limit;
        statistics.used = atomic_load(&cache->used);
        statistics.hits = atomic_load(&cache->hits);
        statistics.misses = atomic_load(&cache->misses);
    }
    return statistics;
}
