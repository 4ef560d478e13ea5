#include "parallel/worker.h"

#include "platform/platform.h"

void rbe__relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Sleeps until it is woken, unless there is a job that it has not seen. The caller announces a job before it looks who is asleep, and a worker
 * says that it is before it looks for a job: so one of them sees the other. Both say so by an exchange: a store would do, but qemu (7.2, ARM on
 * x86) lets a load that follows pass it. */
static void sleep_until_job(rbe__worker *self, unsigned seen)
{
    rbe__mutex_lock(self->mutex);
    (void)atomic_exchange(&self->is_asleep, 1);
    const unsigned generation = atomic_load(&self->job->generation);
    if (generation & RBE_NO_MORE_JOBS || (generation != seen && !atomic_load(&self->is_out))) {
        atomic_store(&self->is_asleep, 0);
    }
    while (atomic_load(&self->is_asleep)) {
        rbe__condition_wait(self->woken, self->mutex);
    }
    rbe__mutex_unlock(self->mutex);
}

static unsigned wait_for_job(rbe__worker *self, unsigned seen, int spin_rounds)
{
    for (int round = 0; round < spin_rounds && !atomic_load_explicit(&self->is_out, memory_order_relaxed); round++) {
        unsigned generation = atomic_load_explicit(&self->job->generation, memory_order_acquire);
        if (generation != seen) {
            return generation;
        }
        rbe__relax();
    }
    sleep_until_job(self, seen);
    return atomic_load_explicit(&self->job->generation, memory_order_acquire);
}

void rbe__worker_wake(rbe__worker *worker)
{
    if (atomic_load(&worker->is_asleep)) {
        rbe__mutex_lock(worker->mutex);
        atomic_store(&worker->is_asleep, 0);
        rbe__condition_signal(worker->woken);
        rbe__mutex_unlock(worker->mutex);
    }
}

static void take_part(rbe__worker *self)
{
    rbe__job *job = self->job;
    if (rbe__job_enter(job)) {
        atomic_store_explicit(&self->is_inside, 1, memory_order_relaxed);
        const uint64_t entered_ns = rbe__nanoseconds();
        rbe__job_take(job, self->index);
        self->left_ns = rbe__nanoseconds();
        self->helped_ns += self->left_ns - entered_ns;
        atomic_store_explicit(&self->is_inside, 0, memory_order_relaxed);
        rbe__job_leave(job);
    }
}

/* 1 where it takes the time of the caller. */
static int is_crowding(const rbe__worker *self)
{
    const int cpu = rbe__thread_cpu();
    return cpu >= 0 && cpu == atomic_load_explicit(&self->job->caller_cpu, memory_order_relaxed);
}

/* A thread that slept may be woken on the caller's core and stay there. Its own home is free then, or that of the caller, which took its one.
 * Returns 1 where it runs on another core than the caller now. */
static int leave_caller(const rbe__worker *self)
{
    const rbe__homes *homes = self->homes;
    if (self->index >= homes->n || !atomic_load_explicit(&self->is_placed, memory_order_relaxed)) {
        return 0;
    }
    const int is_taken = (int)homes->cpu[self->index] == atomic_load_explicit(&self->job->caller_cpu, memory_order_relaxed);
    return rbe__thread_place(self->cores, homes, is_taken ? 0 : self->index) && !is_crowding(self);
}

static void thread_main(void *argument)
{
    rbe__worker *self = argument;
    unsigned seen = 0;
    int spin_rounds = self->spin_rounds;
    if (self->index < self->homes->n && rbe__thread_place(self->cores, self->homes, self->index)) {
        atomic_store_explicit(&self->is_placed, 1, memory_order_relaxed);
    }
    for (;;) {
        seen = wait_for_job(self, seen, spin_rounds);
        if (seen & RBE_NO_MORE_JOBS) {
            return;
        }
        spin_rounds = self->spin_rounds;
        if (atomic_load_explicit(&self->is_out, memory_order_relaxed)) {
            continue;
        }
        if (is_crowding(self)) {
            atomic_store_explicit(&self->is_crowded, 1, memory_order_relaxed);
            if (!leave_caller(self)) {
                spin_rounds = 0;
                continue;
            }
        }
        take_part(self);
    }
}

int rbe__worker_create(rbe__worker *worker)
{
    worker->mutex = rbe__mutex_create();
    worker->woken = rbe__condition_create();
    return worker->mutex && worker->woken;
}

void rbe__worker_free(rbe__worker *worker)
{
    rbe__condition_free(worker->woken);
    rbe__mutex_free(worker->mutex);
}

int rbe__worker_start(rbe__worker *worker)
{
    worker->thread = rbe__thread_start(thread_main, worker);
    return worker->thread != NULL;
}

void rbe__worker_join(rbe__worker *worker)
{
    rbe__thread_join(worker->thread);
}
