/* A started thread of a pool: it looks for jobs a little while, then sleeps until it is woken. */
#ifndef RBE_PARALLEL_WORKER_H
#define RBE_PARALLEL_WORKER_H

#include <stdatomic.h>

#include "parallel/cores.h"
#include "parallel/job.h"
#include "parallel/lateness.h"

/* How long a worker, or the caller, looks before it sleeps: a decode step is some hundred jobs of 10 to 100 us, and a sleeping thread wakes in
 * about 50 us. */
#define RBE_SPIN_ROUNDS 2000

typedef struct rbe__worker {
    rbe__job *job;
    const rbe__cores *cores;
    const rbe__homes *homes;
    uint32_t index; /* of the threads of its pool; 0 is the caller */
    int spin_rounds;

    rbe__thread *thread; /* NULL: not started */
    rbe__mutex *mutex;
    rbe__condition *woken;

    /* What both look at for every job, and change rarely. */
    atomic_int is_asleep; /* changed under the mutex */
    atomic_int is_crowded; /* it did not take part in a job, because it was on the caller's core; the caller takes it back */
    atomic_int is_out; /* 1: it takes no part until the caller says 0 and wakes it */
    atomic_int is_placed; /* the system has confirmed that it is where it was placed */
    uint8_t apart[64]; /* so that the cache line above stays where it is while those below change */

    /* What the worker changes for every job; the caller reads the times between jobs. */
    atomic_int is_inside; /* of the job */
    uint64_t left_ns, helped_ns; /* when it left its last job, and how long it was in all of them */

    rbe__lateness lateness; /* the caller's */
    uint8_t apart_too[64];
} rbe__worker;

/* Of a worker that is zero but for its first fields. 0 where there is no memory; to be freed in any case, after it has ended. */
int rbe__worker_create(rbe__worker *worker);
void rbe__worker_free(rbe__worker *worker);

/* 0 where the system refuses. It ends once the job's generation says so and it was woken. */
int rbe__worker_start(rbe__worker *worker);
void rbe__worker_join(rbe__worker *worker);

/* The caller, after it opened a job: costs a comparison where it is awake. */
void rbe__worker_wake(rbe__worker *worker);

/* One round of looking. */
void rbe__relax(void);

#endif
