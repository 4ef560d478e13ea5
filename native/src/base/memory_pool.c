#include "base/memory_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/aligned_memory.h"
#include "base/status.h"

#define LEAST_BITS 12u
#define N_CLASSES (2u * (sizeof(size_t) * 8u - LEAST_BITS) - 1u)

/* A kept block holds the link to the next of its size. */
typedef struct block {
    struct block *next;
} block;

struct rbe__memory_pool {
    atomic_flag busy; /* held for some instructions at a time, never over a call to the allocator */
    block *kept[N_CLASSES];
    rbe__memory_pool_counts statistics;
};

static void lock(rbe__memory_pool *pool)
{
    while (atomic_flag_test_and_set_explicit(&pool->busy, memory_order_acquire)) {
    }
}

static void unlock(rbe__memory_pool *pool)
{
    atomic_flag_clear_explicit(&pool->busy, memory_order_release);
}

/* Class 2 k is 2^(12 + k) bytes, class 2 k + 1 half as much again. */
static size_t class_bytes(uint32_t index)
{
    const size_t power = (size_t)1 << (LEAST_BITS + index / 2);
    return index % 2 ? power + power / 2 : power;
}

static uint32_t class_of(size_t bytes)
{
    uint32_t index = 0;
    while (index < N_CLASSES && class_bytes(index) < bytes) {
        index++;
    }
    return index;
}

size_t rbe__size_class(size_t bytes)
{
    const uint32_t index = class_of(bytes);
    return index < N_CLASSES ? class_bytes(index) : 0;
}

rbe_status rbe__memory_pool_create(rbe__memory_pool **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a memory pool");
    }
    atomic_flag_clear(&(*out)->busy);
    return RBE_OK;
}

void rbe__memory_pool_free(rbe__memory_pool *pool)
{
    if (pool) {
        rbe__memory_pool_trim(pool);
        free(pool);
    }
}

/* Removes kept blocks, large ones first, until blocks out and kept are at most `most` bytes: a list of them. */
static block *remove_kept(rbe__memory_pool *pool, uint64_t most)
{
    block *removed = NULL;
    for (uint32_t index = N_CLASSES; index-- > 0;) {
        while (pool->kept[index] && pool->statistics.in_use + pool->statistics.held > most) {
            block *first = pool->kept[index];
            pool->kept[index] = first->next;
            pool->statistics.held -= class_bytes(index);
            first->next = removed;
            removed = first;
        }
    }
    return removed;
}

static void free_all(block *list)
{
    while (list) {
        block *next = list->next;
        rbe__aligned_free(list);
        list = next;
    }
}

void *rbe__memory_pool_take(rbe__memory_pool *pool, size_t bytes)
{
    const uint32_t index = class_of(bytes);
    if (index >= N_CLASSES) {
        return NULL;
    }
    const size_t size = class_bytes(index);
    rbe__memory_pool_counts *statistics = &pool->statistics;
    lock(pool);
    block *memory = pool->kept[index], *removed = NULL;
    statistics->in_use += size;
    if (memory) {
        pool->kept[index] = memory->next;
        statistics->held -= size;
        statistics->reused++;
    }
    const uint64_t peak = statistics->peak;
    statistics->peak = statistics->in_use > peak ? statistics->in_use : peak;
    removed = remove_kept(pool, statistics->peak);
    statistics->taken++;
    unlock(pool);
    free_all(removed);
    if (!memory) {
        memory = rbe__aligned_allocate(size);
    }
    if (!memory) { /* as if it had not been asked for */
        lock(pool);
        statistics->in_use -= size;
        statistics->taken--;
        statistics->peak = statistics->in_use + statistics->held > peak ? statistics->in_use + statistics->held : peak;
        unlock(pool);
    }
    return memory;
}

void rbe__memory_pool_give(rbe__memory_pool *pool, void *memory, size_t bytes)
{
    if (memory) {
        const uint32_t index = class_of(bytes);
        block *kept = memory;
        lock(pool);
        kept->next = pool->kept[index];
        pool->kept[index] = kept;
        pool->statistics.in_use -= class_bytes(index);
        pool->statistics.held += class_bytes(index);
        unlock(pool);
    }
}

void rbe__memory_pool_trim(rbe__memory_pool *pool)
{
    lock(pool);
    block *removed = remove_kept(pool, pool->statistics.in_use);
    unlock(pool);
    free_all(removed);
}

rbe__memory_pool_counts rbe__memory_pool_statistics(rbe__memory_pool *pool)
{
    lock(pool);
    const rbe__memory_pool_counts statistics = pool->statistics;
    unlock(pool);
    return statistics;
}
