/* Threads of the operating system, what they wait for one another with, and on which processors they run. No function sets an error. */
#ifndef RBE_PLATFORM_THREADS_H
#define RBE_PLATFORM_THREADS_H

#include <stdint.h>

#define RBE_MAX_CPUS 1024u /* processor numbers of the system are below */

typedef struct rbe__thread rbe__thread;
typedef struct rbe__mutex rbe__mutex;
typedef struct rbe__condition rbe__condition;

/* Starts run(context) on a thread of its own; NULL where the system refuses. */
rbe__thread *rbe__thread_start(void (*run)(void *context), void *context);

/* Waits until it has returned, and frees it. */
void rbe__thread_join(rbe__thread *thread);

/* NULL where there is no memory. */
rbe__mutex *rbe__mutex_create(void);
void rbe__mutex_free(rbe__mutex *mutex); /* not locked; NULL is allowed */
void rbe__mutex_lock(rbe__mutex *mutex);
void rbe__mutex_unlock(rbe__mutex *mutex);

/* NULL where there is no memory. */
rbe__condition *rbe__condition_create(void);
void rbe__condition_free(rbe__condition *condition); /* nobody waits; NULL is allowed */

/* The caller holds the mutex: it is given up while waiting and held again afterwards. It may return without a signal. */
void rbe__condition_wait(rbe__condition *condition, rbe__mutex *mutex);
/* The same, but not past `time_ns` of rbe__nanoseconds, by some milliseconds. */
void rbe__condition_wait_until(rbe__condition *condition, rbe__mutex *mutex, uint64_t time_ns);
void rbe__condition_signal(rbe__condition *condition);    /* wakes one */
void rbe__condition_broadcast(rbe__condition *condition); /* wakes all */

/* The processor that the calling thread runs on now; -1 where that is unknown. */
int rbe__thread_cpu(void);

/* The processors that the calling thread may run on: allowed[cpu] is 1 or 0. Returns 1; 0 where the system does not tell: then none is allowed. */
int rbe__thread_get_affinity(uint8_t allowed[RBE_MAX_CPUS]);

/* Sets them. 1 where the system, asked afterwards, names the same ones; else 0: what the system took may be less (a cpuset), or nothing. */
int rbe__thread_set_affinity(const uint8_t allowed[RBE_MAX_CPUS]);

#endif
