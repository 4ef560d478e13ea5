/* A pool of threads that share the items of one job at a time. */
#ifndef RBE_PARALLEL_THREAD_POOL_H
#define RBE_PARALLEL_THREAD_POOL_H

#include "rbe/rbe.h"

#define RBE_MAX_THREADS 64u

typedef struct rbe__thread_pool rbe__thread_pool;

/* work(context, item, thread): thread < n_threads is the index of the executing thread, for its scratch. */
typedef void rbe__work(void *context, uint32_t item, uint32_t thread);

/* Threads for a call that was asked for `wanted` of them: 0 is one for each core that this process may use. RBE_ERROR_ARGUMENT above
 * RBE_MAX_THREADS. */
rbe_status rbe__thread_count(uint32_t wanted, uint32_t *out);

/* n_threads 1 to RBE_MAX_THREADS, the caller counted. Starts n_threads - 1 threads, which sleep between jobs. Each begins on a core of its
 * own, not the caller's, fast ones first; up to as many threads as there are fast cores stay on those. A caller on a slow core is
 * moved to a fast one when a job begins; where it may run is never changed. */
rbe_status rbe__thread_pool_create(uint32_t n_threads, rbe__thread_pool **out);

/* How the threads of a pool use the machine. Zeroes: as above. */
typedef struct rbe__workers {
    int sleep; /* 1: they sleep as soon as there is no job, instead of looking for the next one a little while: each job begins later */
    int slow_cores; /* 1: slow cores first, up to as many threads as there are stay on those; nothing where all cores are alike */
} rbe__workers;

rbe_status rbe__thread_pool_create_as(uint32_t n_threads, rbe__workers workers, rbe__thread_pool **out);
rbe__workers rbe__thread_pool_workers(const rbe__thread_pool *pool);
void rbe__thread_pool_free(rbe__thread_pool *pool);
uint32_t rbe__thread_pool_threads(const rbe__thread_pool *pool);

/* How many of the started threads the system has so far confirmed to be where they were placed. */
uint32_t rbe__thread_pool_placed(rbe__thread_pool *pool);

/* How many of them are left out of jobs at the moment. The caller of rbe__thread_pool_run asks, between jobs. */
uint32_t rbe__thread_pool_left_out(const rbe__thread_pool *pool);

/* Runs work for every item < n_items on up to all threads and returns when all are done. Which thread takes which item, and how many take part,
 * is left to chance: results must not depend on it. One job at a time.
 *
 * Other programs may use the cores. A thread that waits for its core when a job begins is not waited for: the others do all of it. One that
 * loses its core during an item holds the job up; a thread that does so often is left out for 50 ms, then tried again, and for longer each
 * time, up to a second (parallel/lateness.h). So is one that the system keeps on the caller's core. */
void rbe__thread_pool_run(rbe__thread_pool *pool, uint32_t n_items, rbe__work *work, void *context);

/* The same on a pool of its own. */
rbe_status rbe__parallel(uint32_t n_threads, uint32_t n_items, rbe__work *work, void *context);

#endif
