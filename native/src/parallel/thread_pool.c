#include "parallel/thread_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/status.h"
#include "parallel/cores.h"
#include "parallel/job.h"
#include "parallel/lateness.h"
#include "platform/platform.h"
#include "platform/threads.h"

/* A decode step is some hundred jobs of 10 to 100 us: a sleeping thread wakes in about 50 us, so the threads look for
 * the next job a little while before they sleep. */
#define SPIN_ROUNDS 2000

/* So late counts a worker that was found on the caller's core: one or two times are forgiven. */
#define CROWDED_NS 2000000u

typedef struct pool_worker {
    rbe__thread_pool *pool;
    rbe__thread *thread;
    uint32_t index;
    rbe__mutex *mutex;
    rbe__condition *woken;
    atomic_uint is_asleep; /* changed under the mutex */
    atomic_uint is_inside, is_crowded;
    atomic_uint is_out; /* left out for a while: changed by the caller, who alone knows the lateness */
    rbe__lateness lateness;
} pool_worker;

struct rbe__thread_pool {
    rbe__job job;
    uint32_t n_threads, n_started;
    pool_worker *workers; /* [n_threads - 1] */
    atomic_uint n_placed;
    atomic_int caller_cpu;
    uint32_t n_out; /* workers that are left out */
    uint64_t worked_ns; /* of all jobs */

    rbe__homes homes;
    rbe__workers kind;
    int spin_rounds;
    rbe__cores cores;
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleeps until it is woken, unless there is a job that it has not seen. The caller announces a job before it looks who is asleep, and a worker
 * says that it is before it looks for a job: so one of them sees the other. */
static void sleep_until_job(pool_worker *self, unsigned seen)
{
    rbe__mutex_lock(self->mutex);
    atomic_store(&self->is_asleep, 1);
    const unsigned generation = atomic_load(&self->pool->job.generation);
    if (generation & RBE_NO_MORE_JOBS || (generation != seen && !atomic_load(&self->is_out))) {
        atomic_store(&self->is_asleep, 0);
    }
    while (atomic_load(&self->is_asleep)) {
        rbe__condition_wait(self->woken, self->mutex);
    }
    rbe__mutex_unlock(self->mutex);
}

static unsigned wait_for_job(pool_worker *self, unsigned seen, int spin_rounds)
{
    const rbe__thread_pool *pool = self->pool;
    for (int round = 0; round < spin_rounds && !atomic_load_explicit(&self->is_out, memory_order_relaxed); round++) {
        unsigned generation = atomic_load_explicit(&pool->job.generation, memory_order_acquire);
        if (generation != seen) {
            return generation;
        }
        relax();
    }
    sleep_until_job(self, seen);
    return atomic_load_explicit(&pool->job.generation, memory_order_acquire);
}

static void wake(pool_worker *worker)
{
    if (atomic_load(&worker->is_asleep)) {
        rbe__mutex_lock(worker->mutex);
        atomic_store(&worker->is_asleep, 0);
        rbe__condition_signal(worker->woken);
        rbe__mutex_unlock(worker->mutex);
    }
}

static void take_part(pool_worker *self)
{
    rbe__job *job = &self->pool->job;
    if (rbe__job_enter(job)) {
        atomic_store_explicit(&self->is_inside, 1, memory_order_relaxed);
        rbe__job_take(job, self->index);
        atomic_store_explicit(&self->is_inside, 0, memory_order_relaxed);
        rbe__job_leave(job);
    }
}

/* 1 where it takes the time of the caller, or of a thread that the system will put there next. */
static int is_crowding(pool_worker *self)
{
    const int cpu = rbe__thread_cpu();
    return cpu >= 0 && cpu == atomic_load_explicit(&self->pool->caller_cpu, memory_order_relaxed);
}

static void thread_main(void *argument)
{
    pool_worker *self = argument;
    rbe__thread_pool *pool = self->pool;
    unsigned seen = 0;
    int spin_rounds = pool->spin_rounds;
    if (self->index < pool->homes.n && rbe__thread_place(&pool->cores, &pool->homes, self->index)) {
        atomic_fetch_add_explicit(&pool->n_placed, 1, memory_order_relaxed);
    }
    for (;;) {
        seen = wait_for_job(self, seen, spin_rounds);
        if (seen & RBE_NO_MORE_JOBS) {
            return;
        }
        spin_rounds = pool->spin_rounds;
        if (is_crowding(self)) {
            atomic_store_explicit(&self->is_crowded, 1, memory_order_relaxed);
            spin_rounds = 0;
        } else if (!atomic_load_explicit(&self->is_out, memory_order_relaxed)) {
            take_part(self);
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
    for (uint32_t i = 0; pool->workers && i + 1 < pool->n_threads; i++) {
        rbe__condition_free(pool->workers[i].woken);
        rbe__mutex_free(pool->workers[i].mutex);
    }
    free(pool->workers);
    rbe__job_free(&pool->job);
    free(pool);
}

static int has_workers(const rbe__thread_pool *pool)
{
    int all = pool->workers != NULL;
    for (uint32_t i = 0; all && i + 1 < pool->n_threads; i++) {
        all = pool->workers[i].mutex && pool->workers[i].woken;
    }
    return all;
}

/* Everything but the threads; NULL where there is no memory. */
static rbe__thread_pool *allocate(uint32_t n_threads)
{
    rbe__thread_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        return NULL;
    }
    pool->n_threads = n_threads;
    const int has_job = rbe__job_create(&pool->job);
    pool->workers = calloc(n_threads, sizeof *pool->workers);
    for (uint32_t i = 0; pool->workers && i + 1 < n_threads; i++) {
        pool_worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->index = i + 1;
        worker->mutex = rbe__mutex_create();
        worker->woken = rbe__condition_create();
    }
    if (!has_job || !has_workers(pool)) {
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
    rbe__thread_pool *pool = allocate(n_threads);
    if (!pool) {
        return rbe_fail(RBE_ERROR_MEMORY, "no memory for a thread pool");
    }
    pool->kind = workers;
    pool->spin_rounds = workers.sleep ? 0 : SPIN_ROUNDS;
    rbe__cores_find(&pool->cores);
    rbe__homes_choose(&pool->cores, rbe__thread_cpu(), n_threads, workers.slow_cores, &pool->homes);
    while (pool->n_started + 1 < n_threads) {
        pool_worker *worker = &pool->workers[pool->n_started];
        worker->thread = rbe__thread_start(thread_main, worker);
        if (!worker->thread) {
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
    atomic_store(&pool->job.generation, RBE_NO_MORE_JOBS);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        wake(&pool->workers[i]);
        rbe__thread_join(pool->workers[i].thread);
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

uint32_t rbe__thread_pool_left_out(const rbe__thread_pool *pool)
{
    return pool->n_out;
}

static void add_lateness(rbe__thread_pool *pool, pool_worker *worker, uint64_t late_ns, uint64_t now)
{
    const uint32_t n_sharing = pool->n_threads - pool->n_out;
    if (!atomic_load_explicit(&worker->is_out, memory_order_relaxed) &&
        rbe__lateness_add(&worker->lateness, late_ns, pool->worked_ns, n_sharing, now)) {
        atomic_store(&worker->is_out, 1);
        pool->n_out++;
    }
}

/* Who takes part in the next job: those who were in the way are judged, those who were left out long enough are tried again. */
static void choose_workers(rbe__thread_pool *pool, uint64_t now)
{
    for (uint32_t i = 0; i < pool->n_started; i++) {
        pool_worker *worker = &pool->workers[i];
        if (atomic_load_explicit(&worker->is_crowded, memory_order_relaxed)) {
            atomic_store_explicit(&worker->is_crowded, 0, memory_order_relaxed);
            add_lateness(pool, worker, CROWDED_NS, now);
        } else if (atomic_load_explicit(&worker->is_out, memory_order_relaxed) &&
                   rbe__lateness_is_over(&worker->lateness, pool->worked_ns, now)) {
            atomic_store(&worker->is_out, 0);
            pool->n_out--;
        }
    }
}

static void begin_job(rbe__thread_pool *pool, uint32_t n_items, rbe__work *work, void *context)
{
    atomic_store_explicit(&pool->caller_cpu, rbe__thread_cpu(), memory_order_relaxed);
    rbe__job_open(&pool->job, n_items, work, context);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        if (!atomic_load_explicit(&pool->workers[i].is_out, memory_order_relaxed)) {
            wake(&pool->workers[i]);
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
            add_lateness(pool, &pool->workers[i], now - idle_ns, now);
        }
    }
}

/* Of a job that began at began_ns the caller did n_taken items, and there are no more. */
static void end_job(rbe__thread_pool *pool, uint32_t n_taken, uint64_t began_ns)
{
    unsigned n_inside = rbe__job_close(&pool->job);
    const uint64_t idle_ns = rbe__nanoseconds(), busy_ns = idle_ns - began_ns;
    pool->worked_ns += busy_ns;
    for (int round = 0; n_inside && round < pool->spin_rounds; round++) {
        relax();
        n_inside = rbe__job_inside(&pool->job);
    }
    if (n_inside) {
        wait_for_workers(pool, idle_ns, n_taken ? rbe__patience(busy_ns / n_taken) : 0);
        pool->worked_ns += rbe__nanoseconds() - idle_ns;
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
