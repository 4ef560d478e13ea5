/* Whether a thread of a pool keeps the others waiting for longer than it helps. Pure functions of times, in nanoseconds, as of thread_trial.h. */
#ifndef RBE_PARALLEL_LATENESS_H
#define RBE_PARALLEL_LATENESS_H

#include <stdint.h>

/* Zeroes: it takes part from the beginning. helped_ns is the time that the thread spent in jobs, from the beginning of the pool on, with what the
 * others waited for it. */
typedef struct rbe__lateness {
    uint64_t begin_ns; /* of helped_ns: it is judged from here on */
    uint64_t joined_ns; /* of helped_ns: it took part again */
    uint64_t late_ns; /* that others waited for it since begin_ns */
    uint64_t pause_ns; /* how long it was left out last; 0: never */
    uint64_t back_ns; /* by the clock, when it is tried again */
} rbe__lateness;

/* How long the others may wait for a thread, of items that take item_ns on average, before it counts as late: it may run on a core that is a
 * few times slower. */
uint64_t rbe__patience(uint64_t item_ns);

/* The other ones of n_sharing threads waited late_ns because of this one. Returns 1 where they are as fast without it. */
int rbe__lateness_add(rbe__lateness *lateness, uint64_t late_ns, uint64_t helped_ns, uint32_t n_sharing);

/* It is left out from now on until back_ns. */
void rbe__lateness_leave_out(rbe__lateness *lateness, uint64_t helped_ns, uint64_t now_ns);

/* Of one that is left out: 1 where its time is over. It is judged anew. */
int rbe__lateness_is_over(rbe__lateness *lateness, uint64_t helped_ns, uint64_t now_ns);

#endif
