#include "parallel/thread_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/status.h"
#include "parallel/cores.h"
#include "platform/threads.h"

/* A decode step is some hundred jobs of 10 to 100 us: a sleeping thread wakes in about 50 us, so the threads look for
 * the next job a little while before they sleep. */
#define SPIN_ROUNDS 2000

struct rbe__thread_pool {
    rbe__mutex *mutex;
    rbe__condition *work_ready, *work_done;
    uint32_t n_threads, n_started;
    rbe__thread *threads[RBE_MAX_THREADS];

    atomic_uint generation; /* counts jobs; bit 31 tells the threads to end */
    atomic_uint next_item, n_busy;
    atomic_uint next_index, n_placed;
    uint32_t n_items;
    rbe__work *work;
    void *context;

    rbe__homes homes;
    rbe__workers workers;
    int spin_rounds;
    rbe__cores cores;
};

#define LEAVE 0x80000000u

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_items(rbe__thread_pool *pool, uint32_t thread)
{
    uint32_t n_items = pool->n_items;
    for (;;) {
        uint32_t item = atomic_fetch_add_explicit(&pool->next_item, 1, memory_order_relaxed);
        if (item >= n_items) {
            return;
        }
        pool->work(pool->context, item, thread);
    }
}

static unsigned wait_for_job(rbe__thread_pool *pool, unsigned seen)
{
    for (int round = 0; round < pool->spin_rounds; round++) {
        unsigned generation = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (generation != seen) {
            return generation;
        }
        relax();
    }
    rbe__mutex_lock(pool->mutex);
    unsigned generation;
    while ((generation = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen) {
        rbe__condition_wait(pool->work_ready, pool->mutex);
    }
    rbe__mutex_unlock(pool->mutex);
    return generation;
}

static void thread_main(void *argument)
{
    rbe__thread_pool *pool = argument;
    uint32_t thread = atomic_fetch_add(&pool->next_index, 1);
    unsigned seen = 0;
    if (thread < pool->homes.n && rbe__thread_place(&pool->cores, &pool->homes, thread)) {
        atomic_fetch_add_explicit(&pool->n_placed, 1, memory_order_relaxed);
    }
    for (;;) {
        seen = wait_for_job(pool, seen);
        if (seen & LEAVE) {
            return;
        }
        take_items(pool, thread);
        if (atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_acq_rel) == 1) {
            rbe__mutex_lock(pool->mutex);
            rbe__condition_signal(pool->work_done);
            rbe__mutex_unlock(pool->mutex);
        }
    }
}

/* The check is a few nanoseconds, and only where there are both kinds of cores and the pool wants one of them. */
static void leave_wrong_core(rbe__thread_pool *pool)
{
    if (pool->homes.n && pool->homes.slowest == pool->homes.fastest && pool->cores.n_fast < pool->cores.n_cores) {
        const int cpu = rbe__thread_cpu();
        if (cpu >= 0 && cpu < (int)RBE_MAX_CPUS && pool->cores.kind[cpu] != RBE_CPU_NONE &&
            pool->cores.kind[cpu] != (uint8_t)pool->homes.slowest) {
            rbe__thread_move(pool->homes.cpu[0]);
        }
    }
}

static void release(rbe__thread_pool *pool)
{
    rbe__condition_free(pool->work_done);
    rbe__condition_free(pool->work_ready);
    rbe__mutex_free(pool->mutex);
    free(pool);
}

rbe_status rbe__thread_count(uint32_t wanted, uint32_t *out)
{
    if (wanted > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads is %u; the most is %u", wanted, RBE_MAX_THREADS);
    }
    const uint32_t cores = rbe__usable_cores();
    *out = wanted != 0 ? wanted : cores < RBE_MAX_THREADS ? cores : RBE_MAX_THREADS;
    return RBE_OK;
}

rbe_status rbe__thread_pool_create(uint32_t n_threads, rbe__thread_pool **out)
{
    return rbe__thread_pool_create_as(n_threads, (rbe__workers){0}, out);
}

rbe__workers rbe__thread_pool_workers(const rbe__thread_pool *pool)
{
    return pool->workers;
}

rbe_status rbe__thread_pool_create_as(uint32_t n_threads, rbe__workers workers, rbe__thread_pool **out)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads is %u; it must be 1 to %u", n_threads, RBE_MAX_THREADS);
    }
    rbe__thread_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a thread pool");
    }
    pool->mutex = rbe__mutex_create();
    pool->work_ready = rbe__condition_create();
    pool->work_done = rbe__condition_create();
    if (!pool->mutex || !pool->work_ready || !pool->work_done) {
        release(pool);
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a thread pool");
    }
    pool->n_threads = n_threads;
    pool->workers = workers;
    pool->spin_rounds = workers.sleep ? 0 : SPIN_ROUNDS;
    atomic_init(&pool->next_index, 1);
    rbe__cores_find(&pool->cores);
    rbe__homes_choose(&pool->cores, rbe__thread_cpu(), n_threads, workers.slow_cores, &pool->homes);
    while (pool->n_started + 1 < n_threads) {
        pool->threads[pool->n_started] = rbe__thread_start(thread_main, pool);
        if (!pool->threads[pool->n_started]) {
            rbe__thread_pool_free(pool);
            return rbe_fail(RBE_ERROR_MEMORY, "the system refused to start %u threads", n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return RBE_OK;
}

static void announce(rbe__thread_pool *pool, unsigned generation)
{
    rbe__mutex_lock(pool->mutex);
    atomic_store_explicit(&pool->generation, generation, memory_order_release);
    rbe__condition_broadcast(pool->work_ready);
    rbe__mutex_unlock(pool->mutex);
}

void rbe__thread_pool_free(rbe__thread_pool *pool)
{
    if (!pool) {
        return;
    }
    announce(pool, LEAVE);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        rbe__thread_join(pool->threads[i]);
    }
    release(pool);
}

uint32_t rbe__thread_pool_threads(const rbe__thread_pool *pool)
{
    return pool->n_threads;
}

uint32_t rbe__thread_pool_placed(rbe__thread_pool *pool)
{
    return atomic_load_explicit(&pool->n_placed, memory_order_relaxed);
}

void rbe__thread_pool_run(rbe__thread_pool *pool, uint32_t n_items, rbe__work *work, void *context)
{
    leave_wrong_core(pool);
    if (pool->n_threads == 1 || n_items <= 1) {
        for (uint32_t item = 0; item < n_items; item++) {
            work(context, item, 0);
        }
        return;
    }
    pool->n_items = n_items;
    pool->work = work;
    pool->context = context;
    atomic_store_explicit(&pool->next_item, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->n_busy, pool->n_started, memory_order_relaxed);
    unsigned generation = atomic_load_explicit(&pool->generation, memory_order_relaxed);
    announce(pool, (generation + 1) & ~LEAVE);
    take_items(pool, 0);
    for (int round = 0; round < pool->spin_rounds; round++) {
        if (atomic_load_explicit(&pool->n_busy, memory_order_acquire) == 0) {
            return;
        }
        relax();
    }
    rbe__mutex_lock(pool->mutex);
    while (atomic_load_explicit(&pool->n_busy, memory_order_acquire) != 0) {
        rbe__condition_wait(pool->work_done, pool->mutex);
    }
    rbe__mutex_unlock(pool->mutex);
}

rbe_status rbe__parallel(uint32_t n_threads, uint32_t n_items, rbe__work *work, void *context)
{
    rbe__thread_pool *pool;
    RBE_TRY(rbe__thread_pool_create(n_threads, &pool));
    rbe__thread_pool_run(pool, n_items, work, context);
    rbe__thread_pool_free(pool);
    return RBE_OK;
}
