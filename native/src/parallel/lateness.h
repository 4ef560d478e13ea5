/* Whether a worker of a pool helps more than it keeps the others waiting. Pure functions of times, in nanoseconds, as of thread_trial.h. */
#ifndef RBE_PARALLEL_LATENESS_H
#define RBE_PARALLEL_LATENESS_H

#include <stdint.h>

/* Zeroes: it takes part from the beginning. */
typedef struct rbe__lateness {
    uint64_t begin_ns; /* it is judged from here on; this and the next in time that the pool was at work */
    uint64_t joined_ns; /* when it took part again */
    uint64_t late_ns; /* that others waited for it since begin_ns */
    uint64_t pause_ns; /* how long it was left out last; 0: never */
    uint64_t back_ns; /* by the clock, when it is tried again; 0: it takes part */
} rbe__lateness;

/* How long the others may wait for a worker, of items that took item_ns on average, before it counts as late: it may run on a core that is a
 * few times slower. */
uint64_t rbe__patience(uint64_t item_ns);

/* The pool has been at work for worked_ns in all, and now n_sharing threads, the worker and the caller among them, waited late_ns for this
 * one. Returns 1 where it is to be left out until back_ns. */
int rbe__lateness_add(rbe__lateness *lateness, uint64_t late_ns, uint64_t worked_ns, uint32_t n_sharing, uint64_t now_ns);

/* Of one that is left out: 1 where its time is over. It is judged anew. */
int rbe__lateness_is_over(rbe__lateness *lateness, uint64_t worked_ns, uint64_t now_ns);

#endif
