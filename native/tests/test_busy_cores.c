/* What a pool does with threads that others keep from their cores. */
#include <stdatomic.h>
#include <time.h>

#include "check.h"
#include "parallel/cores.h"
#include "parallel/lateness.h"
#include "parallel/thread_pool.h"
#include "platform/platform.h"

#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif

#define MILLISECOND 1000000u
#define TRIES 5000 /* of something that comes about sooner or later, some milliseconds apart */
#define ITEMS 40u  /* of a job: 2 ms for the caller alone, so that a sleeping worker can come in time */
#define ITEM_NS 50000u

static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = MILLISECOND}, NULL);
}

/* Half of the time late, in turns of 3 ms, until it is left out. Returns how long it helped. */
static uint64_t share_core(rbe__lateness *lateness, uint64_t *helped, uint32_t n_sharing)
{
    const uint64_t began = *helped;
    do {
        *helped += 6 * MILLISECOND;
    } while (!rbe__lateness_add(lateness, 3 * MILLISECOND, *helped, n_sharing) && *helped - began < 1000 * MILLISECOND);
    return *helped - began;
}

static void test_lateness(void)
{
    rbe__lateness lateness = {0};
    uint64_t helped = 0, now = 7, pause = 50 * (uint64_t)MILLISECOND;
    const uint64_t first = share_core(&lateness, &helped, 2);
    CHECK(first > 6 * MILLISECOND && first <= 24 * MILLISECOND, "left out after %u us", (unsigned)(first / 1000));
    for (int time = 0; time < 8; time++) {
        rbe__lateness_leave_out(&lateness, helped, now);
        CHECK(!rbe__lateness_is_over(&lateness, helped, now + pause - 1), "time %d is shorter", time);
        now += pause;
        CHECK(rbe__lateness_is_over(&lateness, helped, now), "time %d is longer", time);
        pause = pause < 500 * MILLISECOND ? 2 * pause : 1000 * (uint64_t)MILLISECOND;
        CHECK(share_core(&lateness, &helped, 2) == first, "judged anew");
    }
    rbe__lateness_leave_out(&lateness, helped, now);
    CHECK(rbe__lateness_is_over(&lateness, helped, now + pause), "over");
    helped += 2000 * (uint64_t)MILLISECOND; /* it helps for long: others left its core */
    const uint64_t later = share_core(&lateness, &helped, 2);
    CHECK(later > first && later < 200 * MILLISECOND, "after long help left out after %u us", (unsigned)(later / 1000));
    rbe__lateness_leave_out(&lateness, helped, now);
    CHECK(rbe__lateness_is_over(&lateness, helped, now + 50 * MILLISECOND), "begins with short times again");
}

static void test_small_delays(void)
{
    rbe__lateness lateness = {0};
    uint64_t helped = 0;
    int left_out = 0;
    for (int i = 0; i < 1000; i++) {
        helped += 20 * MILLISECOND;
        left_out += rbe__lateness_add(&lateness, MILLISECOND, helped, 4); /* 5 % of the time */
    }
    CHECK(left_out == 0, "left out %d times", left_out);
    left_out = 0;
    for (int i = 0; i < 1000; i++) {
        helped += 20 * MILLISECOND;
        left_out += rbe__lateness_add(&lateness, 2 * MILLISECOND, helped, 8); /* 10 %, and the others would be 7 */
    }
    CHECK(left_out > 0, "never left out");
    CHECK(rbe__patience(0) > 0 && rbe__patience(MILLISECOND) > 4 * MILLISECOND, "a slow core");
}

typedef struct shared_work {
    atomic_uint n_done, of_worker;
    atomic_int worker_sleeps;
#if !defined(_WIN32)
    pthread_t worker;
#endif
} shared_work;

static void do_item(void *context, uint32_t item, uint32_t thread)
{
    shared_work *shared = context;
    (void)item;
    if (thread > 0) {
#if !defined(_WIN32)
        shared->worker = pthread_self();
#endif
        atomic_fetch_add(&shared->of_worker, 1);
        if (atomic_load(&shared->worker_sleeps)) {
            nanosleep(&(struct timespec){.tv_nsec = 20L * MILLISECOND}, NULL);
        }
    }
    for (const uint64_t began = rbe__nanoseconds(); rbe__nanoseconds() - began < ITEM_NS;) {
    }
    atomic_fetch_add(&shared->n_done, 1);
}

/* Jobs until the worker has taken a part of one; 0 where it does not come. */
static int run_until_it_helps(rbe__thread_pool *pool, shared_work *shared)
{
    atomic_store(&shared->of_worker, 0);
    for (int i = 0; i < TRIES && !atomic_load(&shared->of_worker); i++) {
        rbe__thread_pool_run(pool, ITEMS, do_item, shared);
        rest();
    }
    return atomic_load(&shared->of_worker) > 0;
}

static void test_late_worker(void)
{
    rbe__thread_pool *pool;
    shared_work shared = {0};
    CHECK(rbe__thread_pool_create(2, &pool) == RBE_OK && rbe__thread_pool_left_out(pool) == 0, "pool");
    CHECK(run_until_it_helps(pool, &shared), "it never helps");
    int n_jobs = 0;
    atomic_store(&shared.worker_sleeps, 1);
    for (; n_jobs < TRIES && rbe__thread_pool_left_out(pool) == 0; n_jobs++) {
        rbe__thread_pool_run(pool, ITEMS, do_item, &shared);
    }
    CHECK(rbe__thread_pool_left_out(pool) == 1, "not left out by %d jobs", n_jobs);
    atomic_store(&shared.worker_sleeps, 0);
    atomic_store(&shared.n_done, 0);
    rbe__thread_pool_run(pool, ITEMS, do_item, &shared);
    CHECK(atomic_load(&shared.n_done) == ITEMS, "%u items without it", atomic_load(&shared.n_done));
    CHECK(run_until_it_helps(pool, &shared), "it is not tried again");
    rbe__thread_pool_free(pool);
}

#if !defined(_WIN32)
static atomic_int holds, is_held, waited_too_long;

static void hold(int signal)
{
    (void)signal;
    atomic_store(&is_held, 1);
    while (atomic_load(&holds)) {
        rest();
    }
    atomic_store(&is_held, 0);
}

static void give_up(int signal)
{
    (void)signal;
    atomic_store(&waited_too_long, 1);
    atomic_store(&holds, 0);
}

/* The worker is stopped between two jobs, as if its core were taken away. */
static void test_held_worker(void)
{
    rbe__thread_pool *pool;
    shared_work shared = {0};
    CHECK(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = hold, .sa_flags = SA_RESTART}, NULL) == 0, "signal");
    CHECK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = give_up, .sa_flags = SA_RESTART}, NULL) == 0, "signal");
    CHECK(rbe__thread_pool_create(2, &pool) == RBE_OK, "pool");
    if (!run_until_it_helps(pool, &shared)) {
        CHECK(0, "it never helps");
        rbe__thread_pool_free(pool);
        return;
    }
    nanosleep(&(struct timespec){.tv_nsec = 100L * MILLISECOND}, NULL); /* it sleeps */
    atomic_store(&holds, 1);
    pthread_kill(shared.worker, SIGUSR1);
    for (int i = 0; i < TRIES && !atomic_load(&is_held); i++) {
        rest();
    }
    CHECK(atomic_load(&is_held), "not held");
    alarm(60); /* jobs that wait for it would never end */
    atomic_store(&shared.of_worker, 0);
    for (int job = 0; job < 20; job++) {
        atomic_store(&shared.n_done, 0);
        rbe__thread_pool_run(pool, ITEMS, do_item, &shared);
        CHECK(atomic_load(&shared.n_done) == ITEMS, "job %d: %u items", job, atomic_load(&shared.n_done));
    }
    alarm(0);
    CHECK(!atomic_load(&waited_too_long), "the jobs waited for a worker that took no part in them");
    CHECK(atomic_load(&shared.of_worker) == 0, "the held worker did %u items", atomic_load(&shared.of_worker));
    atomic_store(&holds, 0);
    CHECK(run_until_it_helps(pool, &shared), "it does not come back");
    rbe__thread_pool_free(pool);
}
#endif

int main(void)
{
    test_lateness();
    test_small_delays();
    if (rbe__usable_cores() > 1) { /* else the worker is always in the caller's way */
        test_late_worker();
#if !defined(_WIN32)
        test_held_worker();
#endif
    }
    return check_finish();
}
