#include "parallel/thread_pool.h"

#include <stdlib.h>

#include "base/status.h"
#include "parallel/worker.h"
#include "platform/platform.h"

/* So late counts a worker that was found on the caller's core: one or two times are forgiven. */
#define CROWDED_NS 2000000u

struct rbe__thread_pool {
    rbe__job job;
    uint32_t n_threads, n_started, n_out; /* n_out: workers that are left out */
    rbe__worker *workers; /* [n_threads - 1] */
    rbe__homes homes;
    rbe__workers kind;
    rbe__cores cores;
};

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
    for (uint32_t i = 0; pool->workers && i + 1 < pool->n_threads; i++) {
        rbe__worker_free(&pool->workers[i]);
    }
    free(pool->workers);
    rbe__job_free(&pool->job);
    free(pool);
}

/* Everything but the threads; NULL where there is no memory. */
static rbe__thread_pool *allocate(uint32_t n_threads, rbe__workers kind)
{
    rbe__thread_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    pool->n_threads = n_threads;
    pool->kind = kind;
    pool->workers = calloc(n_threads, sizeof *pool->workers);
    int is_whole = rbe__job_create(&pool->job) && pool->workers;
    for (uint32_t i = 0; is_whole && i + 1 < n_threads; i++) {
        pool->workers[i] = (rbe__worker){.job = &pool->job,
                                         .cores = &pool->cores,
                                         .homes = &pool->homes,
                                         .index = i + 1,
                                         .spin_rounds = kind.sleep ? 0 : RBE_SPIN_ROUNDS};
        is_whole = rbe__worker_create(&pool->workers[i]);
    }
    if (!is_whole) {
        release(pool);
        return NULL;
    }
    return pool;
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
    return pool->kind;
}

rbe_status rbe__thread_pool_create_as(uint32_t n_threads, rbe__workers workers, rbe__thread_pool **out)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > RBE_MAX_THREADS) {
        return rbe_fail(RBE_ERROR_ARGUMENT, "n_threads is %u; it must be 1 to %u", n_threads, RBE_MAX_THREADS);
    }
    rbe__thread_pool *pool = allocate(n_threads, workers);
    if (!pool) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a thread pool");
    }
    rbe__cores_find(&pool->cores);
    rbe__homes_choose(&pool->cores, rbe__thread_cpu(), n_threads, workers.slow_cores, &pool->homes);
    while (pool->n_started + 1 < n_threads) {
        if (!rbe__worker_start(&pool->workers[pool->n_started])) {
            rbe__thread_pool_free(pool);
            return rbe_fail(RBE_ERROR_MEMORY, "the system refused to start %u threads", n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return RBE_OK;
}

void rbe__thread_pool_free(rbe__thread_pool *pool)
{
    if (!pool) {
        return;
    }
    (void)atomic_exchange(&pool->job.generation, RBE_NO_MORE_JOBS);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        rbe__worker_wake(&pool->workers[i]);
    }
    for (uint32_t i = 0; i < pool->n_started; i++) {
        rbe__worker_join(&pool->workers[i]);
    }
    release(pool);
}

uint32_t rbe__thread_pool_threads(const rbe__thread_pool *pool)
{
    return pool->n_threads;
}

uint32_t rbe__thread_pool_placed(rbe__thread_pool *pool)
{
    uint32_t n_placed = 0;
    for (uint32_t i = 0; i < pool->n_started; i++) {
        n_placed += atomic_load_explicit(&pool->workers[i].is_placed, memory_order_relaxed) != 0;
    }
    return n_placed;
}

uint32_t rbe__thread_pool_left_out(const rbe__thread_pool *pool)
{
    return pool->n_out;
}

static int is_left_out(const rbe__worker *worker)
{
    return atomic_load_explicit(&worker->is_out, memory_order_relaxed) != 0;
}

static void judge(rbe__thread_pool *pool, rbe__worker *worker, uint64_t late_ns, uint64_t now)
{
    const uint32_t n_sharing = pool->n_threads - pool->n_out;
    if (!is_left_out(worker) && rbe__lateness_add(&worker->lateness, late_ns, worker->helped_ns, n_sharing)) {
        rbe__lateness_leave_out(&worker->lateness, worker->helped_ns, now);
        atomic_store(&worker->is_out, 1);
        pool->n_out++;
    }
}

/* The others wait for the caller, because it shares its core. It cannot be left out, but where one of them is, a core is free: the system moves
 * the caller there. */
static void judge_last(rbe__thread_pool *pool, uint64_t late_ns, uint64_t now)
{
    uint32_t i = pool->n_started - 1;
    while (i > 0 && is_left_out(&pool->workers[i])) {
        i--;
    }
    judge(pool, &pool->workers[i], late_ns, now);
}

/* Who takes part in the next job: those who were in the way are judged, those who were left out long enough are tried again. */
static void choose_workers(rbe__thread_pool *pool, uint64_t now)
{
    for (uint32_t i = 0; i < pool->n_started; i++) {
        rbe__worker *worker = &pool->workers[i];
        if (atomic_load_explicit(&worker->is_crowded, memory_order_relaxed)) {
            atomic_store_explicit(&worker->is_crowded, 0, memory_order_relaxed);
            judge(pool, worker, CROWDED_NS, now);
        } else if (is_left_out(worker) && rbe__lateness_is_over(&worker->lateness, worker->helped_ns, now)) {
            atomic_store(&worker->is_out, 0);
            pool->n_out--;
        }
    }
}

static void begin_job(rbe__thread_pool *pool, uint32_t n_items, rbe__work *work, void *context)
{
    atomic_store_explicit(&pool->job.caller_cpu, rbe__thread_cpu(), memory_order_relaxed);
    rbe__job_open(&pool->job, n_items, work, context);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        if (!is_left_out(&pool->workers[i])) {
            rbe__worker_wake(&pool->workers[i]);
        }
    }
}

/* Waits until those inside are done, from idle_ns on, and judges those who are not within so long (0: nobody is judged). */
static void wait_for_workers(rbe__thread_pool *pool, uint64_t idle_ns, uint64_t patience_ns)
{
    uint8_t is_late[RBE_MAX_THREADS] = {0};
    if (rbe__job_wait(&pool->job, patience_ns ? idle_ns + patience_ns : 0)) {
        return;
    }
    for (uint32_t i = 0; i < pool->n_started; i++) {
        is_late[i] = atomic_load_explicit(&pool->workers[i].is_inside, memory_order_relaxed) != 0;
    }
    rbe__job_wait(&pool->job, 0);
    const uint64_t now = rbe__nanoseconds();
    for (uint32_t i = 0; i < pool->n_started; i++) {
        if (is_late[i]) {
            judge(pool, &pool->workers[i], now - idle_ns, now);
        }
    }
}

/* The caller did n_taken items of a job that began at began_ns, and when it was done the others had left. Judges the caller where they left long
 * before. */
static void judge_caller(rbe__thread_pool *pool, uint32_t n_taken, uint64_t began_ns)
{
    const uint64_t now = rbe__nanoseconds();
    const uint32_t n_others = pool->job.n_items - n_taken;
    if (now - began_ns <= rbe__patience(0) || !n_others) {
        return;
    }
    uint64_t left_ns = 0;
    for (uint32_t i = 0; i < pool->n_started; i++) {
        left_ns = pool->workers[i].left_ns > left_ns ? pool->workers[i].left_ns : left_ns;
    }
    if (left_ns > began_ns && left_ns < now) {
        const uint64_t item_ns = (left_ns - began_ns) * (pool->n_started - pool->n_out) / n_others, late_ns = now - left_ns;
        if (late_ns > rbe__patience(item_ns)) {
            judge_last(pool, late_ns, now);
        }
    }
}

/* The clock is read where it can matter alone: jobs of small models take 4 us. */
static void end_job(rbe__thread_pool *pool, uint32_t n_taken, uint64_t began_ns)
{
    unsigned n_inside = rbe__job_close(&pool->job);
    if (!n_inside) {
        judge_caller(pool, n_taken, began_ns);
        return;
    }
    for (int round = 0; n_inside && round < pool->workers[0].spin_rounds; round++) {
        rbe__relax();
        n_inside = rbe__job_inside(&pool->job);
    }
    if (n_inside) {
        const uint64_t idle_ns = rbe__nanoseconds();
        wait_for_workers(pool, idle_ns, n_taken ? rbe__patience((idle_ns - began_ns) / n_taken) : 0);
    }
}

void rbe__thread_pool_run(rbe__thread_pool *pool, uint32_t n_items, rbe__work *work, void *context)
{
    leave_wrong_core(pool);
    const int is_shared = pool->n_threads > 1 && n_items > 1;
    const uint64_t now = is_shared ? rbe__nanoseconds() : 0;
    if (is_shared) {
        choose_workers(pool, now);
    }
    if (!is_shared || pool->n_out == pool->n_started) {
        for (uint32_t item = 0; item < n_items; item++) {
            work(context, item, 0);
        }
        return;
    }
    begin_job(pool, n_items, work, context);
    end_job(pool, rbe__job_take(&pool->job, 0), now);
}

rbe_status rbe__parallel(uint32_t n_threads, uint32_t n_items, rbe__work *work, void *context)
{
    rbe__thread_pool *pool;
    RBE_TRY(rbe__thread_pool_create(n_threads, &pool));
    rbe__thread_pool_run(pool, n_items, work, context);
    rbe__thread_pool_free(pool);
    return RBE_OK;
}
