#include "parallel/job.h"

#include "platform/platform.h"

/* Of the gate. A thread that waits for its core while a job is done by the others finds it closed, and has held nobody up. */
#define OPEN 0x80000000u
#define AWAITED 0x40000000u /* the caller sleeps until the last one has left */
#define INSIDE 0xffu        /* how many are; the caller does not count */

_Static_assert(RBE_MAX_THREADS <= INSIDE, "the gate counts all threads of a pool");

int rbe__job_create(rbe__job *job)
{
    job->mutex = rbe__mutex_create();
    job->all_left = rbe__condition_create();
    return job->mutex && job->all_left;
}

void rbe__job_free(rbe__job *job)
{
    rbe__condition_free(job->all_left);
    rbe__mutex_free(job->mutex);
}

void rbe__job_open(rbe__job *job, uint32_t n_items, rbe__work *work, void *context)
{
    job->n_items = n_items;
    job->work = work;
    job->context = context;
    atomic_store_explicit(&job->next_item, 0, memory_order_relaxed);
    atomic_store_explicit(&job->gate, OPEN, memory_order_release);
    const unsigned generation = atomic_load_explicit(&job->generation, memory_order_relaxed);
    (void)atomic_exchange(&job->generation, (generation + 1) & ~RBE_NO_MORE_JOBS); /* see worker.c, sleep_until_job */
}

uint32_t rbe__job_take(rbe__job *job, uint32_t thread)
{
    const uint32_t n_items = job->n_items;
    for (uint32_t n_taken = 0;; n_taken++) {
        const uint32_t item = atomic_fetch_add_explicit(&job->next_item, 1, memory_order_relaxed);
        if (item >= n_items) {
            return n_taken;
        }
        job->work(job->context, item, thread);
    }
}

int rbe__job_enter(rbe__job *job)
{
    unsigned gate = atomic_load_explicit(&job->gate, memory_order_relaxed);
    while (gate & OPEN) {
        if (atomic_compare_exchange_weak_explicit(&job->gate, &gate, gate + 1, memory_order_acquire, memory_order_relaxed)) {
            return 1;
        }
    }
    return 0;
}

void rbe__job_leave(rbe__job *job)
{
    if (atomic_fetch_sub_explicit(&job->gate, 1, memory_order_acq_rel) == (AWAITED | 1)) {
        rbe__mutex_lock(job->mutex);
        rbe__condition_signal(job->all_left);
        rbe__mutex_unlock(job->mutex);
    }
}

unsigned rbe__job_close(rbe__job *job)
{
    return atomic_fetch_and_explicit(&job->gate, ~OPEN, memory_order_acq_rel) & INSIDE;
}

unsigned rbe__job_inside(rbe__job *job)
{
    return atomic_load_explicit(&job->gate, memory_order_acquire) & INSIDE;
}

int rbe__job_wait(rbe__job *job, uint64_t until_ns)
{
    rbe__mutex_lock(job->mutex);
    unsigned n_inside = atomic_fetch_or_explicit(&job->gate, AWAITED, memory_order_acq_rel) & INSIDE;
    while (n_inside && (!until_ns || rbe__nanoseconds() < until_ns)) {
        if (until_ns) {
            rbe__condition_wait_until(job->all_left, job->mutex, until_ns);
        } else {
            rbe__condition_wait(job->all_left, job->mutex);
        }
        n_inside = rbe__job_inside(job);
    }
    rbe__mutex_unlock(job->mutex);
    return n_inside == 0;
}
