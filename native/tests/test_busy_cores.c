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

/* A pool of two whose caller and worker have a processor each: on a busy machine the system may keep them on one for minutes. */
typedef struct two_threads {
    rbe__thread_pool *pool;
    uint8_t allowed[RBE_MAX_CPUS]; /* to the caller, before */
    atomic_uint n_done, of_worker; /* items of the last job */
    atomic_int worker_sleeps, caller_waits; /* in each of its items; until the worker has begun one */
#if !defined(_WIN32)
    pthread_t worker;
#endif
} two_threads;

static int move_to(uint32_t cpu)
{
    uint8_t allowed[RBE_MAX_CPUS] = {0};
    allowed[cpu] = 1;
    return rbe__thread_set_affinity(allowed);
}

/* 0 where the system does not let a thread choose its processor. The worker gets the one that its creator has. */
static int create_pair(two_threads *pair)
{
    rbe__cores cores;
    rbe__cores_find(&cores);
    if (!rbe__thread_get_affinity(pair->allowed) || !move_to(cores.cpu[1])) {
        return 0;
    }
    CHECK(rbe__thread_pool_create(2, &pair->pool) == RBE_OK && rbe__thread_pool_left_out(pair->pool) == 0, "pool");
    return pair->pool && move_to(cores.cpu[0]);
}

static void free_pair(two_threads *pair)
{
    rbe__thread_pool_free(pair->pool);
    rbe__thread_set_affinity(pair->allowed);
}

static void do_item(void *context, uint32_t item, uint32_t thread)
{
    two_threads *pair = context;
    (void)item;
    if (thread > 0) {
#if !defined(_WIN32)
        pair->worker = pthread_self();
#endif
        atomic_fetch_add(&pair->of_worker, 1);
        if (atomic_load(&pair->worker_sleeps)) {
            nanosleep(&(struct timespec){.tv_nsec = 20L * MILLISECOND}, NULL);
        }
    } else if (atomic_load(&pair->caller_waits) && !rbe__thread_pool_left_out(pair->pool)) {
        for (int i = 0; i < TRIES && !atomic_load(&pair->of_worker); i++) {
            rest();
        }
    }
    for (const uint64_t began = rbe__nanoseconds(); rbe__nanoseconds() - began < ITEM_NS;) {
    }
    atomic_fetch_add(&pair->n_done, 1);
}

/* How many items the worker did. */
static unsigned run_job(two_threads *pair)
{
    atomic_store(&pair->n_done, 0);
    atomic_store(&pair->of_worker, 0);
    rbe__thread_pool_run(pair->pool, ITEMS, do_item, pair);
    CHECK(atomic_load(&pair->n_done) == ITEMS, "%u items", atomic_load(&pair->n_done));
    return atomic_load(&pair->of_worker);
}

/* Jobs until the worker has taken a part of one; 0 where it does not come. */
static int run_until_it_helps(two_threads *pair)
{
    int helps = 0;
    atomic_store(&pair->caller_waits, 1);
    for (int i = 0; i < TRIES && !helps; i++) {
        helps = run_job(pair) > 0;
        rest();
    }
    atomic_store(&pair->caller_waits, 0);
    return helps;
}

static void test_late_worker(two_threads *pair)
{
    int n_jobs = 0;
    CHECK(run_until_it_helps(pair), "it never helps");
    atomic_store(&pair->worker_sleeps, 1);
    atomic_store(&pair->caller_waits, 1);
    for (; n_jobs < TRIES && rbe__thread_pool_left_out(pair->pool) == 0; n_jobs++) {
        run_job(pair);
    }
    CHECK(rbe__thread_pool_left_out(pair->pool) == 1, "not left out by %d jobs", n_jobs);
    atomic_store(&pair->worker_sleeps, 0);
    atomic_store(&pair->caller_waits, 0);
    run_job(pair);
    CHECK(run_until_it_helps(pair), "it is not tried again");
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
static void test_held_worker(two_threads *pair)
{
    unsigned of_worker = 0;
    CHECK(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = hold, .sa_flags = SA_RESTART}, NULL) == 0, "signal");
    CHECK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = give_up, .sa_flags = SA_RESTART}, NULL) == 0, "signal");
    if (!run_until_it_helps(pair)) {
        CHECK(0, "it never helps");
        return;
    }
    nanosleep(&(struct timespec){.tv_nsec = 100L * MILLISECOND}, NULL); /* it sleeps */
    atomic_store(&holds, 1);
    pthread_kill(pair->worker, SIGUSR1);
    for (int i = 0; i < TRIES && !atomic_load(&is_held); i++) {
        rest();
    }
    CHECK(atomic_load(&is_held), "not held");
    alarm(60); /* jobs that wait for it would never end */
    for (int job = 0; job < 20; job++) {
        of_worker += run_job(pair);
    }
    alarm(0);
    CHECK(!atomic_load(&waited_too_long), "the jobs waited for a worker that took no part in them");
    CHECK(of_worker == 0, "the held worker did %u items", of_worker);
    atomic_store(&holds, 0);
    CHECK(run_until_it_helps(pair), "it does not come back");
}
#endif

static void test_pair(void (*test)(two_threads *pair))
{
    two_threads pair = {0};
    if (create_pair(&pair)) {
        test(&pair);
    } else {
        printf("skipped: threads cannot choose their processors here\n");
    }
    free_pair(&pair);
}

int main(void)
{
    test_lateness();
    test_small_delays();
    if (rbe__usable_cores() > 1) { /* else the worker is always in the caller's way */
        test_pair(test_late_worker);
#if !defined(_WIN32)
        test_pair(test_held_worker);
#endif
    }
    return check_finish();
}
